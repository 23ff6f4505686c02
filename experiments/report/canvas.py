"""The canvas that pictures are drawn on: inches from the top left corner, and texts made to fit.

Matplotlib's object API on the Agg canvas, without pyplot, so that drawing needs no display and
leaves no state behind. The colours are Okabe and Ito's blue and greys, chosen to stay apart in
greyscale. Texts come from data: they are never read as mathematics, and never outgrow their place.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.text import Text

from texts import visible

WIDTH = 8.0
#: Of a column of a paper, inches.
COLUMN = 3.4
MARGIN = 0.45
INNER = WIDTH - 2 * MARGIN
DPI = 150

INK = "#1a1a1a"
QUIET = "#595959"
FAINT = "#999999"
RULE = "#dedede"
SHADE = "#f4f4f4"
TINT = "#d9e8f3"
ACCENT = "#0072b2"

Weight = Literal["normal", "bold"]

_LEADING = 1.3
#: DejaVu comes with matplotlib; the others lend it scripts that it lacks, where installed.
_FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Noto Sans Thai",
    "WenQuanYi Zen Hei",
    "Hiragino Sans",
    "Microsoft YaHei",
    "Arial Unicode MS",
)


@lru_cache
def _families() -> tuple[str, ...]:
    installed = {entry.name for entry in fontManager.ttflist}
    return tuple(name for name in _FAMILIES if name in installed)


def font(size: float, weight: Weight = "normal") -> FontProperties:
    """The typeface of all pictures; size in points."""
    return FontProperties(family=_families(), size=size, weight=weight)


@lru_cache
def _renderer() -> RendererAgg:
    return RendererAgg(1, 1, DPI)


@contextmanager
def _missing_letters_allowed() -> Iterator[None]:
    """Letters that no installed font has are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from", category=UserWarning)
        yield


def text_width(text: str, size: float, weight: Weight = "normal") -> float:
    """Inches that one line of text takes."""
    with _missing_letters_allowed():
        measured = _renderer().get_text_width_height_descent(text, font(size, weight), False)
    return float(measured[0]) / DPI


def one_line(text: str) -> str:
    """Text with white space of any kind as single spaces; what cannot be seen is an escape."""
    return visible(" ".join(text.split()))


