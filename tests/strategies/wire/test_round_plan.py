from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytest
from flwr.app import ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from alignment.config import ContextConfig, PredictorConfig, TrainingConfig
from strategies.wire.round_plan import (
    PrivateWork,
    RoundPlan,
    flatten,
    read_section,
    unflatten,
)

NAMES = st.text("abcdefghij_", min_size=1, max_size=6)
SCALARS = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
SECTIONS = st.dictionaries(NAMES, SCALARS, min_size=1, max_size=4)
NESTED = st.recursive(
    st.dictionaries(NAMES, SCALARS, min_size=1, max_size=4),
    lambda inner: st.dictionaries(NAMES, SCALARS | inner, min_size=1, max_size=4),
    max_leaves=6,
)


def plan(**changes: Any) -> RoundPlan:
    fields: dict[str, Any] = {
        "run": "run",
        "round": 3,
        "seed": 5,
        "train_adapter": True,
        "learning_rate_scale": 0.5,
        "predictor": asdict(PredictorConfig()),
        "training": asdict(TrainingConfig()),
        "context": asdict(ContextConfig()),
    }
    return RoundPlan(**{**fields, **changes})


def equal_with_types(left: Mapping[str, object], right: Mapping[str, object]) -> bool:
    """Equal, and no bool became an int nor an int a float."""
    typed = [
        [(key, type(value), value) for key, value in sorted(each.items())] for each in (left, right)
    ]
    return typed[0] == typed[1]


class TestFlatten:
    @given(NESTED)
    def test_unflatten_is_its_inverse(self, nested: dict[str, object]) -> None:
        flat = flatten(nested)
        assert unflatten(flat) == nested
        assert equal_with_types(flatten(unflatten(flat)), flat)

    def test_keys_are_dotted_in_order(self) -> None:
        nested = {"seed": 1, "a": {"b": {"c": True}, "d": "x"}, "e": 0.5}
        flat = {"seed": 1, "a.b.c": True, "a.d": "x", "e": 0.5}
        assert list(flatten(nested).items()) == list(flat.items())

    @pytest.mark.parametrize("value", [None, [1, 2], (1,), b"bytes", {1}], ids=type)
    def test_what_no_wire_takes_is_refused_by_its_whole_name(self, value: object) -> None:
        message = f"training.rates is {type(value).__name__}: use a scalar or a section"
        with pytest.raises(ValueError, match=message) as caught:
            flatten({"training": {"rates": value}})
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "flat", [{"a": 1, "a.b": 2}, {"a.b": 2, "a": 1}, {"a.b.c": 1, "a.b": 2}], ids=str
    )
    def test_a_key_that_is_both_value_and_section_is_refused(self, flat: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=r"'a' is a value|a(\.b)? is a section"):
            unflatten(flat)


class TestWire:
    @given(
        number=st.integers(0, 10**6),
        seed=st.integers(0, 2**31 - 1),
        train_adapter=st.booleans(),
        scale=st.floats(0.001, 1),
        sections=st.tuples(SECTIONS, SECTIONS, SECTIONS),
    )
    def test_a_plan_returns_from_the_wire(
        self,
        number: int,
        seed: int,
        train_adapter: bool,
        scale: float,
        sections: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    ) -> None:
        predictor, training, context = sections
        sent = RoundPlan(
            run="run",
            round=number,
            seed=seed,
            train_adapter=train_adapter,
            learning_rate_scale=scale,
            predictor=predictor,
            training=training,
            context=context,
        )
        # The bytes of a real message, not only the mapping.
        record = ConfigRecord(dict(sent.to_wire()))
        bytes_sent = RecordDict({"plan": record})["plan"].deflate()
        received = RoundPlan.from_wire(ConfigRecord.inflate(bytes_sent))
        assert received == sent
        assert equal_with_types(received.to_wire(), sent.to_wire())

    def test_the_wire_form_is_flat_and_scalar(self) -> None:
        wire = plan().to_wire()
        assert {type(value) for value in wire.values()} <= {bool, int, float, str}
        assert wire["predictor.encoder"] == "all-MiniLM-L6-v2"
        assert wire["learning_rate_scale"] == 0.5

    def test_the_real_settings_survive_with_their_types(self) -> None:
        received = RoundPlan.from_wire(plan().to_wire())
        assert PredictorConfig(**received.predictor) == PredictorConfig()
        assert TrainingConfig(**received.training) == TrainingConfig()
        assert ContextConfig(**received.context) == ContextConfig()

    @pytest.mark.parametrize("section", ["predictor", "training", "context"])
    def test_a_missing_section_is_named(self, section: str) -> None:
        wire = {k: v for k, v in plan().to_wire().items() if not k.startswith(f"{section}.")}
        with pytest.raises(ValueError, match=f"^round plan: '{section}' is missing or unknown"):
            RoundPlan.from_wire(wire)

    @pytest.mark.parametrize("name", ["round", "seed", "train_adapter", "learning_rate_scale"])
    def test_a_missing_field_is_named(self, name: str) -> None:
        wire = {key: value for key, value in plan().to_wire().items() if key != name}
        with pytest.raises(ValueError, match=f"^round plan: '{name}' is missing or unknown"):
            RoundPlan.from_wire(wire)

    @pytest.mark.parametrize(
        ("name", "value", "kind"),
        [
            ("round", True, "int"),
            ("round", 1.0, "int"),
            ("round", "1", "int"),
            ("seed", 1.5, "int"),
            ("train_adapter", 1, "bool"),
            ("train_adapter", "true", "bool"),
            ("learning_rate_scale", 1, "float"),
            ("learning_rate_scale", "half", "float"),
        ],
    )
    def test_a_field_of_another_type_is_named_with_its_value(
        self, name: str, value: object, kind: str
    ) -> None:
        message = f"^round plan: {name} = {value!r} is not {kind}$"
        with pytest.raises(ValueError, match=message):
            RoundPlan.from_wire({**plan().to_wire(), name: value})

    @pytest.mark.parametrize(
        "change",
        [
            {"budget": 1},
            {"secrecy.mode": "none"},
            {"predictor": 5},
            {"seed.part": 1},
            {"round.number": 1},
        ],
        ids=str,
    )
    def test_what_does_not_belong_is_refused_in_one_line(self, change: dict[str, object]) -> None:
        with pytest.raises(ValueError, match=min(change).split(".")[0]) as caught:
            RoundPlan.from_wire({**plan().to_wire(), **change})
        assert "\n" not in str(caught.value)

    def test_a_value_in_the_place_of_a_section_is_refused(self) -> None:
        wire = {k: v for k, v in plan().to_wire().items() if not k.startswith("context.")}
        with pytest.raises(ValueError, match=r"^round plan: context is not a section$"):
            RoundPlan.from_wire({**wire, "context": 1.0})

    def test_an_empty_plan_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"^round plan: 'context' is missing"):
            RoundPlan.from_wire({})


