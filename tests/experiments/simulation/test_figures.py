"""The registry of figures: one entry reaches every place, and the manual has them all."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import _show
from experiments.compare.comparison import OwnRun, averaged, own_row
from experiments.publishing.model_card import model_card
from experiments.report.views import Figure, View
from experiments.report.wording import score_text
from experiments.simulation import figures
from experiments.simulation.figures import FIGURES, in_rows, in_view, manual
from experiments.simulation.results import FinishedRun
from experiments.simulation.run import run
from server.config import RunConfig

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
from experiments.report.views import Figure, View
from experiments.report.wording import score_text
from experiments.simulation import figures
new = Figure("middle_group", "", text=score_text, shown={View.STUDY: "middle of all"})
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
        assert {figure.key for figure in FIGURES} - there == beyond
        measured = [figure.key for figure in FIGURES if figure.measure is not None]
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
            Figure(key, "", text=score_text, shown={View.CARD: "Train groups"})

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
