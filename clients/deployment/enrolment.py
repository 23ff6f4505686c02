"""Setting up an organisation's client: keys, group policy and card from an invitation; rosters."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from alignment.tallies.questionnaire import Questionnaire, questionnaire_of
from atomic import write_atomically, write_new
from clients.data.group_policy import GroupPolicy, GroupPolicyError, group_policy_text
from clients.data.home import CA_FILE, IDENTITY_FILE, POLICY_FILE, QUESTIONNAIRE_FILE, Home
from clients.data.invited import (
    InvitedPrivacy,
    Settings,
    lifetime_budget,
    require_known,
)
from clients.data.own_records import persons_in, records_in
from clients.data.policy_sections import (
    AcceptSection,
    DataSection,
    MachineSection,
    PrivacySection,
    ServerSection,
    StepSection,
    TallySection,
)
from clients.deployment.bundle import code_digest
from clients.deployment.node_key import NODE_KEY, NODE_PUBLIC, create_node_key, node_public
from privacy.accounting.choices import NO_PRIVACY
from privacy.file_names import INVITATION_FILE, ROSTER_FILE
from privacy.identity.enrolment import Card, Invitation
from privacy.identity.key_folder import MEMBERS, READERS, SERVER
from privacy.identity.keys import Identity, Roster, Rosters, rosters_json
from privacy.identity.roles import HELD_OUT, TRAIN, Role

CARD_FILE = "card.json"
SECRET_FILE = "executor.secret"  # noqa: S105 - the name of a file


def set_up(
    folder: Path,
    invitation: Invitation,
    policy: GroupPolicy,
    questionnaire: Questionnaire | None = None,
) -> Card:
    """Make the folder of a client: nothing in it is ever overwritten.

    Args:
        folder: Made if it is not there.
        invitation: Of the coordinator.
        policy: What the group agrees to; see :func:`policy_for`.
        questionnaire: What it pins, where answers are counted once; public.

    Returns:
        The card to be sent to the coordinator.

    Raises:
        GroupPolicyError: The folder holds a client already.
    """
    _require_new(folder, invitation)
    group, role = policy.group, policy.role
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = Home(folder=folder)
    identity = Identity.create()
    identity.write(home.file(IDENTITY_FILE))
    create_node_key(folder)
    write_new(home.file(SECRET_FILE), secrets.token_bytes(32))
    write_atomically(home.file(CA_FILE), invitation.ca)
    invitation.write(home.file(INVITATION_FILE))
    server = Roster({SERVER: bytes.fromhex(invitation.server)})
    own = Roster({group: identity.public} if role == TRAIN else {})
    write_atomically(home.file(ROSTER_FILE), rosters_json(own, server) + "\n")
    node = node_public(home.file(NODE_KEY))
    card = Card.signed(identity, group=group, role=role, node=node)
    card.write(home.file(CARD_FILE))
    if questionnaire is not None:
        write_atomically(home.file(QUESTIONNAIRE_FILE), questionnaire.to_json())
    # Last: a folder without a group policy holds no client.
    write_atomically(home.file(POLICY_FILE), group_policy_text(policy))
    return card


def _require_new(folder: Path, invitation: Invitation) -> None:
    """Refuse a folder that has any of the files of a client, but for this very invitation."""
    if (folder / POLICY_FILE).exists():
        raise GroupPolicyError(f"{folder}: holds a client already; choose another folder")
    made = (IDENTITY_FILE, NODE_KEY, NODE_PUBLIC, SECRET_FILE, CA_FILE, ROSTER_FILE, CARD_FILE)
    for name in (*made, QUESTIONNAIRE_FILE):
        if (folder / name).exists():
            raise GroupPolicyError(f"{folder / name}: is there already; choose another folder")
    path = folder / INVITATION_FILE
    if path.exists() and Invitation.read(path) != invitation:
        raise GroupPolicyError(f"{path}: is another invitation; choose another folder")


def questionnaire_for(
    invitation: Invitation, *, group: str, data: Path, given: Questionnaire | None = None
) -> Questionnaire | None:
    """What is counted of a group's data in runs of an invitation; None where nothing is.

    Args:
        invitation: Of the coordinator.
        group: Name of the group.
        data: Its records.
        given: A questionnaire to be used; None takes the questions that the data hold.

    Raises:
        DataError: The records cannot be read.
        QuestionnaireError: They have no questionnaire, or a question that is not in the given one.
    """
    if not require_known(invitation.settings)["privacy"].counted:
        return None
    records = records_in(str(data), group)
    questionnaire = given or questionnaire_of(records)
    questionnaire.require(records, where=QUESTIONNAIRE_FILE)
    return questionnaire


def policy_for(
    folder: Path,
    invitation: Invitation,
    *,
    group: str,
    data: Path,
    role: Role = TRAIN,
    model: str = "",
    budget_epsilon: float | None = None,
    units: int = 0,
    port: int = 9094,
    questionnaire: Questionnaire | None = None,
) -> GroupPolicy:
    """The group policy that a client begins with: what runs ask for by the invitation, no more.

    Args:
        folder: Of the client.
        invitation: Of the coordinator.
        group: Name of the group.
        data: The records; kept as a path from the folder where they lie in it.
        role: Whether the group trains.
        model: Fingerprint of the predictor; empty accepts any.
        budget_epsilon: What the data may ever spend; by default what one run asks for.
        units: Public bound on the units of privacy; 0 takes one from the data as they are, see
            :func:`public_bound`.
        port: On loopback.
        questionnaire: What is counted, where answers are counted once.

    Raises:
        GroupPolicyError: The invitation has settings that no run could have, or the policy would
            make no sense.
        DataError: The records cannot be read.
    """
    known = require_known(invitation.settings)
    asked = known["privacy"]
    protects = role == TRAIN and asked.mode != NO_PRIVACY
    try:
        policy = GroupPolicy(
            group=group,
            role=role,
            data=DataSection(path=_from(folder, data), public=role == HELD_OUT),
            privacy=_privacy(asked, budget_epsilon, (units or 1) if protects else 0),
            step=_step(invitation.settings),
            tally=TallySection(
                questionnaire=questionnaire.digest if protects and questionnaire else "",
                largest_weight=asked.largest_weight,
            ),
            accept=_accept(known, model),
            server=ServerSection(address=invitation.address),
            machine=MachineSection(port=port),
        )
    except ValidationError as error:
        raise _no_sense(error) from error
    if policy.group == SERVER:
        raise GroupPolicyError(f"group = {SERVER!r} is the server's own name: take another")
    # Records are read last: what makes no sense is told at once.
    return _bounded_by(policy, str(data)) if protects and not units else policy


def _bounded_by(policy: GroupPolicy, data: str) -> GroupPolicy:
    """A policy with a public bound on the units of privacy that its data hold."""
    asked = policy.privacy
    held = persons_in(records_in(data, policy.group), asked.unit, counted=asked.counted)
    privacy = asked.model_copy(update={"units": public_bound(held)})
    return policy.model_copy(update={"privacy": privacy})


def _no_sense(error: ValidationError) -> GroupPolicyError:
    """One line on the first thing that makes a policy senseless."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    value = "" if first["type"] == "value_error" else f" = {first['input']!r}"
    message = first["msg"].removeprefix("Value error, ")
    return GroupPolicyError(f"the policy would make no sense: {name}{value}: {message}")


