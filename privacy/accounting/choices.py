"""The choices of a guarantee: units, modes, the largest epsilon. Imports nothing heavy."""

from enum import StrEnum
from typing import Final, Literal

MAX_EPSILON: Final = 50.0
"""Above this a plan protects nobody."""

NO_PRIVACY: Final = "none"
"""What a setting says where there is no guarantee, and so no plan."""


class Unit(StrEnum):
    """The unit of privacy, whose presence the guarantee hides."""

    RESPONDENT = "respondent"
    RECORD = "record"


class Mode(StrEnum):
    """The place of the noise: in shares that the sum completes, or in full at every group."""

    DISTRIBUTED = "distributed"
    LOCAL = "local"


class Mechanism(StrEnum):
    """The way in which noise comes between data and training."""

    TALLY = "tally"
    """Answers are counted once and noised; all training is on the noised counts."""

    GRADIENTS = "gradients"
    """Every step clips and noises gradients of raw records."""


AUTO: Final = "auto"
"""What a setting says where the better `Mechanism` is to be taken."""

MechanismSetting = Literal["auto", "tally", "gradients"]
"""A `Mechanism` as files and command lines have it, or `AUTO`."""

UnitSetting = Literal["respondent", "record"]
"""A `Unit` as files and command lines have it."""

ModeSetting = Literal["none", "distributed", "local"]
"""A `Mode` as files and command lines have it, or `NO_PRIVACY`."""
