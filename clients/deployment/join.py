"""The two processes of a client: Flower's SuperNode, and the executor.

The SuperNode speaks to the server and holds no record; the executor reads the records and speaks
to the SuperNode alone, over loopback.
"""

from __future__ import annotations

import sys

from clients.data.datastore import HOME_KEY
from clients.data.group_policy import GroupPolicy
from clients.data.home import CA_FILE, Home
from clients.deployment.enrolment import SECRET_FILE
from clients.deployment.node_key import NODE_KEY


def programs(home: Home, policy: GroupPolicy) -> dict[str, list[str]]:
    """The command lines of the client's processes, by name."""
    folder, machine = home.folder.resolve(), policy.machine
    secret = str(folder / SECRET_FILE)
    supernode = [
        *(sys.executable, "-m", "clients.deployment.supernode", str(machine.poll_seconds)),
        *("--superlink", policy.server.address),
        *("--root-certificates", str(folder / CA_FILE)),
        *("--auth-supernode-private-key", str(folder / NODE_KEY)),
        *("--node-config", f'{HOME_KEY}="{folder}"'),
        *("--isolation", "process", "--superexec-auth-secret-file", secret),
        *("--host", "127.0.0.1", "--port", str(machine.port)),
    ]
    executor = [
        *(sys.executable, "-m", "clients.deployment.executor", str(folder)),
        *("--node", f"127.0.0.1:{machine.port}", "--secret", secret),
    ]
    return {"supernode": supernode, "executor": executor}
