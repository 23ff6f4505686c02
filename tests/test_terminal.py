"""The one way to a terminal: what it lets through, and that nothing goes around it."""

import ast
import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from terminal import OneLine, Terminal, echo, say
from tests.hostile import HOSTILE_TEXT, assert_seen
from tests.house.source import Module, read_modules

ROOT = Path(__file__).parents[1]
MODULES = [each for each in read_modules(ROOT) if each.name not in ("terminal", "texts")]

#: Calls that would print, log or format past `terminal.py`, by the end of what is called.
AROUND = {
    "print",
    "typer.echo",
    "typer.secho",
    "typer.style",
    "click.echo",
    "click.secho",
    "Console",
    "rich.print",
    "sys.stdout.write",
    "sys.stderr.write",
    "traceback.print_exc",
    "traceback.print_exception",
    "warnings.warn",
    "logging.basicConfig",
    "logging.StreamHandler",
    "from_markup",
    "markup.escape",
    "print_json",
}
#: Calls whose arguments people read.
PRINTING = {"say", "_say", "echo", "print", "add_row", "add_column", "Table", "Text", "add_task"}
#: What makes a text fit to be read, or a number of it.
SHOWING = {"shown", "visible", "visible_lines", "json_text", "_path", "len", "sum", "count_text"}
#: Ends of expressions that hold what another party, a file or a path has written.
OF_OTHERS = {
    *("group", "groups", "name", "names", "federation", "question", "prompt", "completion"),
    *("option", "options", "text", "about", "address", "host", "bind", "dropped", "aborted"),
    *("path", "folder", "home", "file", "out", "bundle", "line", "error", "exc", "row", "cell"),
}
#: Where such a name is a word of the project's own, with what it stands for.
OWN: dict[str, set[str]] = {
    # Fields of a policy, and checks of a client.
    "clients/deployment/setup_cli.py": {"each.name", "finding.name"},
    # Figures of a plan, sentences about it, strategies of the registry.
    "experiments/planning/cli.py": {"text"},
    "experiments/planning/forecast_view.py": {"name"},
    # Headings.
    "experiments/pairs/cli.py": {"name"},
    "experiments/policy/cli.py": {"name"},
    # Figures of a result, in words.
    "experiments/cli.py": {"text"},
}
#: The benchmarks print nothing but their own names and figures.
ALL_OWN = "experiments/benchmarks/"


def without_styles(text: str) -> str:
    """What is left beside the sequences that rich itself sends for colours."""
    for style in ("\x1b[1;31m", "\x1b[1;3m", "\x1b[1m", "\x1b[31m", "\x1b[3m", "\x1b[0m"):
        text = text.replace(style, "")
    return text


