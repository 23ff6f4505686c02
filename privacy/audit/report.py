"""The reports of a review: the privacy card as a page, as text, and in the forms of registers.

All are made from the card alone. The environment that renders a template escapes whatever comes
from data; a blank is shown as one wherever it occurs.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from atomic import write_atomically
from privacy.audit.card_wording import ABOUT_FIELDS
from privacy.audit.evidence import CARD_FILE
from texts import visible

TEMPLATES: Mapping[str, str] = {
    "privacy-card.md": "card.md.j2",
    "privacy-report.html": "report.html.j2",
    "dpia.md": "dpia.md.j2",
    "annex-iv.md": "annex-iv.md.j2",
    "opendp-registry.yaml": "opendp-registry.yaml.j2",
}
"""The files besides the card itself, and what each is made of."""

# The drawing area of a chart, in the units of its view box.
_WIDTH, _HEIGHT = 320, 176
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 310, 14, 140
_PUNCTUATION = re.compile(r"([\\`*_\[\]#|~$])")
_AT_START = re.compile(r"^([-+>:=]|\d+[.)](?=\s|$))")
_LINK = re.compile(r"(?i)(:)(?=//)|(www)\.")


def write_report(card: Mapping[str, Any], out: Path) -> dict[str, Path]:
    """Write a card in every form; each file appears completely or not at all.

    Nothing is written before everything is made. Files of the same names are replaced.

    Args:
        card: what `privacy.audit.card.build_card` returned.
        out: folder; made where there is none.

    Returns:
        The files by name.
    """
    texts = {CARD_FILE: json.dumps(card, indent=2, allow_nan=False) + "\n"}
    texts |= {name: render(card, name) for name in TEMPLATES}
    out.mkdir(parents=True, exist_ok=True)
    return {name: _write(out / name, text) for name, text in texts.items()}


def render(card: Mapping[str, Any], name: str) -> str:
    """Return the text of one file.

    Args:
        card: what `privacy.audit.card.build_card` returned.
        name: one of `TEMPLATES`.
    """
    finish = {".html": _html, ".md": _markdown, ".yaml": _yaml}[Path(name).suffix]
    environment = Environment(
        loader=PackageLoader("privacy.audit"),
        autoescape=True,
        finalize=finish,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "up": _rounded_up,
        "figure": _figure,
        "percent": _percent,
        "label": _label,
        "names": _names,
        "listed": _listed,
        "plural": _plural,
        "collapsed": _collapsed_rounds,
        "steps": _collapsed_history,
        "chart": _chart,
        "yes_no": lambda value: None if value is None else "yes" if value else "no",
    }
    blanks = {blank["field"]: _Blank(blank["by"], blank["question"]) for blank in card["blanks"]}
    return environment.get_template(TEMPLATES[name]).render(
        card=card,
        questions=ABOUT_FIELDS,
        verdict=_verdict(card),
        alarms=_alarms(card),
        by_status=_by_status(card["verification"]),
        stated=lambda field: card["about"][field] or blanks[field],
        shown=lambda value, by, question: _Blank(by, question) if value is None else value,
    )


class _Blank:
    """A field that nobody has stated, and who could."""

    def __init__(self, by: str, question: str) -> None:
        self.by = by
        self.question = question

    def __str__(self) -> str:
        verb = "state" if self.by in ("the controllers", "the groups") else "states"
        return f"[BLANK: {self.by} {verb}: {self.question}]"


_UNNAMED = _Blank("whoever knows", "what nothing handed in shows.")


def _write(path: Path, text: str) -> Path:
    write_atomically(path, text.encode("utf-8", "replace"), durable=True, mode=0o644)
    return path


def _plain(value: object) -> str:
    """A text on one line, without characters that are not seen or that turn others around."""
    return visible(re.sub(r"\s+", " ", str(value)))


def _html(value: object) -> object:
    if hasattr(value, "__html__"):
        return value
    if value is None or isinstance(value, _Blank):
        blank = value or _UNNAMED
        return Markup('<span class="blank">Blank: to be stated by {}</span>').format(blank.by)
    return _plain(value)


def _markdown(value: object) -> object:
    if hasattr(value, "__html__"):
        return value
    if value is None or isinstance(value, _Blank):
        return Markup(str(value or _UNNAMED))  # noqa: S704  # a text of this module
    text = str(escape(_plain(value))).replace("&#39;", "'").replace("&#34;", '"')
    text = _PUNCTUATION.sub(r"\\\1", text)
    text = _AT_START.sub(lambda match: f"{match[0][:-1]}\\{match[0][-1]}", text)
    text = _LINK.sub(lambda match: "\\:" if match[1] else f"{match[2]}\\.", text)
    return Markup(text)  # noqa: S704  # escaped above


def _yaml(value: object) -> object:
    if hasattr(value, "__html__"):
        return value
    if isinstance(value, bool | int | float):
        # Readers of YAML 1.1 take a float without a point for a text.
        number = re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))
        return Markup(number)  # noqa: S704  # digits
    text = str(value or _UNNAMED) if value is None or isinstance(value, _Blank) else _plain(value)
    return Markup(json.dumps(text, ensure_ascii=False))  # noqa: S704  # quoted by json


def _rounded_up(value: float | None, digits: int = 4) -> str | None:
    """A bound with so many decimals, never below itself."""
    if value is None:
        return None
    scale = 10**digits
    return _short(f"{math.ceil(round(value * scale, 6)) / scale:.{digits}f}")


def _short(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _figure(value: float | None, digits: int = 6) -> str | None:
    return None if value is None else f"{value:.{digits}g}"


def _percent(share: float | None) -> str | None:
    """A share in percent, with one decimal, rounded down: what is left is never overstated."""
    return None if share is None else f"{math.floor(round(share * 1000, 6)) / 10:.1f} %"


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _names(values: Sequence[str] | None, most: int = 6) -> str | None:
    """Names in a row; the count of those beyond the first few."""
    if values is None:
        return None
    rest = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(map(str, values[:most])) + rest if values else "none"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values) or "none"


def _plural(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _span(first: object, last: object) -> str:
    return f"{first}" if first == last else f"{first} to {last}"


def _collapsed_rounds(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive rounds that went alike, in one row."""
    collapsed = []
    for _, group in groupby(rows, key=lambda row: {**row, "round": None}):
        alike = list(group)
        span = _span(alike[0]["round"], alike[-1]["round"])
        collapsed.append({**alike[0], "rounds": span, "count": len(alike)})
    return collapsed


