"""The better of the two private mechanisms, from public numbers alone, with its reason in words."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.counting.measured import threshold
from experiments.counting.noise import Respondents, noise_of_counts
from privacy.accounting.choices import Mechanism, Mode, Unit

KINDS = ("choice", "survey", "pair")
"""Kinds of records: answers of persons, distributions of many, texts that were compared."""


def recommended(
    *,
    kind: str,
    has_persons: bool,
    unit: str,
    mode: str,
    scores: str,
    epsilon: float,
    delta: float,
    groups: int,
    units_per_group: Sequence[int],
    questions_per_group: Sequence[int],
    answers_per_person: int = 0,
    largest_weight: float = 1.0,
    distributions: bool = False,
    answers_given: float | None = None,
) -> tuple[str, str]:
    """Return the mechanism that is expected to come out better, and why.

    Deterministic, in milliseconds, of public numbers alone. Where questions are public and persons
    known, a tally is better unless the mean of a question is noisier than `measured.threshold`.

    Args:
        kind: One of `KINDS`.
        has_persons: Whether the data tell persons apart, or how many are behind a distribution.
        unit: ``respondent`` or ``record``.
        mode: ``local`` or ``distributed``.
        scores: ``predictor.scores`` of the run; ``policy`` for a causal model.
        epsilon: Promised.
        delta: The failure probability.
        groups: Groups that train.
        units_per_group: Public bounds on people, or on records where these are the unit.
        questions_per_group: Questions of each group.
        answers_per_person: Answers of a person that are counted; 0 as in a run.
        largest_weight: The most that one answer counts.
        distributions: Whether distributions of many persons' answers are counted.
        answers_given: Answers that a person gives; None for all that are counted.

    Raises:
        ValueError: For an unknown kind, unit or mode, or numbers that describe no federation.
        PlanRefused: For an epsilon or delta that no plan has.
    """
    _check(kind=kind, unit=unit, mode=mode, groups=groups, sizes=units_per_group)
    whole = distributions or kind == "survey"
    reason = _uncountable(kind, has_persons, unit=unit, mode=mode, scores=scores, whole=whole)
    if reason:
        return Mechanism.GRADIENTS.value, reason
    who = Respondents(
        unit=Unit(unit),
        units_per_group=tuple(units_per_group),
        questions_per_group=tuple(questions_per_group),
        answers=answers_given,
        largest_weight=largest_weight,
        distributions=whole,
    )
    return _by_noise(who, epsilon=epsilon, delta=delta, answers_per_person=answers_per_person)


def _by_noise(
    who: Respondents, *, epsilon: float, delta: float, answers_per_person: int
) -> tuple[str, str]:
    """The mechanism where answers could be counted, by the noise of their mean proportion."""
    noise = noise_of_counts(
        who, epsilon=epsilon, delta=delta, answers_per_respondent=answers_per_person
    )
    least, answers = threshold() * noise.noise_multiplier, noise.answers_of_question
    counted = (
        f"{f'{answers:,.0f}' if answers >= 10 else f'{answers:.1f}'} answers to a typical question "
        "are counted in a group; the noise of its mean proportion is "
        f"{noise.noise_of_mean:.2g}"
    )
    if noise.per_multiplier > threshold():
        return Mechanism.GRADIENTS.value, (
            f"only {counted}, and from {least:.2g} on gradients came out better at this epsilon"
        )
    return Mechanism.TALLY.value, (
        f"questions are public, so one noised count of the answers serves all training: {counted}, "
        f"below {least:.2g}, up to which tallies came out better at this epsilon"
    )


def _check(*, kind: str, unit: str, mode: str, groups: int, sizes: Sequence[int]) -> None:
    if len(sizes) != groups:
        raise ValueError(
            f"units_per_group has {len(sizes)} entries for groups = {groups}; give one for each"
        )
    for name, value, known in (
        ("kind", kind, KINDS),
        ("unit", unit, tuple(Unit)),
        ("mode", mode, tuple(Mode)),
    ):
        if value not in known:
            raise ValueError(f"{name} = {value!r} is not offered; use one of {[*map(str, known)]}")


def _uncountable(
    kind: str, has_persons: bool, *, unit: str, mode: str, scores: str, whole: bool
) -> str:
    """Why there is nothing to count, or counting would hide too little; empty where it serves."""
    if kind == "pair":
        return "the texts of pairs are private, and a tally counts answers to public questions"
    if scores == "policy":
        return "a causal model learns from texts, and a tally holds counts alone"
    if mode == Mode.DISTRIBUTED:
        return (
            "in distributed mode groups share the noise of every sum, and a tally carries all of "
            "its own group's: mode = local has it"
        )
    if unit == Unit.RECORD and whole:
        return (
            "the unit is a record, here a whole distribution (one country's answer), which a "
            "tally of persons does not hide"
        )
    if not has_persons:
        return "the data name no respondents, and a tally bounds what each of them adds"
    return ""
