"""The terms of a round: who takes part, what is summed, and how many must stay."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, lru_cache
from typing import Any, Self

from privacy.accounting.choices import Mode
from privacy.accounting.plan import PrivacyPlan
from privacy.canonical import canonical_json
from privacy.errors import (
    MalformedMessage,
    NoiseShortfall,
    Replayed,
    ThresholdRefused,
    TooFewMembers,
)
from privacy.kernel.packing import LEAST_BITS, MOST_BITS, word_dtype
from privacy.kernel.types import Noised, Quantised
from privacy.secagg.graph import consistency_threshold

FEWEST_MEMBERS = 2
"""A sum over one member is that member's vector."""


@dataclass(frozen=True, kw_only=True)
class VectorTerms:
    """The terms of one vector: a member compares them, field by field, with what it would send.

    Attributes:
        dimension: coordinates of the vector.
        modulus_bits: the sum is taken modulo 2^modulus_bits; so many bits a coordinate travel.
        fraction_bits: binary digits after the point of quantised numbers; 0 in distributed mode.
        noise_log2: k in distributed mode; else 0.
        sensitivity: S in distributed mode; else 0.
        sampling_rate: q in distributed mode; else 0, as the noise is then whole in every vector.
        honest_shares: h, the shares of noise that must be in the sum and unknown to others.
        colluding: c, members that may tell the server what they know.
        plan: digest of the privacy plan; empty without differential privacy.
    """

    dimension: int
    modulus_bits: int = 32
    fraction_bits: int = 0
    noise_log2: int = 0
    sensitivity: int = 0
    sampling_rate: float = 0.0
    honest_shares: int = 0
    colluding: int = 0
    plan: str = ""

    @classmethod
    def of_plan(cls, plan: PrivacyPlan) -> Self:
        """The terms of a noised vector in distributed mode."""
        if plan.mode is not Mode.DISTRIBUTED:
            raise ValueError(f"a plan in {plan.mode} mode sums quantised means, not noise shares")
        return cls(
            dimension=plan.dimension,
            modulus_bits=plan.bits_needed,
            noise_log2=plan.noise_log2,
            sensitivity=plan.sensitivity,
            sampling_rate=plan.sampling_rate,
            honest_shares=plan.honest_shares,
            colluding=plan.colluding,
            plan=plan.digest(),
        )

    def as_in(self, vector: Noised | Quantised) -> Self:
        """These terms, with the fields that a vector itself shows taken from the vector."""
        seen = replace(self, dimension=vector.vector.size)
        if isinstance(vector, Quantised):
            return replace(
                seen,
                modulus_bits=vector.modulus_bits,
                noise_log2=0,
                sensitivity=0,
                fraction_bits=vector.fraction_bits,
            )
        settings = vector.settings
        if word_dtype(self.modulus_bits) != settings.modulus_dtype:
            # Of noised words no more is known than that this modulus divides theirs.
            seen = replace(seen, modulus_bits=settings.modulus_bits)
        return replace(
            seen,
            noise_log2=settings.noise_log2,
            sensitivity=settings.sensitivity,
            fraction_bits=0,
        )

    @property
    def shares_noise(self) -> bool:
        """Whether only the noise of many members together protects anybody."""
        return self.honest_shares > 0


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The attempt, at a round of a run, that a message belongs to.

    Attributes:
        run: names the run, ASCII.
        round: from 1.
        attempt: from 1; a retry is a new attempt.
    """

    run: str
    round: int
    attempt: int = 1

    @classmethod
    def named_in(cls, body: Mapping[str, Any]) -> Self:
        """The attempt that the body of an event names."""
        return cls(run=body["run"], round=body["round"], attempt=body["attempt"])

    def context(self) -> bytes:
        """32 bytes that advertisements are signed with."""
        return hashlib.sha256(b"attempt\0" + canonical_json(asdict(self))).digest()

    def follows(self, other: "Attempt") -> bool:
        """Whether this comes after another attempt of its run; of another run, always."""
        later = (self.round, self.attempt) > (other.round, other.attempt)
        return self.run != other.run or later

    def require_after(self, last: "Attempt | None") -> None:
        """Refuse an attempt that does not come after the last one; None where there was none.

        Raises:
            Replayed: if it does not.
        """
        if last is not None and not self.follows(last):
            raise Replayed(
                f"round {self.round}, attempt {self.attempt} does not come after round "
                f"{last.round}, attempt {last.attempt}: each is answered once"
            )


@dataclass(frozen=True, kw_only=True)
class RoundTerms:
    """Everything a round is about; its digest is part of every key and signature.

    Attributes:
        attempt: run, round and attempt.
        members: names in rising order: those whose advertisements count.
        threshold: members that must sign one set of survivors; above 2n/3.
        survivors: fewest members in a sum that is unmasked.
        vector: what is summed.
        task: digest of what members are asked to compute.
        model: digest of the vector that they start from.
    """

    attempt: Attempt
    members: tuple[str, ...]
    threshold: int
    survivors: int
    vector: VectorTerms
    task: str
    model: str

    def check(self) -> None:
        """Refuse terms that protect nobody, whoever asks for them.

        Raises:
            SecaggAbort: one of its subclasses.
        """
        count = len(self.members)
        if list(self.members) != sorted(set(self.members)):
            raise MalformedMessage("members are not in rising order, each once")
        if count < FEWEST_MEMBERS:
            raise TooFewMembers(
                f"{count} member(s): a sum over fewer than {FEWEST_MEMBERS} hides nothing"
            )
        if not LEAST_BITS <= self.vector.modulus_bits <= MOST_BITS:
            raise MalformedMessage(
                f"modulus_bits = {self.vector.modulus_bits} is outside [{LEAST_BITS}, {MOST_BITS}]"
            )
        if not consistency_threshold(count) <= self.threshold <= count:
            raise ThresholdRefused(
                f"threshold = {self.threshold} of {count} members is outside "
                f"[{consistency_threshold(count)}, {count}]: two sets of survivors could be signed"
            )
        if not self.threshold <= self.survivors <= count:
            raise ThresholdRefused(
                f"survivors = {self.survivors} is outside [{self.threshold}, {count}]"
            )
        if self.survivors - self.vector.colluding < self.vector.honest_shares:
            raise NoiseShortfall(
                f"survivors = {self.survivors} less colluding = {self.vector.colluding} is below "
                f"the {self.vector.honest_shares} honest shares that the plan's epsilon needs"
            )

    def context(self) -> bytes:
        """32 bytes that tell this round from every other."""
        return hashlib.sha256(b"round\0" + self.encode()).digest()

    def encode(self) -> bytes:
        """Canonical JSON."""
        return self._encoded

    @cached_property
    def _encoded(self) -> bytes:
        return canonical_json(asdict(self))

    @classmethod
    def decode(cls, data: bytes) -> "RoundTerms":
        """Read what `encode` wrote, and nothing else; the last ones are remembered.

        Raises:
            MalformedMessage: for any other bytes.
        """
        return _decoded(data)

    @classmethod
    def _read(cls, data: bytes) -> Self:
        try:
            nested: dict[str, Any] = json.loads(data)
            vector = dict(nested["vector"])
            vector["sampling_rate"] = float(vector["sampling_rate"])
            terms = cls(
                **{
                    **nested,
                    "attempt": _typed(Attempt, nested["attempt"]),
                    "members": tuple(nested["members"]),
                    "vector": _typed(VectorTerms, vector),
                }
            )
            exact = terms.encode() == data
        except (
            ArithmeticError,  # an integer too large for a float
            AttributeError,
            KeyError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:
            raise MalformedMessage("the terms of a round cannot be read") from error
        if not exact or not _well_typed(terms):
            raise MalformedMessage("the terms of a round are not in canonical form")
        return terms


@lru_cache(maxsize=4)
def _decoded(data: bytes) -> RoundTerms:
    return RoundTerms._read(data)


def _typed(cls: Any, values: dict[str, Any]) -> Any:
    made = cls(**values)
    for field in fields(cls):
        if type(getattr(made, field.name)) is not field.type:
            raise TypeError(f"{field.name} is not {field.type}")
    return made


def _well_typed(terms: RoundTerms) -> bool:
    texts = (*terms.members, terms.task, terms.model, terms.attempt.run)
    numbers = (terms.threshold, terms.survivors)
    return all(type(text) is str for text in texts) and all(type(n) is int for n in numbers)
