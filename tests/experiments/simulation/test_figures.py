"""The registry of figures: one entry reaches every place, and the manual has them all."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from alignment.data.answers import tally
from alignment.data.population import Population, load_population
from alignment.data.records import PreferenceRecord
from experiments.cli import _show
from experiments.compare.comparison import OwnRun, averaged, own_row
from experiments.publishing.model_card import model_card
from experiments.report.views import (
    OUTSIDE,
    PREDICTION_FIELDS,
    ROUND_FIELDS,
    Figure,
    Reads,
    View,
    outside,
)
from experiments.report.wording import score_text
from experiments.simulation import figures
from experiments.simulation.figures import FIGURES, in_rows, in_view, manual, result_of
from experiments.simulation.grid_records import Traffic
from experiments.simulation.results import FinishedRun, measure, read_rounds
from experiments.simulation.run import run
from server.config import RunConfig
from server.rounds.loop import RoundRecord

MakeConfig = Callable[..., RunConfig]

MANUAL = Path(__file__).parents[3] / "docs" / "researcher.md"


def middle(run: FinishedRun) -> float:
    """The score of a group in the middle."""
    own = run.summaries["unseen_groups"]
    assert own is not None
    scores = sorted(own["groups"].values())
    return float(scores[len(scores) // 2])


LABELS = {view: f"Middle of {view.name.lower()}" for view in View}
NEW = Figure(
    "middle_group",
    "The score of a group in the middle.",
    reads=Reads.HELD_OUT,
    measure=middle,
    text=score_text,
    shown={
        view: label
        for view, label in LABELS.items()
        if view not in (View.FAIRNESS, View.STUDY_NAMED)
    },
)
#: Studies read the list when they are imported: in a process of its own the entry is there first.
STUDY = """
import sys
from pathlib import Path
from experiments.report.views import Figure, Reads, View
from experiments.report.wording import score_text
from experiments.simulation import figures
shown = {View.STUDY: "middle of all"}
new = Figure("middle_group", "", reads=Reads.HELD_OUT, text=score_text, shown=shown)
figures.FIGURES = (*figures.FIGURES, new)
from experiments.studies.file import find_study, read_study
from experiments.studies.page import markdown
from experiments.studies.plan import plan_runs
from experiments.studies.summary import summarise_study
study = read_study(find_study(Path("rank")))
runs = plan_runs(study, Path(sys.argv[1]))
found = summarise_study(study, runs, {runs[0]: {"middle_group": 0.5, "alignment": {}}})
print(found["rows"][0]["middle_group"], found["means"][0]["middle_group"]["mean"])
print(markdown(found))
"""


def leaves(tree: Mapping[str, Any], prefix: str = "") -> set[str]:
    """The keys of a result, whole parts too."""
    found = set()
    for name, value in tree.items():
        found.add(f"{prefix}{name}")
        if isinstance(value, Mapping):
            found |= leaves(value, f"{prefix}{name}.")
    return found


class TestOneEntry:
    def test_a_new_figure_is_everywhere(
        self,
        make_config: MakeConfig,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setattr(figures, "FIGURES", (*FIGURES, NEW))
        config = make_config(tmp_path / "out")
        result = run(config)
        value = result["middle_group"]
        assert 0.1674 < value <= 1
        stored = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
        assert stored["middle_group"] == value

        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        for view in (View.SHORT, View.QUESTIONS, View.COST):
            assert f">{LABELS[view]}</" in page, view
        assert f"<dd>{score_text(value)}</dd>" in page

        _show(result, Path(config.out))
        assert f"{LABELS[View.CONSOLE]}: {score_text(value)}" in capsys.readouterr().out

        card = model_card(result, None, base_model="tiny", license=None, title=None)
        dash = "\N{EN DASH}"
        assert f"| {LABELS[View.CARD]} | {score_text(value)} | {dash} |" in card

        own = OwnRun(kind="FedAccord", method="fedaccord", seed=0, config=config)
        assert own_row(own, result)["middle_group"] == value
        assert "middle_group" in averaged()
        assert f"| `{NEW.key}` | {NEW.meaning} |" in manual()

    def test_a_study_has_it_in_its_rows_and_its_table(self, tmp_path: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-c", STUDY, str(tmp_path)], capture_output=True, text=True, check=True
        )
        first, _, report = done.stdout.partition("\n")
        assert first == "0.5 0.5"
        assert "| middle of all |" in report
        assert "| .5000 |" in report


class TestRegistry:
    def test_the_manual_has_the_table_as_it_is(self) -> None:
        assert manual() in MANUAL.read_text(encoding="utf-8"), "put figures.manual() into it"

    def test_every_figure_is_in_a_result_and_every_part_of_a_result_is_a_figure(
        self, finished: Any
    ) -> None:
        there = leaves(finished.result)
        # Too few groups for a lowest tenth, and no noise.
        beyond = {"fairness.unseen_groups.lowest_tenth.value", "privacy.noise_multiplier"}
        # Those of pairs are in the results of runs on pairs alone.
        usual = [figure for figure in FIGURES if not figure.of_pairs]
        assert {figure.key for figure in usual} - there == beyond
        measured = [figure.key for figure in usual if figure.measure is not None]
        assert {key.partition(".")[0] for key in measured} == set(finished.result)
        for name in ("seconds", "bytes", "data", "alignment"):
            parts = {key for key in measured if key.startswith(f"{name}.")}
            assert parts == {f"{name}.{key}" for key in finished.result[name]}

    def test_no_two_columns_of_a_row_have_one_name(self) -> None:
        for row in (in_rows(), in_view(View.COMPARE)):
            names = [figure.column for figure in row]
            assert len(set(names)) == len(names)

    def test_what_a_place_labels_it_can_write(self) -> None:
        for figure in FIGURES:
            assert figure.text is not None or not any(figure.shown.values()), figure.key

    @pytest.mark.parametrize(
        "key", ["alignment.train_groups.mean", "alignment.question_mean.mean", "fairness.gap.value"]
    )
    def test_train_groups_records_stay_out_of_the_card(self, key: str) -> None:
        with pytest.raises(ValueError, match="own records, of which no epsilon speaks"):
            Figure(key, "", reads=Reads.TRAIN, text=score_text, shown={View.CARD: "Train groups"})

    def test_figures_of_another_summary_stand_beside(self, finished: Any) -> None:
        worst = next(f for f in FIGURES if f.key == "alignment.unseen_groups.worst_group")
        scores = finished.result["alignment"]
        names = ("unseen_groups", "without_context", "swapped_context")
        assert worst.across(finished.result) == [scores[name]["worst_group"] for name in names]
        assert worst.of({}) is None
        assert worst.written(None, View.CARD) == "\N{EN DASH}"
        assert (worst.written(0.8624, View.CARD), worst.written(0.8624, View.STUDY)) == (
            ".862",
            ".8624",
        )


def reads_of(key: str) -> Reads | None:
    """What the registry says of a part of a result; None where it says nothing."""
    declared = {figure.key: figure.reads for figure in FIGURES}
    parts = key.split(".")
    # Every summary of alignment has the same figures.
    alike = ".".join([parts[0], "unseen_groups", *parts[2:]])
    if parts[0] == "alignment" and declared.get(alike) is Reads.TRAIN:
        return Reads.TRAIN
    prefixes = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((declared[prefix] for prefix in prefixes if prefix in declared), None)


def values(tree: Any, prefix: str = "") -> dict[str, Any]:
    """The numbers and texts of a result, each by its key."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    inner = (values(value, f"{prefix}.{name}" if prefix else name) for name, value in tree.items())
    return {key: value for each in inner for key, value in each.items()}


