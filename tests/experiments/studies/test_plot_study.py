"""The pictures of a study: what their lines say, how they look, and what they are titled."""

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from experiments.report.canvas import COLUMN, Canvas, Column
from experiments.studies.engine import mean_rows
from experiments.studies.figures import FIGURES
from experiments.studies.findings import Picture, picture_title, sentences
from experiments.studies.plots import draw_study
from experiments.studies.series import against, beside, curves

NAMES = ("alignment_by_round", "alignment_by_bytes", "alignment_by_value")


def made(
    *,
    vary: dict[str, Sequence[Any]],
    cases: Sequence[str] = (),
    draws: int = 2,
    rounds: int = 5,
    target: float | None = None,
) -> dict[str, Any]:
    """Alignment rises by .03 a round, falls by .021 a condition; draws are .01 apart."""
    conditions, rows = [], []
    grid = list(product(cases or [""], *vary.values()))
    for number, (case, *values) in enumerate(grid):
        names = [
            f"{key.rpartition('.')[2]} {value}" for key, value in zip(vary, values, strict=True)
        ]
        conditions.append(
            {
                "condition": number,
                "label": ", ".join([*([case] if case else []), *names]),
                "case": case,
                "varied": dict(zip(vary, values, strict=True)),
            }
        )
        for seed in range(draws):
            curve = [
                {
                    "round": n,
                    "alignment": 0.6 + 0.03 * n - 0.021 * number + 0.01 * seed,
                    "bytes_up": 1e5 * n,
                    "seconds": 1.0 * n,
                }
                for n in range(rounds + 1)
            ]
            last = curve[-1]["alignment"]
            found = [p for p in curve if target is not None and p["alignment"] >= target]
            rows.append(
                {
                    **dict.fromkeys(FIGURES),
                    "condition": number,
                    "seed": seed,
                    "alignment": last,
                    "held_out_groups": 3,
                    "rounds_to_target": found[0]["round"] if found else None,
                    "bytes_to_target": found[0]["bytes_up"] if found else None,
                    "curve": curve,
                }
            )
    means = mean_rows(rows, by=("condition",), figures=tuple(FIGURES))
    for mean in means:
        own = [row for row in rows if row["condition"] == mean["condition"]]
        mean["reached"] = sum(row["rounds_to_target"] is not None for row in own)
    numeric = [k for k, values in vary.items() if not isinstance(values[0], str | bool)]
    return {
        "title": "Trial",
        "pictures": ["alignment"],
        "references": [],
        "target": target,
        "runs": len(rows),
        "finished": len(rows),
        "axis": numeric[0] if len(numeric) == 1 else None,
        "names": {key: key.rpartition(".")[2] for key in vary},
        "vary": {key: list(values) for key, values in vary.items()},
        "conditions": conditions,
        "means": means,
        "rows": rows,
    }


def private(*, draws: int = 2) -> dict[str, Any]:
    """Two modes at three epsilons, one case alone, and what nobody trained."""
    study = made(
        vary={"privacy.epsilon": [1, 4, 16]}, cases=("distributed", "local", "free"), draws=draws
    )
    # The last case is one condition, and meets no epsilon.
    study["conditions"] = study["conditions"][:7]
    study["conditions"][6] |= {"label": "free", "varied": {}}
    study["rows"] = [row for row in study["rows"] if row["condition"] < 7]
    for row in study["rows"]:
        free = row["condition"] == 6
        row["alignment"] = 0.9 + 0.01 * row["seed"] if free else row["alignment"]
        row |= {"log_loss": 2 - row["alignment"], "uniform": 0.5, "uniform_log_loss": 1.6}
        row["untrained"] = 0.3 if free else 0.55 + 0.02 * row["seed"]
    study["means"] = mean_rows(study["rows"], by=("condition",), figures=tuple(FIGURES))
    for mean in study["means"]:
        mean["reached"] = 0
    pictures, references = ["alignment", "log_loss"], ["untrained", "uniform", "question_mean"]
    return {**study, "pictures": pictures, "references": references, "runs": 7 * draws}


