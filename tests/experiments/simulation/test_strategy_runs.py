"""Every strategy in a federation with real clients, in every mode that it goes with."""

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import server.aggregation.robust
from alignment.data.population import load_population
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.simulate import simulate
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from privacy.errors import PlanRefused
from server.config import ConfigError, RunConfig
from strategies.checks.combinations import Hiding, refusal
from strategies.registry import known, make

PRIVATE = {
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 8,
    "federation.warmup_rounds": 2,
    "federation.adapter_rounds": 0,
}
MODES = list(itertools.product(("none", "distributed", "local"), (True, False)))
CASES = [(name, mode, secure) for name in known() for mode, secure in MODES]


def goes(case: tuple[str, str, bool]) -> bool:
    name, mode, secure = case
    return refusal(make(name, {}), Hiding(secure=secure, mode=mode)) == ""


def settings(name: str, mode: str, secure: bool) -> dict[str, Any]:
    return {
        "strategy.name": name,
        "privacy.mode": mode,
        "privacy.mechanism": "gradients",
        "federation.secure_aggregation": secure,
        "federation.evaluate_every": 0,
        **(PRIVATE if mode != "none" else {}),
    }


def head(config: RunConfig) -> dict[str, np.ndarray]:
    """Of the common model, or of a group's where each has its own."""
    files = (
        Path(config.out).glob(name) for name in ("head.safetensors", "models/*/head.safetensors")
    )
    return dict(load_file(min(itertools.chain.from_iterable(files))))


@pytest.mark.parametrize(("name", "mode", "secure"), [case for case in CASES if goes(case)])
def test_it_trains_a_federation(
    name: str, mode: str, secure: bool, tmp_path: Path, make_config: Any
) -> None:
    config = make_config(tmp_path / "out", settings(name, mode, secure))
    population = load_population(config.data, split="", seed=0, skip_invalid=False)
    grid = simulate(config, population)
    assert not grid.failures
    trained = head(config)
    assert all(np.isfinite(array).all() for array in trained.values())
    start = start_of(replace(config, out=str(tmp_path / "start")))
    assert any((trained[key] != start[key]).any() for key in trained)


@pytest.mark.parametrize("mode", ["none", "local"])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("fedmedian", "aggregate_median"),
        ("fedtrimmedavg", "aggregate_trimmed_avg"),
        ("krum", "aggregate_krum"),
    ],
)
def test_a_robust_strategy_has_its_rule_in_the_place_of_the_mean(
    name: str, rule: str, mode: str, tmp_path: Path, make_config: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A rule that finds nothing: a run that goes by it stays where it began."""
    asked: list[int] = []

    def nothing(results: Any, *_: object) -> list[np.ndarray]:
        asked.append(len(results))
        return [np.zeros_like(results[0][0][0])]

    monkeypatch.setattr(server.aggregation.robust, rule, nothing)
    config = make_config(tmp_path / "out", settings(name, mode, secure=False))
    simulate(config, load_population(config.data, split="", seed=0, skip_invalid=False))
    assert asked == [4] * config.federation.rounds
    start = start_of(replace(config, out=str(tmp_path / "start")))
    for key, array in head(config).items():
        np.testing.assert_array_equal(array, start[key])


def start_of(config: RunConfig) -> dict[str, np.ndarray]:
    from alignment.model.folder import save_predictor
    from alignment.model.predictor import Predictor

    save_predictor(Predictor(config.predictor, seed=config.seed), Path(config.out), config.context)
    return head(config)


@pytest.mark.parametrize(("name", "mode", "secure"), [case for case in CASES if not goes(case)])
def test_it_is_refused_before_anything_is_done(
    name: str, mode: str, secure: bool, tmp_path: Path, make_config: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"^strategy {name} .*: ") as refused:
        make_config(tmp_path / "out", settings(name, mode, secure))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


class TestDrawnGroups:
    """Rounds that ask some of the groups."""

    def rounds(self, config: RunConfig) -> list[dict[str, Any]]:
        lines = (Path(config.out) / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    def run(self, config: RunConfig) -> LocalGrid:
        population = load_population(config.data, split="", seed=0, skip_invalid=False)
        return simulate(config, population)

    @pytest.mark.parametrize("secure", [True, False])
    def test_only_they_train(self, secure: bool, tmp_path: Path, make_config: Any) -> None:
        changes = {"federation.groups_per_round": 2, "federation.evaluate_every": 0}
        chosen = {**changes, "federation.secure_aggregation": secure}
        config = make_config(tmp_path / "out", chosen)
        grid = self.run(config)
        kind = "train.masked" if secure else "train"
        asked = {
            node: each.messages_up for (node, what), each in grid.traffic.items() if what == kind
        }
        assert sum(asked.values()) == 2 * config.federation.rounds
        assert [line["groups"] for line in self.rounds(config)[1:]] == [2] * 4
        assert not any(line["dropped"] for line in self.rounds(config))

    def test_a_secure_sum_of_them_is_the_mean_of_them(
        self, tmp_path: Path, make_config: Any
    ) -> None:
        models = []
        for secure in (True, False):
            # One round: AdamW would blow up what the next one starts from apart.
            changes = {
                "federation.groups_per_round": 3,
                "federation.secure_aggregation": secure,
                "federation.warmup_rounds": 0,
                "federation.adapter_rounds": 1,
            }
            config = make_config(tmp_path / str(secure), changes)
            self.run(config)
            models.append(head(config))
        for key, array in models[0].items():
            np.testing.assert_allclose(array, models[1][key], atol=1e-6)

    @pytest.mark.parametrize("mode", ["distributed", "local"])
    def test_who_is_not_drawn_pays_nothing_and_the_books_agree(
        self, mode: str, tmp_path: Path, make_config: Any
    ) -> None:
        changes = {
            **settings("fedadam", mode, True),
            "federation.warmup_rounds": 4,
            "federation.groups_per_round": 3,
        }
        config = make_config(tmp_path / "out", changes)
        self.run(config)
        assert [line["groups"] for line in self.rounds(config)[1:]] == [3] * 4
        folder = Path(config.out) / "ledgers"
        ledgers = [path.read_text(encoding="utf-8") for path in (folder / "groups").glob("*.jsonl")]
        # Who was not drawn last has the server's word on the end of its ledger, too.
        assert {json.loads(text.splitlines()[-1])["type"] for text in ledgers} == {"HEAD"}
        assert sum(text.count('"SPEND"') for text in ledgers) == 3 * 4
        assert holds(verify(gather([Path(config.out)])))
        privacy = json.loads((Path(config.out) / "privacy.json").read_text(encoding="utf-8"))
        assert privacy["plan"]["survivors"] == 3

    def test_more_survivors_than_are_drawn_are_refused(
        self, tmp_path: Path, make_config: Any
    ) -> None:
        changes = {
            **settings("fedadam", "distributed", True),
            "federation.groups_per_round": 3,
            "privacy.survivors": 4,
        }
        with pytest.raises(PlanRefused, match=r"survivors = 4 is above federation\.groups"):
            self.run(make_config(tmp_path / "out", changes))
