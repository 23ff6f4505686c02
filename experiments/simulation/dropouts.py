"""Simulated dropouts: groups that are lost in rounds at random.

The server is not informed: it finds out as it would in a deployment, by waiting in vain.
"""

from __future__ import annotations

import numpy as np
from flwr.app import Message

#: A group is lost when its vector is asked for, the dearest moment: it has shared its keys by then.
#: It misses the rest of the round. Unmasking is not among them: whoever was lost before is asked
#: there for the next round alone.
_LOST_STAGES = frozenset({"train", "train.masked", "train.meet", "query.confirm"})


class Dropouts:
    """Decides which messages of a simulation reach nobody.

    In every round each group is lost with the same chance, one group apart from another and one
    round from the next. Equal seeds lose the same groups in the same rounds, whatever else differs
    between two runs; a run that goes on loses whom it would have lost.

    Args:
        chance: In [0, 1).
        seed: Of the run.
    """

    def __init__(self, *, chance: float, seed: int) -> None:
        self._chance = chance
        self._seed = seed

    def lost(self, message: Message) -> bool:
        """True where a message reaches nobody."""
        metadata = message.metadata
        if self._chance == 0 or metadata.message_type not in _LOST_STAGES:
            return False
        # Ids of simulated nodes depend on their partition alone.
        drawn = np.random.default_rng([self._seed, 3, int(metadata.group_id), metadata.dst_node_id])
        return bool(drawn.random() < self._chance)
