"""``fedaccord experiment fairness``: one real study, and its runs, figures and picture."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from matplotlib.text import Text

from experiments.report.canvas import Canvas
from experiments.studies.engine import mean_rows
from experiments.studies.fairness_study import (
    CAVEATS,
    FIGURES,
    STUDY_FILE,
    plan_study,
    read_modes,
    read_strengths,
    summarise_study,
)
from experiments.studies.plot_fairness_study import PICTURE, draw_study, study_title
from server.config import ConfigError, RunConfig

Command = Callable[..., Any]


def fake_result(config: RunConfig) -> dict[str, Any]:
    """Fairness lifts the worst group by .01 and costs the mean .002, for each unit of strength."""
    q, noise = config.training.fairness, 0.001 * config.seed
    mean, worst = 0.84 - 0.002 * q + noise, 0.78 + 0.01 * q + noise
    if config.privacy.private:
        mean, worst = mean - 0.03, worst - 0.05
    return {
        "alignment": {
            "unseen_groups": {"mean": mean, "log_loss": 1.1},
            "train_groups": {"mean": mean + 0.03},
        },
        "fairness": {
            "unseen_groups": {
                "worst_group": {"value": worst},
                "best_group": {"value": 0.9},
                "spread": {"value": 0.9 - worst},
                "cov": {"value": 0.02},
                "jain_index": {"value": 0.999},
                "lowest_tenth": None,
            },
            "train_groups": {
                "worst_group": {"value": worst + 0.03},
                "spread": {"value": 0.05},
                "cov": {"value": 0.01},
            },
            "gap": {"value": 0.03},
        },
        "seconds": {"total": 1.0},
        "data": {"train_groups": 4, "held_out_groups": 2},
        "config": config.nested(),
    }


class Runs:
    """Stands in for real simulations; stops at one of them as Ctrl-C does."""

    def __init__(self) -> None:
        self.configs: list[RunConfig] = []
        self.stop_at = 0

    def __call__(self, config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
        self.configs.append(config)
        if len(self.configs) == self.stop_at:
            raise KeyboardInterrupt
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        result = fake_result(config)
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr("experiments.simulation.run.run", runs)
    return runs


@pytest.fixture
def study(command: Command, tmp_path: Path, tiny_data: Path) -> Command:
    """Run ``fedaccord experiment fairness`` on the tiny data into ``study``."""

    def call(*more: object) -> Any:
        given = ("--data", tiny_data, "--out", tmp_path / "study")
        return command("experiment", "fairness", *given, *more)

    return call


class TestReading:
    def test_strengths_rise_each_once(self) -> None:
        assert read_strengths("2, 0,0.5,2.0,10") == (0.0, 0.5, 2.0, 10.0)

    @pytest.mark.parametrize("word", ["", "two", "-1", "10.1", "nan", "inf"])
    def test_what_is_no_strength_is_named_with_bound_and_remedy(self, word: str) -> None:
        with pytest.raises(ConfigError) as refused:
            read_strengths(f"0,{word}")
        assert str(refused.value) == (
            f"--strengths {f'0,{word}'!r}: {word!r} must be a number in [0, 10], as in "
            "--strengths 0,1,2"
        )

    def test_modes_keep_their_order_each_once(self) -> None:
        assert read_modes("distributed, none,distributed") == ("distributed", "none")
        with pytest.raises(ConfigError, match="'central' must be 'none', 'distributed' or 'local'"):
            read_modes("none,central")


class TestPlan:
    def test_every_place_has_its_settings_and_its_folder_draw_by_draw(
        self, tmp_path: Path, tiny_data: Path
    ) -> None:
        runs = plan_study(
            data=str(tiny_data), split=None, out=tmp_path, strengths=(0.0, 1.5),
            modes=("none", "distributed"), draws=2, assignments=["privacy.epsilon=4"],
        )  # fmt: skip
        assert [str(run) for run in runs[:4]] == [
            "no privacy, fairness 0, draw 1",
            "no privacy, fairness 1.5, draw 1",
            "distributed, fairness 0, draw 1",
            "distributed, fairness 1.5, draw 1",
        ]
        assert [run.seed for run in runs] == [0] * 4 + [1] * 4
        assert len({run.out for run in runs}) == 8
        assert runs[5].out == tmp_path / "runs" / "none-fairness1.5-seed1"
        for run in runs:
            config = run.config
            assert (config.privacy.mode, config.training.fairness) == (run.mode, run.strength)
            assert (config.seed, config.privacy.epsilon) == (run.seed, 4.0)
            assert config.split == str(tmp_path / "split.json")

    def test_what_the_study_sets_itself_cannot_be_set(
        self, tmp_path: Path, tiny_data: Path
    ) -> None:
        with pytest.raises(ConfigError, match=r"^--set training\.fairness=3\.0: the study sets it"):
            plan_study(
                data=str(tiny_data), split=None, out=tmp_path / "study", strengths=(0.0,),
                modes=("none",), draws=1, assignments=["training.fairness=3"],
            )  # fmt: skip
        assert not (tmp_path / "study").exists()


class TestCommand:
    def test_the_summary_has_a_row_for_each_run_and_means_over_draws(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        outcome = study("--strengths", "1,0", "--draws", "2", "--json")
        assert outcome.code == 0
        assert outcome.out == (tmp_path / "study" / STUDY_FILE).read_text(encoding="utf-8")
        found = json.loads(outcome.out)
        assert [(row["mode"], row["strength"], row["seed"]) for row in found["rows"]] == [
            (mode, q, seed)
            for mode in ("none", "distributed")
            for q in (0.0, 1.0)
            for seed in (0, 1)
        ]
        first, second = found["means"][:2]
        assert (first["draws"], second["strength"]) == (2, 1.0)
        assert first["worst_group"]["mean"] == pytest.approx(0.7805)
        assert second["worst_group"]["mean"] - first["worst_group"]["mean"] == pytest.approx(0.01)
        assert first["worst_group"]["spread"] == pytest.approx(0.001 / 2**0.5)
        assert first["lowest_tenth"] == {"mean": None, "spread": None}
        assert set(first) == {"mode", "strength", "draws", *FIGURES}
        assert (found["unit"], found["epsilon"], found["finished"]) == ("respondent", 8.0, 8)

    def test_the_table_tells_the_price(
        self, study: Command, simulated: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        outcome = study("--strengths", "0,2", "--draws", "3")
        rows = [" ".join(line.split()) for line in outcome.out.splitlines()]
        assert "none 0 3 0.841 ± 0.001 0.781 ± 0.001 0.119 0.020 0.030 1.100" in rows
        assert "distributed 2 3 0.807 ± 0.001 0.751 ± 0.001 0.149 0.020 0.030 1.100" in rows
        for caveat in CAVEATS:
            assert caveat in " ".join(rows)
        assert f"Picture: {tmp_path / 'study' / PICTURE}" in outcome.out

    def test_ctrl_c_keeps_what_has_finished_and_the_same_command_goes_on(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        words = ("--strengths", "0,1", "--modes", "none", "--draws", "1")
        simulated.stop_at = 2
        assert study(*words).code == 130
        kept = json.loads((tmp_path / "study" / STUDY_FILE).read_text(encoding="utf-8"))
        assert (kept["finished"], kept["epsilon"]) == (1, None)
        assert (tmp_path / "study" / PICTURE).exists()
        simulated.configs.clear()
        simulated.stop_at = 0
        assert study(*words).code == 0
        assert [config.training.fairness for config in simulated.configs] == [1.0]

    def test_errors_are_one_line(self, study: Command) -> None:
        outcome = study("--strengths", "11")
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("error: --strengths '11': '11' must be a number in [0, 10]")
        assert len(outcome.err.splitlines()) == 1

    def test_a_real_study_of_two_modes(
        self, study: Command, as_options: Sequence[str], tmp_path: Path
    ) -> None:
        """Three runs of one round: figures of each, and fairness changes the model."""
        short = ("--set", "federation.warmup_rounds=1", "--set", "federation.adapter_rounds=0")
        private = ("--set", "privacy.delta=1e-3", "--set", "privacy.micro_batch=4")
        rows = []
        for mode, strengths in (("none", "0,10"), ("distributed", "10")):
            words = ("--strengths", strengths, "--modes", mode, "--draws", "1", "--json")
            outcome = study(*words, *as_options, *short, *private)
            assert outcome.code == 0, outcome.err
            rows += json.loads(outcome.out)["rows"]
        assert [(row["mode"], row["strength"]) for row in rows] == [
            ("none", 0.0), ("none", 10.0), ("distributed", 10.0),
        ]  # fmt: skip
        measured = set(FIGURES) - {"lowest_tenth"}
        assert all(isinstance(row[name], float) for row in rows for name in measured)
        assert rows[0]["alignment"] != rows[1]["alignment"]
        heads = {
            (tmp_path / "study" / "runs" / name / "head.safetensors").read_bytes()
            for name in ("none-fairness0-seed0", "none-fairness10-seed0")
        }
        assert len(heads) == 2


def made(scores: Mapping[tuple[str, float], Sequence[tuple[float, float]]]) -> dict[str, Any]:
    """A study from the mean and worst group of every draw."""
    rows = [
        {**dict.fromkeys(FIGURES), "mode": mode, "strength": strength, "seed": seed}
        | {"alignment": mean, "worst_group": worst}
        for (mode, strength), draws in scores.items()
        for seed, (mean, worst) in enumerate(draws)
    ]
    private = any(mode != "none" for mode, _ in scores)
    return {
        "runs": len(rows),
        "finished": len(rows),
        "unit": "respondent" if private else None,
        "epsilon": 8.0 if private else None,
        "held_out_groups": 8,
        "rows": rows,
        "means": mean_rows(rows, by=("mode", "strength"), figures=tuple(FIGURES)),
    }


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Canvas]]:
    saved: list[Canvas] = []
    save = Canvas.save

    def keep(self: Canvas, path: Path, *, height: float) -> None:
        save(self, path, height=height)
        saved.append(self)

    monkeypatch.setattr(Canvas, "save", keep)
    yield saved


def texts(canvas: Canvas) -> list[Text]:
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
            found += [label for label, place in ticks if low <= place <= high]
    return [text for text in found if text.get_text().strip()]


TWO = {
    ("none", 0.0): [(0.840, 0.780), (0.842, 0.782)],
    ("none", 1.0): [(0.838, 0.790), (0.840, 0.794)],
    ("distributed", 0.0): [(0.80, 0.74), (0.79, 0.73)],
    ("distributed", 1.0): [(0.80, 0.73), (0.78, 0.75)],
}


class TestPicture:
    @pytest.mark.parametrize(
        "scores",
        [TWO, {("none", 0.0): [(0.84, 0.78)]}, {("local", q): [(0.8, 0.7)] for q in (0.0, 1.0)}],
        ids=["two modes", "one run", "runs alike"],
    )
    def test_texts_stay_apart_and_on_the_sheet(
        self, tmp_path: Path, canvases: list[Canvas], scores: Any
    ) -> None:
        draw_study(tmp_path, made(scores))
        width, height = canvases[0].figure.get_size_inches() * canvases[0].figure.dpi
        boxes = [(t.get_text(), t.get_window_extent().padded(-1.5)) for t in texts(canvases[0])]
        for text, box in boxes:
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
        for (one, a), (two, b) in combinations(boxes, 2):
            assert not a.overlaps(b), f"{one!r} covers {two!r}"

    def test_means_are_joined_by_rising_strength_and_draws_are_around_them(
        self, tmp_path: Path, canvases: list[Canvas]
    ) -> None:
        draw_study(tmp_path, made(TWO))
        panels = canvases[0].figure.axes
        lines = [
            list(zip(line.get_xdata(), line.get_ydata(), strict=True))
            for axes in panels
            for line in axes.get_lines()
            if line.get_linestyle() == "-"
        ]
        assert lines == [
            [pytest.approx((0.841, 0.781)), pytest.approx((0.839, 0.792))],
            [pytest.approx((0.795, 0.735)), pytest.approx((0.79, 0.74))],
        ]
        for axes, mode in zip(panels, ("none", "distributed"), strict=True):
            points = {
                (float(x), float(y))
                for line in axes.get_lines()
                if line.get_markersize() == 3
                for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
            }
            assert points == {each for place, d in TWO.items() if place[0] == mode for each in d}
            assert [text.get_text() for text in axes.texts] == ["0", "1"]
            # Every draw is within the panel, and a step is as long in one as in the other.
            (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
            assert all(left < x < right and low < y < high for x, y in points)
            assert (right - left, high - low) == pytest.approx((1.35 * 0.02, 1.35 * 0.02))

    def test_the_title_says_what_the_largest_strength_does(self) -> None:
        title = study_title(made(TWO))
        assert title == (
            "Without privacy, fairness 1 moves the worst group by +.011 and the mean by "
            "\N{MINUS SIGN}.002"
        )

    def test_a_change_within_the_spread_of_draws_is_not_sold_as_one(self) -> None:
        private = {place: draws for place, draws in TWO.items() if place[0] != "none"}
        assert study_title(made(private)).endswith(": no more than seeds do")
        assert re.match("With distributed noise, fairness 1 moves", study_title(made(private)))

    def test_one_draw_is_said_to_be_one(self) -> None:
        single = {place: draws[:1] for place, draws in TWO.items()}
        assert study_title(made(single)).endswith(", in a single draw")

    def test_one_strength_has_no_price(self) -> None:
        assert study_title(made({("none", 1.0): [(0.8, 0.7)]})).startswith("One strength")

    def test_without_figures_an_old_picture_goes(self, tmp_path: Path) -> None:
        draw_study(tmp_path, made(TWO))
        empty = made(TWO)
        empty["means"] = []
        assert draw_study(tmp_path, empty) == []
        assert not (tmp_path / PICTURE).exists()


def test_a_result_from_before_there_was_fairness_gives_a_row_without(tmp_path: Path) -> None:
    runs = plan_study(
        data="sample", split=None, out=tmp_path, strengths=(0.0,), modes=("none",), draws=1
    )
    (row,) = summarise_study(runs, {runs[0]: {"alignment": {"unseen_groups": {"mean": 0.8}}}})[
        "rows"
    ]
    assert (row["alignment"], row["worst_group"], row["gap"]) == (0.8, None, None)
