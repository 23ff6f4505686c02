"""The pictures of a study of epsilon: every text readable, every mark in its place, titles true."""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from experiments.report.canvas import DPI, WIDTH, Canvas
from experiments.studies.epsilon_findings import LOG_LOSS
from experiments.studies.epsilon_study import CAVEATS, mean_rows
from experiments.studies.plot_epsilon import (
    ALIGNMENT_PICTURE,
    LOG_LOSS_PICTURE,
    _spread_within,
    draw_study,
    study_title,
)

Study = dict[str, Any]
Points = list[tuple[float, float]]
Scores = dict[tuple[str, float | None], Sequence[float]]

FIGURES = (
    *("alignment", "seen_questions", "unseen_questions", "worst_group", "without_context"),
    *("uniform", "question_mean", "untrained", "context_swap_drop", "noise_multiplier", "seconds"),
    *("log_loss", "without_context_log_loss", "uniform_log_loss", "question_mean_log_loss"),
    "untrained_log_loss",
)


def loss_of(alignment: float) -> float:
    """A log-loss as it goes with an alignment: the better, the lower."""
    return 2.1 - 1.2 * alignment


def made(
    scores: Scores,
    *,
    loss: bool = True,
    uniform: float = 0.62,
    question_mean: float = 0.755,
    untrained: float = 0.70,
    unit: str = "respondent",
    runs: int | None = None,
) -> Study:
    """A study with the shape of a real one, from the alignment of every draw."""
    levels = {"uniform": uniform, "question_mean": question_mean, "untrained": untrained}
    rows = []
    for (mode, epsilon), values in scores.items():
        for seed, value in enumerate(values):
            row: dict[str, Any] = {"mode": mode, "epsilon": epsilon, "seed": seed}
            row |= {**dict.fromkeys(FIGURES), **levels, "alignment": value}
            if loss:
                row["log_loss"] = loss_of(value)
                row |= {f"{name}_log_loss": loss_of(level) for name, level in levels.items()}
            rows.append(row)
    return {
        "runs": runs or len(rows),
        "finished": len(rows),
        "data": "answers.jsonl.gz",
        "split": "split.json",
        "unit": unit,
        "delta": 1e-5,
        "train_groups": 9,
        "held_out_groups": 12,
        "caveats": list(CAVEATS),
        "rows": rows,
        "means": mean_rows(rows),
    }


def scores_of(
    epsilons: Sequence[float | None] = (1, 2, 4, 8, None),
    modes: Sequence[str] = ("distributed", "local"),
    *,
    draws: int = 3,
    drop: float = 0.05,
    jitter: float = 0.006,
    free: float = 0.815,
) -> Scores:
    """Alignment that falls with epsilon, twice as fast in local mode."""
    generator = random.Random(0)  # noqa: S311 - a picture's data
    scores: Scores = {}
    for mode in (*modes, "none"):
        for epsilon in epsilons:
            if (epsilon is None) != (mode == "none"):
                continue
            steep = drop * (2 if mode == "local" else 1)
            mean = free if epsilon is None else 0.80 - steep / epsilon**0.7
            scores[mode, epsilon] = [
                mean + generator.uniform(-jitter, jitter) for _ in range(draws)
            ]
    return scores


MANY = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12.345678, 20, 50, None)
STUDIES = {
    "usual": made(scores_of()),
    "one mode, one draw": made(scores_of(modes=["local"], draws=1)),
    "records": made(scores_of((0.5, 1, 2, 4, 8, 16, None), draws=5), unit="record"),
    "every run private": made(scores_of((1, 2, 4, 8, 16))),
    "one epsilon": made(scores_of([4, None]), runs=99),
    "one epsilon alone": made(scores_of([4], ["distributed"], draws=1)),
    "no run private": made(scores_of([None])),
    "many epsilons": made(scores_of(MANY)),
    "levels close together, high": made(
        scores_of(drop=0.1, free=0.80), uniform=0.802, question_mean=0.803, untrained=0.801
    ),
    "levels close together, low": made(
        scores_of(free=0.61), uniform=0.612, question_mean=0.613, untrained=0.611
    ),
    "all alike": made(
        scores_of(drop=0.0, jitter=1e-4, free=0.8), uniform=0.8, question_mean=0.8, untrained=0.8
    ),
    "perfect": made({("distributed", 1.0): [0.99, 1.0], ("none", None): [1.0, 1.0]}),
    "not measured": made({("distributed", 1.0): [float("nan")]}, untrained=float("nan")),
}


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Canvas]]:
    """The sheets that were saved, by file name."""
    saved: dict[str, Canvas] = {}
    save = Canvas.save

    def keep(self: Canvas, path: Path, *, height: float) -> None:
        save(self, path, height=height)
        saved[path.name] = self

    monkeypatch.setattr(Canvas, "save", keep)
    yield saved


