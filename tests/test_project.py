"""The project as a whole: what the build file says of it, and what must not be in it."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("alignment", "clients", "experiments", "privacy", "server", "strategies")
PACKAGES = sorted({file.parent for room in ROOMS for file in (ROOT / room).rglob("*.py")})


def tracked_files() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs a checkout and git")
    listed = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


class TestPackages:
    def test_the_build_file_finds_every_room_and_nothing_else(self) -> None:
        found = PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]
        assert found == [f"{room}*" for room in ROOMS]

    @pytest.mark.parametrize("package", PACKAGES, ids=lambda folder: str(folder.relative_to(ROOT)))
    def test_every_module_tells_what_it_is(self, package: Path) -> None:
        assert (package / "__init__.py").is_file()
        for module in package.glob("*.py"):
            docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
            assert docstring, module.relative_to(ROOT)

    def test_the_command_is_the_front_door(self) -> None:
        import fedaccord

        assert PROJECT["project"]["scripts"] == {"fedaccord": "fedaccord:main"}
        assert PROJECT["tool"]["setuptools"]["py-modules"] == [
            *("atomic", "fedaccord", "supervision", "terminal", "texts")
        ]
        assert callable(fedaccord.main)

    def test_tests_are_no_package(self) -> None:
        assert not list((ROOT / "tests").rglob("__init__.py"))


class TestFlowerApp:
    APP = PROJECT["tool"]["flwr"]["app"]

    @pytest.mark.parametrize("component", ["serverapp", "clientapp"])
    def test_the_components_exist(self, component: str) -> None:
        from importlib import import_module

        module, name = self.APP["components"][component].split(":")
        assert type(getattr(import_module(module), name)).__name__.lower() == component

    def test_the_bundle_holds_what_the_apps_import_and_neither_experiments_nor_tests(self) -> None:
        bundled = {pattern.split("/")[1] for pattern in self.APP["fab-include"]}
        rooms = {"alignment", "clients", "privacy", "server", "strategies"}
        modules = {path.name for path in ROOT.glob("*.py")}
        assert bundled == {"LICENSE", *modules, *rooms}
        assert all(pattern.startswith("/") for pattern in self.APP["fab-include"])
        for pattern in self.APP["fab-include"]:
            assert list(ROOT.glob(pattern[1:])), pattern

    def test_the_bundle_stays_far_below_flowers_limit(self) -> None:
        files = {file for pattern in self.APP["fab-include"] for file in ROOT.glob(pattern[1:])}
        assert sum(file.stat().st_size for file in files) < 2_000_000


class TestTrackedFiles:
    def test_none_names_a_home_folder(self) -> None:
        """A path of one machine breaks on the next, and tells where the work was done."""
        # Put together here, so that this file is not the first to offend.
        paths = [f"/{'root'}/", f"/{'work'}/", f"/{'tmp'}/v/"]
        offending = [
            f"{file.relative_to(ROOT)}: {path}"
            for file in tracked_files()
            for path in paths
            if path.encode() in file.read_bytes()
        ]
        assert not offending

    def test_none_holds_a_private_key(self) -> None:
        marker = b"-----BEGIN " + b"PRIVATE KEY-----"
        opening = (marker, marker.replace(b"PRIVATE", b"OPENSSH PRIVATE"))
        assert not [
            file for file in tracked_files() if any(m in file.read_bytes() for m in opening)
        ]

    def test_none_is_a_pickle(self) -> None:
        suffixes = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".npy", ".npz", ".joblib"}
        assert not [file for file in tracked_files() if file.suffix in suffixes]

    def test_modules_keep_to_a_readable_length(self) -> None:
        """About 400 lines; what is longer has a reason, which is named here."""
        longer = {
            "alignment/data/sample_questions.py": "a table of questions",
            **{
                f"alignment/data/sample_pairs/{subject}.py": "a table of prompts and responses"
                for subject in ("abroad", "care", "home", "learning", "people", "work")
            },
            "experiments/simulation/figures.py": "a table of figures",
            "privacy/ledger/ledger.py": "one class: everything that may be written into a ledger",
        }
        lengths = {
            name: len(file.read_text(encoding="utf-8").splitlines())
            for file in tracked_files()
            if (name := file.relative_to(ROOT).as_posix()).startswith(ROOMS)
            and file.suffix == ".py"
        }
        assert {name for name, lines in lengths.items() if lines > 400} == set(longer)


PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    rooms = "|".join((*ROOMS, "tests", "deploy"))
    named = re.findall(rf"`((?:{rooms})/[\w./*-]+|[\w.*-]+\.py)`", page.read_text("utf-8"))
    assert [name for name in named if not list(ROOT.glob(name))] == []


class TestDeclarations:
    """What stands twice is changed once."""

    def test_a_file_has_its_name_from_one_place(self) -> None:
        """Files of two kinds in folders of two kinds may be called alike."""
        alike = {
            "card.json": "of a group that asks to join, and of privacy beside a published model",
            "executor.secret": "of a client and of a server; neither can import the other",
            "model": "of a client, and of a study of policies",
            "runs": "of a server, and of a study",
        }
        declared: dict[str, set[str]] = {}
        for file in (file for package in PACKAGES for file in package.glob("*.py")):
            for node in ast.parse(file.read_text(encoding="utf-8")).body:
                targets = (
                    node.targets
                    if isinstance(node, ast.Assign)
                    else [getattr(node, "target", None)]
                )
                names = [target.id for target in targets if isinstance(target, ast.Name)]
                value = getattr(node, "value", None)
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    if any(name.endswith(("_FILE", "_FOLDER")) for name in names):
                        declared.setdefault(value.value, set()).add(str(file.relative_to(ROOT)))
        assert len(declared) > 30
        twice = {name: files for name, files in declared.items() if len(files) > 1}
        assert not {name: files for name, files in twice.items() if name not in alike}
        assert set(alike) == set(twice)


class TestReadme:
    def test_it_names_the_two_commands_of_a_newcomer(self) -> None:
        text = (ROOT / "README.md").read_text(encoding="utf-8")
        assert "make demo" in text
        assert "make test" in text

    @pytest.mark.parametrize("target", ["demo", "test", "check", "install"])
    def test_the_commands_exist(self, target: str) -> None:
        assert f"\n{target}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_checks_of_every_change_can_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make check" in script.read_text(encoding="utf-8")
