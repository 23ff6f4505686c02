import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.text import Text
from PIL import Image

from alignment.evaluation.metrics import alignment_score
from experiments.report.canvas import DPI, WIDTH, Canvas, fit, spread, text_width
from experiments.report.plot_answers import (
    MOST_OPTIONS,
    QUESTIONS_SHOWN,
    Example,
    choose_example,
    draw_answers,
)
from experiments.report.plot_fairness import draw_fairness
from experiments.report.plot_groups import draw_groups
from experiments.report.plot_rounds import draw_rounds
from experiments.report.plots import (
    ALIGNMENT_BY_ROUND,
    FAIRNESS,
    GROUPS,
    PREDICTED,
    draw_plots,
    plot_titles,
)
from experiments.report.wording import change, gain_text, is_number, score_limits, score_text

Run = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]
LONG = "Gruppe $x_{{1}}$ mit einem außerordentlich langen Namen {}"


def summary(groups: dict[str, float]) -> dict[str, Any]:
    values = np.array(list(groups.values()))
    return {
        "mean": float(values.mean()),
        "seen_questions": float(values.mean()),
        "unseen_questions": None,
        "worst_group": float(values.min()),
        "cov": float(values.std() / values.mean()),
        "groups": groups,
    }


def estimate(value: float, width: float | None = 0.02) -> dict[str, Any]:
    known = width is not None
    return {
        "value": value,
        "low": value - width if known else None,
        "high": value + width if known else None,
    }


def fairness(groups: dict[str, float], train: dict[str, float]) -> dict[str, Any]:
    def side(scores: dict[str, float]) -> dict[str, Any]:
        low, high = min(scores.values()), max(scores.values())
        return {
            "groups": {name: estimate(score) for name, score in scores.items()},
            "mean": estimate(float(np.mean(list(scores.values()))), 0.01),
            "worst_group": estimate(low),
            "best_group": estimate(high),
            "spread": estimate(high - low),
        }

    return {"confidence": 0.95, "unseen_groups": side(groups), "train_groups": side(train)}


def made(
    names: list[str],
    *,
    train: int = 4,
    gain: float = 0.08,
    warmup: int = 6,
    rounds: int = 10,
    options: int = 3,
    questions: int = 7,
    text: str = "Should there be a new park?",
    option: str = "Yes, there should",
) -> Run:
    """A run with the shape of a real one: result, rounds, predictions."""
    generator = np.random.default_rng(len(names))
    none = {name: 0.70 + 0.1 * float(generator.random()) for name in names}
    own = {name: score + gain for name, score in none.items()}
    predictions = []
    for name in names:
        for number in range(questions):
            actual, without = generator.dirichlet(np.ones(options), size=2)
            predictions.append(
                {
                    "group": name,
                    "question_id": f"q{number}",
                    "question": text,
                    "options": [f"{option} {i}" for i in range(options)],
                    "actual": actual.tolist(),
                    "with_context": ((actual + without) / 2).tolist(),
                    "without_context": without.tolist(),
                    "seen": number % 2 == 0,
                }
            )
    swapped = summary({name: score - 0.02 for name, score in none.items()})
    trained = {f"t{i}": 0.85 + 0.001 * (i % 90) for i in range(train)}
    result = {
        "fairness": fairness(own, trained),
        "alignment": {
            "unseen_groups": summary(own),
            "without_context": summary(none),
            "swapped_context": swapped if len(names) > 1 else None,
            "uniform": summary(dict.fromkeys(names, 0.6)),
            "train_groups": summary(trained),
        },
    }
    records = [
        {
            "round": number,
            "rounds": rounds,
            "train_adapter": number > warmup,
            "groups": train,
            "dropped": [],
            "loss": 1.3 - 0.02 * number if number else None,
            "alignment": 0.61 + 0.02 * number if number % 2 == 0 else None,
            "seconds_train": 1.0,
            "seconds_evaluate": 0.1,
        }
        for number in range(rounds + 1)
    ]
    return result, records, predictions


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