NUMBERS = {"sample.severity": [0, 0.5, 2]}
MANY = {"privacy.unit": [f"a rather long name of a setting {i}" for i in range(30)]}
STUDIES = {
    "one line": made(vary={}, draws=1),
    "numbers": made(vary=NUMBERS, target=0.7),
    "numbers and cases": made(vary=NUMBERS, cases=("FedAvg $x_1$", "FedProx"), draws=3),
    "names": made(vary={"privacy.unit": ["respondent", "record"]}),
    "too many": made(vary=MANY, draws=1),
    "far apart": made(vary={"privacy.epsilon": [0.5, 1, 2, 4, 8, 16]}),
    "one round": made(vary=NUMBERS, rounds=1),
    "beside others": private(),
}


class TestSeries:
    def test_a_line_is_the_mean_of_draws_and_its_band_their_reach(self) -> None:
        first, *_ = lines = curves(STUDIES["numbers"], "round")
        assert [line.label for line in lines] == ["severity 0", "severity 0.5", "severity 2"]
        assert first.xs == (0, 1, 2, 3, 4, 5)
        assert first.means == pytest.approx([0.605 + 0.03 * n for n in range(6)])
        assert first.lows == pytest.approx([0.6 + 0.03 * n for n in range(6)])
        assert first.highs == pytest.approx([0.61 + 0.03 * n for n in range(6)])

    def test_bytes_begin_above_0_for_their_axis_is_logarithmic(self) -> None:
        first = curves(STUDIES["numbers"], "bytes_up")[0]
        assert first.xs == pytest.approx([1e5 * n for n in range(1, 6)])

    def test_points_that_a_draw_has_not_are_left_out(self) -> None:
        study = made(vary=NUMBERS)
        study["rows"][0]["curve"] = study["rows"][0]["curve"][:3]
        study["rows"][2]["curve"][4]["bytes_up"] = None
        assert curves(study, "round")[0].xs == (0, 1, 2)
        assert curves(study, "bytes_up")[1].xs == pytest.approx([1e5, 2e5, 3e5, 5e5])

    def test_values_are_joined_as_they_rise_a_line_for_each_case(self) -> None:
        study = made(vary={"sample.severity": [2, 0, 0.5]}, cases=("a", "b"))
        lines = against(study, "sample.severity")
        assert [(line.label, line.xs) for line in lines] == [("a", (0, 0.5, 2)), ("b", (0, 0.5, 2))]
        assert lines[0].means == pytest.approx([0.734, 0.713, 0.755])

    def test_a_case_alone_and_what_nobody_trained_stand_beside_the_lines(self) -> None:
        lines = against(STUDIES["beside others"], "privacy.epsilon")
        assert [line.label for line in lines] == ["distributed", "local"]
        others = beside(STUDIES["beside others"], "privacy.epsilon", "alignment", (1, 4, 16))
        free, untrained, uniform = others
        assert (free.label, free.xs) == ("free", (1, 16))
        assert free.means == pytest.approx((0.905, 0.905))
        assert (free.lows[0], free.highs[0]) == pytest.approx((0.9, 0.91))
        # No training is that of the runs on the lines, not of those beside them.
        assert (untrained.label, untrained.xs) == ("no training", (1, 4, 16))
        assert untrained.means == pytest.approx((0.56, 0.56, 0.56))
        assert (uniform.label, uniform.means) == ("uniform guessing", (0.5, 0.5, 0.5))
        assert {line.style["marker"] for line in others} == {""}
        assert len({str(line.style) for line in others}) == 3

    def test_what_was_not_measured_stands_nowhere(self) -> None:
        others = beside(STUDIES["beside others"], "privacy.epsilon", "log_loss", (1, 4, 16))
        assert [line.label for line in others] == ["free", "uniform guessing"]
        assert others[1].means == (1.6, 1.6, 1.6)

    def test_no_two_lines_look_alike(self) -> None:
        for name in ("numbers", "numbers and cases", "names", "far apart", "beside others"):
            styles = [str(line.style) for line in curves(STUDIES[name], "round")]
            assert len(set(styles)) == len(styles), name
        many = [str(line.style) for line in curves(STUDIES["too many"], "round")[:24]]
        assert len(set(many)) == 24

    def test_every_line_stands_out_from_white_paper(self) -> None:
        """Contrast of 1.9 and more; lines differ by dashes and marks as well."""
        for study in STUDIES.values():
            for line in curves(study, "round"):
                channels = [
                    c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
                    for c in to_rgb(line.style["color"])
                ]
                light = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), channels, strict=True))
                assert 1.05 / (light + 0.05) > 1.9


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Canvas | Column]]:
    saved: list[Canvas | Column] = []
    for kind in (Canvas, Column):
        save = kind.save

        def keep(self: Any, path: Path, *, height: float, save: Any = save) -> None:
            save(self, path, height=height)
            saved.append(self)

        monkeypatch.setattr(kind, "save", keep)
    yield saved


