"""Nodes that say of themselves what they are told to, and the keys that they sign with."""

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from experiments.simulation.local_grid import LocalGrid
from privacy.identity.keys import Identity
from privacy.identity.possession import prove

NODES = 8


@cache
def identity(name: str) -> Identity:
    return Identity.create()


#: By public key: what a node signs with that declares it.
HOLDERS: dict[str, Identity] = {}


def key(name: str) -> bytes:
    public = identity(name).public
    HOLDERS[public.hex()] = identity(name)
    return public


def signed(said: Mapping[str, Any], challenge: bytes, node: int) -> dict[str, Any]:
    """What a node says, with the proof that it holds the key it declares, if it has any."""
    holder = HOLDERS.get(str(said.get("identity")))
    if holder is None or "proof" in said:
        return dict(said)
    return {**said, "proof": prove(holder, said, challenge=challenge, node=node)}


class Door(LocalGrid):
    """Nodes that say of themselves what they are told to.

    Attributes:
        says: By node: the answer to setup, signed where a key is asked for that it can sign with;
            a function of the challenge; an exception that is raised; None for silence.
        challenges: That came with the requests.
        online: Nodes that are listed.
        asked: Nodes in the order in which they were asked.
        looks: How often the list of nodes was looked at.
    """

    def __init__(self, nodes: int = NODES) -> None:
        app = ClientApp()

        @app.query("setup")
        def setup(message: Message, context: Context) -> Message:
            said = self.says[context.node_id]
            if isinstance(said, Exception):
                raise said
            challenge = message.content.config_records["setup"]["challenge"]
            assert isinstance(challenge, bytes)
            self.challenges.append(challenge)
            if callable(said):
                said = said(challenge)
            elif challenge:
                said = signed(said, challenge, context.node_id)
            return Message(RecordDict({"setup": ConfigRecord(said)}), reply_to=message)

        super().__init__(
            client_app=app,
            node_configs=[{"partition-id": place} for place in range(nodes)],
            run_config={},
            before_delivery=self._delivered,
        )
        self.nodes = list(super().get_node_ids())
        self.says: dict[int, Any] = {}
        self.online: list[int] = []
        self.asked: list[int] = []
        self.challenges: list[bytes] = []
        self.looks = 0

    def _delivered(self, message: Message) -> bool:
        self.asked.append(message.metadata.dst_node_id)
        return self.says[message.metadata.dst_node_id] is not None

    def get_node_ids(self) -> Iterable[int]:
        self.looks += 1
        return [node for node in self.nodes if node in self.online]

    def come(self, at: int, said: Any) -> int:
        """A node goes online; its id."""
        node = self.nodes[at]
        self.says[node] = said
        self.online.append(node)
        return node

    def forget(self) -> None:
        self.asked.clear()
        self.looks = 0


def group(name: str, role: str = "train", **more: Any) -> dict[str, Any]:
    return {"group": name, "role": role, "identity": key(name).hex(), "units": 5, **more}


def pinning(name: str, *names: str) -> dict[str, Any]:
    return group(name, roster=json.dumps({each: key(each).hex() for each in names}))
