"""The code of a client: what is installed here, what a server sends, and how the two differ.

A server of Flower sends every client a bundle (FAB) to be run. Here nothing of it is ever run or
unpacked: a client runs what is installed on its own machine, and refuses to work for a server
whose bundle holds anything else for it.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

#: Rooms whose code runs at a client.
ROOMS = ("alignment", "clients", "privacy", "strategies")

#: The modules of no room that they import.
SHARED_MODULES = ("atomic.py", "terminal.py", "texts.py")

#: Larger than any bundle that Flower accepts, unpacked.
_MOST_BYTES = 64 * 2**20

#: What reading a damaged archive may raise.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError)


class CodeRefused(RuntimeError):
    """A server's bundle is not the code that this group has reviewed; nothing of it was run."""


def installed_files() -> dict[str, bytes]:
    """The source files that run at this client, by path."""
    root = Path(__file__).parents[2]
    found = [path for room in ROOMS for path in (root / room).rglob("*.py")]
    found += [root / module for module in SHARED_MODULES]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(found)}


def bundled_files(bundle: bytes) -> dict[str, bytes]:
    """The files of a bundle by path, read in memory and never unpacked.

    Raises:
        CodeRefused: It is no bundle, one whose names are not plain paths, or one that would not fit
            into memory.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if len({member.filename for member in members}) < len(members):
                raise CodeRefused("the bundle holds two files of one name: nothing of it was run")
            if odd := [name for name in archive.namelist() if not _is_plain(name)]:
                raise CodeRefused(f"the bundle names {odd[0][:100]!r}: nothing of it was run")
            if sum(member.file_size for member in members) > _MOST_BYTES:
                raise CodeRefused(f"the bundle unpacks to more than {_MOST_BYTES:,} bytes")
            return {member.filename: _content(archive, member) for member in members}
    except (*_UNREADABLE, RuntimeError) as error:
        if isinstance(error, CodeRefused):
            raise
        raise CodeRefused("the bundle cannot be read: nothing of it was run") from error


def _is_plain(name: str) -> bool:
    """Whether a name is a path below the bundle, written in the one usual way."""
    path = PurePosixPath(name)
    plain = str(path) == name.removesuffix("/") and not path.is_absolute()
    return plain and ".." not in path.parts and "\\" not in name


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """The bytes of a file, and never more than it says it has."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise CodeRefused("the bundle is packed in a way that Flower does not use")
    with archive.open(member) as file:
        return file.read(member.file_size)


def for_client(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those of some files that would run at a client, or be imported in place of one that does."""
    packages = {*ROOMS, *(module.removesuffix(".py") for module in SHARED_MODULES)}
    return {
        name: data
        for name, data in files.items()
        if name.partition("/")[0].partition(".")[0] in packages
    }


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents of the files that run at a client, hexadecimal."""
    state = hashlib.sha256()
    for name, data in sorted(for_client(files).items()):
        state.update(name.encode() + b"\0")
        state.update(hashlib.sha256(data).digest())
    return state.hexdigest()


@lru_cache(maxsize=1)
def code_digest() -> str:
    """The digest of what is installed here: which code trains, and has spent."""
    return digest_of(installed_files())


@lru_cache(maxsize=4)
def bundle_digest(bundle: bytes) -> str:
    """The digest of what a bundle holds for a client.

    Raises:
        CodeRefused: It is no bundle.
    """
    return digest_of(bundled_files(bundle))


@dataclass(frozen=True, kw_only=True)
class FileDifference:
    """One file of a client that differs between the installed code and a bundle.

    Attributes:
        name: Its path.
        change: ``added``, ``removed`` or ``changed``, as the bundle has it.
        diff: A unified diff, one line each.
    """

    name: str
    change: str
    diff: tuple[str, ...]


def differences(bundle: Mapping[str, bytes]) -> tuple[FileDifference, ...]:
    """How the files of a bundle differ from those installed here, in order of their names."""
    here, there = installed_files(), for_client(bundle)
    found = []
    for name in sorted(here.keys() | there.keys()):
        old, new = here.get(name), there.get(name)
        if old == new:
            continue
        change = "added" if old is None else "removed" if new is None else "changed"
        lines = (_lines(old), _lines(new))
        diff = difflib.unified_diff(*lines, f"installed/{name}", f"bundle/{name}", lineterm="")
        found.append(FileDifference(name=name, change=change, diff=tuple(diff)))
    return tuple(found)


def _lines(data: bytes | None) -> list[str]:
    """Lines as line feeds end them; whatever else a reader may take for an end stays in them."""
    if data is None:
        return []
    *lines, rest = data.decode("utf-8", "backslashreplace").split("\n")
    return [*lines, rest, "(no line feed at the end)"] if rest else lines
