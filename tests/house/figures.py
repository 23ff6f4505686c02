"""The figures of the house, room by room, and the goals that they are held to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.house.source import (
    ROOMS,
    TESTS,
    TOP,
    Function,
    Module,
    find_circles,
    find_functions,
    find_imports,
    find_unexplained_ignores,
    read_modules,
)

MOST_MODULES = 12
MOST_LINES = 60
MOST_ARGUMENTS = 6


@dataclass(frozen=True, kw_only=True)
class Room:
    """Figures of one room; functions are named by file and qualified name.

    Attributes:
        lines: Of Python.
        other_lines: Of templates and settings (``.j2`` and ``.toml``).
        modules: Files of Python.
        fullest: The folder with most modules, ``__init__`` and ``__main__`` not counted.
        fullest_modules: How many it has.
        full_folders: Folders that have more than 12.
        functions: All of them, nested ones too.
        median_lines: Of a function.
        p90_lines: Nine of ten functions are no longer.
        long: Functions of more than 60 lines.
        long_commands: Those of them that define a command.
        many_arguments: Functions of more than 6 arguments, but for commands.
        bare: Public functions without a docstring or an annotation.
        unexplained: Lines that ignore a check and give no reason.
    """

    lines: int
    other_lines: int
    modules: int
    fullest: str
    fullest_modules: int
    full_folders: tuple[str, ...]
    functions: int
    median_lines: float
    p90_lines: float
    long: tuple[str, ...]
    long_commands: tuple[str, ...]
    many_arguments: tuple[str, ...]
    bare: tuple[str, ...]
    unexplained: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class House:
    """Figures of a checkout.

    Attributes:
        rooms: By name, modules beside them under :data:`~tests.house.source.TOP`.
        circles: Modules that import each other, be it inside functions or for types alone.
        circles_at_load: Those that remain where only imports at load count.
        unexplained_in_tests: Lines of tests that ignore a check and give no reason.
    """

    rooms: dict[str, Room]
    circles: tuple[tuple[str, ...], ...]
    circles_at_load: tuple[tuple[str, ...], ...]
    unexplained_in_tests: tuple[str, ...]


def measure_house(checkout: Path) -> House:
    """Count the code of a checkout, from its syntax trees alone.

    Raises:
        ValueError: The folder is no checkout of the project.
    """
    modules = read_modules(checkout)
    functions = find_functions(modules)
    tests = [m for m in read_modules(checkout, folders=[TESTS]) if m.room == TESTS]
    return House(
        rooms={name: _measure_room(name, checkout, modules, functions) for name in (*ROOMS, TOP)},
        circles=tuple(find_circles(find_imports(modules))),
        circles_at_load=tuple(find_circles(find_imports(modules, at_load_only=True))),
        unexplained_in_tests=tuple(line for m in tests for line in find_unexplained_ignores(m)),
    )


def _measure_room(
    room: str, checkout: Path, modules: Sequence[Module], functions: Sequence[Function]
) -> Room:
    own = [module for module in modules if module.room == room]
    files = {module.path.as_posix() for module in own}
    inside = [function for function in functions if function.name.split(":")[0] in files]
    levels = Counter(
        module.path.parent.as_posix()
        for module in own
        if module.path.stem not in ("__init__", "__main__")
    )
    fullest, most = levels.most_common(1)[0]
    long = [function for function in inside if function.lines > MOST_LINES]
    median, p90 = np.quantile([function.lines for function in inside], (0.5, 0.9))
    return Room(
        lines=sum(len(module.source.splitlines()) for module in own),
        other_lines=_other_lines(checkout / room),
        modules=len(own),
        fullest=fullest,
        fullest_modules=most,
        full_folders=tuple(folder for folder, count in levels.items() if count > MOST_MODULES),
        functions=len(inside),
        median_lines=float(median),
        p90_lines=float(p90),
        long=tuple(each.name for each in long if not each.command),
        long_commands=tuple(each.name for each in long if each.command),
        many_arguments=tuple(
            each.name for each in inside if each.arguments > MOST_ARGUMENTS and not each.command
        ),
        bare=tuple(each.name for each in inside if each.bare),
        unexplained=tuple(line for module in own for line in find_unexplained_ignores(module)),
    )


def _other_lines(folder: Path) -> int:
    files = [file for ending in ("*.j2", "*.toml") for file in folder.rglob(ending)]
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)
