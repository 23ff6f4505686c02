"""Flower's SuperNode with shorter waits.

Run as ``python -m clients.deployment.supernode POLL_SECONDS FLAGS...``.

Flower's node sleeps three seconds whenever the server has nothing for it. A round has four trips,
so that these waits, not the work, would decide how long a round takes.
"""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType


class _ShorterWaits(ModuleType):
    """Stands where Flower's loop looks for the ``time`` module; nothing sleeps longer in it."""

    def __init__(self, longest: float) -> None:
        super().__init__("time")
        self._longest = longest

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, self._longest))


def main(arguments: list[str]) -> None:
    """Run a SuperNode.

    Args:
        arguments: Seconds between two questions to the server, then the flags of
            ``flower-supernode``.
    """
    from flwr.supercore.app_utils import start_parent_process_monitor
    from flwr.supernode import start_client_internal
    from flwr.supernode.cli import flower_supernode

    if getattr(start_client_internal, "time", None) is not time:
        raise RuntimeError("this version of Flower waits in another way: install flwr 1.42")
    waits = _ShorterWaits(float(arguments[0]))
    start_client_internal.time = waits  # type: ignore[attr-defined]  # a module's global
    sys.argv = ["flower-supernode", *arguments[1:]]
    start_parent_process_monitor(os.getppid())
    flower_supernode()


if __name__ == "__main__":
    main(sys.argv[1:])
