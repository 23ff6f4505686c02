"""The peak of a process's memory over a part of its life."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from experiments.benchmarks.harness import peak_gigabytes

_STATUS: Final = Path("/proc/self/status")
_CLEAR: Final = Path("/proc/self/clear_refs")
_KIBIBYTES: Final = re.compile(r"VmHWM:\s+(\d+) kB")


class MemoryPeak:
    """The most memory that this process has held since it was last asked to forget.

    Linux can forget a peak; elsewhere it is that of the whole process.
    """

    def reset(self) -> None:
        """Forget what was before."""
        if _CLEAR.exists():
            _CLEAR.write_text("5")

    def gigabytes(self) -> float:
        """The peak since the last :meth:`reset`, GB."""
        found = _KIBIBYTES.search(_STATUS.read_text()) if _STATUS.exists() else None
        return int(found[1]) * 1024 / 1e9 if found else peak_gigabytes()
