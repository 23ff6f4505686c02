"""Write-then-rename, once for all: a file is there whole, or as it was before; of no room.

The new content lies under a name of its own in the same folder until it is complete, so that
neither a crash, a full disk nor a second writer ever shows anybody a part of it. Only a process
that is killed on the way leaves that second file: hidden, its name ending in ``.part``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_atomically(
    path: Path,
    data: bytes | str,
    *,
    durable: bool = False,
    mode: int | None = None,
    parents: bool = False,
) -> None:
    """Write a file whole, or leave what was there.

    Args:
        path: Whose folder exists.
        data: Text is written as UTF-8.
        durable: Return only once file and name are on disk.
        mode: Permissions from the first byte on, whatever the umask; None leaves them to it.
        parents: Make the folder where it is missing.

    Raises:
        OSError: It could not be written. Only where the last step of a durable write fails, forcing
            the folder out, does the file hold the new content.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    with opened_atomically(path, durable=durable, mode=mode) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def opened_atomically(
    path: Path, *, durable: bool = False, mode: int | None = None
) -> Iterator[BinaryIO]:
    """A stream whose content takes its place when the block ends, and vanishes if that raises.

    Args:
        path: As for :func:`write_atomically`.
        durable: As for :func:`write_atomically`.
        mode: As for :func:`write_atomically`.
    """
    part = _part_of(path)
    descriptor = _create(part, 0o666 if mode is None else mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if mode is not None:
                os.fchmod(descriptor, mode)
            yield file
            if durable:
                file.flush()
                os.fsync(descriptor)
        os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if durable:
        force_out(path.parent)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that must not exist, such as a key; its owner's alone from its first byte on.

    It is on disk whole before it has its name: half a key would be in the way of every later start.

    Raises:
        FileExistsError: It exists, and stays as it is.
    """
    part = _part_of(path)
    try:
        _write(part, data, mode)
        try:
            os.link(part, path)
        except FileExistsError:
            raise
        except OSError:
            # A file system without links: only a kill in the middle can leave a part here.
            _write(path, data, mode)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    force_out(path.parent)


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(_create(path, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def force_out(path: Path) -> None:
    """Return once a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _create(path: Path, mode: int) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