def texts(canvas: Canvas) -> list[Text]:
    """The texts that are painted: ticks beyond an axis exist, but are not."""
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += axes.texts
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
            found += [axis.label, *(label for label, place in ticks if low <= place <= high)]
    return [text for text in found if text.get_text().strip()]


def words(canvas: Canvas) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(canvas)).split())


def check_texts_apart(canvas: Canvas) -> None:
    """No text covers another, and none leaves the sheet."""
    width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
    boxes = [(text.get_text(), text.get_window_extent().padded(-1.5)) for text in texts(canvas)]
    for text, box in boxes:
        inside = box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert inside, f"{text!r} leaves the sheet"
    for (one, a), (two, b) in combinations(boxes, 2):
        assert not a.overlaps(b), f"{one!r} covers {two!r}"


def chosen(result: dict[str, Any], predictions: list[dict[str, Any]]) -> Example:
    example = choose_example(result, predictions)
    assert example is not None
    return example


RUNS = {
    "usual": made(["Harbour", "Hill farms", "University"]),
    "one group, one question, one round": made(
        ["Only"], rounds=1, warmup=0, questions=1, options=2, gain=-0.05, train=1
    ),
    "many groups": made([f"Group {i}" for i in range(60)], train=300, questions=1),
    "long texts": made(
        [LONG.format(i) for i in range(3)],
        options=12,
        text="Is it so that " + "$5 and $6 are much the same, or are they not, " * 9,
        option="An answer that goes on and on and on and says next to nothing " * 7,
    ),
    "other scripts": made(
        ["北海道の人々" * 5, "قرية النهر", "line\nbreak\ttab\x00", "🏔️ Berge", r"a $\b$ c"],
        text=r"$\b$ " + "质量与价格哪个重要" * 9,
        option=r"$\b$ " + "优先考虑质量" * 8,
    ),
    "no improvement": made(["A", "B"], gain=0.0),
}


