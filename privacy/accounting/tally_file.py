"""The file of a tally: noised counts with the plan that made them and the questionnaire.

A tally is private by itself and says all that is needed to use it: it may be kept, copied, shown
and published. Its digest stands in the ledger of the group that made it.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from privacy.accounting.plan import PrivacyPlan
from privacy.canonical import canonical_json
from privacy.errors import PrivacyError, StageSkipped
from privacy.kernel.tally import PrivateTally, stored_tally

VERSION = 1
# What reading values of any shape may raise.
_NO_TALLY = (
    PrivacyError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_NAME = re.compile("tally-[0-9a-f]{32}")
_FIELDS = frozenset(
    {"version", "group", "plan", "questionnaire", "wave", "spend", "step", "total_share", "cells"}
)


def tally_name(plan: str, wave: str) -> str:
    """The name under which a ledger keeps a tally: of data, plan and wave, and of no run.

    Args:
        plan: digest of the plan of the group's own counts.
        wave: name of the wave of persons.
    """
    return f"tally-{hashlib.sha256(f'{plan} {wave}'.encode()).hexdigest()[:32]}"


def is_tally_name(name: str) -> bool:
    """Whether a name is one of a tally, as no run has it."""
    return bool(_NAME.fullmatch(name))


def tally_context(plan: str, name: str) -> bytes:
    """The digest of what the spend of a tally pays for, 32 bytes; see `tally_name`."""
    return hashlib.sha256(f"{plan} {name}".encode()).digest()


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTally:
    """A tally as it is kept.

    Attributes:
        group: whose answers were counted.
        plan: of this group's counts alone.
        questionnaire: the questions, as JSON types; of the digest that the plan names.
        wave: name of the wave of persons.
        spend: hash of the ledger's event that paid for it.
        tally: the noised counts.
        digest: SHA-256 of the file, hexadecimal.
    """

    group: str
    plan: PrivacyPlan
    questionnaire: Mapping[str, Any]
    wave: str
    spend: str
    tally: PrivateTally
    digest: str

    @classmethod
    def of(
        cls,
        tally: PrivateTally,
        *,
        group: str,
        plan: PrivacyPlan,
        questionnaire: Mapping[str, Any],
        wave: str,
        spend: str,
    ) -> tuple[Self, bytes]:
        """A tally that was just made, and the content of its file."""
        content = canonical_json(
            {
                "version": VERSION,
                "group": group,
                "plan": plan.as_dict(),
                "questionnaire": questionnaire,
                "wave": wave,
                "spend": spend,
                # These follow from the plan; here for readers that know none.
                "step": tally.bounds.step,
                "total_share": [*tally.bounds.total_share.as_integer_ratio()],
                "cells": tally.cells.tolist(),
            }
        )
        stored = cls(
            group=group,
            plan=plan,
            questionnaire=questionnaire,
            wave=wave,
            spend=spend,
            tally=tally,
            digest=hashlib.sha256(content).hexdigest(),
        )
        return stored, content

    @classmethod
    def read(cls, content: bytes, *, digest: str | None = None) -> Self:
        """Read the file of a tally.

        Args:
            content: of the file.
            digest: SHA-256 that a ledger has recorded; None for whoever has no ledger to ask, as
                with the tally of another, which is as private as its maker says.

        Raises:
            StageSkipped: if it is another file, or no tally.
        """
        found = hashlib.sha256(content).hexdigest()
        try:
            values = json.loads(content)
            if not isinstance(values, dict) or set(values) != _FIELDS or values["version"] != 1:
                raise StageSkipped("the file is no tally of this version")
            plan = PrivacyPlan.stated(values["plan"])
            questionnaire = values["questionnaire"]
            named = hashlib.sha256(canonical_json(questionnaire)).hexdigest()
            if plan.counts is None or plan.counts.questionnaires != (named,):
                raise StageSkipped("the questionnaire in the file is not the one of its plan")
            tally = stored_tally(
                values["cells"],
                plan.count_bounds(_options(questionnaire)),
                noise_log2=plan.noise_log2,
                content=content,
                digest=found if digest is None else digest,
            )
            stated = (values["step"], values["total_share"])
            if stated != (tally.bounds.step, [*tally.bounds.total_share.as_integer_ratio()]):
                raise StageSkipped("the file states another step or share than its plan gives")
        except StageSkipped:
            raise
        except _NO_TALLY as error:
            raise StageSkipped(f"the file is no tally: {error}") from error
        return cls(
            group=str(values["group"]),
            plan=plan,
            questionnaire=questionnaire,
            wave=str(values["wave"]),
            spend=str(values["spend"]),
            tally=tally,
            digest=found,
        )


def _options(questionnaire: Mapping[str, Any]) -> Sequence[int]:
    return [len(question["options"]) for question in questionnaire["questions"]]
