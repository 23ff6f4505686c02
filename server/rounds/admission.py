"""Admission rules: the setup that a node declares, and whether it may take part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from flwr.app import ConfigRecord, Message

from privacy.errors import BadSignature
from privacy.identity.keys import KEY_BYTES, SIGNATURE_BYTES
from privacy.identity.possession import require_proof
from privacy.identity.roles import HELD_OUT, TRAIN
from server.config import RunConfig
from server.rounds.cohort import Asked
from texts import UnfitText, require_name

IDLE = "idle"
#: Of what a node says, in characters; a roster of so many names some thousands of members.
_LONGEST_ROLE = 200
_LONGEST_CODE = 128
_LONGEST_ROSTER = 1 << 20
# As plans have it: one that is spelled otherwise would stop a run, not its own group alone.
_DIGEST = re.compile("[0-9a-f]{64}")
_MOST_QUESTIONS = 1 << 20
_MOST_OPTIONS = 1 << 10
ANOTHERS_KEY = "group {!r} shows the key of another group: give each its own"
#: So many times the median of what groups declare.
_UNUSUAL = 10


#: A node that comes later and does not say who it is keeps all others waiting for no longer.
_REFRESH_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class MembershipTerms:
    """Terms of a run: whom it lets in, and how long it waits for them.

    Attributes:
        minimum_groups: Fewest train groups.
        timeout_seconds: How long to wait for nodes and answers.
        refresh_timeout_seconds: How long all wait for the answer of a node that has come later.
        unit: Unit of privacy to be counted; empty where nothing is private.
        counts: Whether answers are counted once, of a questionnaire that each group states.
        delta: Failure probability of the guarantee, where a run is private.
        secure: Whether train groups must name the keys that they sign with and pin each other's,
            as members of a secure sum and partners do.
        roster: File of the members that are admitted; empty admits everybody.
        seats: Most train groups, and at least those of the start; 0 gives no seat beyond those of
            the start where a run is private, and has no bound where it is not.
        units_per_seat: Most units of a group that comes later, where a run is private.
    """

    minimum_groups: int
    timeout_seconds: float
    refresh_timeout_seconds: float = _REFRESH_SECONDS
    unit: str = ""
    counts: bool = False
    delta: float = 0.0
    secure: bool = False
    roster: str = ""
    seats: int = 0
    units_per_seat: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> MembershipTerms:
        """The terms of a run."""
        federation, privacy = config.federation, config.privacy
        return cls(
            minimum_groups=federation.minimum_groups,
            timeout_seconds=federation.round_timeout_seconds,
            refresh_timeout_seconds=min(federation.stage_timeout_seconds, _REFRESH_SECONDS),
            unit=privacy.unit if privacy.private else "",
            counts=privacy.counted,
            delta=privacy.delta if privacy.private else 0.0,
            secure=federation.secure_aggregation or config.strategy.in_pairs,
            roster=federation.roster,
            seats=federation.seats,
            units_per_seat=privacy.units_per_seat,
        )


class SetupRefused(ValueError):
    """The setup that a node declares cannot be used."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Setup that a node declares.

    Attributes:
        node: Its id.
        group: Name of the group behind it.
        role: ``train``, ``held_out`` or ``idle``.
        units: Units of privacy that a train group declares; 0 where nothing is private.
        asked: Its questionnaire, where answers are counted once.
        identity: Public key that the node has proved to hold, 32 bytes; empty where none was asked
            for, or of a group that only measures and names none.
        pins: Public keys by name that the group has pinned; None where it pins nothing and takes
            whom it is given.
        code: Digest of the code that the client runs, hexadecimal; empty where it does not say.
    """

    node: int
    group: str
    role: str
    units: int = 0
    asked: Asked | None = None
    identity: bytes = b""
    pins: Mapping[str, bytes] | None = None
    code: str = ""

    def takes(self, other: Setup) -> bool:
        """Whether this group would be in a sum with another."""
        return self.pins is None or self.pins.get(other.group) == other.identity


@dataclass(frozen=True, kw_only=True)
class TakenSeats:
    """The seats of a run that goes on: only groups that hold one are let in at its start.

    Attributes:
        groups: Names by group index, empty where a seat is free.
        keys: Public keys of these groups; what is not named is not compared.
    """

    groups: tuple[str, ...] = ()
    keys: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def indices(self) -> dict[str, int]:
        """Group indices by name."""
        return {name: index for index, name in enumerate(self.groups) if name}

    def fits(self, setup: Setup) -> bool:
        """Whether a train group shows the key of the group that holds a seat by its name."""
        return (
            setup.group in self.groups
            and self.keys.get(setup.group, setup.identity) == setup.identity
        )


def read_setup(reply: Message, *, unit: str, challenge: bytes, counts: bool = False) -> Setup:
    """Read a node's answer.

    Args:
        reply: Without an error.
        unit: Unit of privacy that was asked for; empty where nothing is private.
        challenge: What came with the request, 32 bytes: train groups had to prove the key that
            they sign with, and so had those that only measure and name one. Empty where no key
            was asked for: what is said of one does not count.
        counts: Whether a train group had to state its questionnaire.

    Raises:
        SetupRefused: The answer cannot be read, or proves no key.
    """
    node = reply.metadata.src_node_id
    try:
        answer = reply.content.config_records["setup"]
        role = _text(answer, "role")
        if role == IDLE:
            return Setup(node=node, group="", role=role)
        group = _group(answer)
        if role not in (TRAIN, HELD_OUT):
            raise SetupRefused(f"group {group!r} has an unknown role: use one version")
        identity = _proven(answer, role, node, challenge) if challenge else b""
        pinned = _text(answer, "roster", most=_LONGEST_ROSTER, default="")
        return Setup(
            node=node,
            group=group,
            role=role,
            units=_units(answer) if unit and role == TRAIN else 0,
            asked=_questionnaire(answer) if counts and role == TRAIN else None,
            identity=identity,
            pins=_pins(pinned) if pinned else None,
            code=_code(answer),
        )
    except SetupRefused:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SetupRefused("a node's answer to setup cannot be read: use one version") from error


def _text(
    answer: ConfigRecord, key: str, *, most: int = _LONGEST_ROLE, default: str | None = None
) -> str:
    value = answer[key] if default is None else answer.get(key, default)
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"{key} is no text of at most {most} characters")
    return value


def _group(answer: ConfigRecord) -> str:
    group = answer["group"]
    if not isinstance(group, str):
        raise TypeError("a group's name is no text")
    try:
        return require_name(group)
    except UnfitText as error:
        raise SetupRefused(f"a group's name {error}") from error


def _units(answer: ConfigRecord) -> int:
    units = answer["units"]
    if not isinstance(units, int) or isinstance(units, bool):
        raise TypeError("units are no whole number")
    return units


def _questionnaire(answer: ConfigRecord) -> Asked:
    """What a group says of its questionnaire: a few numbers that all are public."""
    digest = _text(answer, "questionnaire")
    options, distributions = answer["options"], answer["distributions"]
    if not _DIGEST.fullmatch(digest) or not isinstance(distributions, bool):
        raise ValueError("a questionnaire is named by no digest")
    if not isinstance(options, list) or not 1 <= len(options) <= _MOST_QUESTIONS:
        raise ValueError("a questionnaire has no questions, or more than a run has room for")
    counts = tuple(count for count in options if type(count) is int and 2 <= count <= _MOST_OPTIONS)
    if len(counts) < len(options):
        raise ValueError("a question has no options, or more than a run has room for")
    return Asked(digest=digest, options=counts, distributions=distributions)


def _proven(answer: ConfigRecord, role: str, node: int, challenge: bytes) -> bytes:
    """The key that a node has shown to hold, over all that it says; empty where it needs none."""
    group = _group(answer)
    identity = bytes.fromhex(_text(answer, "identity", default=""))
    if not identity and role == HELD_OUT:
        return identity
    if len(identity) != KEY_BYTES:
        raise SetupRefused(f"group {group!r} names no key")
    declared, proof = dict(answer), answer.get("proof")
    declared.pop("proof", None)
    if not isinstance(proof, bytes) or len(proof) != SIGNATURE_BYTES:
        raise SetupRefused(f"group {group!r} does not prove that it holds its key")
    try:
        require_proof(identity, proof, declared, challenge=challenge, node=node)
    except BadSignature as error:
        raise SetupRefused(f"group {group!r} does not prove that it holds its key") from error
    return identity


def _pins(text: str) -> dict[str, bytes]:
    return {str(name): bytes.fromhex(key) for name, key in json.loads(text).items()}


def _code(answer: ConfigRecord) -> str:
    text = _text(answer, "code", most=_LONGEST_CODE, default="")
    bytes.fromhex(text)
    return text


def holders(setups: Sequence[Setup]) -> tuple[list[Setup], dict[int, str]]:
    """Of nodes that show one name or one key, the one that is believed.

    That is the first, and of one name the first that proves a key, if any does.

    Args:
        setups: Of different nodes, the first to be listed first.

    Returns:
        Those that are believed, in their order, and by node the reason why another is not.
    """
    names, keys = set[str](), set[bytes]()
    reasons: dict[int, str] = {}
    for each in sorted(setups, key=lambda each: not each.identity):
        if each.group in names:
            reasons[each.node] = f"group {each.group!r} has a node already: give each its own name"
        elif each.identity in keys:
            reasons[each.node] = ANOTHERS_KEY.format(each.group)
        else:
            names.add(each.group)
            keys |= {each.identity} - {b""}
    return [each for each in setups if each.node not in reasons], reasons


def overstated(setups: Sequence[Setup], *, delta: float) -> dict[int, str]:
    """Of train groups whose units are too many for a plan of this delta, those that are to blame.

    A plan needs all units together below one over delta. Where they are not, whoever declares
    many times as many as is usual goes, the largest first: no single group makes a plan impossible.

    Args:
        setups: Train groups, with the units that they declare.
        delta: Of the plan.

    Returns:
        By node, the reason why it is left out.
    """
    reasons = {
        each.node: f"group {each.group!r} declares {each.units} units: it needs at least 1"
        for each in setups
        if each.units < 1
    }
    counted = sorted((e for e in setups if e.units >= 1), key=lambda e: (e.units, e.group))
    usual = counted[(len(counted) - 1) // 2].units if counted else 0
    while counted and counted[-1].units > _UNUSUAL * usual:
        if sum(each.units for each in counted) * delta < 1:
            break
        largest = counted.pop()
        reasons[largest.node] = (
            f"group {largest.group!r} declares {largest.units} units, too many for delta = "
            f"{delta:g}: lower privacy.delta if that is true"
        )
    return reasons


def strangers(one: Setup, others: Iterable[Setup]) -> tuple[list[str], list[str]]:
    """Names of those whose keys a group does not pin, and of those who do not pin its own."""
    listed = [other for other in others if other.group != one.group]
    return (
        [other.group for other in listed if not one.takes(other)],
        [other.group for other in listed if not other.takes(one)],
    )


def in_words(group: str, unknown: Sequence[str], unknown_to: Sequence[str]) -> str:
    """One line that names who does not pin whom."""
    parts = [f"{group!r} does not pin {_names(unknown)}"] if unknown else []
    parts += [f"{group!r} is not pinned by {_names(unknown_to)}"] if unknown_to else []
    return f"stale roster: {' and '.join(parts)}; update the rosters of these groups"


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))


def agreeing(setups: Sequence[Setup]) -> list[Setup]:
    """Groups that all pin each other.

    Whoever does not pin a member of a secure sum refuses it, and takes the sum away from the rest.
    Of two that do not agree, the one goes that does not take a group whom at least half of all
    take, itself counted: a single roster shuts out nobody whom the rest knows. Then those come
    with the most mutual pins, ties by name.
    """
    taken = [one for one in setups if 2 * _takers(one, setups) >= len(setups)]
    core = {one.node for one in taken if all(one.takes(two) for two in taken if two is not one)}
    mutual = {
        one.group: sum(one.takes(two) and two.takes(one) for two in setups if two is not one)
        for one in setups
    }
    chosen: list[Setup] = []
    order = sorted(
        setups, key=lambda each: (each.node not in core, -mutual[each.group], each.group)
    )
    for one in order:
        if all(one.takes(two) and two.takes(one) for two in chosen):
            chosen.append(one)
    return chosen


def _takers(one: Setup, others: Iterable[Setup]) -> int:
    """How many take a group, itself included."""
    return sum(other is one or other.takes(one) for other in others)
