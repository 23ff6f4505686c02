"""The figures of the house, counted in small trees with planted faults."""

from pathlib import Path

import pytest

from tests.house.figures import House, measure_house
from tests.house.source import ROOMS, TOP
from tests.house.way import follow_record

LONG = "    x = 1\n" * 61
FILES = {
    "privacy/a.py": "from privacy import b\n",
    "privacy/b.py": "def f() -> None:\n    from privacy.deep.c import g\n    g()\n",
    "privacy/deep/c.py": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    import privacy.a\n\ndef g(): pass\n",
    "clients/d.py": "from clients.e import x\n",
    "clients/e.py": "from clients import d\nx = 1\n",
    "server/long.py": f'def long(a: int, *b: int, c: int = 0) -> None:\n    """Do."""\n{LONG}',
    "server/cli.py": "import typer\nfrom server.long import long\n"
    f"app = typer.Typer()\napp.command('x', epilog='y')(kept)\n\ndef kept():\n{LONG}\n"
    f"@app.command(help='z')\ndef shown():\n{LONG}",
    "strategies/many.py": "class Many:\n"
    "    def __init__(self, a, b, c, *, d, e, **f):\n        pass\n"
    "    def public(self, a, b, c, d, e, f, g):\n"
    '        """Do."""\n        def inner(): pass\n'
    "class _Hidden:\n    def public(self): pass\n",
    "alignment/ignores.py": "a = 1  # type: ignore[misc]\nb = 2  # noqa: E501\n"
    "c = 3  # noqa: S311 - drawn for a picture\nd = 4  # type: ignore[misc]  # untyped\n"
    "e = 5  # type: ignore[misc]  # noqa: E501, S101\nf = '# noqa'\n",
    "experiments/page.html.j2": "1\n2\n3\n",
    "front.py": "def front() -> int:\n    return 1\n",
    "tests/test_x.py": "import random  # noqa: F401\n",
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    root = tmp_path_factory.mktemp("checkout")
    for name in [f"{room}/__init__.py" for room in ROOMS] + [
        f"experiments/m{i}.py" for i in range(13)
    ]:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text('"""."""\n\n\ndef f() -> None:\n    """Do."""\n')
    for name, text in FILES.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(text)
    return measure_house(root)


def test_circles_through_functions_and_types_count(house: House) -> None:
    assert house.circles == (
        ("clients.d", "clients.e"),
        ("privacy.a", "privacy.b", "privacy.deep.c"),
    )
    assert house.circles_at_load == (("clients.d", "clients.e"),)


def test_sizes(house: House) -> None:
    server, experiments = house.rooms["server"], house.rooms["experiments"]
    assert server.long == ("server/long.py:long",)
    assert server.long_commands == ("server/cli.py:kept", "server/cli.py:shown")
    assert experiments.full_folders == ("experiments",)
    assert (experiments.fullest, experiments.fullest_modules) == ("experiments", 13)
    assert (experiments.modules, experiments.lines, experiments.other_lines) == (14, 14 * 5, 3)
    assert (experiments.functions, experiments.median_lines, experiments.p90_lines) == (14, 2, 2)
    assert house.rooms[TOP].functions == 1
    assert house.rooms["privacy"].full_folders == ()


def test_arguments_documentation_and_annotations(house: House) -> None:
    many = house.rooms["strategies"]
    assert many.many_arguments == ("strategies/many.py:Many.public",)
    assert many.bare == ("strategies/many.py:Many.public",)
    assert house.rooms["server"].bare == ("server/cli.py:kept", "server/cli.py:shown")
    assert house.rooms["privacy"].bare == ("privacy/b.py:f", "privacy/deep/c.py:g")


def test_an_ignore_needs_a_word_of_its_reason(house: House) -> None:
    lines = tuple(f"alignment/ignores.py:{line}" for line in (1, 2, 5))
    assert house.rooms["alignment"].unexplained == lines
    assert house.unexplained_in_tests == ("tests/test_x.py:1",)


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no folder privacy"):
        measure_house(tmp_path)


@pytest.mark.slow
def test_the_way_of_a_private_record_passes_the_clipping_and_the_ledger() -> None:
    way = follow_record(Path(__file__).parents[2], "private")
    assert way.hops[0][0].startswith("experiments/")
    assert len(way.hops) == len(way.files) - 1 + way.returns
    assert all(caller.split(":")[0] != callee.split(":")[0] for caller, callee in way.hops)
    passed = [callee.split(":")[0] for _, callee in way.hops]
    stages = [f"privacy/{file}.py" for file in ("kernel/clipping", "kernel/discrete_gaussian")]
    places = [passed.index(stage) for stage in ("alignment/data/loading.py", *stages)]
    assert places == sorted(places)
    assert any(file.startswith("privacy/ledger/") for file in way.files)
