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


UnitSetting = Literal["respondent", "record"]
"""A `Unit` as files and command lines have it."""

ModeSetting = Literal["none", "distributed", "local"]
"""A `Mode` as files and command lines have it, or `NO_PRIVACY`."""
