"""The group policy: a file that says what a group's client does, for whom, and nothing beyond.

It lies on the group's own machine and is read anew for every message. Whatever a server asks for
is held against it before a record is touched; the group needs to trust nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import tomli_w
from pydantic import AfterValidator, Field, ValidationError, model_validator

from clients.data.policy_sections import (
    AcceptSection,
    DataSection,
    MachineSection,
    PrivacySection,
    Section,
    ServerSection,
    StepSection,
    TallySection,
)
from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import (
    Mode,
)
from privacy.accounting.counts import CountTerms
from privacy.accounting.plan import PrivacyPlan
from privacy.errors import PolicyRefused
from privacy.identity.roles import HELD_OUT, TRAIN, Role
from privacy.secagg.round_terms import RoundTerms
from texts import name_of, read_text


class GroupPolicyError(ValueError):
    """A group policy cannot be read, or says what makes no sense."""


class GroupPolicy(Section):
    """A group policy, all of it.

    Attributes:
        group: Name of the group, as in the roster.
        role: ``train``, or ``held_out`` for a group that only measures, on public answers.
    """

    group: Annotated[str, Field(min_length=1), AfterValidator(name_of)]
    role: Role = TRAIN
    data: DataSection
    privacy: PrivacySection = PrivacySection()
    step: StepSection = StepSection()
    tally: TallySection = TallySection()
    accept: AcceptSection
    server: ServerSection
    machine: MachineSection = MachineSection()

    @model_validator(mode="after")
    def _sense(self) -> GroupPolicy:
        if self.role == HELD_OUT and not self.data.public:
            raise ValueError(
                "role = 'held_out' with data.public = false: what is measured would leave as it "
                "is; set data.public = true if the answers are public, or role = 'train'"
            )
        if self.role == TRAIN and self.privacy.private and self.privacy.units == 0:
            raise ValueError(
                "privacy.units is missing: state a public bound on the units of privacy that the "
                "data will ever hold, above their number"
            )
        if self.privacy.counted:
            if self.privacy.mode != Mode.LOCAL.value:
                raise ValueError(
                    f"privacy.mechanism = 'tally' with privacy.mode = {self.privacy.mode!r}: a "
                    "group's counts carry all of its own noise; set privacy.mode = 'local'"
                )
            if self.role == TRAIN and not self.tally.questionnaire:
                raise ValueError(
                    "privacy.mechanism = 'tally' without tally.questionnaire: nothing could be "
                    "counted; fedaccord client init writes the file and its digest"
                )
        if self.accept.threshold > self.accept.members:
            raise ValueError(
                f"accept.threshold = {self.accept.threshold} is above accept.members = "
                f"{self.accept.members}: raise members"
            )
        return self

    @property
    def counted(self) -> bool:
        """Whether this group's answers are counted once; a group that only measures counts none."""
        return self.role == TRAIN and self.privacy.counted

    def check_plan(self, plan: PrivacyPlan, *, group: int = 0) -> None:
        """Hold a privacy plan against the group policy.

        Args:
            plan: Of the run.
            group: Which of its groups this one is, from 0.

        Raises:
            PolicyRefused: For the first term that falls short.
        """
        wanted, accept = self.privacy, self.accept
        if wanted.mode != plan.mode:
            raise PolicyRefused(f"mode = {plan.mode}; this group's policy wants {wanted.mode}")
        if wanted.unit != plan.unit:
            raise PolicyRefused(f"unit = {plan.unit}; this group's policy wants {wanted.unit}")
        if not plan.epsilon <= wanted.run_epsilon:
            raise PolicyRefused(
                f"epsilon = {plan.epsilon:g} is above the {wanted.run_epsilon:g} that this "
                "group's policy accepts of one run"
            )
        if plan.delta > wanted.budget_delta:
            raise PolicyRefused(
                f"delta = {plan.delta:g} is above the {wanted.budget_delta:g} of this group's "
                "policy"
            )
        if plan.release != wanted.mechanism:
            raise PolicyRefused(
                f"mechanism = {plan.release}; this group's policy wants {wanted.mechanism}"
            )
        if plan.counts is not None:
            self._check_counts(plan, plan.counts, group)
            return
        self.step.check(plan.required_shape)
        if plan.mode is not Mode.DISTRIBUTED:
            return
        for name in ("honest_shares", "colluding"):
            asked, least = getattr(plan, name), getattr(accept, name)
            if asked < least:
                raise PolicyRefused(
                    f"{name} = {asked} is below the {least} that this group's policy wants"
                )

    def _check_counts(self, plan: PrivacyPlan, counts: CountTerms, group: int) -> None:
        """Hold what a plan would count against the questionnaire that is pinned.

        Raises:
            PolicyRefused: It is another, or the data could move more than the plan bounds.
        """
        pinned = self.tally
        named = counts.questionnaires[group] if 0 <= group < plan.groups else None
        # A plan names none where a seat was free.
        if named not in ("", pinned.questionnaire):
            raise PolicyRefused("questionnaire: it is not the one that this group's policy pins")
        distributions = plan.relation is NeighboringRelation.REPLACE_ONE
        if distributions and counts.largest_weight < pinned.largest_weight:
            raise PolicyRefused(
                f"largest_weight = {counts.largest_weight:g} is below the "
                f"{pinned.largest_weight:g} of this group's distributions: the bound would not hold"
            )

    def check_terms(self, terms: RoundTerms) -> None:
        """Hold the terms of a secure sum against the group policy.

        Raises:
            PolicyRefused: For the first term that falls short.
        """
        accept = self.accept
        if terms.threshold < accept.threshold:
            raise PolicyRefused(
                f"threshold = {terms.threshold} is below the {accept.threshold} that this group's "
                "policy wants"
            )
        if terms.survivors < accept.members:
            raise PolicyRefused(
                f"survivors = {terms.survivors} is below the {accept.members} members that this "
                "group's policy wants in a sum"
            )

    def check_predictor(self, encoder: str, fingerprint: Callable[[], str]) -> None:
        """Hold the predictor that is asked for against the one agreed to.

        A refusal tells nothing of this machine: not what a folder holds that was named as an
        encoder, nor whether it is there.

        Args:
            encoder: Its name, as the run gives it.
            fingerprint: Reads its files.

        Raises:
            PolicyRefused: It is another one.
        """
        accept = self.accept
        agreed = not accept.encoder or encoder == accept.encoder
        if agreed and accept.model:
            try:
                agreed = fingerprint() == accept.model
            except (ValueError, OSError):
                agreed = False
        if not agreed:
            raise PolicyRefused(
                "predictor: it, or its encoder, is not the one that this group's policy accepts"
            )

    def check_start(self, stated: str, *, first: str | None) -> None:
        """Hold what a run begins from against the group policy, before the run is announced.

        Every round states it, in a plan that all members of a sum sign; the vector itself shows it
        where the run begins.

        Args:
            stated: By the plan of the round: digest of the run's first vector.
            first: Digest of that vector where this message has it; None in later rounds.

        Raises:
            PolicyRefused: It is another one.
        """
        agreed = self.accept.start
        if agreed and not stated == (first or stated) == agreed:
            raise PolicyRefused(
                "start: the run begins from another model than accept.start of this group's "
                "policy: nothing was trained"
            )


