"""Updates in a few bits a coordinate that still add up, for runs without differential privacy.

What one round may send is public and the same for all groups: a unit for every coordinate (its
learning rate), a transform that spreads an update evenly, the coordinates that travel, and one
grid of small integers. So the sum of the integers is the integers of the sum, and secure
aggregation needs a modulus of a few bits. What the grid or the choice leaves out of a group's
update is that group's residual: it stays there and is added to its next update (error feedback,
Seide et al. 2014; Karimireddy et al. 2019, https://arxiv.org/abs/1901.09847).

Behind the coordinates ride three numbers as digits of the same width: the group's weight, its loss,
and how large its update was, by which the server chooses the grid of the next round.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from strategies.wire.round_plan import RoundPlan, read_section
from strategies.wire.transforms import Transform, make_transform

LEAST_BITS = 2
MOST_BITS = 16
TransformName = Literal["none", "rotate", "dct"]
TRANSFORMS: tuple[TransformName, ...] = get_args(TransformName)
#: Root mean square of a first update in units of the learning rate: no data tell it yet, AdamW
#: moves a coordinate by about one unit a step, and what is cut off is sent in the next round.
START = 3.0
#: Most that the grid widens or narrows from one round to the next, as a power of 2.
_MOST_LOG2 = 4.0
_LEAST_SCALE = 2.0**-30
_NUMBER_BITS = 24
_WEIGHTS = 2**_NUMBER_BITS - 1
_FRACTION = 2.0**18
_LOG2_OFFSET = 32.0
_STEPS, _COORDINATES = 1, 2


class CompressionRefused(ValueError):
    """A vector is not what the round's compression describes."""


@dataclass(frozen=True, kw_only=True)
class CompressionConfig:
    """The settings of compressed updates, for runs without differential privacy.

    What a group's update loses by it stays at the group and is added to its next one.

    Attributes:
        bits: Of one coordinate of one group, 2 to 16; 0 sends numbers as they are, in 32 bits.
        keep: Share of the coordinates that travel in a round, drawn anew and alike for all groups.
        transform: ``rotate`` spreads an update evenly before it is rounded, ``dct`` takes
            frequencies of blocks, ``none`` leaves it as it is.
    """

    bits: int = 0
    keep: float = 1.0
    transform: TransformName = "rotate"

    def __post_init__(self) -> None:
        """Refuse what no update could be written in."""
        if self.bits != 0 and not LEAST_BITS <= self.bits <= MOST_BITS:
            raise ValueError(
                f"bits = {self.bits} must be 0 or lie in [{LEAST_BITS}, {MOST_BITS}]: 4 is usual"
            )
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep = {self.keep} must lie in (0, 1]: 1 sends every coordinate")
        if self.bits == 0 and self.keep < 1:
            raise ValueError(
                f"keep = {self.keep} with bits = 0, which compresses nothing: set bits, 4 is usual"
            )


@dataclass(frozen=True, kw_only=True)
class Compression:
    """The encoding of the updates of a round; a section of a round plan.

    Attributes:
        bits: Of one coordinate of one group, 2 to 16.
        keep: Share of the coordinates that travel, above 0 and at most 1.
        transform: ``none``; ``rotate``: random signs and Walsh-Hadamard, so that all coordinates
            have like size; ``dct``: blockwise cosine transform.
        scale: Root mean square that the grid is made for, in units of the learning rate.
    """

    bits: int
    keep: float
    transform: str
    scale: float

    def __post_init__(self) -> None:
        """Refuse what describes no grid."""
        if not LEAST_BITS <= self.bits <= MOST_BITS:
            raise ValueError(
                f"bits = {self.bits} is outside [{LEAST_BITS}, {MOST_BITS}]: 4 is usual"
            )
        if not 0 < self.keep <= 1:
            raise ValueError(f"keep = {self.keep} must lie in (0, 1]: 1 sends every coordinate")
        if self.transform not in TRANSFORMS:
            raise ValueError(f"transform = {self.transform!r} is none of {', '.join(TRANSFORMS)}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale = {self.scale} must be finite and > 0: {START:g} begins a run")

    @property
    def limit(self) -> int:
        """Largest integer of a coordinate, of either sign."""
        return int(2 ** (self.bits - 1) - 1)

    @property
    def spacing(self) -> float:
        """Distance of two integers of the grid, in units of the learning rate.

        The best uniform grid for normal numbers reaches to about 2 sqrt(bits) - 1.6 standard
        deviations (1.2 at 2 bits, 2.4 at 4, 4.1 at 8; Max 1960).
        """
        return (2.0 * math.sqrt(self.bits) - 1.6) * self.scale / self.limit

    def following_scale(self, log2_ratio: float) -> float:
        """The scale of the next round.

        Args:
            log2_ratio: Mean over the groups of log2(root mean square / scale).
        """
        following = self.scale * 2.0 ** min(max(log2_ratio, -_MOST_LOG2), _MOST_LOG2)
        return float(min(max(following, _LEAST_SCALE), 1 / _LEAST_SCALE))


