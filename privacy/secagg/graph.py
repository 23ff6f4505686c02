"""The graph of members that share secrets and masks: complete in small rounds, else sparse.

In a sparse round every member has k neighbours on a ring that is shuffled by a seed from all signed
advertisements, so that neither the server nor a few members choose the neighbours of anybody
(Bell et al. 2020, https://eprint.iacr.org/2020/704). The degree follows from stated odds, which
speak of members that drop out by themselves. A server that lets members of its choice drop once it
knows the graph, with corrupt members in the gaps, can part a sparse round into sums over far fewer
members than survive. Where the noise of all members counts, the graph must therefore be complete.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray
from scipy.stats import hypergeom

MOST_COMPLETE = 64
"""Up to so many members, everybody is a neighbour of everybody."""

CORRUPT_SHARE = 0.2
DROPPED_SHARE = 0.1
SECRECY_LOG2 = -40.0
CORRECTNESS_LOG2 = -20.0


def consistency_threshold(members: int) -> int:
    """Return the least t above 2n/3.

    Two sets of survivors could only both be signed by t members if more than a third signed both.
    """
    return 2 * members // 3 + 1


@dataclass(frozen=True, kw_only=True)
class Degree:
    """The degree of a graph.

    Attributes:
        neighbours: k, of every member; even, or n - 1.
        shares: how many holders' shares recover a secret.
    """

    neighbours: int
    shares: int


@lru_cache(maxsize=64)
def degree(members: int) -> Degree:
    """Return the least degree that keeps the odds, where a fifth is corrupt and a tenth drops.

    Secrecy, up to 2^-40 over all members together: no member has as many corrupt neighbours as
    shares are needed, and those that are neither corrupt nor gone hang together (else the sum
    splits into sums of parts). Correctness, up to 2^-20: every secret finds enough holders.
    Up to 64 members the graph is complete and the shares needed are those of
    `consistency_threshold`.
    """
    if members <= MOST_COMPLETE:
        return Degree(neighbours=members - 1, shares=consistency_threshold(members))
    corrupt, dropped = (math.floor(share * members) for share in (CORRUPT_SHARE, DROPPED_SHARE))
    others = members - 1
    for k in range(8, members, 2):
        # Two cuts part a ring; each takes k/2 members in a row that are corrupt or gone.
        parted = 2 * math.log2(members) - 1 + k * math.log2(CORRUPT_SHARE + DROPPED_SHARE)
        if parted > SECRECY_LOG2:
            continue
        needed = np.arange(1, k + 1)
        exposed = members * hypergeom.sf(needed - 1, others, corrupt, k)
        lost = members * hypergeom.sf(k - needed, others, dropped, k)
        good = (exposed <= 2.0**SECRECY_LOG2) & (lost <= 2.0**CORRECTNESS_LOG2)
        if good.any():
            return Degree(neighbours=k, shares=int(needed[good][0]))
    return Degree(neighbours=others, shares=consistency_threshold(members))


@dataclass(frozen=True)
class Graph:
    """The neighbours of every member, members counted from 0.

    Attributes:
        members: n.
        shares: how many shares recover a secret.
        order: the ring, (n,); None where the graph is complete.
        half: neighbours on each side of the ring.
    """

    members: int
    shares: int
    order: tuple[int, ...] | None = None
    half: int = 0

    @classmethod
    def of(cls, members: int, seed: bytes, *, complete: bool, threshold: int) -> "Graph":
        """Draw the graph from a seed of 32 bytes: the same for all who hold the seed.

        Args:
            members: n.
            seed: that nobody could choose.
            complete: whether everybody must be a neighbour of everybody.
            threshold: shares that recover a secret where the graph is complete.
        """
        chosen = degree(members)
        if complete or chosen.neighbours == members - 1:
            return cls(members, threshold)
        order = tuple(_permutation(members, seed).tolist())
        return cls(members, chosen.shares, order, chosen.neighbours // 2)

    def neighbours(self, member: int) -> tuple[int, ...]:
        """The neighbours of a member, in rising order."""
        if self.order is None:
            return tuple(other for other in range(self.members) if other != member)
        position = _inverse(self.order)[member]
        steps = [*range(-self.half, 0), *range(1, self.half + 1)]
        return tuple(sorted(self.order[(position + step) % self.members] for step in steps))

    def holders(self, member: int) -> tuple[int, ...]:
        """The holders of shares of a member's secrets: its neighbours and itself."""
        return tuple(sorted((member, *self.neighbours(member))))

    @property
    def fewest_neighbours(self) -> int:
        """The least number of neighbours with which a secret is found and a vector stays hidden.

        On a sparse graph one more than all that are corrupt, so that an honest one is among them.
        """
        return self.shares - 1 if self.order is None else self.shares


@lru_cache(maxsize=8)
def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    positions = [0] * len(order)
    for position, member in enumerate(order):
        positions[member] = position
    return tuple(positions)


@lru_cache(maxsize=8)
def _permutation(count: int, seed: bytes) -> NDArray[np.int64]:
    """Sort by 128-bit words of AES-256-CTR under the seed: uniform but for ties, below 2^-100."""
    stream = Cipher(algorithms.AES256(seed), modes.CTR(bytes(16))).encryptor()
    words = np.frombuffer(stream.update(bytes(16 * count)), dtype=">u8").reshape(count, 2)
    return np.lexsort((words[:, 1], words[:, 0]))