def tick_labels(axes: Axes) -> list[Text]:
    """The labels beside the axis that are painted: ticks beyond it exist, but are not."""
    low, high = sorted(axes.yaxis.get_view_interval())
    ticks = zip(axes.yaxis.get_majorticklabels(), axes.yaxis.get_majorticklocs(), strict=True)
    return [label for label, place in ticks if low <= place <= high and label.get_text()]


def texts(canvas: Canvas) -> list[Text]:
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += [*axes.texts, *tick_labels(axes)]
    return [text for text in found if text.get_text().strip()]


def words(canvas: Canvas) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(canvas)).split())


def picture(canvas: Canvas) -> Axes:
    """The axes below the key."""
    return canvas.figure.axes[1]


def points(line: Any) -> Points:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def marks(canvas: Canvas, marker: str) -> list[Points]:
    """The points of every plotted row of such marks."""
    return [points(line) for line in picture(canvas).get_lines() if line.get_marker() == marker]


def check_texts_apart(canvas: Canvas) -> None:
    """No text covers another, none is cut, and none leaves the sheet."""
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in texts(canvas)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} leaves the sheet"
        assert "…" not in text
    for (one, a), (two, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{one!r} covers {two!r}"


def check_marks(canvas: Canvas) -> None:
    """Every mark is inside the axes, and every tick has a label of its own."""
    low, high = picture(canvas).get_ylim()
    for marker in ("o", "s", "D"):
        for row in marks(canvas, marker):
            assert all(0 < x < 1 and low < y < high for x, y in row)
    shown = [label.get_text() for label in tick_labels(picture(canvas))]
    assert len(shown) == len(set(shown)) >= 2


@pytest.mark.parametrize("name", STUDIES)
def test_texts_never_overlap_and_marks_stay_in_the_axes(
    name: str, tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    paths = draw_study(tmp_path, STUDIES[name])
    assert paths[0] == tmp_path / ALIGNMENT_PICTURE
    for path in paths:
        check_texts_apart(canvases[path.name])
        check_marks(canvases[path.name])
        with Image.open(path) as image:
            assert (image.format, image.width) == ("PNG", round(WIDTH * DPI))


def test_drawing_repeats(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = [path.read_bytes() for path in draw_study(tmp_path / "a", STUDIES["usual"])]
    second = [path.read_bytes() for path in draw_study(tmp_path / "b", STUDIES["usual"])]
    assert len(first) == 2
    assert first == second


class TestTitles:
    def test_a_small_epsilon_costs_alignment(self) -> None:
        study = made(
            {("distributed", 1.0): [0.7], ("distributed", 8.0): [0.8], ("none", None): [0.9]}
        )
        assert study_title(study) == (
            "With distributed noise, alignment on groups never seen falls from .800 at epsilon 8 "
            "to .700 at 1; without privacy it is .900"
        )

    def test_it_may_rise_and_may_lack_a_run_without_privacy(self) -> None:
        study = made({("local", 0.5): [0.8], ("local", 2.0): [0.9], ("local", 8.0): [0.7]})
        assert study_title(study) == (
            "With local noise, alignment on groups never seen rises from .700 at epsilon 8 "
            "to .800 at 0.5"
        )

    def test_draws_that_overlap_are_not_told_apart(self) -> None:
        low, high = ("distributed", 1.0), ("distributed", 8.0)
        title = study_title(made({low: [0.795, 0.803], high: [0.80, 0.81]}))
        assert "hardly changes from .805 at epsilon 8 to .799 at 1" in title
        apart = study_title(made({low: [0.795, 0.799], high: [0.80, 0.81]}))
        assert "falls from .805 at epsilon 8 to .797 at 1" in apart
        single = study_title(made({low: [0.799], high: [0.80]}))
        assert "falls from .800 at epsilon 8 to .799 at 1" in single

    def test_what_differs_much_never_hardly_changes(self) -> None:
        study = made({("local", 1.0): [0.5, 0.81], ("local", 8.0): [0.80, 0.82]})
        assert study_title(study) == (
            "With local noise, alignment on groups never seen is .810 at epsilon 8 and .655 at 1, "
            "with draws that overlap"
        )

    def test_equal_as_printed_is_equal(self) -> None:
        study = made({("local", 1.0): [0.80001], ("local", 8.0): [0.80002]})
        assert "is .800 at epsilon 8 and at 1" in study_title(study)

    def test_one_epsilon_and_none(self) -> None:
        both: Scores = {("distributed", 4.0): [0.8, 0.82], ("none", None): [0.85]}
        assert study_title(made(both)) == (
            "With distributed noise, alignment on groups never seen is .810 at epsilon 4; "
            "without privacy it is .850"
        )
        assert study_title(made({("none", None): [0.8, 0.9]})) == (
            "Without privacy, alignment on groups never seen is .850"
        )

    def test_the_first_mode_is_named_whatever_comes_first_in_the_rows(self) -> None:
        study = made({("local", 1.0): [0.5], ("distributed", 1.0): [0.6]})
        assert study_title(study).startswith("With distributed noise")

    def test_nothing_measured(self) -> None:
        assert study_title(STUDIES["not measured"]) == (
            "No alignment on groups never seen was measured"
        )

    def test_a_loss_that_rises_is_said_to_rise_and_that_lower_is_better(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, made({("local", 1.0): [0.5], ("local", 8.0): [0.75]}))
        shown = words(canvases[LOG_LOSS_PICTURE])
        assert "log-loss on groups never seen rises from 1.200 at epsilon 8 to 1.500 at 1" in shown
        assert "lower is better" in shown
        assert "the axis does not start at 0" in shown
        assert "falls from .750 at epsilon 8 to .500 at 1" in words(canvases[ALIGNMENT_PICTURE])


class TestMarks:
    def test_means_are_joined_and_draws_stand_beside_them(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        study = made({("distributed", 1.0): [0.6, 0.7], ("distributed", 4.0): [0.8, 0.9]})
        draw_study(tmp_path, study)
        means, *draws = marks(canvases[ALIGNMENT_PICTURE], "o")
        assert [y for _, y in means] == pytest.approx([0.65, 0.85])
        assert [[y for _, y in row] for row in draws] == [[0.6, 0.7], [0.8, 0.9]]
        for (mean, _), row in zip(means, draws, strict=True):
            assert all(0 < abs(x - mean) < 0.03 for x, _ in row)
        lines = picture(canvases[ALIGNMENT_PICTURE]).get_lines()
        assert means in [points(line) for line in lines if line.get_linewidth() == 1.8]

    def test_a_single_draw_is_no_mean(self, tmp_path: Path, canvases: dict[str, Canvas]) -> None:
        draw_study(tmp_path, STUDIES["one mode, one draw"])
        shown = words(canvases[ALIGNMENT_PICTURE])
        assert "each draw" not in shown
        assert "noise, mean" not in shown
        assert "1 draw of each." in shown
        assert [len(row) for row in marks(canvases[ALIGNMENT_PICTURE], "s")] == [4]

    def test_epsilons_stand_by_their_logarithm_and_none_apart(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, made(scores_of((1, 4, 16, None), ["local"], draws=1)))
        (private,) = marks(canvases[ALIGNMENT_PICTURE], "s")
        ((free, _),) = marks(canvases[ALIGNMENT_PICTURE], "D")[0]
        one, four, sixteen = (x for x, _ in private)
        assert four - one == pytest.approx(sixteen - four)
        assert free > sixteen + 0.1
        (shade,) = picture(canvases[ALIGNMENT_PICTURE]).patches
        left, right = (
            shade.get_extents()
            .transformed(picture(canvases[ALIGNMENT_PICTURE]).transData.inverted())
            .intervalx
        )
        assert sixteen < left < free < right

    def test_without_none_nothing_speaks_of_it(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, STUDIES["every run private"])
        shown = words(canvases[ALIGNMENT_PICTURE])
        assert "none" not in shown
        assert "no privacy" not in shown
        assert "without privacy" not in shown
        assert not picture(canvases[ALIGNMENT_PICTURE]).patches

    def test_without_private_runs_nothing_speaks_of_noise(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, STUDIES["no run private"])
        shown = words(canvases[ALIGNMENT_PICTURE])
        for said in ("distributed", "local", "Protected", "logarithmic"):
            assert said not in shown
        assert "no privacy, mean" in shown

    def test_levels_are_drawn_at_their_height_and_named_with_their_figure(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, made({("local", 1.0): [0.7], ("none", None): [0.8]}))
        canvas = canvases[ALIGNMENT_PICTURE]
        lines = [points(line) for line in picture(canvas).get_lines()]
        heights = [line[0][1] for line in lines if [x for x, _ in line] == [0, 1]]
        assert sorted(heights) == pytest.approx([0.62, 0.70, 0.755, 0.8])
        shown = words(canvas)
        for said in (
            *("uniform guessing .620", "no training, own context .700", "no privacy .800"),
            "mean answer of train groups .755",
        ):
            assert said in shown

    def test_no_training_is_that_of_private_runs_where_there_are_any(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        study = made({("local", 1.0): [0.7], ("none", None): [0.8]})
        study["rows"][0]["untrained"] = 0.71
        study["rows"][1]["untrained"] = 0.55
        draw_study(tmp_path, study)
        assert "no training, own context .710" in words(canvases[ALIGNMENT_PICTURE])

    def test_a_level_that_was_not_measured_is_left_out(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        study = made({("local", 1.0): [0.7, 0.8]})
        for row in study["rows"]:
            row["untrained"] = None
        study["rows"][0]["question_mean"] = None
        draw_study(tmp_path, study)
        shown = words(canvases[ALIGNMENT_PICTURE])
        assert "no training" not in shown
        assert "mean answer of train groups .755" in shown

    def test_the_figures_stand_below_their_epsilons(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(
            tmp_path,
            made({("distributed", 1.0): [0.611], ("local", 4.0): [0.722], ("none", None): [0.833]}),
        )
        written = {
            text.get_text(): text.get_position()[0]
            for text in canvases[ALIGNMENT_PICTURE].figure.texts
            if text.get_text() in {"1", "4", "none", ".611", ".722", ".833"}
        }
        assert written["1"] == written[".611"] < written["4"] == written[".722"]
        assert written["none"] == written[".833"] > written["4"]
        assert "distributed .611 \N{EN DASH} .833" in words(canvases[ALIGNMENT_PICTURE])


class TestWords:
    def test_an_unfinished_study_says_so(self, tmp_path: Path, canvases: dict[str, Canvas]) -> None:
        scores = scores_of()
        scores["local", 8] = scores["local", 8][:2]
        draw_study(tmp_path, made(scores, runs=30))
        assert "2 to 3 draws of each, with different seeds" in words(canvases[ALIGNMENT_PICTURE])
        assert "Unfinished: 26 of 30 runs." in words(canvases[ALIGNMENT_PICTURE])
        draw_study(tmp_path, made(scores_of()))
        assert "Unfinished" not in words(canvases[ALIGNMENT_PICTURE])

    def test_who_is_protected_and_that_runs_without_privacy_differ_by_more(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, STUDIES["records"])
        shown = words(canvases[ALIGNMENT_PICTURE])
        assert "Protected: every record, at delta 1e-05." in shown
        assert "the gap to them is more than noise" in shown
        assert "12 held-out groups" in shown
        assert "the axis starts at .60, not at 0" in shown

    def test_without_a_count_of_groups_there_is_none(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_study(tmp_path, {**STUDIES["usual"], "held_out_groups": None})
        assert "of the held-out groups, with" in words(canvases[ALIGNMENT_PICTURE])


def test_a_picture_of_log_loss_that_cannot_be_drawn_is_removed(tmp_path: Path) -> None:
    first = draw_study(tmp_path, STUDIES["usual"])
    assert [path.name for path in first] == [ALIGNMENT_PICTURE, LOG_LOSS_PICTURE]
    paths = draw_study(tmp_path, made(scores_of(), loss=False))
    assert [path.name for path in paths] == [ALIGNMENT_PICTURE]
    assert sorted(tmp_path.iterdir()) == paths


@given(st.lists(st.floats(0, 30), min_size=1, max_size=9))
def test_limits_of_a_loss_hold_all_values_and_leave_room_for_ticks(values: list[float]) -> None:
    low, high = LOG_LOSS.limits(values)
    assert 0 <= low <= min(values) <= max(values) < high
    assert low < min(values) or low == 0
    assert high - low >= 0.03


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_names_of_levels_stay_apart_in_order_and_beside_the_axis(values: list[float]) -> None:
    places = _spread_within(values, 0.12, 0.0, 1.0)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for before, after in pairwise(order):
        assert places[after] - places[before] >= 0.12 - 1e-9
    assert all(0.06 - 1e-9 <= place <= 0.94 + 1e-9 for place in places)
    far = all(abs(a - b) >= 0.12 for a, b in combinations(values, 2))
    if far and all(0.06 <= value <= 0.94 for value in values):
        assert places == pytest.approx(values)