def read_group_policy(path: Path) -> GroupPolicy:
    """Read a group policy.

    Raises:
        GroupPolicyError: One line that names file and field.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise GroupPolicyError(f"{path}: cannot be read: {error}") from error
    return _parsed(path, text)


@lru_cache(maxsize=8)
def _parsed(path: Path, text: str) -> GroupPolicy:
    try:
        return GroupPolicy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise GroupPolicyError(f"{path}: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        value = "" if first["type"] in ("missing", "value_error") else f" = {first['input']!r}"
        where = f"{name}{value}: " if name else ""
        message = first["msg"].removeprefix("Value error, ")
        raise GroupPolicyError(f"{path}: {where}{message}") from error


def group_policy_text(policy: GroupPolicy) -> str:
    """The file of a group policy, with a comment on every section."""
    sections = policy.model_dump()
    head = {name: sections.pop(name) for name in ("group", "role")}
    parts = [_ABOUT[""], tomli_w.dumps(head)]
    for name, content in sections.items():
        parts += [_ABOUT[name], tomli_w.dumps({name: content})]
    return "\n".join(parts)


_ABOUT = {
    "": "# What this group's client does, and nothing beyond. Read anew for every message.",
    "data": (
        "# path: the records. public = true lets what is measured on them leave as it is;\n"
        '# only a group with role = "held_out" measures.'
    ),
    "privacy": (
        "# budget_epsilon and budget_delta: what these data may ever spend, over all runs.\n"
        "# run_epsilon: the most that one run may promise.\n"
        "# units: what others are told instead of how many people there are; above their number.\n"
        '# mechanism: "tally" counts answers once, adds noise and never opens the data again;\n'
        '# "gradients" reads them in every round.'
    ),
    "step": (
        "# The most that a private step may ask of this machine. What exceeds the bounds of a\n"
        "# plan counts as absent. options_apart: room for pairs; plans must say the same."
    ),
    "tally": (
        "# questionnaire: digest of questionnaire.json, which is public: what is not in it is not\n"
        "# counted. wave: a new name counts those who were not counted before. largest_weight: of\n"
        "# distributions with weights, the largest over the mean."
    ),
    "accept": (
        "# code: what `fedaccord client review` showed. encoder, model: empty accepts any.\n"
        "# start: digest of the model that runs begin from; empty accepts any.\n"
        "# members: fewest groups in a sum; threshold: t, 0 takes the least that is sound;\n"
        "# honest_shares: h; colluding: c, groups that may tell the server their own noise.\n"
        "# partners = true also lets vectors of local mode go to single groups, encrypted."
    ),
    "server": "# Reached over TLS, with the authority in ca.crt and no other.",
    "machine": (
        "# port: on loopback. stage_seconds: a stage that takes longer counts as hanging.\n"
        "# poll_seconds: how often the server is asked for work."
    ),
}
