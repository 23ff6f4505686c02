"""The figures of tallies beside the ledgers of a run; see `stated_figures`."""

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.tally_file import StoredTally
from privacy.audit.evidence import Evidence
from privacy.audit.tallies.history import TallyHistory
from privacy.errors import StageSkipped

_OF_QUESTIONNAIRE = frozenset(
    ("digest", "questions", "options", "options_by_question", "distributions")
)


def run_of_tallies_alone(evidence: Evidence) -> str | None:
    """The run that the files name where groups have its rounds, and nothing at hand its plan."""
    if evidence.server_ledger is not None:
        return None
    private = (evidence.result or {}).get("privacy")
    stated = [evidence.registered, private if isinstance(private, dict) else None]
    used = {run for each in evidence.ledgers for run in TallyHistory.of(each.events).runs}
    named = (each.get("run") for each in stated if each is not None)
    return next((run for run in named if isinstance(run, str) and run in used), None)


def wrong_fields(stated: Mapping[str, Any], fields: frozenset[str]) -> str:
    """The names by which fields differ from those that there must be; empty if by none."""
    more, less = sorted(set(stated) - fields), sorted(fields - set(stated))
    if more:
        return f"states {more[0]!r}, which no run states there"
    return f"lacks {less[0]!r}" if less else ""


def wrong_questionnaires(asked: Mapping[str, Any], groups: list[str], plan: PrivacyPlan) -> str:
    """The first thing wrong with what a plan file says of questionnaires; empty if nothing is."""
    planned = plan.counts.questionnaires if plan.counts is not None else ()
    for name, each in asked.items():
        if name not in groups:
            return f"{name} has no seat"
        if wrong := wrong_fields(each, _OF_QUESTIONNAIRE):
            return f"{name} {wrong}"
        digest = planned[groups.index(name)]
        sizes, by_question = (each["questions"], each["options"]), each["options_by_question"]
        if digest not in ("", each["digest"]):
            return f"that of {name} is not that of its seat"
        if not _positive([*sizes]) or sizes[0] > sizes[1]:
            return f"that of {name} has no such number of questions or options"
        if digest and each["options"] > plan.dimension:
            return f"that of {name} has more options than the plan has counts"
        if not _positive(by_question) or (len(by_question), sum(by_question)) != sizes:
            return f"that of {name} has other options than its questions have together"
        if each["distributions"] is not (plan.relation is NeighboringRelation.REPLACE_ONE):
            return f"that of {name} is of another kind of answers than the plan"
    lacking = {name for name, digest in zip(groups, planned, strict=True) if digest} - asked.keys()
    return f"that of {min(lacking)} is missing" if lacking else ""


def _positive(numbers: object) -> bool:
    return isinstance(numbers, list) and all(type(each) is int and each > 0 for each in numbers)


def of_mechanism(plan: PrivacyPlan) -> dict[str, Any]:
    """What a result says of the mechanism of a plan."""
    named: dict[str, Any] = {"mechanism": str(plan.release)}
    if plan.counts is not None:
        named["answers_per_respondent"] = plan.counts.answers_per_respondent
        named["largest_weight"] = plan.counts.largest_weight
        named["distributions"] = plan.relation is NeighboringRelation.REPLACE_ONE
    return named


def wrong_digests(
    private: Mapping[str, Any], registered: Mapping[str, Any] | None, plan: PrivacyPlan
) -> str:
    """Whether the questionnaires that a result names are those of the plan and of its file."""
    if plan.counts is None:
        return ""
    stated = private["questionnaires"]
    if not isinstance(stated, dict) or not all(type(each) is str for each in stated.values()):
        return "privacy.questionnaires names none"
    if registered is not None:
        known = {name: each["digest"] for name, each in registered["questionnaires"].items()}
        return "" if stated == known else "privacy.questionnaires are not those of the plan file"
    planned = set(plan.counts.questionnaires)
    # The seat of who joins later names none.
    unplanned = [name for name, each in stated.items() if each not in planned]
    if unplanned and "" not in planned:
        return f"privacy.questionnaires: that of {unplanned[0]} is of no seat of the plan"
    return ""


def wrong_noise(private: Mapping[str, Any], evidence: Evidence) -> str:
    """Whether the noise on a count that a result states is that of the group's tally."""
    for group, stated in private.get("noise_std_of_a_count", {}).items():
        if group not in private["groups"] or type(stated) is not float or not stated > 0:
            return f"privacy.noise_std_of_a_count = {stated!r} of {group} is none"
        for stored in _stored(group, private["run"], evidence):
            if not math.isclose(stated, stored.tally.noise_std, rel_tol=1e-9):
                return f"privacy.noise_std_of_a_count = {stated!r} of {group} is not of its tally"
    return ""


def _stored(group: str, run: str, evidence: Evidence) -> Iterator[StoredTally]:
    """The tallies of a group that a run was trained on and that lie at hand, whole."""
    for ledger in (each for each in evidence.ledgers if each.name == group):
        for name in TallyHistory.of(ledger.events).used_by(run):
            with suppress(StageSkipped):
                yield StoredTally.read(ledger.tallies.get(name, b""))
