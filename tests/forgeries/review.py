"""What a review must find in forged evidence."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from privacy.audit.card import build_card
from privacy.audit.checks import Check, Status
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from tests.forgeries.forger import Forger


@dataclass(frozen=True, kw_only=True)
class Forgery:
    """One forgery, and the check that must find it.

    Attributes:
        forge: makes it in the ledgers; nothing where other files are forged.
        held: whose keys the forger holds; everybody's if none is named.
        check: id of the check.
        says: what its sentence must say.
        of: the run that is forged.
        never: a text that may not stand on the card outside of its checks.
    """

    forge: Callable[[Forger], Any] = lambda _: None
    held: tuple[str, ...] = ()
    check: str
    says: str
    of: str = "first"
    never: str = ""


class Catalogue:
    """Forgeries as parameters of a test, by the names of their functions."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def add(
        self, check: str, says: str, *held: str, of: str = "first", never: str = ""
    ) -> Callable[[Callable[[Forger], Any]], Callable[[Forger], Any]]:
        """Take in a forgery."""

        def taken(forge: Callable[[Forger], Any]) -> Callable[[Forger], Any]:
            forgery = Forgery(forge=forge, held=held, check=check, says=says, of=of, never=never)
            self.params.append(pytest.param(forgery, id=forge.__name__))
            return forge

        return taken


def reviewed(
    folder: Path, roster: Path, card: Path | None = None
) -> tuple[tuple[Check, ...], dict[str, Any]]:
    """The checks of a review, and the card that it writes."""
    evidence = gather([folder], roster=roster, card=card)
    checks = tuple(verify(evidence))
    return checks, build_card(evidence, checks)


def assert_holds(folder: Path, roster: Path, card: Path | None = None) -> None:
    """The evidence passes as it is."""
    checks, written = reviewed(folder, roster, card)
    assert holds(checks), [each.finding for each in checks if each.status is Status.FAIL]
    assert written["summary"]["failed"] == 0


def assert_found(forgery: Forgery, folder: Path, roster: Path, card: Path | None = None) -> None:
    """The review fails by the check that a forgery names, and its card does not repeat it."""
    checks, written = reviewed(folder, roster, card)
    findings = [each.finding for each in checks if each.status is Status.FAIL]
    assert not holds(checks)
    assert written["summary"]["failed"] == len(findings) > 0
    own = [each for each in checks if each.status is Status.FAIL and each.id == forgery.check]
    assert any(forgery.says in each.finding for each in own), findings
    if forgery.never:
        shown = {name: part for name, part in written.items() if name != "verification"}
        assert forgery.never not in json.dumps(shown)
