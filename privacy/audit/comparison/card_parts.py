"""The parts of a privacy card that rest on evidence which was not handed in."""

import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import norm_of_counts
from privacy.audit.card import group_entry, server_entry, utility_of
from privacy.audit.card_runs import counted
from privacy.audit.card_wording import plan_statements, tally_statements
from privacy.audit.checks import Basis, Status, known_ids
from privacy.audit.evidence import Evidence, LedgerEvidence
from privacy.audit.server_ledger.members import seats_of
from privacy.audit.tallies.history import TallyHistory
from privacy.file_names import RESULT_FILE

Json = dict[str, Any]

_OF_LEDGER = frozenset(
    "key chain restarts epsilon code plan budget refusals releases tally stored heads".split()
)
"""Checks of one ledger by itself."""

_SERVER, _LEDGERS, _RESULT, _PEOPLE = "server", "ledgers", "result", "people"
_TALLIES = "tallies"

_NEEDS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("restarts", "budget"), frozenset((_PEOPLE,))),
    **dict.fromkeys(
        ("book", "events", "secure", "survivors", "models", "members", "pins", "seat"),
        frozenset((_SERVER,)),
    ),
    **dict.fromkeys(
        ("plans", "counted", "witness", "both", "denied"), frozenset((_SERVER, _LEDGERS))
    ),
    "stored": frozenset((_TALLIES,)),
    "forks": frozenset((_LEDGERS,)),
    "published": frozenset((_SERVER, _RESULT)),
    "result": frozenset((_SERVER, _LEDGERS, _RESULT, _PEOPLE)),
}
"""What each check rests on besides the ledger of its group."""

_OF_SERVER = (
    "in_server_book groups secure_aggregation protocol trust_model colluding_threshold "
    "rounds_summed rounds_lost threshold round_log model_before published"
).split()
"""Fields of a run that the server ledger alone shows."""

_OF_RUN_OF_TALLIES = (
    "plan_digest modulus_bits dimension units planned_groups tally delta_against_units "
    "contribution_cap"
).split()
"""The same of a run that is trained on tallies: each group's ledger has the plan of its own."""

