"""Interim."""

from __future__ import annotations

from typing import Any


def recommended(**facts: Any) -> tuple[str, str]:
    """Interim."""
    if facts["kind"] == "pair":
        return "gradients", "the texts of pairs are private"
    if facts["mode"] != "local" or not facts["has_persons"]:
        return "gradients", "noise is shared, or nobody is named"
    return "tally", "questions are public"
