"""The only way out of a client: what the server receives is made here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from clients.sessions.gossip_session import ExchangeSession
from clients.sessions.secagg_session import Session
from clients.training.updates import Compressed, LocalUpdate
from privacy.accounting.release import unmasked_share
from privacy.exchange.messages import Meeting
from privacy.kernel.packing import pack
from privacy.kernel.quantisation import quantise, small_integers
from privacy.kernel.types import Noised, Quantised
from privacy.secagg.client import Opened

#: What training made of a round: a share of noise and gradients, a private mean gradient, (d,)
#: float64, or an update without any guarantee, as it is or in few bits.
Trained: TypeAlias = Noised | NDArray[np.float64] | LocalUpdate | Compressed


def release_masked(session: Session, request: bytes, train: Callable[[Opened], Trained]) -> bytes:
    """Train, and hide what came of it under the masks of secure aggregation.

    Args:
        session: Of secure aggregation.
        request: The server's, for the masked vector.
        train: Called once everything is agreed on and checked.

    Returns:
        The signed message: all that leaves the client.
    """

    def ready(opened: Opened) -> Noised | Quantised:
        trained = train(opened)
        if isinstance(trained, Noised):
            return trained
        members = len(opened.agreement.terms.members)
        if isinstance(trained, Compressed):
            return small_integers(trained.integers, limit=trained.limit, members=members)
        return quantise(_numbers(trained), members=members, weight=_weight(trained))

    return session.mask(request, ready)


def release_in_the_clear(trained: Trained) -> NDArray[np.generic]:
    """Pass on what training made, where the run does without secure aggregation.

    The server then sees this group's vector alone; results say so. Without differential privacy
    that vector has **no guarantee of any kind**; in distributed mode its one share of noise
    protects nobody from the server. Numbers to be averaged are followed by their weight; what is
    compressed is bytes.
    """
    if isinstance(trained, Noised):
        return unmasked_share(trained)
    if isinstance(trained, Compressed):
        alone = small_integers(trained.integers, limit=trained.limit, members=1)
        return np.frombuffer(pack(alone.vector, alone.modulus_bits), dtype=np.uint8)
    return np.append(_numbers(trained), _weight(trained)).astype(np.float32)


def release_to_partner(
    session: ExchangeSession, meeting: Meeting, vector: NDArray[np.float32]
) -> bytes:
    """Encrypt the model of a group for its partner in a round.

    Args:
        session: Of the round.
        meeting: Checked; nobody else can read what comes of it.
        vector: (d,) float32, made of what is private by itself: of the group's own noised
            gradients in local mode, and of such vectors of others.

    Returns:
        All that leaves the client; it holds no vector where there is nobody to meet.
    """
    return session.seal(meeting, vector)


def release_to_readers(
    session: ExchangeSession, request: bytes, vector: NDArray[np.float32], *, model: str
) -> tuple[bytes, ...]:
    """Encrypt the model of a group for each of those who measure it; see `release_to_partner`.

    Args:
        session: Of the round.
        request: The server's, with the keys of the readers.
        vector: (d,) float32, private by itself.
        model: Digest of the vector that the run began from.
    """
    return session.show(request, vector, model=model)


def _numbers(trained: NDArray[np.float64] | LocalUpdate) -> NDArray[np.float64]:
    """Real numbers to be averaged.

    Of an update without guarantee the training loss is the last coordinate, so that a metric takes
    the way of the update and never one of its own.
    """
    if isinstance(trained, LocalUpdate):
        return np.append(trained.delta.astype(np.float64), np.float32(trained.loss))
    return trained


def _weight(trained: NDArray[np.float64] | LocalUpdate) -> float:
    """How much the numbers count in the mean of all; what is private was weighed in the clip."""
    return trained.weight if isinstance(trained, LocalUpdate) else 1.0
