"""The settings of a run: their defaults, their bounds, and what is said of a bad one."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.config import (
    ConfigError,
    FederationConfig,
    RunConfig,
    StrategyConfig,
    read_run_config,
)
from server.defaults import BUILD_FILE, with_defaults
from strategies.registry import known, setting_types
from strategies.wire.round_plan import flatten

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))

#: Every setting with values that it must refuse.
BAD: dict[str, tuple[object, ...]] = {
    "skip_invalid": ("maybe", 2),
    "seed": (-1, 2**31, "x", 1.5),
    "track": ("wandb", 1),
    "resume": ("maybe", 2),
    "privacy.mechanism": ("counts", 1),
    "privacy.answers_per_respondent": (-1, 1.5, "x"),
    "privacy.largest_weight": (0.5, 1001, "x"),
    "simulation.respondents": (-1, 1.5, "x"),
    "predictor.lora_layers": (-1, "x"),
    "predictor.lora_rank": (-1, 0.5),
    "predictor.lora_alpha": (0, "x"),
    "predictor.head_width": (0, "x"),
    "predictor.early_features": ("x",),
    "predictor.context_rank": (-1, "x"),
    "predictor.max_tokens": (15, "x"),
    "predictor.scores": ("prize", "", "policy"),
    "predictor.beta": (0, -0.1, "x", float("nan")),
    "predictor.depth": (-1, 1.5, "x"),
    "predictor.dtype": ("float16", ""),
    "predictor.chat_template": ("x",),
    "predictor.option_length": ("x",),
    "training.batch_tokens": (-1, 1.5, "x"),
    "training.gradient_checkpointing": ("x",),
    "simulation.device": ("abacus", ""),
    "context.strength": (-0.1, "x", float("nan")),
    "context.bandwidth": (0, "x", float("nan")),
    "context.single_choice": (0, 1.1, "x", float("nan")),
    "training.local_epochs": (0, -1, "x", float("nan")),
    "training.batch_size": (0, 1.5, "x"),
    "training.learning_rate": (0, "x", float("nan")),
    "training.adapter_learning_rate": (0, "x", float("nan")),
    "training.weight_decay": (-1, "x", float("nan")),
    "training.dropout": (-0.1, 1.0, "x", float("nan")),
    "training.context_learning_rate": (0, "x", float("nan")),
    "training.context_weight_decay": (-1, "x", float("nan")),
    "training.context_weight": (-1, "x", float("nan")),
    "training.context_questions": (0, "x"),
    "training.local_steps": (-1, 0.5, "x"),
    "training.proximal": (-1, "x", float("nan")),
    "training.start": ("no-such-folder", 5),
    "training.fairness": (-0.1, 10.1, "x", float("nan")),
    "federation.warmup_rounds": (-1, "x"),
    "federation.adapter_rounds": (-1, "x"),
    "federation.final_learning_rate_scale": (0, 1.1, "x", float("nan")),
    "federation.evaluate_every": (-1, "x"),
    "federation.secure_aggregation": ("x",),
    "federation.threshold": (-1, "x"),
    "federation.round_timeout_seconds": (0, "x"),
    "federation.stage_timeout_seconds": (0, "x", float("inf")),
    "federation.minimum_groups": (0, "x"),
    "federation.seats": (-1, "x"),
    "federation.groups_per_round": (-1, "x"),
    "strategy.name": ("sgd", 5, "file.py:Class"),
    "strategy.learning_rate": (0, 2.1, "x", float("nan")),
    "strategy.averaging": (1, -0.1, "x", float("nan")),
    "strategy.momentum": (0.5,),
    "privacy.mode": ("secret", ""),
    "privacy.unit": ("organisation", ""),
    "privacy.epsilon": (0, -1, 50.1, "x", float("nan")),
    "privacy.delta": ("x",),
    "privacy.sampling_rate": ("x",),
    "privacy.clipping_norm": ("x",),
    "privacy.local_steps": (0, "x"),
    "privacy.local_learning_rate": (0, "x", float("nan"), float("inf")),
    "privacy.survivors": (-1, "x"),
    "privacy.units_per_seat": (-1, "x"),
    "privacy.colluding": (-1, "x"),
    "privacy.records_per_unit": (0, "x"),
    "privacy.micro_batch": (0, "x"),
    "privacy.max_options": (1, "x"),
    "privacy.freeze_a": ("x",),
    "privacy.options_apart": ("x",),
    "privacy.budget_epsilon": (-1, 50.1, "x", float("nan")),
    "privacy.ledgers": ("books",),
    "compression.bits": (-1, 1, 17, 4.5, "x"),
    "compression.keep": (0, -0.1, 1.1, 0.5, "x", float("nan")),
    "compression.transform": ("fourier", ""),
    "simulation.dropout": (-0.1, 1, "x", float("nan")),
}
_TEXTS = {
    "data",
    "split",
    "out",
    "federation.roster",
    "predictor.encoder",
    "predictor.lora_targets",
}


def test_the_table_of_bad_values_is_complete() -> None:
    # Of all settings of strategies, those of the default one have a value without being given.
    assert {*BAD} - {"strategy.momentum"} | _TEXTS == set(RunConfig().flat())


@pytest.mark.parametrize(
    ("key", "value"), [(key, value) for key, values in BAD.items() for value in values]
)
def test_a_bad_value_is_refused_in_one_line_that_names_the_setting(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]) as caught:
        read_run_config({key: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("training.batch_size", "many"), ("track", "wandb"), ("seed", 1.5)]
)
def test_a_value_of_the_wrong_type_is_shown(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=str(value)):
        read_run_config({key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.local_epochs", float("inf")),
        ("training.learning_rate", float("inf")),
        ("training.weight_decay", float("inf")),
        ("context.strength", float("inf")),
        ("context.bandwidth", float("inf")),
        ("federation.round_timeout_seconds", float("nan")),
    ],
)
def test_a_value_that_is_not_finite_is_refused(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=key.rpartition(".")[2]):
        read_run_config({key: value})


@pytest.mark.parametrize("key", sorted(_TEXTS))
def test_a_text_must_be_one(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        read_run_config({key: 5})


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("training.learning_rat", "did you mean 'training.learning_rate'?"),
        ("learning_rate", "did you mean 'training.learning_rate'?"),
        ("federation.rounds", "did you mean 'federation."),
        ("sed", "did you mean 'seed'?"),
        ("zzzzzzzz", "known are data, split, skip_invalid, seed, out"),
        ("training", "'"),
    ],
)
def test_an_unknown_setting_gets_a_hint(key: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_run_config({key: 1})
    message = str(caught.value)
    assert message.startswith(f"unknown setting {key!r}: ")
    assert hint in message
    assert "\n" not in message


def test_texts_of_a_command_line_become_what_they_say() -> None:
    config = read_run_config(
        {
            "seed": "7",
            "skip_invalid": "true",
            "training.learning_rate": "2e-4",
            "federation.warmup_rounds": "3",
        }
    )
    assert (config.seed, config.skip_invalid) == (7, True)
    assert config.training.learning_rate == 2e-4
    assert config.federation.warmup_rounds == 3


def test_what_is_not_given_has_its_default() -> None:
    assert read_run_config({}) == RunConfig()


GRADIENTS = {"privacy.mechanism": "gradients"}


def test_updates_made_of_counts_are_compressed_as_those_without_privacy() -> None:
    config = read_run_config({"compression.bits": 4, "privacy.mode": "local"})
    assert config.privacy.counted


@pytest.mark.parametrize("mode", ["distributed", "local"])
def test_compression_is_refused_where_a_privacy_plan_says_what_is_sent(mode: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"compression.bits = 4 with privacy.mode = {mode}"
    ) as no:
        read_run_config({"compression.bits": 4, "privacy.mode": mode, **GRADIENTS})
    assert "\n" not in str(no.value)
    assert read_run_config({"compression.bits": 4, "compression.keep": 0.5}).compression.bits == 4


def test_settings_survive_their_flat_form() -> None:
    config = read_run_config({"seed": 3, "context.strength": 2.5, "predictor.lora_rank": 0})
    assert read_run_config(config.flat()) == config
    assert flatten(config.nested()) == config.flat()


def test_every_setting_stands_in_the_build_file_with_its_default() -> None:
    """Flower overrides only what the app's own file lists: `python -m server.defaults` does."""
    assert with_defaults(BUILD_FILE.read_text(encoding="utf-8")) == BUILD_FILE.read_text("utf-8")
    listed = flatten(PROJECT["tool"]["flwr"]["app"]["config"])
    defaults = RunConfig().flat()
    left = {f"strategy.{key}" for each in known().values() for key in setting_types(each)}
    assert {key for key, value in listed.items() if key in left and value == ""} == left
    assert read_run_config(listed) == RunConfig()
    listed = {key: value for key, value in listed.items() if key not in left}
    defaults = {key: value for key, value in defaults.items() if key not in left}
    assert listed == defaults
    assert {key: type(value) for key, value in listed.items()} == {
        key: type(value) for key, value in defaults.items()
    }


