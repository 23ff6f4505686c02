"""The group policy: a file that says what a group's client does, for whom, and nothing beyond.

It lies on the group's own machine and is read anew for every message. Whatever a server asks for
is held against it before a record is touched; the group needs to trust nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import (
    MAX_EPSILON,
    NO_PRIVACY,
    Mechanism,
    Mode,
    ModeSetting,
    UnitSetting,
)
from privacy.accounting.counts import CountTerms
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.shape import StepShape
from privacy.errors import PolicyRefused
from privacy.identity.roles import HELD_OUT, TRAIN, Role
from privacy.secagg.round_terms import RoundTerms
from texts import name_of, read_text

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class GroupPolicyError(ValueError):
    """A group policy cannot be read, or says what makes no sense."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(_Section):
    """Where the group's records are.

    Attributes:
        path: File or folder, absolute or from the folder of this file.
        skip_invalid: Leave invalid rows out instead of refusing all.
        public: Whether the answers are public: what is measured on them may leave as it is.
    """

    path: str
    skip_invalid: bool = False
    public: bool = False


class PrivacySection(_Section):
    """The guarantee that the group insists on.

    Attributes:
        mode: How noise must be added; ``none`` gives no guarantee at all.
        unit: Whose presence must be hidden.
        budget_epsilon: What the group's data may ever spend, over all runs.
        budget_delta: Delta of that.
        run_epsilon: The most that one run may promise.
        units: Public bound on the units of privacy that the data hold or ever will: what others are
            told instead of their number. 0 where nothing is private.
        mechanism: How the data are read: ``tally`` counts answers once and never opens the data
            again; ``gradients`` reads them in every round.
    """

    mode: ModeSetting = "distributed"
    mechanism: Literal["tally", "gradients"] = "gradients"
    unit: UnitSetting = "respondent"
    budget_epsilon: float = Field(default=8.0, gt=0, le=MAX_EPSILON)
    budget_delta: float = Field(default=1e-5, gt=0, lt=1)
    run_epsilon: float = Field(default=8.0, gt=0, le=MAX_EPSILON)
    units: int = Field(default=0, ge=0, le=10**9)

    @property
    def private(self) -> bool:
        """Whether the group insists on a guarantee at all."""
        return self.mode != NO_PRIVACY

    @property
    def counted(self) -> bool:
        """Whether answers are counted once, and the data never opened again."""
        return self.private and self.mechanism == Mechanism.TALLY.value


class StepSection(_Section):
    """The bounds of a private step: the most that a plan may ask of this machine.

    What does not fit into a plan's bounds counts as absent, and nobody is told.

    Attributes:
        micro_batch: Units that are computed at a time.
        records_per_unit: Records of a unit that count in a step.
        max_options: Options of a question.
        max_tokens: Tokens of a text.
        options_apart: Whether a step has room for pairs, whose responses are read in texts of their
            own. A plan must say the same: the time of a step must not tell whether there are any.
    """

    micro_batch: int = Field(default=16, ge=1)
    records_per_unit: int = Field(default=32, ge=1)
    max_options: int = Field(default=16, ge=2)
    max_tokens: int = Field(default=128, ge=1)
    options_apart: bool = False

    def check(self, shape: StepShape) -> None:
        """Hold the shape of a step against these bounds.

        Raises:
            PolicyRefused: For the first bound that is exceeded.
        """
        for name in ("micro_batch", "records_per_unit", "max_options", "max_tokens"):
            asked, most = getattr(shape, name), getattr(self, name)
            if asked > most:
                raise PolicyRefused(
                    f"{name} = {asked} is above the {most} that this group's policy allows a step"
                )
        if shape.options_apart != self.options_apart:
            raise PolicyRefused(
                f"options_apart = {shape.options_apart}; this group's policy says "
                f"{self.options_apart}"
            )


class TallySection(_Section):
    """What is counted, where answers are counted once.

    Attributes:
        questionnaire: Digest of the file of questions and options beside this one, which is public;
            empty counts nothing.
        wave: Name of the wave of persons that the data hold. Under a new name those are counted who
            were in no tally before, once more and at their own expense.
        largest_weight: Of published distributions: the largest weight of a person over the mean
            weight, 1 without weights. Plans that count on less are refused.
    """

    questionnaire: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    wave: Annotated[str, Field(pattern="^[A-Za-z0-9._-]{0,40}$")] = ""
    largest_weight: float = Field(default=1.0, ge=1, le=1000)


class AcceptSection(_Section):
    """What the group agrees to, in numbers that a server may not fall short of.

    Attributes:
        code: Digest of the client's code that the group has reviewed.
        encoder: Name of the base encoder, as runs give it: no other is looked at; empty looks at
            any, and so at folders of the server's choice.
        model: Fingerprint of the predictor and its base encoder; empty accepts any.
        start: Digest of the vector that runs may begin from; empty accepts any.
        members: Into a sum over fewer groups than these no vector goes.
        threshold: t, groups that must sign one set of survivors; 0 takes the least that is sound.
        honest_shares: h, shares of noise that must be in the sum and unknown to others.
        colluding: c, groups that the noise must count on telling the server what they know.
        partners: Whether vectors, private by themselves, may also go to single groups of the
            roster, encrypted for them: what strategy ``gossip`` does instead of a sum.
    """

    code: _Digest
    encoder: str = ""
    model: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    start: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")] = ""
    members: int = Field(default=3, ge=2)
    threshold: int = Field(default=0, ge=0)
    honest_shares: int = Field(default=1, ge=1)
    colluding: int = Field(default=1, ge=0)
    partners: bool = False


class ServerSection(_Section):
    """Whom the client connects to.

    Attributes:
        address: ``host:port`` of the federation's server, reached over TLS with the pinned CA only.
    """

    address: Annotated[str, Field(pattern=r"^[^\s/]+:[0-9]+$")]


class MachineSection(_Section):
    """What the client needs of its own machine.

    Attributes:
        port: On loopback; Flower's node and the process that trains meet there.
        stage_seconds: After so long a stage counts as hanging, and its process is started anew.
        poll_seconds: How often the node asks the server for work.
    """

    port: int = Field(default=9094, ge=1, le=65535)
    stage_seconds: float = Field(default=3600.0, gt=0, le=604800)
    poll_seconds: float = Field(default=1.0, ge=0.1, le=60)


class GroupPolicy(_Section):
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
