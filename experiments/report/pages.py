"""Pages that need no network: templates rendered, and pictures put into them."""

from __future__ import annotations

import base64
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from experiments.report.wording import gain_text, interval_text, score_text
from texts import shown, visible_lines


def render(template: str, **values: object) -> str:
    """A page from a template of this room; whatever comes from data is escaped.

    Args:
        template: Its file name.
        values: What it names; a name that is missing is an error.
    """
    environment = Environment(
        loader=PackageLoader("experiments.report"),
        autoescape=True,
        finalize=_finished,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"score": score_text, "gain": gain_text, "interval": interval_text}
    return visible_lines(environment.get_template(template).render(**values))


def _finished(value: object) -> object:
    """A value as a page shows it: a text from data on one line, all of it to be seen."""
    return shown(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def embedded(path: Path, *, title: str, description: str) -> dict[str, str]:
    """A picture as a page holds it: title, text for who cannot see it, and its bytes."""
    return {
        "title": title,
        "alt": f"{title}. {description}",
        "data": base64.b64encode(path.read_bytes()).decode("ascii"),
    }
