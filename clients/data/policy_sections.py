"""The sections of a group policy, and what each of their fields means."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from privacy.accounting.choices import (
    MAX_EPSILON,
    NO_PRIVACY,
    Mechanism,
    ModeSetting,
    UnitSetting,
)
from privacy.accounting.shape import StepShape
from privacy.errors import PolicyRefused

_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Section(BaseModel):
    """A table of the file: a field that it does not know is refused, and so is another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DataSection(Section):
    """Where the group's records are.

    Attributes:
        path: File or folder, absolute or from the folder of this file.
        skip_invalid: Leave invalid rows out instead of refusing all.
        public: Whether the answers are public: what is measured on them may leave as it is.
    """

    path: str
    skip_invalid: bool = False
    public: bool = False


class PrivacySection(Section):
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


class StepSection(Section):
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


class TallySection(Section):
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


class AcceptSection(Section):
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


class ServerSection(Section):
    """Whom the client connects to.

    Attributes:
        address: ``host:port`` of the federation's server, reached over TLS with the pinned CA only.
    """

    address: Annotated[str, Field(pattern=r"^[^\s/]+:[0-9]+$")]


class MachineSection(Section):
    """What the client needs of its own machine.

    Attributes:
        port: On loopback; Flower's node and the process that trains meet there.
        stage_seconds: After so long a stage counts as hanging, and its process is started anew.
        poll_seconds: How often the node asks the server for work.
    """

    port: int = Field(default=9094, ge=1, le=65535)
    stage_seconds: float = Field(default=3600.0, gt=0, le=604800)
    poll_seconds: float = Field(default=1.0, ge=0.1, le=60)
