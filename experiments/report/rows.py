"""Pictures made of rows: names on the left, marks on one axis, figures on the right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from matplotlib.axes import Axes

from experiments.report.axes import ground, tick
from experiments.report.canvas import (
    MARGIN,
    QUIET,
    RULE,
    WIDTH,
    Canvas,
    Weight,
    fit,
    one_line,
    text_width,
)
from experiments.report.wording import plural

_Row = TypeVar("_Row")


class Rows:
    """Rows of equal height below each other.

    Attributes:
        axes: One step a row, downwards from 0.
        left: Where they begin, inches.
        width: Of them.
        bottom: Where they end.
    """

    def __init__(
        self,
        canvas: Canvas,
        top: float,
        names: Sequence[tuple[str, Weight]],
        *,
        figures: float,
        tall: float,
        bounds: tuple[float, float] = (1.45, 2.2),
    ) -> None:
        """Make room for names and figures, and axes between them.

        Args:
            canvas: To draw on.
            top: Where the rows begin, inches.
            names: Of all rows; an empty one takes no room.
            figures: Width of the figures.
            tall: Height of a row.
            bounds: Least and largest width of the names.
        """
        widest = max(text_width(one_line(name)[:80], 8, weight) for name, weight in names)
        self._column = min(bounds[1], max(bounds[0], widest + 0.05))
        self._canvas, self._top, self._tall = canvas, top, tall
        self.left = MARGIN + self._column + 0.15
        self.width = WIDTH - MARGIN - self.left - figures
        self.bottom = top + tall * len(names)
        self.axes: Axes = canvas.axes(self.left, top, self.width, tall * len(names))
        self.axes.set_ylim(len(names), 0)

    def _line(self, number: int) -> float:
        return self._top + (number + 0.5) * self._tall - 0.075

    def name(self, number: int, name: str, weight: Weight = "normal") -> None:
        """Write the name of a row."""
        text = fit(name, width=self._column, size=8, weight=weight)
        self._canvas.write(MARGIN, self._line(number), text, size=8, weight=weight)

    def rule(self, number: int) -> None:
        """Draw a hairline along a row."""
        self.axes.axhline(number + 0.5, color=RULE, lw=0.6, zorder=0)

    def remark(self, number: int, text: str) -> None:
        """Write something in the place of a row."""
        left = MARGIN + self._column + 0.1
        self._canvas.write(left, self._line(number), text, size=8, color=QUIET)

    def figures(self, number: int, *figures: tuple[float, str], weight: Weight = "normal") -> None:
        """Write the figures of a row, each so many inches from the right margin."""
        self._canvas.figures(self._line(number), *figures, weight=weight)

    def ground(self, axes: Axes | None = None, *, steps: int = 8) -> None:
        """Draw the line at the bottom, with scores; of other axes, where those lie below."""
        axes = axes or self.axes
        tick(axes.xaxis, steps)
        ground(axes)


def shortened(rows: Sequence[_Row], most: int) -> tuple[Sequence[_Row], str, Sequence[_Row]]:
    """The first and the last rows of many, and a remark on those between; all of few."""
    if len(rows) <= most:
        return rows, "", ()
    half = most // 2
    remark = f"… {plural(len(rows) - 2 * half, 'group')} between these left out …"
    return rows[:half], remark, rows[-half:]