def public_bound(units: int) -> int:
    """A bound above a number of units, with room for a tenth more, in two digits.

    It is public from then on, and is to stay when people come or go: choose another in the group
    policy if this one tells too much.
    """
    wanted = -(-11 * units // 10)
    step: int = 10 ** max(0, len(str(wanted)) - 2)
    return -(-wanted // step) * step


def _step(settings: Settings) -> StepSection:
    """The bounds of a private step that runs of these settings will have."""
    asked = {name: settings.get(f"privacy.{name}") for name in StepSection.model_fields}
    asked["max_tokens"] = settings.get("predictor.max_tokens")
    # A causal model reads every option on its own.
    if settings.get("predictor.scores") == "policy":
        asked["options_apart"] = True
    given = {name: value for name, value in asked.items() if value is not None}
    return StepSection.model_validate(given)


def _privacy(asked: InvitedPrivacy, budget_epsilon: float | None, units: int) -> PrivacySection:
    return PrivacySection(
        mode=asked.mode,
        mechanism="tally" if asked.counted else "gradients",
        unit=asked.unit,
        budget_epsilon=budget_epsilon or lifetime_budget(asked.epsilon, counted=asked.counted),
        budget_delta=asked.delta,
        run_epsilon=asked.epsilon,
        units=units,
    )


def _accept(known: Mapping[str, Any], model: str) -> AcceptSection:
    """What runs of invited settings, by section, come to."""
    asked = known["privacy"]
    return AcceptSection(
        code=code_digest(),
        encoder=known["predictor"].encoder,
        model=model,
        start=known["training"].start,
        # A sum of two is no secret between the two.
        members=max(3, known["federation"].minimum_groups),
        honest_shares=max(1, asked.survivors - asked.colluding),
        colluding=asked.colluding,
    )


def _from(folder: Path, data: Path) -> str:
    data, folder = data.resolve(), folder.resolve()
    return data.relative_to(folder).as_posix() if data.is_relative_to(folder) else str(data)


@dataclass(frozen=True, kw_only=True)
class RosterChange:
    """How a new roster differs from the pinned one; a party goes by its section and its name.

    Attributes:
        added: Parties with keys of their own.
        removed: Parties that are gone.
        changed: Parties whose key is another: they must say so themselves.
        text: What was compared, as it will be pinned.
    """

    added: Mapping[tuple[str, str], bytes]
    removed: Mapping[tuple[str, str], bytes]
    changed: Mapping[tuple[str, str], bytes]
    text: str


def compare_roster(home: Home, path: Path) -> RosterChange:
    """Hold a new roster against the pinned one.

    Raises:
        GroupPolicyError: No roster that this client may pin: its own key or the server's differ.
    """
    policy = home.group_policy
    try:
        pinned, read = Rosters.read(home.file(ROSTER_FILE)), Rosters.read(path)
        own_key = Identity.read(home.file(IDENTITY_FILE)).public
    except OSError as error:
        raise GroupPolicyError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if policy.role == TRAIN and read.members.get(policy.group) != own_key:
        raise GroupPolicyError(
            f"{path}: has another key for {policy.group!r}, or none: the coordinator has not "
            "admitted this client's card"
        )
    if dict(read.servers) != dict(pinned.servers):
        raise GroupPolicyError(
            f"{path}: names another server than the one pinned: set up a new client"
        )
    old, new = _by_section(pinned), _by_section(read)
    return RosterChange(
        added={party: key for party, key in new.items() if party not in old},
        removed={party: key for party, key in old.items() if party not in new},
        changed={party: key for party, key in new.items() if old.get(party, key) != key},
        text=rosters_json(read.members, read.servers, read.readers) + "\n",
    )


def pin_roster(home: Home, change: RosterChange) -> None:
    """Put a roster that somebody has looked at in the place of the pinned one: that very one."""
    write_atomically(home.file(ROSTER_FILE), change.text)


def _by_section(rosters: Rosters) -> dict[tuple[str, str], bytes]:
    sections = {MEMBERS: rosters.members, READERS: rosters.readers}
    return {
        (section, name): key for section, each in sections.items() for name, key in each.items()
    }


def accept_code(home: Home) -> str:
    """Name the installed code as the reviewed one in the group policy; returns its digest."""
    path, reviewed = home.file(POLICY_FILE), home.group_policy.accept.code
    # The one value, and not the whole file: what somebody has noted in it stays.
    text = path.read_text(encoding="utf-8")
    write_atomically(
        path, re.sub(rf'(?m)^([^#\n]*["\']){reviewed}', rf"\g<1>{code_digest()}", text)
    )
    return code_digest()


def settings_of(home: Home) -> Mapping[str, bool | int | float | str]:
    """What the invitation says that runs will ask for."""
    path = home.file(INVITATION_FILE)
    return Invitation.read(path).settings if path.exists() else {}
