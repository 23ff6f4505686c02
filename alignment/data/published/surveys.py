"""Published surveys: distributions of answers by country."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from alignment.data.fields import InvalidRecordError
from alignment.data.published.columns import Part, literal
from alignment.data.records import question_digest

_DEFAULTDICT = "defaultdict(<class 'list'>, "


def country_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """Split a row of ``Anthropic/llm_global_opinions`` into one survey row per country.

    ``selections`` is the printed form of a dictionary from country to probabilities, ``options``
    that of a list. Both are parsed as literals; no code in them is run.

    Raises:
        InvalidRecordError: A column is missing or does not have this form.
    """
    text = row.get("question")
    if not isinstance(text, str):
        raise InvalidRecordError("question", "is missing or not a text", "give the question")
    options = _options(row.get("options"))
    for country, distribution in _selections(row.get("selections")).items():
        yield (
            f"country {country[:100]!r}",
            {
                "group": country,
                "question_id": f"goqa-{question_digest(text, options)[:12]}",
                "question": text,
                "options": options,
                "distribution": distribution,
            },
        )


def _options(value: object) -> list[str]:
    options = literal("options", value) if isinstance(value, str) else value
    if not isinstance(options, list) or not all(_is_label(option) for option in options):
        raise InvalidRecordError("options", "is not a list of texts", "write \"['Yes', 'No']\"")
    return [str(option) for option in options]


def _is_label(option: object) -> bool:
    """Scales print their middle steps as numbers: ``['Never', 2, 3, 'Always']``."""
    return isinstance(option, str | int | float) and not isinstance(option, bool)


def _selections(value: object) -> dict[str, list[object]]:
    remedy = "write \"{'Country': [0.4, 0.6]}\""
    if not isinstance(value, str):
        raise InvalidRecordError("selections", "is missing or not a text", remedy)
    text = value.strip()
    if text.startswith(_DEFAULTDICT) and text.endswith(")"):
        text = text[len(_DEFAULTDICT) : -1]
    selections = literal("selections", text)
    if not isinstance(selections, dict) or not selections:
        raise InvalidRecordError("selections", "is not a dictionary with entries", remedy)
    for country, distribution in selections.items():
        if not isinstance(country, str) or not isinstance(distribution, list):
            problem = "is not a dictionary from texts to lists"
            raise InvalidRecordError("selections", problem, remedy)
    return selections