class TestSections:
    """What a client reads a section into takes exactly its fields, of exactly their types."""

    WORK = PrivateWork(
        plan="{}", group_index=0, freeze_a=True, local_learning_rate=0.1,
    )  # fmt: skip

    @pytest.mark.parametrize(
        "section",
        [PredictorConfig(scores="head"), TrainingConfig(), ContextConfig(), WORK],
        ids=lambda section: type(section).__name__,
    )
    def test_a_section_comes_back_as_it_was(self, section: Any) -> None:
        assert read_section(type(section), asdict(section), name="any") == section

    @pytest.mark.parametrize(
        "extra",
        [
            *(
                "sampling",
                "sampling_rate",
                "clipping_norm",
                "rounds",
                "local_steps",
                "place",
                "run",
            ),
            *("records_per_unit", "micro_batch", "max_options", "max_tokens", "options_apart"),
        ],
    )
    def test_what_the_privacy_plan_fixes_is_no_field_of_the_request(self, extra: str) -> None:
        message = f"^round plan: privacy.{extra} is missing or unknown$"
        with pytest.raises(ValueError, match=message):
            read_section(PrivateWork, {**asdict(self.WORK), extra: 1}, name="privacy")

    @pytest.mark.parametrize("name", sorted(asdict(WORK)))
    def test_a_missing_field_is_named(self, name: str) -> None:
        section = {key: value for key, value in asdict(self.WORK).items() if key != name}
        with pytest.raises(ValueError, match=f"^round plan: privacy.{name} is missing or unknown$"):
            read_section(PrivateWork, section, name="privacy")

    @pytest.mark.parametrize(
        ("kind", "name", "value", "wanted"),
        [
            (PrivateWork, "group_index", True, "int"),
            (PrivateWork, "freeze_a", 1, "bool"),
            (PrivateWork, "local_learning_rate", 1, "float"),
            (PrivateWork, "plan", {"epsilon": 8.0}, "str"),
            (PredictorConfig, "head_width", "9", "int"),
            (PredictorConfig, "scores", 1, "str"),
            (TrainingConfig, "learning_rate", "fast", "float"),
        ],
    )
    def test_a_field_of_another_type_is_named(
        self, kind: Any, name: str, value: object, wanted: str
    ) -> None:
        whole = asdict(self.WORK if kind is PrivateWork else kind())
        with pytest.raises(ValueError, match=f"^round plan: any.{name} is not {wanted}$"):
            read_section(kind, {**whole, name: value}, name="any")

    def test_a_value_out_of_bounds_is_refused_as_everywhere(self) -> None:
        with pytest.raises(ValueError, match="scores = 'guess' is none of"):
            read_section(
                PredictorConfig, {**asdict(PredictorConfig()), "scores": "guess"}, name="predictor"
            )

    def test_only_the_index_of_a_group_is_no_part_of_the_digest(self) -> None:
        work = asdict(self.WORK)
        one, two = (plan(privacy={**work, "group_index": index}) for index in (0, 1))
        assert one.digest() == two.digest()
        assert plan(privacy={**work, "run": "other"}).digest() != one.digest()
