"""How far one person can move the counts under a plan, computed again."""

import math
from collections.abc import Sequence
from fractions import Fraction

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.plan import PrivacyPlan

# What discrete noise is short of continuous noise, in squared steps of the grid.
_DISCRETE = 9


def wrong_bounds(plan: PrivacyPlan) -> str:
    """The first bound of a group's plan of counts that does not follow; empty if all do.

    Raises:
        ValueError: if the plan counts no answers.
    """
    if plan.counts is None:
        raise ValueError("the plan counts no answers; give that of a tally")
    answers, weight = plan.counts.answers_per_respondent, plan.counts.largest_weight
    if plan.groups != 1:
        return f"counts for {plan.groups} groups, and a tally is of one"
    if plan.clipping_norm != weight * math.sqrt(answers):
        return f"states C = {plan.clipping_norm:g} for {answers} answers of weight {weight:g}"
    noise = Fraction(plan.noise_multiplier) ** 2 * plan.sensitivity**2
    if noise > 4**plan.noise_log2 - _DISCRETE:
        return f"has noise of 2^{plan.noise_log2}, less than z S"
    return ""


def wrong_step(plan: PrivacyPlan, options: Sequence[int], step: int) -> str:
    """What is wrong with the step of a tally; empty if nothing is.

    Args:
        plan: of the group's counts, of right bounds.
        options: of each question.
        step: how much an answer of weight 1 counts on the integer grid.
    """
    counted = 0 if plan.counts is None else plan.counts.answers_per_respondent
    if counted > len(options):
        return f"counts {counted} answers of a person to {len(options)} questions"
    if plan.dimension != sum(options):
        return f"has {plan.dimension} cells for {sum(options)} options"
    if step < 1 or _squared_move(plan, options, step) > plan.sensitivity**2:
        return f"has a step of {step}, at which one person moves it by more than S"
    return ""


def _squared_move(plan: PrivacyPlan, options: Sequence[int], step: int) -> Fraction:
    """The square of the most that one person moves the counts, in steps of the integer grid."""
    if plan.counts is None:
        raise ValueError("the plan counts no answers; give that of a tally")
    answers = plan.counts.answers_per_respondent
    one = (step * Fraction(plan.counts.largest_weight)) ** 2
    widest = sorted(options, reverse=True)[:answers]
    if plan.relation is not NeighboringRelation.REPLACE_ONE:
        # Of an answer to K options 1 at one of them, less 1 / (2 K) at all.
        return one * sum((1 - Fraction(3, 4 * each) for each in widest), start=Fraction(0))
    # Another answer takes from one cell and gives to another, or changes all by no more; every
    # cell is rounded, and shares were floats.
    moves = (_root_above(2 * one) + 1 + _root_above(Fraction(each)) for each in widest)
    return Fraction(sum(move * move for move in moves))


def _root_above(square: Fraction) -> int:
    return math.isqrt(math.ceil(square) - 1) + 1
