"""The code and the libraries that made a figure."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

_PACKAGES = (
    "fedaccord",
    "flwr",
    "torch",
    "transformers",
    "peft",
    "opacus",
    "dp-accounting",
    "cryptography",
    "datasets",
    "numpy",
)
#: What a checkout holds beside this room; an installed package has none.
_ROOT = Path(__file__).parents[2]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def versions() -> dict[str, str | None]:
    """Versions of Python and of what the figures depend on; None where one is not installed."""
    return {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES}


@cache
def code() -> dict[str, str | bool | None]:
    """The code that runs in this process, as it was when this was first asked.

    Returns:
        ``version`` of the package, ``commit`` where it runs from a git checkout, and ``changed``:
        whether tracked files differ from that commit. Both are None elsewhere.
    """
    commit = _git("rev-parse", "HEAD") if (_ROOT / ".git").exists() else None
    status = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
    return {
        "version": _version("fedaccord"),
        "commit": commit,
        "changed": None if status is None else bool(status),
    }


def _git(*words: str) -> str | None:
    """An answer of git about the checkout; None where it cannot be asked."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and no words of others
            [program, "-C", str(_ROOT), *words],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
