"""The digest of client code: over all that Python could load, of a checkout or an installation."""

import shutil
import sys
import tomllib
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from privacy.identity.code import ROOMS, ROOT, client_files, top_modules, tree_digest

SOURCE = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small checkout: a file a room, and two modules beside them."""
    root = tmp_path / "tree"
    for room in ROOMS:
        (root / room).mkdir(parents=True)
        (root / room / "__init__.py").write_text(f"# {room}\n")
    for name in ("atomic", "fedaccord"):
        (root / f"{name}.py").write_text(f"# {name}\n")
    (root / "pyproject.toml").write_text(
        '[project]\nname = "fedaccord"\n[tool.setuptools]\npy-modules = ["atomic", "fedaccord"]\n'
    )
    return root


def test_a_bundle_and_an_installation_hold_every_module_beside_the_rooms() -> None:
    """Was open: three of them ran at clients, and one was covered."""
    project = tomllib.loads((SOURCE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    beside = sorted(path.stem for path in SOURCE.glob("*.py"))
    assert sorted(project["setuptools"]["py-modules"]) == beside == list(top_modules())
    assert {f"/{name}.py" for name in beside} <= set(project["flwr"]["app"]["fab-include"])
    assert ROOT == SOURCE


@pytest.mark.parametrize(
    "name",
    [
        "supervision.py",
        f"atomic{EXTENSION_SUFFIXES[0]}",
        "atomic/__init__.py",
        f"clients/secret{BYTECODE_SUFFIXES[0]}",
        f"privacy/deep/kernel{EXTENSION_SUFFIXES[-1]}",
        "strategies/new.py",
    ],
)
def test_whatever_could_be_loaded_in_place_of_a_source_changes_the_digest(
    tree: Path, name: str
) -> None:
    """Was open: compiled files in place of sources, and a package in place of a module."""
    if name == "supervision.py":
        text = (tree / "pyproject.toml").read_text().replace('"atomic"', '"atomic", "supervision"')
        (tree / "pyproject.toml").write_text(text)
    before = tree_digest(tree)
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_bytes(b"")
    assert tree_digest(tree) != before


@pytest.mark.parametrize(
    "name",
    [f"clients/__pycache__/app{BYTECODE_SUFFIXES[0]}", "server/app.py", "x.py", "clients/a.txt"],
)
def test_what_is_no_code_of_a_client_changes_nothing(tree: Path, name: str) -> None:
    before = tree_digest(tree)
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_bytes(b"")
    assert tree_digest(tree) == before


def test_an_installation_has_the_digest_of_the_checkout_it_was_made_from(
    tree: Path, tmp_path: Path
) -> None:
    installed = Path(shutil.copytree(tree, tmp_path / "site-packages"))
    (installed / "pyproject.toml").unlink()
    (installed / "numpy.py").write_text("# of somebody else\n")
    record = installed / "fedaccord-0.1.0.dist-info" / "top_level.txt"
    record.parent.mkdir()
    record.write_text("\n".join((*ROOMS, "atomic", "fedaccord")))
    assert client_files(installed) == client_files(tree)
    # A project file of somebody else, which some package has left there, says nothing.
    (installed / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert tree_digest(installed) == tree_digest(tree)


def test_a_folder_behind_a_link_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tree / "clients" / "hidden").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="holds a link to a folder; install the code itself"):
        tree_digest(tree)


def test_a_folder_without_this_project_is_refused_in_one_line(tmp_path: Path, tree: Path) -> None:
    with pytest.raises(ValueError, match="name a checkout of it"):
        tree_digest(tmp_path)
    shutil.rmtree(tree / "privacy")
    with pytest.raises(ValueError, match="lacks a room of fedaccord; name a whole checkout"):
        tree_digest(tree)


def test_reading_a_tree_loads_nothing_of_it(tree: Path) -> None:
    (tree / "clients" / "poison.py").write_text("raise SystemExit\n")
    before = set(sys.modules)
    tree_digest(tree)
    assert set(sys.modules) == before