@dataclass(frozen=True, kw_only=True, eq=False)
class StepSizes:
    """Learning rates of all coordinates, (d,) float32 each; 0 where nothing is trained.

    Attributes:
        head: Of rounds that train the head alone.
        whole: Of rounds that train the adapters as well.
    """

    head: NDArray[np.float32]
    whole: NDArray[np.float32]

    def of(self, plan: RoundPlan) -> NDArray[np.float32]:
        """Those of a round."""
        return self.whole if plan.train_adapter else self.head


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Encoded:
    """The integers that a group sends of a round, and the residual that it keeps.

    Attributes:
        integers: (size,) int64, each at most ``Compression.limit`` in size.
        residual: (d,) float32, what is yet to be sent. Made of private records: it never leaves.
    """

    integers: NDArray[np.int64]
    residual: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """The mean that the server decodes from a sum.

    Attributes:
        update: (d,) float64, the weighted mean; 0 where nothing has travelled.
        loss: Weighted mean of the losses, nats.
        log2_ratio: Mean of log2(root mean square / scale); see ``Compression.following_scale``.
    """

    update: NDArray[np.float64]
    loss: float
    log2_ratio: float


class RoundCode:
    """The code in which all groups write their updates of one round.

    Args:
        compression: How they are written.
        steps: (d,) float32, the learning rate of every coordinate; 0 where the round trains
            nothing, which does not travel.
        seed: Of the run.
        round_number: Of the round.
        learning_rate_scale: Factor on all learning rates in this round.

    Attributes:
        compression: As given.
        size: Integers of one vector.
    """

    def __init__(
        self,
        compression: Compression,
        steps: NDArray[np.float32],
        *,
        seed: int,
        round_number: int,
        learning_rate_scale: float,
    ) -> None:
        self.compression = compression
        self._trained = np.flatnonzero(steps > 0)
        if self._trained.size == 0:
            raise CompressionRefused("the round trains nothing: there is no update to compress")
        self._dimension = steps.size
        self._units = steps[self._trained].astype(np.float64) * learning_rate_scale
        count = self._trained.size
        chance = partial(_chance, seed=seed, round_number=round_number, count=count)
        self._transform: Transform = make_transform(
            self.compression.transform, count, chance(_STEPS)
        )
        kept = max(1, round(self.compression.keep * count))
        self._kept = np.arange(count)
        if kept < count:
            order = np.argsort(chance(_COORDINATES), kind="stable")
            self._kept = np.sort(order[:kept])
        self._digits = -(-_NUMBER_BITS // (self.compression.bits - 1))
        self.size = kept + 3 * self._digits

    @classmethod
    def of_plan(cls, plan: RoundPlan, steps: NDArray[np.float32]) -> RoundCode:
        """The code of a round plan whose section ``compression`` is not empty.

        Raises:
            ValueError: That section is no :class:`Compression`.
        """
        return cls(
            read_section(Compression, plan.compression, name="compression"),
            steps,
            seed=plan.seed,
            round_number=plan.round,
            learning_rate_scale=plan.learning_rate_scale,
        )

    def encode(self, update: NDArray[np.floating], *, loss: float, weight: float) -> Encoded:
        """Write a group's update.

        Args:
            update: (d,), weighted, with the residual of the rounds before.
            loss: Training loss, nats, not yet weighted; 64 and above count as 64.
            weight: Of the group, above 0 and at most 1.
        """
        spread = self._transform.forward(update[self._trained] / self._units)
        sent = spread[self._kept]
        spacing, limit = self.compression.spacing, self.compression.limit
        integers = np.clip(np.rint(sent / spacing), -limit, limit)
        spread[self._kept] -= integers * spacing
        residual = np.array(update, dtype=np.float32)
        residual[self._trained] = self._transform.inverse(spread) * self._units
        size = math.sqrt(float(np.mean(sent**2))) / self.compression.scale
        numbers = (
            max(1, round(weight * _WEIGHTS)),
            round(weight * loss * _FRACTION),
            round((math.log2(max(size, 2.0**-_LOG2_OFFSET)) + _LOG2_OFFSET) * _FRACTION),
        )
        digits = [digit for number in numbers for digit in self._digits_of(number)]
        whole = np.concatenate([integers, np.array(digits, dtype=np.float64)])
        return Encoded(integers=whole.astype(np.int64), residual=residual)

    def decode(self, total: NDArray[np.int64], *, summed: int) -> Decoded:
        """Read the mean out of a sum of what groups have written.

        Args:
            total: (size,) int64.
            summed: Groups in the sum.

        Raises:
            CompressionRefused: No honest groups could have such a sum.
        """
        weights, losses, sizes = self._numbers_in(total, summed=summed)
        weight = weights / _WEIGHTS
        spread = np.zeros(self._trained.size)
        spread[self._kept] = total[: self._kept.size] * (self.compression.spacing / weight)
        update = np.zeros(self._dimension)
        update[self._trained] = self._transform.inverse(spread) * self._units
        return Decoded(
            update=update,
            loss=losses / _FRACTION / weight,
            log2_ratio=sizes / _FRACTION / summed - _LOG2_OFFSET,
        )

    def check(self, integers: NDArray[np.int64]) -> None:
        """Check what one group has written, without reading it.

        Args:
            integers: (size,) int64.

        Raises:
            CompressionRefused: No honest group could have written it.
        """
        self._numbers_in(integers, summed=1)

    def _numbers_in(self, total: NDArray[np.int64], *, summed: int) -> tuple[int, int, int]:
        """Weights, losses and sizes behind the coordinates of a sum that honest groups can have."""
        if total.shape != (self.size,) or np.abs(total).max() > summed * self.compression.limit:
            raise CompressionRefused("a sum of updates is not of the round's size or bounds")
        weights, losses, sizes = (
            self._number_of(digits)
            for digits in total[-3 * self._digits :].reshape(3, self._digits)
        )
        if not 0 < weights <= summed * _WEIGHTS:
            raise CompressionRefused("the weights of a sum are out of bounds")
        return weights, losses, sizes

    def _digits_of(self, number: int) -> list[int]:
        """A number below 2^24 as digits that sums of coordinates have room for, lowest first."""
        rest, base = min(max(number, 0), _WEIGHTS), self.compression.limit + 1
        digits = []
        for _ in range(self._digits):
            rest, digit = divmod(rest, base)
            digits.append(digit)
        return digits

    def _number_of(self, digits: NDArray[np.int64]) -> int:
        """The number that digits, or sums of digits, stand for."""
        base = self.compression.limit + 1
        return sum(int(digit) * base**position for position, digit in enumerate(digits))


def _chance(purpose: int, *, seed: int, round_number: int, count: int) -> NDArray[np.uint64]:
    """So many words of a public stream of the round: raw, for no release of numpy changes those."""
    stream = np.random.PCG64([seed, round_number, purpose])
    words: NDArray[np.uint64] = stream.random_raw(count)
    return words
