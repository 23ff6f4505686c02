"""The pictures of a comparison: every text readable, every mark in its place, titles true."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.text import Text
from PIL import Image

from experiments.compare.comparison import BASELINES, OWN, averaged
from experiments.compare.findings import claims, intervals, to_reach
from experiments.compare.plots import (
    CONVERGENCE_PICTURE,
    METHODS_PICTURE,
    convergence_title,
    draw_comparison,
    methods_title,
)
from experiments.report.canvas import ACCENT, DPI, WIDTH, Canvas
from experiments.studies.engine import mean_rows

Study = dict[str, Any]
TITLES = {
    "uniform": "uniform",
    "position": "option position",
    "train-mean": "train groups' mean",
    "nearest": "nearest question",
    "gpo": "GPO, one place",
    "gpo-rescaled": "GPO, one place, rescaled",
    "pluralllm": "PluralLLM (federated GPO)",
    "pluralllm-rescaled": "PluralLLM (federated GPO), rescaled",
    **{method: own.title for method, own in OWN.items()},
}
SCORES = {
    "uniform": 0.722, "position": 0.765, "train-mean": 0.826, "nearest": 0.827, "gpo": 0.817,
    "gpo-rescaled": 0.818, "pluralllm": 0.802, "pluralllm-rescaled": 0.808, "fedaccord": 0.836,
    "fedaccord-frozen": 0.832, "fedaccord-private": 0.811,
}  # fmt: skip
SENT = {"pluralllm": 2_852_872.0, "pluralllm-rescaled": 2_852_872.0}


def row(method: str, seed: int, score: float, groups: int) -> dict[str, Any]:
    generator = np.random.default_rng([seed, *method.encode()])
    spread = np.linspace(-0.03, 0.03, groups) if groups > 1 else np.zeros(1)
    scores = score + spread + generator.normal(0, 0.002, groups)
    sent = SENT.get(method, None if method in BASELINES else 350_000.0)
    last = 100 if method in SENT else 50
    every = 5 if method in SENT else 1
    rise = 30 if method in SENT else 5
    curve = [
        {"round": n, "alignment": score - (score - 0.72) * float(np.exp(-n / rise))}
        for n in range(0, last + 1, every)
    ]
    return {
        "method": method,
        "title": TITLES[method],
        "baseline": method in BASELINES,
        "seed": seed,
        **dict.fromkeys(averaged()),
        "alignment": float(scores.mean()),
        "unseen_questions": score - 0.02,
        "groups": {f"group {i}": float(value) for i, value in enumerate(scores)},
        "bytes_up_per_client_per_round": sent,
        "curve": [] if sent is None and not method.startswith("gpo") else curve,
        "steps": 600,
    }


def made(
    scores: Mapping[str, float], *, draws: int = 3, groups: int = 8, runs: int | None = None
) -> Study:
    rows = [row(m, seed, score, groups) for m, score in scores.items() for seed in range(draws)]
    targets = {f"group {i}": 100.0 for i in range(groups)}
    return {
        "runs": runs or len(rows),
        "finished": len(rows),
        "train_groups": 12,
        "held_out_groups": groups,
        "means": mean_rows(rows, by=("method", "title", "baseline"), figures=averaged()),
        "intervals": intervals(rows, targets),
        "to_reach": to_reach(rows),
        "claims": claims(rows, targets),
        "rows": rows,
    }


def some(*methods: str) -> dict[str, float]:
    return {method: SCORES[method] for method in methods}


STUDIES = {
    "usual": made(SCORES),
    "unfinished": made(SCORES, runs=99),
    "one draw, one group": made(SCORES, draws=1, groups=1),
    "one method": made(some("uniform")),
    "ours alone": made(some("fedaccord", "fedaccord-frozen")),
    "all alike": made(dict.fromkeys(SCORES, 0.8), groups=2),
    "others alone": made(some("uniform", "gpo", "pluralllm")),
    "very apart": made({**SCORES, "uniform": 0.17, "fedaccord": 0.99}),
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


def ticks(axes: Axes) -> list[Text]:
    found = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        pairs = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
        found += [label for label, at in pairs if low <= at <= high and label.get_text()]
    return found


def texts(canvas: Canvas) -> list[Text]:
    found = list(canvas.figure.texts)
    for axes in canvas.figure.axes:
        found += [*axes.texts, *ticks(axes)]
    return [text for text in found if text.get_text().strip()]


def words(canvas: Canvas) -> str:
    return " ".join(" ".join(text.get_text() for text in texts(canvas)).split())


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


@pytest.mark.parametrize("name", STUDIES)
def test_texts_never_overlap_and_marks_stay_in_the_axes(
    name: str, tmp_path: Path, canvases: dict[str, Canvas]
) -> None:
    paths = draw_comparison(tmp_path, STUDIES[name])
    assert paths[0] == tmp_path / METHODS_PICTURE
    for path in paths:
        check_texts_apart(canvases[path.name])
        with Image.open(path) as image:
            assert (image.format, image.width) == ("PNG", round(WIDTH * DPI))
        for axes in canvases[path.name].figure.axes[-2:]:
            left, right = sorted(axes.get_xlim())
            low, high = sorted(axes.get_ylim())
            for line in axes.get_lines():
                if line.get_transform() != axes.transData:
                    continue
                assert all(left <= x <= right for x in np.ravel(line.get_xdata()))
                assert all(low <= y <= high for y in np.ravel(line.get_ydata()))


def test_drawing_repeats(tmp_path: Path) -> None:
    drawn = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths = draw_comparison(tmp_path / name, STUDIES["usual"])
        drawn.append([path.read_bytes() for path in paths])
    assert len(drawn[0]) == 2
    assert drawn[0] == drawn[1]


def test_convergence_that_cannot_be_drawn_is_removed(tmp_path: Path) -> None:
    names = [path.name for path in draw_comparison(tmp_path, STUDIES["usual"])]
    assert names == [METHODS_PICTURE, CONVERGENCE_PICTURE]
    draw_comparison(tmp_path, STUDIES["one method"])
    assert [path.name for path in tmp_path.iterdir()] == [METHODS_PICTURE]


class TestMethods:
    def marks(self, canvas: Canvas) -> list[tuple[float, float, Any]]:
        axes = canvas.figure.axes[-1]
        return [
            (float(line.get_xdata()[0]), float(line.get_ydata()[0]), line.get_markerfacecolor())
            for line in axes.get_lines()
            if line.get_marker() == "o"
        ]

    def test_every_method_stands_at_its_mean_the_best_on_top(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        study = STUDIES["usual"]
        draw_comparison(tmp_path, study)
        means = sorted((mean["alignment"]["mean"] for mean in study["means"]), reverse=True)
        filled = [mark for mark in self.marks(canvases[METHODS_PICTURE]) if mark[2] != "white"]
        assert [x for x, _, _ in filled] == pytest.approx(means)
        assert [y for _, y, _ in filled] == [i + 0.5 for i in range(len(means))]
        assert sum(color == ACCENT for _, _, color in filled) == len(OWN)

    def test_intervals_are_drawn(self, tmp_path: Path, canvases: dict[str, Canvas]) -> None:
        study = STUDIES["usual"]
        draw_comparison(tmp_path, study)
        lines = canvases[METHODS_PICTURE].figure.axes[-1].get_lines()
        bars = {tuple(line.get_xdata()) for line in lines if len(line.get_xdata()) == 2}
        assert bars == {(each["low"], each["high"]) for each in study["intervals"]}
        for low, high in bars:
            assert high - low > 0.01

    def test_leads_that_may_be_none_stand_in_brackets(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_comparison(tmp_path, made({"uniform": 0.8, "position": 0.7, "fedaccord": 0.8}))
        figures = [t.get_text() for t in texts(canvases[METHODS_PICTURE])]
        assert sum(figure.startswith("(") for figure in figures) == 1
        assert any(figure.startswith("\N{MINUS SIGN}.1") for figure in figures)

    @pytest.mark.parametrize(
        ("ours", "said"),
        [
            (0.9, "FedAccord is ahead of the strongest baseline (uniform) on groups never seen"),
            (0.6, "FedAccord is behind the strongest baseline (uniform) on groups never seen"),
            (0.8, "FedAccord and the strongest baseline (uniform) cannot be told apart on"),
        ],
    )
    def test_the_title_says_what_the_interval_allows(self, ours: float, said: str) -> None:
        study = made({"uniform": 0.8, "fedaccord": ours})
        # The bar of chance is set by the figures, not by the test.
        (lead,) = [e["over_strongest"] for e in study["intervals"] if e["method"] == "fedaccord"]
        assert (lead["low"] <= 0 <= lead["high"]) == (ours == 0.8)
        assert methods_title(study).startswith(said)

    def test_the_product_is_named_even_where_its_variant_is_better(self) -> None:
        title = methods_title(made({"uniform": 0.7, "fedaccord": 0.8, "fedaccord-frozen": 0.9}))
        assert title.startswith("FedAccord is ahead of")

    def test_without_both_sides_the_best_is_named(self) -> None:
        assert methods_title(STUDIES["others alone"]).startswith("GPO, one place is best on")
        assert methods_title(STUDIES["one method"]).startswith("uniform is best on")


class TestConvergence:
    def test_curves_are_means_over_draws_by_rounds_and_by_bytes(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_comparison(tmp_path, made(some("pluralllm", "fedaccord")))
        by_round, by_bytes = canvases[CONVERGENCE_PICTURE].figure.axes[-2:]
        for axes, scale in ((by_round, 1.0), (by_bytes, 350_000.0)):
            assert axes.get_xscale() == "log"
            (ours,) = (line for line in axes.get_lines() if line.get_color() == ACCENT)
            assert list(ours.get_xdata()) == pytest.approx([scale * n for n in range(1, 51)])
            assert ours.get_ydata()[-1] == pytest.approx(SCORES["fedaccord"], abs=1e-3)

    def test_federated_gpos_best_is_a_line(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        study = STUDIES["usual"]
        draw_comparison(tmp_path, study)
        for axes in canvases[CONVERGENCE_PICTURE].figure.axes[-2:]:
            levels = [line.get_ydata()[0] for line in axes.get_lines() if _level(line)]
            assert levels == [study["to_reach"]["score"]]

    def test_titles_are_the_figures(self) -> None:
        study = made(some("pluralllm", "fedaccord"))
        ours = next(e for e in study["to_reach"]["methods"] if e["method"] == "fedaccord")
        assert convergence_title(study) == (
            f"FedAccord reaches the best of PluralLLM (federated GPO), "
            f".799, after {ours['round']} rounds and 2.1 MB instead of 100 and 285 MB"
        )
        assert ours["round"] == 6
        low = made({"pluralllm": 0.9, "fedaccord": 0.8})
        assert convergence_title(low).startswith("FedAccord does not reach the best of PluralLLM")
        assert convergence_title(STUDIES["others alone"]) == (
            "The best of PluralLLM (federated GPO), .799, is reached after 100 rounds"
        )
        assert convergence_title(STUDIES["ours alone"]).startswith("How alignment on groups")

    def test_an_unfinished_comparison_says_so(
        self, tmp_path: Path, canvases: dict[str, Canvas]
    ) -> None:
        draw_comparison(tmp_path, STUDIES["unfinished"])
        for canvas in canvases.values():
            assert "Unfinished: 33 of 99 runs." in words(canvas)


def _level(line: Any) -> bool:
    ys: Sequence[float] = line.get_ydata()
    return len(ys) == 2 and ys[0] == ys[1]
