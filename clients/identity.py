"""Who a simulated group is: a signing key of its own, and a roster that pins those of all others.

In a simulation all groups share one machine, so their keys lie in one folder of the run. What is
real is the protocol that uses them.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from privacy.secagg.keys import Identity, Roster

IDENTITIES_FOLDER = "identities"


def own_identity(out: Path, group: str) -> Identity:
    """The signing key of a simulated group, made when it is first asked for.

    Args:
        out: Folder of the run.
        group: Its name.
    """
    folder = out / IDENTITIES_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / hashlib.sha256(group.encode()).hexdigest()[:32]
    key = place.with_suffix(".pem")
    if not key.exists():
        Identity.create().write(key)
    identity = Identity.read(key)
    pinned = place.with_suffix(".json")
    if not pinned.exists():
        part = place.with_suffix(".part")
        entry = {"group": group, "public": identity.public.hex()}
        part.write_text(json.dumps(entry), encoding="utf-8")
        os.replace(part, pinned)
    return identity


def simulated_roster(out: Path) -> Roster:
    """The public keys of all groups of a simulation, by name."""
    entries = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((out / IDENTITIES_FOLDER).glob("*.json"))
    ]
    return Roster({entry["group"]: bytes.fromhex(entry["public"]) for entry in entries})