_BY_NAME = frozenset(
    "refused_by_code aborted_by_code files data ledger_heads questionnaires rounds_by_run".split()
)
_VERSION = re.compile(r"\d[\w.+-]{0,40}", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Missing:
    """What a card was made from, and was not handed in.

    Attributes:
        groups: entries of the card for groups whose ledgers are missing.
        server: whether the server ledger is.
        result: whether `result.json`, and the folder of the run with it, is.
        roster: whether there is none at hand, so that names are the card's word.
        people: whether the files that list people are.
        tallies: whether the files of tallies are.
        hidden: which of these two could be, by the names of the fields.
        unknown: what the card says of a group that nothing at hand knows; empty if it does not.
    """

    groups: tuple[Json, ...] = ()
    server: bool = False
    result: bool = False
    roster: bool = False
    people: bool = False
    tallies: bool = False
    hidden: tuple[str, ...] = ()
    unknown: str = ""

    @classmethod
    def of(cls, card: Mapping[str, Any], evidence: Evidence, given: Evidence) -> Self:
        """Compare what a card was made from with what is at hand.

        A group is missing only where the server ledger or the reviewer's roster knows its key.
        """
        keys = {ledger.owner.hex() or None for ledger in evidence.ledgers}
        groups = tuple(each for each in card["groups"] if each["key"] not in keys)
        # A roster that lies beside the ledgers is the publisher's, as the card is.
        known = given.members if given.roster_given else {}
        pinned = {(name, key.hex()) for name, key in known.items()}
        server = evidence.server_ledger
        if server is not None and server.error is None:
            pinned |= {
                (name, key)
                for seats in seats_of(server).values()
                for name, (_, key) in seats.items()
            }
        unknown = [each for each in groups if (each["name"], each["key"]) not in pinned]
        listed = [each["key"] for each in groups]
        if unknown:
            wrong = (
                f"states the group {unknown[0]['name']}, whose ledger is not at hand and whose key "
                "neither the server ledger nor a roster knows"
            )
        elif len(set(listed)) < len(listed):
            wrong = "states one group twice, whose ledger is not at hand"
        else:
            wrong = ""
        return cls(
            groups=groups,
            server=bool(card["server"]) and server is None,
            result=card["simulated"] is True and evidence.result is None,
            roster=not given.members and bool(card["roster"]["pins"]),
            hidden=tuple(
                name
                for name, hides in ((_PEOPLE, _hides_people), (_TALLIES, _hides_tallies))
                if any(hides(ledger) for ledger in evidence.ledgers)
            ),
            unknown=wrong,
        )

    def without(self, names: Sequence[str]) -> Self:
        """The same where these of the hidden files were not handed in, and the others were."""
        return replace(self, people=_PEOPLE in names, tallies=_TALLIES in names)

    @property
    def names(self) -> list[str]:
        """All of it, in words; empty where nothing is missing."""
        words = {
            "the server ledger": self.server,
            "a roster": self.roster,
            RESULT_FILE: self.result,
            "the people files": self.people,
            "the files of tallies": self.tallies,
        }
        ledgers = [f"the ledger of {each['name']}" for each in self.groups]
        return ledgers + [name for name, missing in words.items() if missing]

    def frees(self, check: Mapping[str, Any]) -> bool:
        """Whether a check of the card cannot be compared, for lack of what it rests on."""
        id, about = check["id"], check["about"]
        needs = _NEEDS.get(id, frozenset())
        if id == "epsilon" and about == "server":
            needs = frozenset((_SERVER,))
        lacking = {
            _SERVER: self.server,
            _LEDGERS: bool(self.groups),
            _RESULT: self.result,
            _PEOPLE: self.people,
            _TALLIES: self.tallies,
        }
        of_missing = id in (*_OF_LEDGER, "seat") and about in {each["name"] for each in self.groups}
        return of_missing or any(lacking[need] for need in needs)


def _hides_people(ledger: LedgerEvidence) -> bool:
    return ledger.state is not None and not ledger.state.knows_people


def _hides_tallies(ledger: LedgerEvidence) -> bool:
    return ledger.state is not None and bool(TallyHistory.of(ledger.events)) and not ledger.tallies


def filled(made: Json, card: Mapping[str, Any], evidence: Evidence, missing: Missing) -> Json:
    """The parts of the card that the evidence makes, with the card's word for what is missing.

    Args:
        made: the card of the evidence at hand.
        card: the one that was handed in.
        evidence: at hand.
        missing: what is not.

    Returns:
        What `privacy.audit.card.assembled` takes.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: if the card states something of another
            form there than it must have.
    """
    parts = {name: made[name] for name in ("simulated", "about", "empirical", "utility")}
    parts |= {name: made[name] for name in ("server", "roster")}
    config = made["hashes"]["config"]
    if missing.result:
        parts["simulated"] = True
        stated = card["utility"]
        parts["utility"] = stated and utility_of(
            {each["name"]: each["alignment"] for each in stated["groups"]}, stated["mean"]
        )
        config = card["hashes"]["config"]
        _require(config is None or bool(_DIGEST.fullmatch(config)), "hashes.config")
    if missing.server:
        parts["server"] = _server(card["server"], evidence)
    if missing.roster:
        pins = card["roster"]["pins"]
        _require(type(pins) is int and pins >= len(evidence.members), "roster.pins")
        parts["roster"] = {**made["roster"], "pins": pins}
    return parts | {
        "config": config,
        "groups": _groups(made["groups"], card["groups"], evidence, missing),
        "runs": _runs(made["runs"], card["runs"], evidence, missing),
        "verification": _verification(made["verification"], card["verification"], missing),
    }


def _require(holds: bool, where: str) -> None:
    if not holds:
        raise ValueError(f"{where} is not what can stand there")


def _server(stated: Json, evidence: Evidence) -> Json:
    _require_form(server_entry(_NOBODY), stated, "server")
    keys = {key.hex() for key in evidence.servers.values()}
    _require(stated["key_pinned"] is (stated["key"] in keys), "server.key")
    return stated


def _groups(
    made: list[Json], stated: list[Json], evidence: Evidence, missing: Missing
) -> list[Json]:
    """The entries of the groups: those at hand in their own order, among the others."""
    own, known = deque(made), {each["key"] for each in made}
    entries: list[Json] = []
    for each in stated:
        if each["key"] in known and own:
            entries.append(own.popleft())
        elif each in missing.groups:
            _require_form([*made, *_EMPTY], [each], f"groups.{each['name']}")
            pinned = bytes.fromhex(each["key"]) in evidence.members.values()
            _require(each["key_pinned"] is pinned, f"groups.{each['name']}.key_pinned")
            entries.append(each)
    return [*entries, *own]


def _runs(made: list[Json], stated: list[Json], evidence: Evidence, missing: Missing) -> list[Json]:
    own = {run["run"]: run for run in made}
    entries: list[Json] = []
    for run in stated:
        mine = own.pop(run["run"], None)
        if mine is not None:
            entries.append(_run(mine, run, evidence, missing))
        elif missing.server or (missing.groups and run["in_server_book"] is False):
            _require_form(made or [run], [run], "runs")
            entries.append(run)
    # With the server ledger the order is its own.
    ordered = missing.server or [each["run"] for each in entries] == [each["run"] for each in made]
    return [*entries, *own.values()] if ordered else made


def _run(mine: Json, stated: Json, evidence: Evidence, missing: Missing) -> Json:
    """A run, with what the card states of it where that rests on what is missing."""
    run, where = dict(mine), f"runs.{mine['run']}"
    if missing.result:
        version = stated["accountant_version"]
        _require(version is None or bool(_VERSION.fullmatch(version)), f"{where}.version")
        run["accountant_version"] = version
        starts = stated["starts"]
        sentences = isinstance(starts, list) and all(isinstance(each, str) for each in starts)
        _require(starts is None or sentences, f"{where}.starts")
        run["starts"] = starts
    if missing.groups:
        _require_form(mine["charged"], stated["charged"], f"{where}.charged")
        _require(stated["charged"]["steps"] >= mine["charged"]["steps"], f"{where}.charged")
        for name in ("sampling_rates", "noise_multipliers"):
            more = set(stated["charged"][name]) - set(mine["charged"][name])
            _require(not (more and mine["charged"][name]), f"{where}.charged.{name}")
        _require(set(mine["code"]) <= set(stated["code"]), f"{where}.code")
        run |= {"charged": stated["charged"], "code": stated["code"]}
    if missing.server:
        run |= {name: stated[name] for name in _OF_SERVER}
        run |= counted(stated["round_log"] or [])
        plans = [each.state.plans for each in evidence.ledgers if each.state]
        plan = next((known[mine["run"]].plan for known in plans if mine["run"] in known), None)
        if "tally" in mine:
            plan = _plan_of_tallies(mine, stated, evidence, where)
            run |= {name: stated[name] for name in _OF_RUN_OF_TALLIES}
            run["tally"] |= tally_statements(plan)
        said = [
            plan_statements(plan, stated["secure_aggregation"], len(stated["groups"]), pairs=pairs)
            for pairs in (False, True)
        ]
        run |= said[1] if said[1]["protocol"] == stated["protocol"] else said[0]
    return run


def _plan_of_tallies(mine: Json, stated: Json, evidence: Evidence, where: str) -> PrivacyPlan:
    """The plan of a run that is trained on tallies, as far as words are made of it.

    The server ledger alone has it. What the ledgers of groups show must follow from what is stated.
    """
    own, said = mine["tally"], stated["tally"]
    _require_form(own, said, f"{where}.tally")
    _require(said["answers_per_respondent"] >= own["answers_per_respondent"], f"{where}.tally")
    _require(said["largest_weight"] == own["largest_weight"], f"{where}.tally.largest_weight")
    of_both = own["questionnaires"].keys() & said["questionnaires"].keys()
    _require(
        all(own["questionnaires"][name] == said["questionnaires"][name] for name in of_both),
        f"{where}.tally.questionnaires",
    )
    for name in ("plan_digest", "modulus_bits", "dimension", "units", "planned_groups"):
        _require(type(stated[name]) is type(mine[name]), f"{where}.{name}")
    _require(stated["units"] >= mine["units"], f"{where}.units")
    _require_form(mine["delta_against_units"], stated["delta_against_units"], f"{where}.delta")
    for ledger in evidence.ledgers:
        history = TallyHistory.of(ledger.events)
        for name in history.used_by(mine["run"]):
            plan = history.plans[name]
            answers = said["answers_per_respondent"]
            counts = replace(plan.counts, answers_per_respondent=answers) if plan.counts else None
            norm = norm_of_counts(answers, said["largest_weight"])
            return replace(plan, counts=counts, clipping_norm=norm)
    raise ValueError(f"{where} is of tallies that no ledger at hand has")


def _verification(made: list[Json], stated: list[Json], missing: Missing) -> list[Json]:
    """The checks: those that can be compared as they are found, among the others as stated."""
    own = deque(each for each in made if not missing.frees(each))
    entries: list[Json] = []
    for check in stated:
        if not missing.frees(check):
            if own:
                entries.append(own.popleft())
            continue
        _require(check.keys() == {"id", "about", "status", "words", "rests_on"}, "a check's fields")
        _require(check["id"] in known_ids(), f"the check {check['id']!r}")
        _require(check["status"] in set(Status), f"the status of the check {check['id']!r}")
        bases = set(map(str, Basis))
        _require(
            bool(check["rests_on"]) and set(check["rests_on"]) <= bases,
            f"the basis of the check {check['id']!r}",
        )
        _require(isinstance(check["words"], str), f"the sentence of the check {check['id']!r}")
        entries.append(check)
    return [*entries, *own]


def _require_form(sample: Any, stated: Any, where: str) -> None:
    """Refuse what has other fields than a sample of its kind, anywhere inside."""
    if isinstance(sample, dict) and isinstance(stated, dict):
        _require(sample.keys() == stated.keys(), where)
        for name, value in stated.items():
            if name in _BY_NAME:
                _require(value is None or isinstance(value, dict), f"{where}.{name}")
            else:
                _require_form(sample[name], value, f"{where}.{name}")
    elif isinstance(sample, list) and isinstance(stated, list):
        for value in stated if sample else ():
            _require_form(_like(sample, value), value, where)
    elif isinstance(sample, dict | list):
        _require(stated is None, where)
    elif sample is not None and stated is not None:
        _require(isinstance(stated, type(sample)), where)


def _like(samples: list[Any], stated: Any) -> Any:
    """The sample that has the fields of a value; the first where none has."""
    if not isinstance(stated, dict):
        return samples[0]
    same = (each for each in samples if isinstance(each, dict) and each.keys() == stated.keys())
    return next(same, samples[0])


_NOBODY = LedgerEvidence(
    name="", file=Path(), owner=b"", pinned=False, events=(), state=None, torn=0, error=None
)
"""A ledger that holds nothing: the form of an entry."""

_TALLY: Json = {
    "tally": "",
    "plan_digest": "",
    "spends": 0,
    "digest": "",
    "rounds_by_run": {},
}
_EMPTY: tuple[Json, ...] = (
    group_entry(_NOBODY),
    {**group_entry(_NOBODY), "tallies": [_TALLY]},
)
"""The forms of a group's entry: with tallies, and without."""