def _collapsed_history(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Consecutive entries of one kind, in one row that states what was left after the last."""
    rows = []

    def kind(entry: Mapping[str, Any]) -> tuple[Any, ...]:
        return entry["type"], entry["run"], entry["on_these_data"]

    for (what, run, own), group in groupby(history, key=kind):
        alike = list(group)
        rounds = None if what == "budget" else _span(alike[0]["round"], alike[-1]["round"])
        last = {key: alike[-1][key] for key in ("used", "left_share")}
        rows.append({"what": what, "run": run, "own": own, "rounds": rounds, "n": len(alike)})
        rows[-1] |= last
    return rows


def _chart(history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A step line of what was left after each entry, and where entries were refused."""
    steps = max(1, len(history) - 1)
    points = [
        (
            round(_LEFT + (_RIGHT - _LEFT) * number / steps, 1),
            round(_BOTTOM - (_BOTTOM - _TOP) * entry["left_share"], 1),
        )
        for number, entry in enumerate(history)
    ]
    line = f"M{points[0][0]} {points[0][1]}" if points else ""
    line += "".join(f"H{x}V{y}" for x, y in points[1:])
    levels = [
        {"y": _BOTTOM - (_BOTTOM - _TOP) * share / 100, "share": share} for share in (0, 50, 100)
    ]
    return {
        "width": _WIDTH,
        "height": _HEIGHT,
        "left": _LEFT,
        "right": _RIGHT,
        "bottom": _BOTTOM,
        "line": line,
        "area": f"{line}V{_BOTTOM}H{_LEFT}Z" if line else "",
        "levels": levels,
        "entries": len(history),
        "refused": [
            point
            for point, entry in zip(points, history, strict=True)
            if entry["type"] == "refused"
        ],
    }


def _by_status(checks: Sequence[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    return {
        status: [check for check in checks if check["status"] == status]
        for status in ("fail", "open", "pass")
    }


def _verdict(card: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of the review: a title and sentences."""
    summary = card["summary"]
    passed, failed, left_open = (summary["checks"][name] for name in ("pass", "fail", "open"))
    made = passed + failed
    if failed:
        title = f"{failed} of {_plural(made, 'check')} {'fails' if failed == 1 else 'fail'}"
    elif made:
        possible = " that could be made" if left_open else ""
        title = (
            f"All {_plural(made, 'check')}{possible} hold" if made > 1 else "The one check holds"
        )
    else:
        title = "Nothing was checked"
    sentences = [_spent_sentence(summary)]
    promised = summary["epsilon_promised_by_runs"]
    if promised:
        runs = "The run promises" if len(promised) == 1 else "Each run by itself promises"
        most = "" if len(promised) == 1 else "at most "
        sentences.append(
            f"{runs} {most}epsilon {_rounded_up(max(promised), 2)} as a whole, whether or not it "
            "was stopped early."
        )
    silent = summary["groups_without_figures"]
    if silent:
        sentences.append(
            f"For {_plural(len(silent), 'group')} the ledger does not show a complete account: "
            f"{_names(silent)}."
        )
    if failed:
        sentences.append("Until what fails is explained, rely on none of these figures.")
    if left_open:
        what = _plural(left_open, "check")
        sentences.append(f"{what} could not be made, for lack of what was not handed in.")
    good = made > 0 and not failed and not silent
    return {"title": title, "sentences": sentences, "good": good}


def _spent_sentence(summary: Mapping[str, Any]) -> str:
    spent, most = summary["epsilon_spent_at_most"], summary["epsilon_budget_most"]
    least = summary["epsilon_budget_least"]
    if spent is None:
        return "No budget is on record, so no bound on what was spent can be stated."
    budget = f"a budget of {_rounded_up(most, 2)}"
    if least != most:
        budget = f"budgets of {_rounded_up(least, 2)} to {_rounded_up(most, 2)}"
    return (
        f"For each group with a budget, at most epsilon {_rounded_up(spent, 2)} has been spent of "
        f"{budget} (delta at most {summary['delta_most']:g}), over everything on record."
    )


def _alarms(card: Mapping[str, Any]) -> list[str]:
    """Warnings besides failed checks."""
    alarms = []
    for run in card["runs"]:
        if run["mode"] == "distributed" and run["secure_aggregation"] is not True:
            alarms.append(f"Run {run['run'][:16]}: {run['trust_model']}")
    for group in card["groups"]:
        if group["error"]:
            alarms.append(f"{group['name']}: {group['error']}")
    if card["server"] and card["server"]["error"]:
        alarms.append(f"The server ledger: {card['server']['error']}")
    return alarms
