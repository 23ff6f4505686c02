"""The code of a client: which files of a tree it is, and their digest.

A ledger names the digest, a group policy names the one that was reviewed, and a review compares
both with a tree it has at hand. It covers every file that Python could load for one of the rooms
and top-level modules below: sources, compiled extensions, and bytecode that lies in place of a
source. It does not cover the bytecode that Python keeps of sources (`__pycache__`), which it trusts
by the time and size of the source: whoever can write there can have other code run. Nor does it
cover Python itself and the libraries, whose versions the constraints of the project pin.
"""

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from importlib.machinery import all_suffixes
from pathlib import Path

ROOMS = ("alignment", "clients", "privacy", "strategies")
"""Rooms whose code runs at a client."""

ROOT = Path(__file__).parents[2]
"""The tree that this module was loaded from: a checkout, or the folder of installed packages."""

PROJECT = "fedaccord"
"""The distribution, and the module of its command."""

_CACHE = "__pycache__"
_SUFFIXES = tuple(all_suffixes())


def top_modules(root: Path = ROOT) -> tuple[str, ...]:
    """The modules of a tree that lie in no room, in the order of their names.

    A checkout lists them in its project file, an installation in the record of the package.

    Raises:
        ValueError: if the tree is neither.
    """
    names: Iterable[str] = ()
    project = root / "pyproject.toml"
    if project.is_file():
        stated = tomllib.loads(project.read_text(encoding="utf-8"))
        if stated.get("project", {}).get("name") == PROJECT:
            names = stated["tool"]["setuptools"]["py-modules"]
    for record in () if names else root.glob(f"{PROJECT}-*.dist-info/top_level.txt"):
        listed = record.read_text(encoding="utf-8").split()
        names = [name for name in listed if not (root / name).is_dir()]
    if not names:
        raise ValueError(f"{root}: holds no code of {PROJECT}; name a checkout of it")
    return tuple(sorted(set(names)))


def client_files(root: Path = ROOT) -> dict[str, bytes]:
    """The files of a tree that run at a client, or would be loaded in place of one, by path.

    Raises:
        ValueError: if it is no tree of this project, or a folder in it is a link, behind which
            Python would find code that is not looked at.
    """
    found = {}
    for name in (*ROOMS, *top_modules(root)):
        beside = [path for path in root.glob(f"{name}.*") if path.name.endswith(_SUFFIXES)]
        for path in (*beside, *_below(root / name)):
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    if not all(any(file.startswith(f"{room}/") for file in found) for room in ROOMS):
        raise ValueError(f"{root}: lacks a room of {PROJECT}; name a whole checkout of it")
    return dict(sorted(found.items()))


def _below(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != _CACHE]
        if Path(place).is_symlink() or any((Path(place) / name).is_symlink() for name in folders):
            raise ValueError(f"{folder.name}: holds a link to a folder; install the code itself")
        yield from (Path(place) / name for name in files if name.endswith(_SUFFIXES))


def for_client(files: Mapping[str, bytes], *, root: Path = ROOT) -> dict[str, bytes]:
    """Those of some files that would run at a client of a tree, or in place of its own.

    Args:
        files: Contents by path, from anywhere.
        root: The tree that says which rooms and modules a client has.
    """
    names = {*ROOMS, *top_modules(root)}
    return {
        path: data
        for path, data in files.items()
        if path.partition("/")[0].partition(".")[0] in names
    }


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over names and contents of files, whatever their order; hexadecimal."""
    state = hashlib.sha256()
    for name, data in sorted(files.items()):
        state.update(name.encode() + b"\0")
        state.update(hashlib.sha256(data).digest())
    return state.hexdigest()


def tree_digest(root: Path = ROOT) -> str:
    """The digest of the client code of a tree.

    Raises:
        ValueError: if there is none; see `client_files`.
    """
    return digest_of(client_files(root))
