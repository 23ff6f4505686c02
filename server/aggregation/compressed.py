"""Mean of updates in a few bits a coordinate, and the integer grid of the next round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from flwr.app import RecordDict

from privacy.errors import MalformedMessage
from privacy.kernel.packing import sign_extended, unpack
from privacy.kernel.quantisation import OutOfRange, sum_bits
from privacy.kernel.types import Modular, centred
from privacy.secagg.round_terms import VectorTerms
from server.aggregation.base import Aggregation, Combined, released
from server.aggregation.robust import Rule
from server.rounds.cohort import CohortError
from strategies.base import State, Vector
from strategies.wire.compression import (
    START,
    Compression,
    CompressionConfig,
    CompressionRefused,
    Decoded,
    RoundCode,
    StepSizes,
)
from strategies.wire.round_plan import RoundPlan, Scalar

_SCALE = "scale"


class MeanOfCompressed(Aggregation):
    """The mean of compressed updates by the groups' weights; see ``strategies.wire.compression``.

    Args:
        steps: Learning rates of all coordinates.
        config: How updates are written.
        rule: Taken in place of the mean where vectors come one by one; counts all alike.
    """

    fewest = 1

    def __init__(
        self, steps: StepSizes, config: CompressionConfig, rule: Rule | None = None
    ) -> None:
        self._steps = steps
        self._rule = rule
        self._compression = Compression(
            bits=config.bits, keep=float(config.keep), transform=config.transform, scale=START
        )

    def work(self, group: str) -> Mapping[str, Scalar]:
        """Nothing is private; see :class:`server.aggregation.base.Aggregation`."""
        return {}

    def compression(self) -> Mapping[str, Scalar]:
        """As set, at the last scale; see :class:`server.aggregation.base.Aggregation`."""
        return asdict(self._compression)

    def state(self) -> State:
        """The scale; see :class:`server.aggregation.base.Aggregation`."""
        return {_SCALE: np.array([self._compression.scale])}

    def restore(self, state: State) -> None:
        """Take up the scale; see :class:`server.aggregation.base.Aggregation`."""
        if _SCALE in state:
            self._rescale(float(state[_SCALE][0]))

    def vector_terms(self, plan: RoundPlan, dimension: int, *, members: int) -> VectorTerms:
        """Small integers; see :class:`server.aggregation.base.Aggregation`."""
        code = self._code(plan)
        bits = sum_bits(code.compression.limit, members=members)
        return VectorTerms(dimension=code.size, modulus_bits=bits)

    def mean_of_updates(
        self, plan: RoundPlan, updates: Mapping[str, RecordDict], *, dimension: int
    ) -> Vector:
        """Unpack and add up; see :class:`server.aggregation.base.Aggregation`."""
        code = self._code(plan)
        bits = sum_bits(code.compression.limit, members=1)
        rows = []
        for group, content in updates.items():
            data = released(group, content).tobytes()
            try:
                integers = centred(sign_extended(unpack(data, count=code.size, bits=bits), bits))
                # Each by itself, so that an error names the group.
                code.check(integers)
            except (MalformedMessage, CompressionRefused) as error:
                raise CohortError(
                    f"group {group!r} released a wrong vector ({error}): use one version"
                ) from error
            rows.append(integers)
        if self._rule is not None:
            return self._rule(np.stack([_row(code.decode(each, summed=1)) for each in rows]))
        return _row(code.decode(np.sum(rows, axis=0), summed=len(rows)))

    def mean_of_sum(self, plan: RoundPlan, total: Modular, *, members: int, summed: int) -> Vector:
        """Undo grid and transform on the sum; see :class:`server.aggregation.base.Aggregation`."""
        try:
            return _row(self._code(plan).decode(centred(total), summed=summed))
        except CompressionRefused as error:
            raise OutOfRange(f"{error}; a member has sent a wrong vector") from error

    def combine(self, mean: Vector, *, dimension: int, train_adapter: bool) -> Combined:
        """Part update and loss, and choose the next integer grid by the size of updates."""
        self._rescale(self._compression.following_scale(float(mean[-1])))
        return Combined(update=mean[:-2], loss=float(mean[-2]))

    def _code(self, plan: RoundPlan) -> RoundCode:
        return RoundCode.of_plan(plan, self._steps.of(plan))

    def _rescale(self, scale: float) -> None:
        self._compression = Compression(**{**asdict(self._compression), "scale": scale})


def _row(decoded: Decoded) -> Vector:
    """Update, loss and size in one vector."""
    return np.append(decoded.update, [decoded.loss, decoded.log2_ratio])
