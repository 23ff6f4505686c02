"""Settings chosen on noised counts: trained as the run trained, at no cost, no record read."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from alignment.data.answers import tally
from alignment.data.loading import load_records
from experiments.counting.tuning import RECORDS_FILE, best_of, study_of, tallies_in
from experiments.simulation.run import run
from privacy.file_names import LEDGERS_FOLDER
from server.config import ConfigError, RunConfig

Command = Callable[..., Any]

COUNTED = {"privacy.mode": "local", "privacy.delta": 1e-3, "privacy.epsilon": 4.0}


@pytest.fixture(scope="module")
def counted(
    tmp_path_factory: pytest.TempPathFactory, make_config: Callable[..., RunConfig]
) -> Path:
    """A run on counts: read its folder, never write there."""
    out = tmp_path_factory.mktemp("counted") / "out"
    run(make_config(out, COUNTED))
    return out


def test_what_is_trained_on_is_what_the_run_has_trained_on(counted: Path, tmp_path: Path) -> None:
    study, _ = study_of(counted, tmp_path, vary=["training.dropout=0.1,0.3"], draws=1)
    assert study.data == str(tmp_path / RECORDS_FILE)
    groups = tally(load_records(study.data).records)
    made = tallies_in(counted)
    assert list(groups) == [each.group for each in made] and len(made) == 4
    for each in made:
        again = groups[each.group]
        assert again.questions == each.questions
        assert again.noise == each.noise is not None
        assert again.learning_share() == each.learning_share() < 1
        assert again.counts == tuple(max(1, round(count)) for count in each.counts)
        for one, other in zip(again.targets, each.targets, strict=True):
            assert one == pytest.approx(other, abs=1e-12)


def test_a_choice_is_made_and_costs_nothing(
    counted: Path, tmp_path: Path, command: Command, as_options: Sequence[str]
) -> None:
    ledgers = {path: path.read_bytes() for path in (counted / LEDGERS_FOLDER).rglob("*.jsonl")}
    out = tmp_path / "tuned"
    done = command(
        *("experiment", "tune", counted, "--out", out, "--draws", 1, "--workers", 1),
        *("--vary", "training.learning_rate=0.001,0.05", "--set", "federation.warmup_rounds=2"),
    )
    assert done.code == 0, done.err
    study = json.loads((out / "study.json").read_text())
    losses = [mean["log_loss"]["mean"] for mean in study["means"]]
    assert len(losses) == 2 and all(losses)
    chosen = study["conditions"][losses.index(min(losses))]["varied"]
    assert f"--set training.learning_rate={chosen['training.learning_rate']}" in done.out
    assert best_of(study) in done.out
    assert ledgers and all(path.read_bytes() == content for path, content in ledgers.items())


@pytest.mark.parametrize(
    ("vary", "said"),
    [
        ([], "--vary is missing"),
        (["training.dropout"], "write key=value,value"),
        (["training.dropout="], "write key=value,value"),
    ],
)
def test_what_is_no_grid_is_said_in_a_line(
    counted: Path, tmp_path: Path, vary: list[str], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        study_of(counted, tmp_path / "out", vary=vary, draws=1)
    assert "\n" not in str(refused.value) and not (tmp_path / "out").exists()


def test_a_run_without_counts_has_nothing_to_choose_on(
    finished: Any, tmp_path: Path, command: Command
) -> None:
    done = command(
        *("experiment", "tune", finished.out, "--out", tmp_path / "out"),
        *("--vary", "training.dropout=0.1,0.3"),
    )
    assert done.code == 2 and "noised counts of 0 group(s)" in done.err
    assert not (tmp_path / "out").exists()
