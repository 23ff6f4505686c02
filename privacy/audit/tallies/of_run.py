"""Whether the plan of a group's tally follows from the plan of a run that trains on it."""

from dataclasses import fields, replace

from privacy.accounting.counts import CountTerms
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import norm_of_counts


def wrong_plan(tally: PrivacyPlan, run: PrivacyPlan, *, seat: int) -> str:
    """The first thing in which a group's plan does not follow from that of a run; empty if nothing.

    How many questions there are stands in no plan: so the group's answers of a person are held
    against the cap, and its cells against nothing. Its units are those of the seat, or fewer, which
    is a check of its own.

    Args:
        tally: of the group's counts.
        run: as the server has announced it.
        seat: of the group in the run, from 0.
    """
    if run.counts is None or tally.counts is None:
        return "one of the two counts no answers"
    own, cap = tally.counts, run.counts.answers_per_respondent
    if own.answers_per_respondent > cap:
        return f"{own.answers_per_respondent} answers of a person, above the cap of {cap}"
    if own.questionnaires[0] == "" or run.counts.questionnaires[seat] not in (
        "",
        own.questionnaires[0],
    ):
        return "another questionnaire than the one of its seat"
    expected = replace(
        run,
        groups=1,
        units_per_group=tally.sizes,
        survivors=1,
        clipping_norm=norm_of_counts(own.answers_per_respondent, run.counts.largest_weight),
        dimension=tally.dimension,
        counts=CountTerms(
            answers_per_respondent=own.answers_per_respondent,
            largest_weight=run.counts.largest_weight,
            questionnaires=own.questionnaires,
        ),
    )
    names = (field.name for field in fields(PrivacyPlan))
    return next(
        (
            f"another {name}: {getattr(tally, name)}, not {getattr(expected, name)}"
            for name in names
            if getattr(tally, name) != getattr(expected, name)
        ),
        "",
    )