class TestOutside:
    """A private run says of every figure whether its guarantee speaks of it."""

    def test_no_figure_is_made_without_saying_what_it_is_computed_from(self) -> None:
        """Was open: a figure of train records was listed only where somebody thought of it."""
        with pytest.raises(TypeError, match="reads"):
            Figure("new", "")  # type: ignore[call-arg]  # what is refused here

    def test_every_part_of_a_result_and_every_field_of_its_files_is_declared(
        self, finished: Any
    ) -> None:
        assert {key for key in leaves(finished.result) if reads_of(key) is None} == WHOLE
        assert {field.name for field in fields(RoundRecord)} <= ROUND_FIELDS.keys()
        for name, declared in (("rounds", ROUND_FIELDS), ("predictions", PREDICTION_FIELDS)):
            lines = (finished.out / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            assert all(json.loads(line).keys() == declared.keys() for line in lines)

    def test_all_that_is_not_protected_is_listed(self) -> None:
        """Was open: fairness of train groups, the gap, and seen questions were not."""
        named = ", ".join(outside(FIGURES, shares_seen=False))
        for figure in FIGURES:
            if figure.measure is not None:
                assert (f"{figure.key}," in f"{named},".replace(":", ",")) == (
                    figure.reads in OUTSIDE
                ), figure.key
        for key in ("fairness.train_groups", "fairness.gap", "alignment.*.seen_questions"):
            assert key in named
        assert "seen of predictions.jsonl" in named
        assert "data.records" in named
        assert "loss of rounds" not in named.replace("log_loss of rounds", "")

    def test_what_train_records_change_is_what_is_listed(self, finished: Any) -> None:
        """The same model, measured beside other records of the train groups."""
        population = load_population(finished.config.data, split="", seed=0, skip_invalid=False)
        train = set(population.split.train_groups)
        gone = sorted(population.seen & asked(population))[0]

        def kept(group: str) -> tuple[PreferenceRecord, ...]:
            own = population.records[group]
            if group not in train:
                return own
            return tuple(each for each in own if each.question.question_id != gone)

        records = {group: kept(group) for group in population.groups}
        answers = tally(record for each in records.values() for record in each)
        other = replace(population, records=records, answers=answers)
        before, after = (measured_beside(finished, each) for each in (population, other))
        changed = {key for key, value in before[0].items() if after[0].get(key) != value}
        assert {reads_of(key) for key in changed} <= {Reads.TRAIN, Reads.COUNTS}
        assert "fairness.gap.value" in changed
        assert "fairness.train_groups.mean.value" in changed
        assert "alignment.without_context.seen_questions" in changed
        for one, two in zip(before[1], after[1], strict=True):
            fields_changed = {name for name in one if one[name] != two[name]}
            assert all(PREDICTION_FIELDS[name] is Reads.TRAIN for name in fields_changed)
        assert before[1] != after[1]

    def test_nothing_of_train_records_comes_into_the_card_of_a_private_run(
        self, finished: Any
    ) -> None:
        """Was open: which questions train groups had answered divided a score of the card."""
        told = {"summary": {"epsilon_spent_at_most": 1.0, "checks": {}}, "blanks": []}
        private = dict(finished.result, privacy=PRIVATE_PROMISE)
        text = model_card(
            private, {**told, "not_covered": []}, base_model="tiny", license=None, title=None
        )
        plain = model_card(finished.result, None, base_model="tiny", license=None, title=None)
        labels = [figure.shown[View.CARD_QUESTIONS] for figure in in_view(View.CARD_QUESTIONS)]
        assert any(label in plain for label in labels)
        assert not any(label in text for label in labels)


#: Parts that hold figures and are none.
WHOLE = {"alignment", "fairness", "seconds", "bytes", "data"}
PRIVATE_PROMISE = {
    "mode": "distributed",
    "unit": "respondent",
    "epsilon": 8.0,
    "delta": 1e-5,
    "accountant": "dp-accounting PLD",
    "second_opinion": 8.0,
    "noise_multiplier": 1.0,
    "relation": "add",
}


def asked(population: Population) -> set[str]:
    """Ids of what held-out groups are asked."""
    draws = [draw for each in population.split.draws.values() for draw in each]
    return {question for draw in draws for question in draw.target}


def measured_beside(
    finished: Any, population: Population
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and predictions of a finished run, had its groups had these records."""
    run = FinishedRun(
        config=finished.config,
        population=population,
        measured=measure(finished.out, population, finished.config.seed),
        own_models=None,
        left_out={},
        rounds=read_rounds(finished.out),
        traffic=Traffic(),
        counted_rounds=1,
        seconds=0.0,
        seconds_measuring=0.0,
    )
    return values(result_of(run)), run.predictions()