def test_the_build_file_is_brought_up_to_date_and_the_rest_of_it_stays() -> None:
    today = BUILD_FILE.read_text(encoding="utf-8")
    assert "\nlora_rank = 4\n" in today
    assert with_defaults(today.replace("\nlora_rank = 4\n", "\nlora_rank = 5\n")) == today
    with pytest.raises(ValueError, match="lacks the line"):
        with_defaults(today.replace("`python -m server.defaults`", ""))


class TestStrategy:
    def test_a_run_keeps_all_settings_of_its_strategy(self) -> None:
        config = read_run_config({"strategy.name": "diloco", "strategy.momentum": "0.5"})
        kept = {key: value for key, value in config.flat().items() if key.startswith("strategy.")}
        assert kept == {
            "strategy.name": "diloco",
            "strategy.averaging": 0.0,
            "strategy.learning_rate": 0.7,
            "strategy.momentum": 0.5,
            "strategy.local_steps": 0,
        }
        assert read_run_config(config.flat()) == config
        assert hash(read_run_config(config.flat())) == hash(config)

    def test_private_runs_have_defaults_of_their_own_strategy_alone(self) -> None:
        private = read_run_config({"privacy.mode": "distributed"}).strategy.as_dict()
        assert (private["name"], private["averaging"]) == ("fedadam", 0.95)
        other = read_run_config({"privacy.mode": "distributed", "strategy.name": "fedavgm"})
        assert other.strategy == StrategyConfig(name="fedavgm")

    def test_an_unknown_setting_names_the_strategy_and_what_it_has(self) -> None:
        with pytest.raises(ConfigError, match=r"^strategy\.momentun is no setting of diloco: did"):
            read_run_config({"strategy.name": "diloco", "strategy.momentun": 1})

    def test_a_strategy_that_does_not_go_with_the_run_is_refused_as_it_is_read(self) -> None:
        with pytest.raises(ConfigError, match=r"^strategy krum needs every group's own update"):
            read_run_config({"strategy.name": "krum"})
        clear = {"strategy.name": "krum", "federation.secure_aggregation": False}
        assert read_run_config(clear).strategy.name == "krum"


def test_a_round_of_fewer_groups_than_it_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match="groups_per_round = 2 is below minimum_groups = 3"):
        read_run_config({"federation.groups_per_round": 2, "federation.minimum_groups": 3})


@given(warmup=st.integers(-2, 3), adapters=st.integers(-2, 3))
def test_a_run_has_at_least_one_round(warmup: int, adapters: int) -> None:
    if min(warmup, adapters) < 0 or warmup + adapters < 1:
        with pytest.raises(ValueError, match=f"warmup_rounds = {warmup} and adapter_rounds"):
            FederationConfig(warmup_rounds=warmup, adapter_rounds=adapters)
    else:
        config = FederationConfig(warmup_rounds=warmup, adapter_rounds=adapters)
        assert config.rounds == warmup + adapters
