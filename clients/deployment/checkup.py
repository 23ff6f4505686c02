"""The check before a client joins: whether all is in order.

Nothing here leaves the machine but a greeting to the server, and nothing is charged.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from clients.data.datastore import open_home, pinned_questionnaire
from clients.data.group_policy import GroupPolicy
from clients.data.home import CA_FILE, IDENTITY_FILE, QUESTIONNAIRE_FILE, Home
from clients.data.invited import require_known, weaker_than_defaults
from clients.data.own_records import persons_in, records_in
from clients.deployment.bundle import code_digest
from clients.deployment.connection import node_is_registered, probe
from clients.deployment.enrolment import SECRET_FILE
from clients.deployment.node_key import NODE_KEY
from privacy.errors import PolicyRefused
from privacy.file_names import INVITATION_FILE, ROSTER_FILE
from privacy.identity.enrolment import Invitation
from privacy.identity.key_folder import SERVER
from privacy.identity.keys import Identity, Rosters
from privacy.identity.roles import TRAIN
from texts import shown, visible


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of it.
        holds: Whether the client can join as far as this goes.
        text: What was found, and the remedy where it does not hold.
    """

    name: str
    holds: bool
    text: str


def findings(home: Home, *, offline: bool = False) -> Iterator[Finding]:
    """Look at everything that could keep a client from joining, cheapest first.

    Args:
        home: Folder of the client.
        offline: Leave the server alone.

    Raises:
        GroupPolicyError: There is no group policy that can be read; nothing else makes sense then.
    """
    policy = home.group_policy
    yield _try("keys", lambda: _keys(home))
    yield _try("code", lambda: _code(policy))
    yield _try("invitation", lambda: _invitation(home))
    yield _try("promise", lambda: _promise(policy))
    yield _try("roster", lambda: _roster(home, policy))
    if policy.counted:
        yield _try("questions", lambda: _questions(home))
    yield _try("data", lambda: _data(home, policy))
    if not offline:
        server = _try("server", lambda: _server(home, policy))
        yield server
        if server.holds:
            yield _try("admission", lambda: _admission(home, policy))


class _Amiss(ValueError):
    """Something does not hold; the text says what and how to mend it."""


def _try(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, holds=True, text=look())
    except (ValueError, OSError) as error:
        return Finding(name=name, holds=False, text=visible(" ".join(str(error).split())))


def _keys(home: Home) -> str:
    for name in (IDENTITY_FILE, NODE_KEY, SECRET_FILE):
        path = home.file(name)
        if not path.is_file():
            raise _Amiss(f"{path} is missing: bring it back, or set up a new client and enrol it")
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise _Amiss(f"{path} can be read by others: chmod 600 {path}")
    return f"identity {_identity(home).public.hex()[:16]}, for you alone"


def _identity(home: Home) -> Identity:
    path = home.file(IDENTITY_FILE)
    try:
        return Identity.read(path)
    except (ValueError, TypeError, OSError) as error:
        raise _Amiss(
            f"{path} holds no key that can be read: bring it back, or set up a new client"
        ) from error


def _code(policy: GroupPolicy) -> str:
    if code_digest() != policy.accept.code:
        raise _Amiss(
            f"installed is {code_digest()[:16]}, reviewed was {policy.accept.code[:16]}: look at "
            "it with fedaccord client review, and accept it or install the reviewed one"
        )
    return f"{code_digest()[:16]}, as reviewed"


def _invitation(home: Home) -> str:
    path = home.file(INVITATION_FILE)
    if not path.is_file():
        return "there is none here: the policy alone says what is agreed to"
    invitation = Invitation.read(path)
    require_known(invitation.settings)
    return f"{invitation.fingerprint}, as the coordinator must read it out"


def _promise(policy: GroupPolicy) -> str:
    weaker = weaker_than_defaults(policy)
    if not weaker:
        return "as strong as the built-in defaults"
    named = ", ".join(f"{each.name} = {each.value} ({each.default})" for each in weaker)
    return f"weaker than the built-in defaults: {named}"


def _roster(home: Home, policy: GroupPolicy) -> str:
    path = home.file(ROSTER_FILE)
    if not path.is_file():
        raise _Amiss(f"{path} is missing: put the coordinator's roster in its place")
    rosters = Rosters.read(path)
    members = rosters.members
    if SERVER not in rosters.servers:
        raise _Amiss(f"{path} names no server: get it from the coordinator again")
    own = _identity(home).public
    if policy.role == TRAIN and members.get(policy.group) != own:
        raise _Amiss(f"{path} has another key for {policy.group!r}: pin the roster anew")
    if policy.role == TRAIN and len(members) < policy.accept.members:
        raise _Amiss(
            f"{path} names {len(members)} member(s), the policy wants {policy.accept.members} in "
            "a sum: fedaccord client roster FILE pins the coordinator's"
        )
    return f"{len(members)} members, {', '.join(map(shown, members))}"


def _questions(home: Home) -> str:
    try:
        questionnaire = pinned_questionnaire(home)
    except PolicyRefused as error:
        raise _Amiss(f"{home.file(QUESTIONNAIRE_FILE)}: {error}") from error
    asked = len(questionnaire.questions)
    return f"{asked:,} questions are counted, once, and are public: {questionnaire.digest[:16]}"


def _data(home: Home, policy: GroupPolicy) -> str:
    store = open_home(home, strict=True)
    asked = f"{len(store.answers):,} questions"
    if not policy.privacy.private or not store.trains:
        return asked
    counted = policy.counted
    records = records_in(str(home.data(policy)), policy.group)
    units = persons_in(records, store.unit, counted=counted)
    return (
        f"{asked}, {units:,} units of privacy ({store.unit}); others are told {store.units_bound:,}"
    )


def _server(home: Home, policy: GroupPolicy) -> str:
    expires = probe(policy.server.address, home.file(CA_FILE))
    return f"{policy.server.address}, its certificate holds until {expires:%Y-%m-%d}"


def _admission(home: Home, policy: GroupPolicy) -> str:
    address = policy.server.address
    if not node_is_registered(address, home.file(CA_FILE), home.file(NODE_KEY)):
        raise _Amiss(f"{address} does not know this node: send card.json to its coordinator")
    return "the server knows this node"