@pytest.mark.parametrize("name", RUNS)
def test_texts_never_overlap_and_never_leave_the_sheet(
    name: str, tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    paths = draw_plots(tmp_path, *RUNS[name])
    assert [path.name for path in paths] == [ALIGNMENT_BY_ROUND, GROUPS, FAIRNESS, PREDICTED]
    for path in paths:
        check_texts_apart(canvases[path.name])
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert image.width == round(WIDTH * DPI)
            assert image.height < 3 * image.width


def test_drawing_repeats_and_leaves_no_state(tmp_path: Path) -> None:
    def parameters() -> dict[str, Any]:
        return {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}

    before = parameters()
    first = [path.read_bytes() for path in draw_plots(tmp_path / "a", *RUNS["usual"])]
    second = [path.read_bytes() for path in draw_plots(tmp_path / "b", *RUNS["usual"])]
    assert first == second
    assert parameters() == before


def test_drawing_does_without_pyplot() -> None:
    code = "import sys, experiments.report.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_rounds_show_what_was_measured_and_where_the_axis_starts(
    tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    result, rounds, _ = made(["A", "B", "C"])
    draw_rounds(tmp_path / ALIGNMENT_BY_ROUND, result, rounds)
    canvas = canvases[ALIGNMENT_BY_ROUND]
    upper, lower = canvas.figure.axes
    lines = [list(line.get_xdata()) for line in upper.get_lines()]
    assert [0, 2, 4, 6, 8, 10] in lines
    assert [list(line.get_xdata()) for line in lower.get_lines()] == [list(range(1, 11))]
    assert "Training lifts alignment on groups never seen from .61 to .81" in words(canvas)
    assert "rounds 1 to 6: warm-up, head alone" in words(canvas)
    assert "rounds 7 to 10: adapters and head" in words(canvas)
    assert f"the axis starts at {score_text(upper.get_ylim()[0], 2)}, not at 0" in words(canvas)
    assert "uniform guessing .600" in words(canvas)
    none = result["alignment"]["without_context"]["mean"]
    assert f"final model, no context {score_text(none)}" in words(canvas)


def test_rounds_without_any_measurement_say_so(tmp_path: Path, canvases: dict[str, Canvas]) -> None:
    result, rounds, _ = made(["A"])
    for record in rounds:
        record |= {"alignment": None, "loss": float("nan")}
    draw_rounds(tmp_path / ALIGNMENT_BY_ROUND, result, rounds)
    assert "was not measured" in words(canvases[ALIGNMENT_BY_ROUND])
    assert "no training loss recorded" in words(canvases[ALIGNMENT_BY_ROUND])
    draw_rounds(tmp_path / ALIGNMENT_BY_ROUND, result, [])
    check_texts_apart(canvases[ALIGNMENT_BY_ROUND])


def test_groups_are_sorted_and_drawn_at_their_scores(
    tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    result, _, _ = made(["A", "B", "C"])
    own, none = (result["alignment"][p]["groups"] for p in ("unseen_groups", "without_context"))
    own.update(A=0.7, B=0.9, C=0.8)
    none.update(A=0.75, B=0.5, C=0.6)
    draw_groups(tmp_path / GROUPS, result)
    axes = canvases[GROUPS].figure.axes[0]
    dumbbells = [
        [float(x) for x in line.get_xdata()]
        for line in axes.get_lines()
        if line.get_linestyle() == "-" and line.get_zorder() == 1
    ]
    mean = [result["alignment"][p]["mean"] for p in ("without_context", "unseen_groups")]
    assert dumbbells == [mean, [0.5, 0.9], [0.6, 0.8], [0.75, 0.7]]
    assert "2 of 3 gained by context" in words(canvases[GROUPS])
    assert "−.050" in words(canvases[GROUPS])  # noqa: RUF001 - a true minus is printed
    assert axes.get_xlim()[0] <= 0.5


def test_beyond_sixty_groups_the_middle_is_left_out_and_the_picture_says_so(
    tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    names = [f"g{i:03d}" for i in range(75)]
    result, _, _ = made(names, questions=1)
    result["alignment"]["unseen_groups"]["groups"] = {n: 0.9 - i / 500 for i, n in enumerate(names)}
    draw_groups(tmp_path / GROUPS, result)
    shown = words(canvases[GROUPS])
    assert [name for name in names if name in shown] == names[:30] + names[-30:]
    assert "15 groups between these left out" in shown
    assert "Shown are the 30 highest and 30 lowest" in shown
    check_texts_apart(canvases[GROUPS])


def test_one_group_has_no_other_groups_context(tmp_path: Path, canvases: dict[str, Canvas]) -> None:
    draw_groups(tmp_path / GROUPS, made(["A"])[0])
    assert "another group's context" not in words(canvases[GROUPS])
    draw_groups(tmp_path / GROUPS, made(["A", "B"])[0])
    assert "another group's context" in words(canvases[GROUPS])


@pytest.mark.parametrize(("count", "expected"), [(1, "g0"), (3, "g1"), (4, "g1"), (5, "g2")])
def test_the_example_is_the_median_group(count: int, expected: str) -> None:
    names = [f"g{i}" for i in range(count)]
    result, _, predictions = made(names)
    result["alignment"]["unseen_groups"]["groups"] = {n: 0.6 + i / 50 for i, n in enumerate(names)}
    assert chosen(result, predictions).group == expected


def test_the_example_shows_the_questions_that_an_uninformed_prediction_misses_most() -> None:
    result, _, predictions = made(["A"], questions=20)

    def missed(row: dict[str, Any]) -> float:
        return alignment_score(row["without_context"], row["actual"])

    worst = sorted(predictions, key=missed)[:QUESTIONS_SHOWN]
    assert list(chosen(result, predictions).shown) == worst


def test_bars_are_as_long_as_the_shares_and_surplus_options_add_up(
    tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    result, _, predictions = made(["A"], questions=1, options=12)
    draw_answers(tmp_path / PREDICTED, chosen(result, predictions))
    canvas = canvases[PREDICTED]
    panel = canvas.figure.axes[1]
    widths = [patch.get_width() for patch in panel.patches]
    assert len(widths) == 3 * MOST_OPTIONS
    assert [sum(widths[bar::3]) for bar in range(3)] == pytest.approx([1.0] * 3)
    assert max(predictions[0]["actual"]) == pytest.approx(max(widths[0::3]))
    assert max(predictions[0]["with_context"]) == pytest.approx(max(widths[1::3]))
    assert "[5 other options together]" in words(canvas)


def test_the_selection_is_stated(tmp_path: Path, canvases: dict[str, Canvas]) -> None:
    result, _, predictions = made(["A"], questions=7)
    draw_answers(tmp_path / PREDICTED, chosen(result, predictions))
    assert "the 6 of 7 questions where its answers lie farthest" in words(canvases[PREDICTED])
    assert "gains tend to be larger here than on average" in words(canvases[PREDICTED])
    draw_answers(tmp_path / PREDICTED, chosen(result, predictions[:3]))
    assert "all questions asked of it (3)" in words(canvases[PREDICTED])


def test_without_predictions_a_stale_picture_goes(tmp_path: Path) -> None:
    result, rounds, predictions = made(["A"])
    draw_plots(tmp_path, result, rounds, predictions)
    paths = draw_plots(tmp_path, result, rounds, [])
    assert [path.name for path in paths] == [ALIGNMENT_BY_ROUND, GROUPS, FAIRNESS]
    assert sorted(tmp_path.rglob("*.png")) == sorted(paths)


def test_a_result_from_before_there_were_intervals_has_no_picture_of_them(tmp_path: Path) -> None:
    result, rounds, predictions = made(["A"])
    draw_plots(tmp_path, result, rounds, predictions)
    del result["fairness"]
    paths = draw_plots(tmp_path, result, rounds, predictions)
    assert [path.name for path in paths] == [ALIGNMENT_BY_ROUND, GROUPS, PREDICTED]
    assert sorted(tmp_path.rglob("*.png")) == sorted(paths)


class TestFairness:
    def test_groups_are_sorted_within_their_side_and_drawn_with_their_intervals(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        result = {"fairness": fairness({"A": 0.7, "B": 0.9, "C": 0.8}, {"s": 0.95, "t": 0.85})}
        result["fairness"]["train_groups"]["groups"]["t"] = estimate(0.85, None)
        draw_fairness(tmp_path / FAIRNESS, result)
        (axes,) = canvases[FAIRNESS].figure.axes
        lines = [[float(x) for x in line.get_xdata()] for line in axes.get_lines()]
        intervals = [line for line in lines if len(line) == 2 and line[1] - line[0] > 0.015]
        rules = [[0.0, 1.0]]
        expected = [(0.8, 0.01), (0.9, 0.02), (0.8, 0.02), (0.7, 0.02), (0.9, 0.01), (0.95, 0.02)]
        assert [each for each in intervals if each not in rules] == [
            pytest.approx([value - width, value + width]) for value, width in expected
        ]
        means = [
            (float(x[0]), [float(y) for y in line.get_ydata()])
            for line in axes.get_lines()
            if len(x := line.get_xdata()) == 2 and x[0] == x[1]
        ]
        # Down the rows of each side, an empty one between them.
        assert means == [
            (pytest.approx(0.8), [0.5, 4.0]), (pytest.approx(0.9), [5.5, 8.0]),
        ]  # fmt: skip
        shown = words(canvases[FAIRNESS])
        assert "All 3 held-out groups" in shown and "All 2 train groups" in shown
        assert "lie .200 apart (95% interval .180 to .220), from .700 to .900" in shown
        assert ".930 to .970" in shown
        assert axes.get_xlim()[0] <= 0.68

    def test_beyond_forty_groups_of_a_side_the_middle_is_left_out(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        names = [f"g{i:03d}" for i in range(55)]
        scores = {name: 0.9 - i / 500 for i, name in enumerate(names)}
        draw_fairness(tmp_path / FAIRNESS, {"fairness": fairness(scores, {"t": 0.9})})
        shown = words(canvases[FAIRNESS])
        assert [name for name in names if name in shown] == names[:20] + names[-20:]
        assert "15 groups between these left out" in shown
        assert "All 55 held-out groups" in shown
        check_texts_apart(canvases[FAIRNESS])

    def test_one_group_is_not_apart_from_anything(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_fairness(tmp_path / FAIRNESS, {"fairness": fairness({"A": 0.7}, {"t": 0.9})})
        assert "The one group never seen is predicted with .700" in words(canvases[FAIRNESS])
        check_texts_apart(canvases[FAIRNESS])


def test_titles_say_what_the_figures_say() -> None:
    result, rounds, predictions = made(["A", "B"], gain=-0.1)
    titles = plot_titles(result, rounds, predictions)
    none, own = (result["alignment"][p]["mean"] for p in ("without_context", "unseen_groups"))
    expected = f"Own answers lower alignment from {none:.2f} to {own:.2f}".replace("0.", ".")
    assert titles[GROUPS] == expected
    assert "bring 6 of 6 predictions closer" in titles[PREDICTED]
    for row in predictions:
        row["with_context"] = row["without_context"]
    assert "bring 0 of 6" in plot_titles(result, rounds, predictions)[PREDICTED]


def test_figures_are_worded_as_printed() -> None:
    assert [score_text(v) for v in (0.864, 1.0, 0.0, None, float("nan"))] == [
        ".864", "1.000", ".000", "\N{EN DASH}", "\N{EN DASH}",
    ]  # fmt: skip
    assert [gain_text(v) for v in (0.084, -0.02, -0.0001, None)] == [
        "+.084", "\N{MINUS SIGN}.020", ".000", "\N{EN DASH}",
    ]  # fmt: skip
    assert change(0.78, 0.86, "it") == "lift it from .78 to .86"
    assert change(0.86, 0.78, "it", s="s") == "lowers it from .86 to .78"
    assert change(0.781, 0.784, "it", s="s") == "lifts it from .781 to .784"
    assert change(0.7812, 0.7809, "it", s="s") == "leaves it at .781"
    assert not any(is_number(v) for v in (None, float("inf"), "1"))


@given(st.lists(st.floats(0.1674, 1.0), min_size=1, max_size=9))
def test_limits_hold_all_scores(values: list[float]) -> None:
    low, high = score_limits(values)
    assert 0 <= low < min(values) <= max(values) < high


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.characters(codec="latin-1", categories=("L", "N", "P", "Z")), max_size=120),
    st.floats(0.5, 4.0),
    st.integers(1, 4),
)
def test_fitted_lines_are_no_wider_and_no_more_than_asked(
    text: str, width: float, lines: int
) -> None:
    fitted = fit(text, width=width, size=8, lines=lines)
    rows = fitted.split("\n")
    assert len(rows) <= lines
    assert all(text_width(row, 8) <= width for row in rows)
    words_in, words_out = "".join(text.split()), "".join(fitted.split())
    if not fitted.endswith("…"):
        assert words_out == words_in
    else:
        assert words_in.startswith(words_out[:-1])


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.01, 0.5))
def test_spread_keeps_order_distance_and_centre(positions: list[float], gap: float) -> None:
    moved = spread(positions, gap)
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    for before, after in pairwise(order):
        assert moved[after] - moved[before] >= gap - 1e-9
    assert sum(moved) == pytest.approx(sum(positions))
    if all(abs(a - b) >= gap for a, b in combinations(positions, 2)):
        assert moved == pytest.approx(positions)
