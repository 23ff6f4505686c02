"""The code of a client: what is installed here, what a server sends, and how the two differ.

A server of Flower sends every client a bundle (FAB) to be run. Here nothing of it is ever run or
unpacked: a client runs what is installed on its own machine, and refuses to work for a server
whose bundle holds anything else for it. Which files count, and their digest, say
``privacy.identity.code``.
"""

from __future__ import annotations

import difflib
import io
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from importlib.machinery import SOURCE_SUFFIXES
from os import sysconf
from pathlib import Path, PurePosixPath

from privacy.identity import code
from privacy.identity.code import client_files, for_client

#: Larger than any bundle that Flower accepts, unpacked.
_MOST_BYTES = 64 * 2**20

#: What reading a damaged archive may raise.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError)


class CodeRefused(RuntimeError):
    """A server's bundle is not the code that this group has reviewed; nothing of it was run."""


def installed_files() -> dict[str, bytes]:
    """The files that run at this client, by path, as they lie there now."""
    return client_files()


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


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents of those files that run at a client, hexadecimal."""
    return code.digest_of(for_client(files))


def code_digest() -> str:
    """The digest of what is installed here now; cheap, and no word on what a process has loaded."""
    return code.tree_digest()


@lru_cache(maxsize=1)
def running_digest() -> str:
    """The digest of the code that this process runs: which code trains, and has spent.

    Loads every module that a handler of messages could load later, seconds at the first call, so
    that nothing is left to be read from disk afterwards. The files are read before and after.
    Bytecode that Python has kept is trusted as Python trusts it; see ``privacy.identity.code``.
    Where the system does not say when a process began, a change between the first module that
    this process has loaded and the first call is not seen.

    Raises:
        CodeRefused: The files have changed since this process began to load them.
    """
    files = _first_seen()
    for name in _modules(files):
        import_module(name)
    if installed_files() != files or _changed_since_start(files):
        raise CodeRefused(
            "the code installed here has changed since this process began: start it anew"
        )
    return code.digest_of(files)


@lru_cache(maxsize=1)
def _first_seen() -> Mapping[str, bytes]:
    """The files as this process has first read them; a change stays one, however often asked."""
    return installed_files()


def _modules(files: Iterable[str]) -> list[str]:
    """Names of the source modules among some files, without that of the command.

    The command mounts rooms that no handler of messages may load.
    """
    paths = [PurePosixPath(file) for file in files if file.endswith(tuple(SOURCE_SUFFIXES))]
    names = {".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths}
    return sorted(names - {code.PROJECT})


def _changed_since_start(files: Iterable[str]) -> bool:
    """Whether a file was written, replaced or renamed after this process had begun."""
    with suppress(OSError, ValueError, AttributeError):
        # The 22nd field; those before it follow a name in brackets.
        ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        tick = 1 / sysconf("SC_CLK_TCK")
        began = time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks * tick)
        return any((code.ROOT / file).stat().st_ctime > began + tick for file in files)
    return False


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
