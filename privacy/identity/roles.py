"""Roles of groups in a federation; imports nothing that takes time."""

from typing import Final, Literal

Role = Literal["train", "held_out"]

TRAIN: Final = "train"
HELD_OUT: Final = "held_out"
"""It only measures, on public answers."""