class TestTerminal:
    def test_no_text_reaches_it_as_a_command_in_whatever_it_stands(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Was open: tables, titles and lines passed escapes, turned lines and markup on."""
        monkeypatch.setenv("FORCE_COLOR", "1")
        console = Terminal(width=200)
        table = Table(title=HOSTILE_TEXT)
        table.add_column(HOSTILE_TEXT, overflow="fold")
        table.add_row(HOSTILE_TEXT, style="bold")
        table.add_row(Text(HOSTILE_TEXT, style="red"))
        console.print(table)
        console.print(HOSTILE_TEXT, Text(HOSTILE_TEXT), HOSTILE_TEXT, style="bold red")
        say(HOSTILE_TEXT, style="red")
        echo(HOSTILE_TEXT)
        out = capsys.readouterr().out
        assert "\x1b[0m" in out
        assert_seen(without_styles(out))
        assert out.count("[bold]x[/bold]") == out.count("y[/link]") == 9

    def test_nor_as_a_line_of_progress(self) -> None:
        file = io.StringIO()
        console = Terminal()
        console.file = file
        with Progress(TextColumn("{task.description}", markup=False), console=console) as progress:
            progress.add_task(HOSTILE_TEXT, total=1)
        assert_seen(file.getvalue())

    @given(st.text(max_size=40))
    def test_whatever_it_is(self, text: str) -> None:
        file = io.StringIO()
        console = Terminal(soft_wrap=True)
        console.file = file
        console.print(text, Text(text))
        assert_seen(file.getvalue())

    def test_an_empty_line_is_one(self, capsys: pytest.CaptureFixture[str]) -> None:
        say("a\n")
        Terminal().print()
        assert capsys.readouterr().out == "a\n\n\n"


class TestLogs:
    def test_a_message_is_one_line_and_a_traceback_keeps_its_own(self) -> None:
        """Was open: a message with a line end in it wrote lines of its own into a log."""
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(OneLine("%(levelname)s %(message)s"))
        logger = logging.Logger("hostile")
        logger.addHandler(handler)
        logger.warning("left out: %s", f"x\nERROR all is lost {HOSTILE_TEXT}")
        assert stream.getvalue().count("\n") == 1
        assert_seen(stream.getvalue())
        try:
            raise ValueError(HOSTILE_TEXT)
        except ValueError:
            logger.exception("failed")
        assert_seen(stream.getvalue())
        assert "Traceback" in stream.getvalue().splitlines()[2]


def calls(module: Module) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def place(module: Module, node: ast.AST) -> str:
    return f"{module.path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)[:100]}"


def test_nothing_goes_around_it() -> None:
    """Was open: a dozen modules printed, each in its own way."""
    found = [
        place(module, call)
        for module in MODULES
        for name, call in calls(module)
        for around in AROUND
        # A method `print` is a console's, and every console is a `Terminal`.
        if name == around or (around != "print" and name.endswith(f".{around}"))
    ]
    assert not found, "\n".join(found)


def test_markup_is_off_everywhere() -> None:
    """Was open: a text in square brackets could colour, hide or link."""
    found = []
    for module in MODULES:
        assert "rich.markup" not in module.source, module.path
        for name, call in calls(module):
            given = {word.arg: ast.unparse(word.value) for word in call.keywords}
            if name.endswith("TextColumn") and given.get("markup") != "False":
                found.append(place(module, call))
            if given.get("markup") == "True" or given.get("soft_wrap") == "print":
                found.append(place(module, call))
    assert not found, "\n".join(found)


def test_every_page_is_made_visible_before_it_is_written() -> None:
    """Was open: a page held what its texts held."""
    for module in MODULES:
        for name, call in calls(module):
            if name.endswith("Environment") and call.keywords:
                assert "finalize" in {word.arg for word in call.keywords}, module.path


def untold(node: ast.AST) -> Iterator[ast.expr]:
    """Parts of what is printed that hold a text of others and pass nothing that shows it."""
    if isinstance(node, ast.Call):
        called = ast.unparse(node.func).rpartition(".")[2]
        if called in SHOWING:
            return
        if called in ("map", "sorted"):
            first = ast.unparse(node.args[0]) if node.args else ""
            if first in SHOWING:
                return
        if called not in ("join", "str", *PRINTING):
            return
    if isinstance(node, ast.Name | ast.Attribute):
        if ast.unparse(node).rpartition(".")[2] in OF_OTHERS:
            yield node
        return
    if isinstance(node, ast.Compare | ast.Lambda | ast.Subscript):
        return
    if isinstance(node, ast.IfExp):
        yield from untold(node.body)
        yield from untold(node.orelse)
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr | ast.keyword | ast.FormattedValue):
            yield from untold(child)


def test_names_and_texts_that_are_printed_are_shown() -> None:
    """Was open: names, questions and paths were printed as they came."""
    found = []
    for module in MODULES:
        for name, call in calls(module):
            if name.rpartition(".")[2] not in PRINTING or module.path.as_posix().startswith(
                ALL_OWN
            ):
                continue
            parts = [*call.args, *(w.value for w in call.keywords if w.arg not in ("style", "err"))]
            own = OWN.get(module.path.as_posix(), set())
            found += [
                f"{place(module, call)} <- {ast.unparse(each)}"
                for part in parts
                for each in untold(part)
                if ast.unparse(each) not in own
            ]
    assert not found, "\n".join(found)
