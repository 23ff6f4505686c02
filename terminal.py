"""The way to a terminal or a log: nothing passes that moves a cursor, hides or turns a line.

Names and texts of others are shown by :func:`texts.shown` where a line is put together; what was
forgotten there is made visible here. Markup is off: a text in square brackets is a text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from texts import visible, visible_lines


class Terminal(Console):
    """A console that shows every character of a text as one; colours come from styles alone.

    Args:
        stderr: Whether it writes to standard error.
        soft_wrap: Whether lines are left to the terminal to wrap.
        width: Columns; by default those of the terminal.
    """

    def __init__(
        self, *, stderr: bool = False, soft_wrap: bool = False, width: int | None = None
    ) -> None:
        super().__init__(
            stderr=stderr,
            soft_wrap=soft_wrap,
            width=width,
            markup=False,
            emoji=False,
            highlight=False,
        )

    def render_str(self, text: str, **options: Any) -> Text:
        """A text of several lines, made visible before it is measured and laid out."""
        return super().render_str(visible_lines(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Segments of anything; those that are no command of the library itself made visible."""
        if isinstance(renderable, Text) and visible_lines(renderable.plain) != renderable.plain:
            # Its own styles stand at places of the text as it was.
            renderable = Text(visible_lines(renderable.plain), style=renderable.style)
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible_lines(segment.text))


def say(text: str, *, style: str = "", err: bool = False) -> None:
    """Print lines for a reader, as long as they are.

    Args:
        text: One line or more; names and texts of others in it went through ``texts.shown``.
        style: Of all of it, as in ``bold red``.
        err: Whether they go to standard error.
    """
    Terminal(stderr=err, soft_wrap=True).print(text, style=style)


def echo(text: str, *, err: bool = False) -> None:
    """Print lines for a program, without colour."""
    typer.echo(visible_lines(text), err=err)


class OneLine(logging.Formatter):
    """A formatter of logs whose message is one line; a traceback below it keeps its own."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """The message with its level and name, on one line."""
        return visible(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        """A traceback, line by line."""
        return visible_lines(super().formatException(ei))


def log_to_stderr(*, level: int, layout: str = logging.BASIC_FORMAT) -> None:
    """Send all logs of this process to standard error, as ``logging.basicConfig`` would.

    Args:
        level: Of the root logger.
        layout: Of a line, in the form of ``logging.Formatter``.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(layout))
    logging.basicConfig(level=level, handlers=[handler])