def texts(canvas: Canvas | Column) -> list[Text]:
    found = list(canvas.figure.texts)
    for legend in canvas.figure.legends:
        found += legend.get_texts()
    for axes in canvas.figure.axes:
        found += [*axes.texts, axes.xaxis.label, axes.yaxis.label]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = zip(axis.get_majorticklabels(), axis.get_majorticklocs(), strict=True)
            found += [label for label, place in ticks if low <= place <= high]
    return [text for text in found if text.get_text().strip()]


class TestPictures:
    @pytest.mark.parametrize("name", STUDIES)
    def test_texts_stay_apart_and_on_the_sheet_and_keep_their_size(
        self, tmp_path: Path, drawn: list[Canvas | Column], name: str
    ) -> None:
        paths = draw_study(tmp_path, STUDIES[name])
        assert len(drawn) == 2 * len(paths) >= 4
        for canvas in drawn:
            canvas.figure.canvas.draw()
            width, height = canvas.figure.get_size_inches() * canvas.figure.dpi
            smallest = 6.5 if isinstance(canvas, Column) else 8
            boxes = []
            for text in texts(canvas):
                assert text.get_fontsize() >= smallest, text
                assert not text.get_parse_math() or "$" not in text.get_text()
                boxes.append((text.get_text(), text.get_window_extent().padded(-1.5)))
            for text, box in boxes:
                assert box.x0 >= -2 and box.y0 >= -2, text
                assert box.x1 <= width + 2 and box.y1 <= height + 2, text
            for (one, a), (two, b) in combinations(boxes, 2):
                assert not a.overlaps(b), f"{one!r} covers {two!r}"

    def test_a_paper_can_print_them(self, tmp_path: Path) -> None:
        """Lines and letters, no pixels; as wide as a column; equal studies give equal files."""
        draw_study(tmp_path, STUDIES["numbers"])
        for name in NAMES:
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            data = (tmp_path / f"{name}.pdf").read_bytes()
            assert data.startswith(b"%PDF")
            box = re.search(rb"/MediaBox \[ 0 0 ([\d.]+) ([\d.]+) \]", data)
            assert box is not None and float(box[1]) == pytest.approx(72 * COLUMN, abs=0.1)
            assert b"/Subtype /Image" not in data and b"/Type3" not in data
            assert b"/FontFile2" in data
            streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
            page = max((_inflated(each) for each in streams), key=lambda each: each.count(b" l\n"))
            assert page.count(b" l\n") > 10
        before = {name: (tmp_path / f"{name}.pdf").read_bytes() for name in NAMES}
        draw_study(tmp_path, STUDIES["numbers"])
        assert before == {name: (tmp_path / f"{name}.pdf").read_bytes() for name in NAMES}

    def test_a_picture_that_cannot_be_drawn_is_removed(self, tmp_path: Path) -> None:
        assert [path.stem for path in draw_study(tmp_path, STUDIES["numbers"])] == list(NAMES)
        again = draw_study(tmp_path, STUDIES["names"])
        assert [path.stem for path in again] == list(NAMES[:2])
        assert {path.stem for path in tmp_path.iterdir()} == set(NAMES[:2])

    def test_bytes_are_on_a_logarithmic_axis_and_the_target_is_drawn(
        self, tmp_path: Path, drawn: list[Canvas | Column]
    ) -> None:
        draw_study(tmp_path, STUDIES["numbers"])
        scales = [canvas.figure.axes[-1].get_xscale() for canvas in drawn]
        assert scales == ["linear", "linear", "log", "log", "linear", "linear"]
        for canvas in drawn:
            levels = [line.get_ydata() for line in canvas.figure.axes[-1].get_lines()]
            assert [0.7, 0.7] in [list(each) for each in levels]

    def test_a_loss_has_a_scale_and_a_sentence_of_its_own(
        self, tmp_path: Path, drawn: list[Canvas | Column]
    ) -> None:
        names = [path.stem for path in draw_study(tmp_path, STUDIES["beside others"])]
        assert names == [*NAMES, "log_loss_by_value"]
        said = " ".join(text.get_text().replace("\n", " ") for text in texts(drawn[-2]))
        assert "lower is better" in said
        assert "The axis does not start at 0." in said
        assert "Going from epsilon 1 to 16 lifts log-loss on groups never seen" in said
        assert "; free: 1.09" in said
        low, high = drawn[-2].figure.axes[-1].get_ylim()
        assert low < 1.09 and high > 1.6

    def test_values_far_apart_stand_by_their_logarithm(
        self, tmp_path: Path, drawn: list[Canvas | Column]
    ) -> None:
        draw_study(tmp_path, STUDIES["beside others"])
        assert drawn[4].figure.axes[-1].get_xscale() == "log"

    def test_more_lines_than_can_be_told_apart_are_said_to_be_left_out(
        self, tmp_path: Path, drawn: list[Canvas | Column]
    ) -> None:
        draw_study(tmp_path, STUDIES["too many"])
        said = " ".join(text.get_text().replace("\n", " ") for text in texts(drawn[0]))
        assert "The first 24 of 30 lines." in said


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompress(stream)
    except zlib.error:
        return b""


