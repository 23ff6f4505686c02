"""The code of a checkout as syntax trees: its modules, functions, imports and ignores.

Nothing is imported, so that any checkout can be read, whatever its layout.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("privacy", "alignment", "strategies", "server", "clients", "experiments")
#: The name that modules beside the rooms go by.
TOP = "top level"
TESTS = "tests"

_DIRECTIVE = re.compile(r"type:\s*ignore(\[[^\]]*\])?|noqa(:\s*[A-Z]+\d+(,\s*[A-Z]+\d+)*)?")
_Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Module:
    """One Python file.

    Attributes:
        path: Relative to the checkout.
        name: Dotted, as it is imported; that of the folder for an ``__init__.py``.
    """

    path: Path
    name: str
    source: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The top-level folder, or :data:`TOP`."""
        return self.path.parts[0] if len(self.path.parts) > 1 else TOP


@dataclass(frozen=True, kw_only=True)
class Function:
    """One function, method or nested function.

    Attributes:
        name: Its file and qualified name.
        lines: From ``def`` to its last line: docstring and nested functions counted, decorators
            not.
        arguments: Parameters but for ``self`` and ``cls``.
        command: Decorated by, or handed to, ``command(...)`` or ``callback(...)`` of an app.
        bare: It lacks a docstring or an annotation (overloads need no docstring) and is public:
            neither it, nor a class around it, begins with an underscore, and it is nested in no
            function.
    """

    name: str
    lines: int
    arguments: int
    command: bool
    bare: bool


def read_modules(checkout: Path, *, folders: Sequence[str] = ROOMS) -> list[Module]:
    """The modules of rooms and those beside them, by path.

    Raises:
        ValueError: A folder is missing, or a file is no Python.
    """
    if missing := [name for name in folders if not (checkout / name).is_dir()]:
        raise ValueError(f"{checkout}: has no folder {missing[0]}; name a checkout of the project")
    nested = (file for name in folders for file in (checkout / name).rglob("*.py"))
    return [_read(file, checkout) for file in sorted({*nested, *checkout.glob("*.py")})]


def _read(file: Path, checkout: Path) -> Module:
    path = file.relative_to(checkout)
    parts = path.with_suffix("").parts
    source = file.read_text(encoding="utf-8")
    return Module(
        path=path,
        name=".".join(parts[:-1] if parts[-1] == "__init__" else parts),
        source=source,
        tree=ast.parse(source, filename=str(path)),
    )


def find_functions(modules: Sequence[Module]) -> list[Function]:
    """Every function of modules, in the order of the files."""
    registered = {name for module in modules for name in _registered(module)}
    return [
        function
        for module in modules
        for function in _functions_in(module.tree, module, registered, public=True)
    ]


def _functions_in(
    node: ast.AST, module: Module, registered: set[str], *, public: bool, prefix: str = ""
) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, _Definition | ast.ClassDef):
            yield from _functions_in(child, module, registered, public=public, prefix=prefix)
            continue
        name, open_ = f"{prefix}{child.name}", public and not child.name.startswith("_")
        if isinstance(child, _Definition):
            yield Function(
                name=f"{module.path.as_posix()}:{name}",
                lines=(child.end_lineno or child.lineno) - child.lineno + 1,
                arguments=sum(1 for _ in _parameters(child)),
                command=f"{module.name}.{name}" in registered
                or any(map(_registers, child.decorator_list)),
                bare=open_ and _is_bare(child),
            )
            open_ = False
        yield from _functions_in(child, module, registered, public=open_, prefix=f"{name}.")


def _parameters(function: _Definition) -> Iterator[ast.arg]:
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return (each for each in every if each is not None and each.arg not in ("self", "cls"))


def _is_bare(function: _Definition) -> bool:
    overload = any(ast.unparse(each).endswith("overload") for each in function.decorator_list)
    annotated = function.returns and all(each.annotation for each in _parameters(function))
    return not annotated or (ast.get_docstring(function) is None and not overload)


def _registers(node: ast.expr) -> bool:
    """Whether an expression is ``app.command(...)``, whatever the app is called."""
    called = node.func if isinstance(node, ast.Call) else node
    return isinstance(called, ast.Attribute) and called.attr in ("command", "callback")


def _registered(module: Module) -> Iterator[str]:
    """Full names of the functions that a module hands to ``app.command(...)``."""
    origins = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call) and _registers(node.func):
            for given in node.args:
                if isinstance(given, ast.Name):
                    yield origins.get(given.id, f"{module.name}.{given.id}")


def find_imports(
    modules: Sequence[Module], *, at_load_only: bool = False
) -> dict[str, frozenset[str]]:
    """The modules, among these, that each module names in an import, by dotted names.

    Imports inside functions and those for type checkers alone count too, but for ``at_load_only``.
    """
    names = {module.name for module in modules}
    found = {}
    for module in modules:
        nodes = _at_load(module.tree) if at_load_only else ast.walk(module.tree)
        found[module.name] = frozenset(
            target for node in nodes for target in _imported(node, module, names)
        )
    return found


def _at_load(node: ast.AST) -> Iterator[ast.AST]:
    """Statements that run when a module is loaded."""
    for child in ast.iter_child_nodes(node):
        skipped = isinstance(child, _Definition | ast.Lambda) or (
            isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
        )
        if not skipped:
            yield child
            yield from _at_load(child)


def _imported(node: ast.AST, module: Module, names: set[str]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = module.path.parts[: len(module.path.parts) - node.level]
            base = ".".join((*package, *([base] if base else [])))
        for alias in node.names:
            inner = f"{base}.{alias.name}"
            if inner in names or base in names:
                yield inner if inner in names else base


def find_circles(imports: Mapping[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Modules that import each other, directly or through others: each circle once, sorted."""
    reached = {name: _reached(imports, name) for name in imports}
    return sorted(
        {
            tuple(sorted(other for other in reached[name] if name in reached[other]))
            for name in imports
            if name in reached[name]
        }
    )


def _reached(imports: Mapping[str, frozenset[str]], start: str) -> set[str]:
    """All that a module imports, directly or not; itself only if it lies on a circle."""
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        new = imports[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def find_unexplained_ignores(module: Module) -> list[str]:
    """Lines whose ``type: ignore`` or ``noqa`` is followed by no word of a reason."""
    if not _DIRECTIVE.search(module.source):
        return []
    return [
        f"{module.path.as_posix()}:{token.start[0]}"
        for token in tokenize.generate_tokens(io.StringIO(module.source).readline)
        if token.type == tokenize.COMMENT
        and _DIRECTIVE.search(token.string)
        and not re.search(r"[A-Za-z]{2}", _DIRECTIVE.sub("", token.string))
    ]
