"""The built-in sample survey: invented groups whose members answer questions by their values.

Twelve named organisations, and as many generated ones as a scale study needs, each hold a vector
of values on the axes of ``alignment.data.sample_questions``. Every respondent shares the group's
values up to personal noise, weighs the options of a question by them and by the general appeal of
each option, and picks one with some randomness. So groups differ in ways that a few of their
answers reveal, while a common prior, individual differences and missing answers remain.

Nobody real was asked: the data exist to show and to test the framework, not to study people.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from alignment.data.sample_questions import AXES, QUESTIONS, Question

_FloatArray = NDArray[np.float64]

# Standard deviation of a person around the group, and of a generated group around zero.
_PERSON_SPREAD = 0.5
_GROUP_SPREAD = 0.8
# How strongly values, as against the appeal of an option and mere chance, decide an answer.
_CONVICTION = 1.1
# Fewest and most questions that one respondent answers.
_FEWEST_ANSWERS, _MOST_ANSWERS = 20, 30
# Smallest and largest generated group, relative to the typical number of respondents.
_SMALLEST, _LARGEST = 0.75, 1.25


@dataclass(frozen=True, kw_only=True)
class _Group:
    """An invented organisation: its size relative to the typical one, and what it values."""

    name: str
    size: float
    values: tuple[float, ...]


# Values in the order of AXES: tradition, liberty, public, local, nature, caution.
_NAMED_GROUPS = (
    _Group(name="Harbour Cooperative", size=1.15, values=(0.2, 0.1, 1.1, 1.1, 0.3, 0.2)),
    _Group(name="Northfield Clinics", size=1.25, values=(0.0, -1.0, 0.9, -0.2, 0.1, 1.0)),
    _Group(name="Ironbridge Foundry", size=1.1, values=(0.6, -0.2, 0.6, 0.7, -1.3, 0.3)),
    _Group(name="Meadowlark Farms", size=0.9, values=(1.2, 0.4, -0.8, 1.1, -0.1, 0.5)),
    _Group(name="Lanternlight Schools", size=1.2, values=(-0.9, 0.2, 1.1, -0.7, 0.6, 0.0)),
    _Group(name="Brightwater Labs", size=0.8, values=(-0.9, 0.5, -0.5, -0.9, -0.2, -1.2)),
    _Group(name="Copperline Traders", size=1.0, values=(0.1, 0.3, -1.3, -0.9, -1.1, -0.4)),
    _Group(name="Windmere Conservancy", size=0.75, values=(0.3, 0.0, 0.3, 0.4, 1.4, 0.9)),
    _Group(name="Stonegate Wardens", size=1.05, values=(1.0, -1.4, -0.1, 0.5, -0.3, 0.1)),
    _Group(name="Openleaf Archive", size=0.8, values=(-0.6, 1.4, 0.3, -0.6, 0.4, 0.6)),
    _Group(name="Saltmarsh Fishers", size=0.9, values=(0.5, 0.2, 0.8, 1.3, 0.2, 0.3)),
    _Group(name="Kestrel Robotics", size=0.95, values=(-0.7, 0.2, -0.7, -0.7, -0.5, -1.3)),
)

_PLACES = tuple(
    "Alderbrook Ashcombe Birchwold Bramblegate Cedarholm Cloudhurst Dovetail Elmstead Fernhollow "
    "Foxglove Goldcrest Hazelmere Heronsford Juniper Larkspur Mistlefield Mossbank Oakhaven "
    "Otterbourne Pebblecombe Quarrymoor Rushwater Silverbirch Swallowdale Thistledown".split()
)
_TRADES = tuple(
    "Bakers Bookshops Builders Carriers Choirs Cyclists Gardens Glassworks Hospices Hostels "
    "Kitchens Mills Museums Nurseries Orchards Printers Rangers Sailors Studios Weavers".split()
)
# Where all pairs of a place and a trade are taken, they come again with one of these before them.
_SIDES = ("Upper", "Lower", "Inner", "Outer", "Great", "Little", "Old", "New")
MOST_GROUPS = 4096
MOST_SEVERITY = 10.0


def sample_rows(
    *, seed: int = 0, groups: int = 12, respondents: int = 160, severity: float = 1.0
) -> Iterator[dict[str, object]]:
    """Yield the individual answers of the sample survey, group by group, person by person.

    The first twelve groups are the named ones and hold the same values under every seed; further
    groups get generated names and random values. A group's rows depend on ``seed``, on its place
    in the list, on ``respondents`` and on ``severity``, not on how many groups follow it. Every
    group answers every question at least once; every respondent answers 20 to 30 questions, plus,
    in a tiny group, those that nobody else took. With the defaults there are about 48,000 rows.

    Args:
        seed: Non-negative seed; equal arguments give equal rows.
        groups: Number of groups, from 1 to 4096.
        respondents: Typical number of respondents of a group, at least 1; the groups have 0.75 to
            1.25 times as many.
        severity: How far groups lie apart, in [0, 10]: a factor on what they value. At 0 they value
            the same, and only their members differ. People, whom of them is asked what, and chance
            stay as they are, so that surveys of one seed differ by severity alone.

    Returns:
        An iterator over choice rows with the keys ``group``, ``respondent``, ``question_id``,
        ``question``, ``options`` and ``choice``, the last an index into ``options``.

    Raises:
        ValueError: If an argument is out of its range; raised at once, not at the first row.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}, must be at least 0: pass a non-negative integer")
    if not 1 <= groups <= MOST_GROUPS:
        raise ValueError(
            f"groups is {groups}, must be between 1 and {MOST_GROUPS}: ask for fewer or more"
        )
    if respondents < 1:
        raise ValueError(
            f"respondents is {respondents}, must be at least 1: ask for more per group"
        )
    if not 0 <= severity <= MOST_SEVERITY:
        raise ValueError(
            f"severity is {severity}, must be between 0 and {MOST_SEVERITY:g}: 1 is usual"
        )
    return _all_rows(seed, groups, respondents, severity)