@given(st.lists(st.floats(0, 30), min_size=1, max_size=9))
def test_limits_of_a_loss_hold_all_values_and_leave_room_for_ticks(values: list[float]) -> None:
    low, high = FIGURES["log_loss"].limits(values)
    assert 0 <= low <= min(values) <= max(values) < high
    assert low < min(values) or low == 0
    assert high - low >= 0.03


class TestTitles:
    @pytest.mark.parametrize(
        ("name", "what", "title"),
        [
            (
                "numbers", "round",
                "severity 0 ends highest, at .755, and severity 2 lowest, at .713: alignment on "
                "groups never seen",
            ),
            ("one line", "round", "Trial: training ends at .750, alignment on groups never seen"),
            (
                "numbers", "bytes_up",
                "severity 0 reaches .700 with the fewest bytes: 350 kB sent by a client",
            ),
            (
                "names", "bytes_up",
                "How alignment on groups never seen rises with the bytes that a client has sent",
            ),
            (
                "beside others", "value",
                "Going from epsilon 1 to 16 lowers alignment on groups never seen from .76 to .71 "
                "(distributed); free: .91",
            ),
            (
                "numbers", "value",
                "Going from severity 0 to 2 lowers alignment on groups never seen from .76 to .71",
            ),
        ],
    )  # fmt: skip
    def test_they_say_what_is_to_be_seen(self, name: str, what: str, title: str) -> None:
        assert picture_title(STUDIES[name], Picture(across=what)) == title

    def test_what_lies_within_the_spread_of_draws_is_not_sold_as_a_finding(self) -> None:
        study = made(vary={"sample.severity": [0, 1]}, draws=2)
        for row in study["rows"]:
            row["alignment"] = 0.7 + 0.02 * row["seed"] + 0.001 * row["condition"]
        study["means"] = mean_rows(study["rows"], by=("condition",), figures=tuple(FIGURES))
        assert picture_title(study, Picture(across="round")).startswith(
            "All end alike, severity 1 at .711"
        )
        title = picture_title(study, Picture(across="value"))
        assert title.endswith(": no more than draws differ")

    def test_targets_that_are_missed_and_aborted_rounds_are_told(self) -> None:
        study = made(vary=NUMBERS, target=0.73)
        study["means"][1]["aborted_rounds"]["mean"] = 0.5
        study["finished"] = 5
        assert sentences(study) == [
            ".730 is never reached by: severity 2.",
            "Rounds were aborted and gave nothing in: severity 0.5.",
            "Not finished: 1 run of 6.",
        ]