def _longest_prefix(text: str, width: float, size: float, weight: Weight) -> int:
    """Number of characters of a text that fit into a width."""
    # Few letters are narrower than a fifth of their height: measuring more would only cost time.
    low, high = 0, min(len(text), math.ceil(5 * width * 72 / size))
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle], size, weight) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def fit(text: str, *, width: float, size: float, lines: int = 1, weight: Weight = "normal") -> str:
    """Break a text into lines that fit a width; what does not fit ends in an ellipsis.

    Words are broken only where one alone is too wide.

    Args:
        text: Any text; white space is made single spaces.
        width: Inches.
        size: Points.
        lines: At most so many.
        weight: Of the letters.
    """
    rest = one_line(text)
    rows: list[str] = []
    while rest and len(rows) < lines:
        end = _longest_prefix(rest, width, size, weight)
        space = rest.rfind(" ", 0, end + 1)
        if end == len(rest):
            rows.append(rest)
        elif len(rows) == lines - 1:
            end = _longest_prefix(rest, width - text_width("…", size, weight), size, weight)
            rows.append(rest[:end].rstrip(" ,.;:") + "…")
        elif space > 0:
            end = space + 1
            rows.append(rest[:space])
        else:
            end = max(1, end)
            rows.append(rest[:end])
        rest = rest[end:]
    return "\n".join(rows)


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions as little apart as keeps neighbours a gap from each other, in their order."""
    order = sorted(range(len(positions)), key=lambda i: positions[i])
    blocks: list[tuple[float, list[int]]] = []
    for i in order:
        centre, members = positions[i], [i]
        while blocks and centre - blocks[-1][0] < gap * (len(blocks[-1][1]) + len(members)) / 2:
            before, earlier = blocks.pop()
            total = len(earlier) + len(members)
            centre = (before * len(earlier) + centre * len(members)) / total
            members = earlier + members
        blocks.append((centre, members))
    moved = [0.0] * len(positions)
    for centre, members in blocks:
        for place, i in enumerate(members):
            moved[i] = centre + gap * (place - (len(members) - 1) / 2)
    return moved


class Canvas:
    """A white canvas of fixed width; its height is set when all is drawn.

    Positions and sizes are inches, measured from the top left corner.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH, 1.0), dpi=DPI, facecolor="white")
        FigureCanvasAgg(self.figure)
        self._boxes: list[tuple[Axes, float, float, float, float]] = []
        self._texts: list[tuple[Text, float, float]] = []

    def write(
        self,
        left: float,
        top: float,
        text: str,
        *,
        size: float = 8.5,
        color: str = INK,
        weight: Weight = "normal",
        align: Literal["left", "center", "right"] = "left",
    ) -> float:
        """Write lines below ``top`` and return where the next line would begin."""
        height = size / 72 * _LEADING
        for number, line in enumerate(text.split("\n") if text else []):
            written = self.figure.text(
                0, 0, line, fontproperties=font(size, weight), color=color, ha=align,
                va="baseline", parse_math=False,
            )  # fmt: skip
            self._texts.append((written, left, top + (number + 0.8) * height))
        return top + height * (text.count("\n") + 1 if text else 0)

    def heading(self, title: str, subtitle: str) -> float:
        """Write a title and what the reader must know; return where the picture begins."""
        title = fit(title, width=INNER, size=13, lines=3, weight="bold")
        top = self.write(MARGIN, 0.3, title, size=13, weight="bold") + 0.05
        subtitle = fit(subtitle, width=INNER, size=8.5, lines=6)
        return self.write(MARGIN, top, subtitle, size=8.5, color=QUIET) + 0.15

    def footnote(self, top: float, text: str, *, lines: int = 6, color: str = QUIET) -> float:
        """Write what must be known to judge the picture; return where it ends."""
        return self.write(
            MARGIN, top, fit(text, width=INNER, size=8, lines=lines), size=8, color=color
        )

    def figures(
        self,
        top: float,
        *figures: tuple[float, str],
        color: str = INK,
        weight: Weight = "normal",
    ) -> None:
        """Write figures or their headings, each so many inches from the right margin."""
        for inches, text in figures:
            right = WIDTH - MARGIN - inches
            self.write(right, top, text, size=8, color=color, weight=weight, align="right")

    def mark_key(
        self, top: float, marks: Sequence[tuple[str, Mapping[str, Any]]], left: float = MARGIN
    ) -> None:
        """Draw marks, each followed by its meaning."""
        key = self.axes(left, top, INNER, 0.2)
        key.set_xlim(left, left + INNER)
        key.set_ylim(0, 1)
        for name, style in marks:
            key.plot(left + 0.06, 0.5, ls="", clip_on=False, **style)
            self.write(left + 0.17, top + 0.025, name, size=8, color=QUIET)
            left += 0.17 + text_width(name, 8) + 0.25

    def line_key(self, top: float, lines: Sequence[tuple[str, Mapping[str, Any]]]) -> float:
        """Draw lines, each followed by its meaning, in as many rows as they need.

        Returns:
            Where they end.
        """
        left = MARGIN
        for name, style in lines:
            label = fit(name, width=INNER - 0.5, size=8)
            wide = 0.43 + text_width(label, 8)
            if left + wide > WIDTH - MARGIN and left > MARGIN:
                left, top = MARGIN, top + 0.2
            key = self.axes(left, top, 0.36, 0.2)
            key.set_xlim(0, 1)
            key.set_ylim(0, 1)
            key.plot([0, 0.5, 1], [0.5] * 3, markevery=[1], clip_on=False, **style)
            self.write(left + 0.43, top + 0.025, label, size=8, color=QUIET)
            left += wide + 0.22
        return top + 0.25

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Bare axes in a box: no frame, no ticks."""
        axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self._boxes.append((axes, left, top, width, height))
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.patch.set_visible(False)
        axes.tick_params(length=0, labelsize=8, labelcolor=QUIET, pad=4)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def save(self, path: Path, *, height: float) -> None:
        """Cut the canvas at a height and write it as PNG."""
        self.figure.set_size_inches(WIDTH, height)
        for axes, left, top, width, tall in self._boxes:
            axes.set_position(
                (left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height)
            )
        for written, left, baseline in self._texts:
            written.set_position((left / WIDTH, 1 - baseline / height))
        # Whatever the reader's own settings are: the canvas is neither cropped nor padded.
        with _missing_letters_allowed():
            self.figure.savefig(path, format="png", dpi=DPI, bbox_inches=None)


class Column:
    """One panel as wide as a column of a paper: no title, for that is the paper's to write.

    Attributes:
        axes: Bare, as those of a canvas; what surrounds them finds its place by itself.
    """

    def __init__(self) -> None:
        self.figure = Figure(figsize=(COLUMN, 1.0), facecolor="white", layout="constrained")
        FigureCanvasAgg(self.figure)
        self.axes: Axes = self.figure.add_subplot()
        for spine in self.axes.spines.values():
            spine.set_visible(False)
        self.axes.tick_params(length=0, labelsize=7, labelcolor=INK, pad=3)

    def save(self, path: Path, *, height: float) -> None:
        """Write the column as PDF: letters stay letters, equal pictures are equal files."""
        self.figure.set_size_inches(COLUMN, height)
        with _missing_letters_allowed(), rc_context({"pdf.fonttype": 42}):
            self.figure.savefig(
                path, format="pdf", bbox_inches=None, metadata={"CreationDate": None}
            )