def survey_rows(rows: Iterable[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """Yield one survey row per group and question: the shares in which its answers fell.

    Args:
        rows: Choice rows as from ``sample_rows``; all are read before the first result.

    Yields:
        Rows with the keys ``group``, ``question_id``, ``question``, ``options`` and
        ``distribution``, the exact count of each option over the total; groups and questions
        come in the order of their first appearance.

    Raises:
        ValueError: If a choice is not an index into its options, or if the options of a question
            change within a group.
    """
    first: dict[tuple[object, object], Mapping[str, object]] = {}
    counts: dict[tuple[object, object], Counter[int]] = {}
    for row in rows:
        key = (row["group"], row["question_id"])
        options, choice = cast(list[str], row["options"]), cast(int, row["choice"])
        if not 0 <= choice < len(options):
            raise ValueError(
                f"choice is {choice} in question {row['question_id']!r}, "
                f"must be from 0 to {len(options) - 1}: index into its options"
            )
        if first.setdefault(key, row)["options"] != options:
            raise ValueError(
                f"options of question {row['question_id']!r} differ within group "
                f"{row['group']!r}: give a changed question an id of its own"
            )
        counts.setdefault(key, Counter())[choice] += 1
    for key, row in first.items():
        options, total = cast(list[str], row["options"]), counts[key].total()
        yield {
            "group": row["group"],
            "question_id": row["question_id"],
            "question": row["question"],
            "options": list(options),
            "distribution": [counts[key][index] / total for index in range(len(options))],
        }


def _all_rows(
    seed: int, groups: int, respondents: int, severity: float
) -> Iterator[dict[str, object]]:
    for index in range(groups):
        # The bit generator is named because NumPy promises to keep its stream, not the default.
        rng = np.random.Generator(np.random.PCG64([seed, index]))
        yield from _group_rows(_group(index, rng), respondents, severity, rng)


def _group(index: int, rng: np.random.Generator) -> _Group:
    if index < len(_NAMED_GROUPS):
        return _NAMED_GROUPS[index]
    return _Group(
        name=generated_name(index - len(_NAMED_GROUPS)),
        size=rng.uniform(_SMALLEST, _LARGEST),
        values=tuple(rng.normal(0.0, _GROUP_SPREAD, len(AXES)).tolist()),
    )


def generated_name(number: int) -> str:
    """The name of a generated group, by its number from 0: no two up to 4096 are the same."""
    again, pair = divmod(number, len(_PLACES) * len(_TRADES))
    # Shifting the trades by the turn changes both words of the name from one group to the next.
    turn, place = divmod(pair, len(_PLACES))
    trade = (turn + place) % len(_TRADES)
    side = f"{_SIDES[(again + pair) % len(_SIDES)]} " if again else ""
    return f"{side}{_PLACES[place]} {_TRADES[trade]}"


def _group_rows(
    group: _Group, respondents: int, severity: float, rng: np.random.Generator
) -> Iterator[dict[str, object]]:
    people = max(1, round(respondents * group.size))
    values = severity * np.array(group.values) + rng.normal(
        0.0, _PERSON_SPREAD, (people, len(AXES))
    )
    asked = _who_is_asked(people, rng)
    choices = np.stack([_choices(question, values, rng) for question in QUESTIONS], axis=1)
    slug = group.name.lower().replace(" ", "-")
    for person in range(people):
        for index in np.flatnonzero(asked[person]):
            question = QUESTIONS[index]
            yield {
                "group": group.name,
                "respondent": f"{slug}-{person + 1:04d}",
                "question_id": question.question_id,
                "question": question.text,
                "options": list(question.options),
                "choice": int(choices[person, index]),
            }


def _who_is_asked(people: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return who answers what, (people, questions): 20 to 30 a person, no question left out."""
    answers = rng.integers(_FEWEST_ANSWERS, _MOST_ANSWERS, people, endpoint=True)
    ranks = rng.random((people, len(QUESTIONS))).argsort(axis=1).argsort(axis=1)
    asked: NDArray[np.bool_] = ranks < answers[:, np.newaxis]
    left_out = np.flatnonzero(~asked.any(axis=0))
    asked[rng.integers(people, size=left_out.size), left_out] = True
    return asked


def _choices(
    question: Question, values: _FloatArray, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return the option (people,) that people with these values (people, axes) pick."""
    positions = np.array(
        [question.leanings.get(axis, (0.0,) * len(question.options)) for axis in AXES]
    )
    utilities = np.array(question.appeal) + _CONVICTION * (values @ positions)
    weights = np.exp(utilities - utilities.max(axis=1, keepdims=True)).cumsum(axis=1)
    thresholds = rng.random((len(values), 1)) * weights[:, -1:]
    picked: NDArray[np.int64] = (weights[:, :-1] <= thresholds).sum(axis=1)
    return picked
