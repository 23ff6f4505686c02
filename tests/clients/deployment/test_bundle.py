"""What a server sends as code: looked at without being run, and compared with what is installed."""

import io
import os
import random
import shutil
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from clients.deployment import bundle as module
from clients.deployment.bundle import (
    CodeRefused,
    bundle_digest,
    bundled_files,
    code_digest,
    differences,
    digest_of,
    installed_files,
)
from privacy.identity.code import ROOMS, top_modules

ROOT = Path(__file__).parents[3]
Pack = Callable[[Mapping[str, bytes]], bytes]


def packed(
    *files: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as writer:
        for name, data in files:
            writer.writestr(name, data)
    return archive.getvalue()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_that_flower_builds_is_the_code_that_is_installed(tmp_path: Path) -> None:
    """Of a copy without what Flower leaves out anyway, which takes it seconds to walk through."""
    from flwr.cli.build import build_fab_from_disk

    for room in (*ROOMS, "server"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    modules = [f"{name}.py" for name in top_modules()]
    for name in ("pyproject.toml", "LICENSE", "README.md", ".gitignore", *modules):
        shutil.copy(ROOT / name, tmp_path / name)
    sent = build_fab_from_disk(tmp_path)
    assert differences(bundled_files(sent)) == ()
    assert bundle_digest(sent) == code_digest()
    assert any(name.startswith("server/") for name in bundled_files(sent))


def test_what_runs_at_a_client_is_every_module_of_its_rooms_and_every_module_beside_them() -> None:
    """Was open: the command itself, and what keeps programs alive, could be replaced unseen."""
    names = set(installed_files())
    assert {"clients/app.py", "privacy/secagg/client.py", "alignment/model/predictor.py"} <= names
    beside = {path.name for path in ROOT.glob("*.py")}
    assert {"atomic.py", "fedaccord.py", "supervision.py"} <= beside
    assert {name.split("/")[0] for name in names} == {*ROOMS, *beside}


class TestDigest:
    FILES: Mapping[str, bytes] = {"clients/app.py": b"app", "privacy/accounting/plan.py": b"plan"}

    def test_order_and_what_runs_elsewhere_change_nothing(self) -> None:
        more = {"server/app.py": b"x", "pyproject.toml": b"y", "clientsx/app.py": b"z"}
        turned = dict(reversed(list(self.FILES.items())))
        assert digest_of({**more, **turned}) == digest_of(self.FILES)

    @pytest.mark.parametrize(
        "files",
        [
            {"clients/app.py": b"app!", "privacy/accounting/plan.py": b"plan"},
            {"clients/app.py": b"plan", "privacy/accounting/plan.py": b"app"},
            {"clients/app.py": b"app"},
            {
                "clients/app.py": b"app",
                "privacy/accounting/plan.py": b"plan",
                "clients/new.py": b"",
            },
            {"clients/app.py": b"app", "privacy/plan.so": b"plan"},
            {"clients/app": b".pyapp", "privacy/accounting/plan.py": b"plan"},
            {**FILES, "atomic.py": b"atomic"},
            {**FILES, "supervision.py": b"supervision"},
            {**FILES, "fedaccord.py": b"command"},
            {**FILES, "atomic/__init__.py": b"in its place"},
            {**FILES, "privacy.so": b"in its place"},
        ],
        ids=[
            *("content", "swapped", "removed", "added", "renamed", "moved across"),
            *("of no room", "programs", "command"),
            *("package before module", "library before package"),
        ],
    )
    def test_any_change_changes_it(self, files: Mapping[str, bytes]) -> None:
        assert digest_of(files) != digest_of(self.FILES)


class TestRefused:
    def test_two_files_of_one_name(self) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            sent = packed(("clients/app.py", b"one"), ("clients/app.py", b"two"))
        with pytest.raises(CodeRefused, match="two files of one name: nothing of it was run"):
            bundled_files(sent)

    @pytest.mark.parametrize("sent", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + b"\xff" * 18])
    def test_no_archive(self, sent: bytes) -> None:
        with pytest.raises(
            CodeRefused, match=r"^the bundle cannot be read: nothing of it was run$"
        ):
            bundled_files(sent)

    @pytest.mark.parametrize(
        "name",
        [
            "/clients/app.py",
            "../clients/app.py",
            "clients/../clients/app.py",
            "clients/./app.py",
            "./clients/app.py",
            "clients//app.py",
            "clients\\app.py",
            "..",
        ],
    )
    def test_a_name_that_is_no_plain_path(self, name: str) -> None:
        member = zipfile.ZipInfo("x")
        member.filename = name
        with pytest.raises(CodeRefused, match="the bundle names "):
            bundled_files(packed((member, b"")))

    def test_more_than_fits_into_memory(self) -> None:
        with pytest.raises(CodeRefused, match=r"unpacks to more than 67,108,864 bytes$"):
            bundled_files(packed(("clients/zeros.py", bytes(module._MOST_BYTES + 1))))

    def test_a_size_that_is_a_lie_is_never_unpacked_beyond_it(self) -> None:
        """64 MiB of zeros that say they are 8 bytes: in a process that has no room for them."""
        sent = bytearray(packed(("clients/zeros.py", bytes(2**26))))
        for mark, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            place = sent.index(mark) + at
            sent[place : place + 4] = struct.pack("<I", 8)
        code = (
            "import resource, sys, tracemalloc\n"
            "from clients.deployment.bundle import CodeRefused, bundled_files\n"
            "tracemalloc.start()\n"
            "try:\n"
            "    bundled_files(sys.stdin.buffer.read())\n"
            "except CodeRefused as error:\n"
            "    print(error, tracemalloc.get_traced_memory()[1] < 2**22)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=bytes(sent),
            capture_output=True,
            cwd=ROOT,
            check=True,
        )
        assert done.stdout.decode() == "the bundle cannot be read: nothing of it was run True\n"

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_ways_of_packing_that_cannot_be_bounded(self, method: int) -> None:
        with pytest.raises(CodeRefused, match="packed in a way that Flower does not use"):
            bundled_files(packed(("clients/app.py", b"app"), method=method))

    def test_a_damaged_archive_is_refused_or_read_and_raises_nothing_else(self) -> None:
        whole = packed(("clients/app.py", b"print()\n" * 50), ("clients/b.py", b"x = 1\n"))
        generator = random.Random(0)
        outcomes = set()
        for _ in range(3000):
            sent = bytearray(whole)
            for _ in range(generator.randint(1, 4)):
                sent[generator.randrange(len(sent))] = generator.randrange(256)
            try:
                bundled_files(bytes(sent[: generator.randint(1, 2 * len(sent))]))
                outcomes.add("read")
            except CodeRefused:
                outcomes.add("refused")
        assert outcomes == {"read", "refused"}


RUNNING = """
import os, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import clients.deployment.bundle as bundle
import privacy.identity.code as code
root, when = pathlib.Path(sys.argv[1]), sys.argv[2]
assert code.ROOT == root
late = root / "clients" / "training" / "private_trainer.py"
assert "clients.training.private_trainer" not in sys.modules

def replace(*_):
    os.replace(other, late)

other = root / "other"
other.write_bytes(late.read_bytes() + b"# another\\n")
os.utime(other, ns=(late.stat().st_mtime_ns,) * 2)
if when == "before it is asked for":
    time.sleep(0.05)
    replace()
if when == "while it loads":
    bundle._changed_since_start = lambda _: False
    load, loaded = bundle.import_module, []
    def import_module(name):
        module = load(name)
        if not loaded and name == "clients.training.private_trainer":
            loaded.append(name)
            replace()
        return module
    bundle.import_module = import_module
for _ in range(2):
    try:
        digest = bundle.running_digest()
        loaded = "clients.training.private_trainer" in sys.modules
        print("runs", digest == code.tree_digest(), loaded)
    except bundle.CodeRefused as error:
        print(error)
if when == "afterwards":
    replace()
    print(bundle.running_digest() == digest, bundle.code_digest() != digest)
"""


class TestRunning:
    """Was open: what loads late could be replaced, and ran under the digest of what it was."""

    @pytest.mark.parametrize("when", ["before it is asked for", "while it loads"])
    def test_code_that_changes_while_a_process_loads_it_is_refused(
        self, tmp_path: Path, when: str
    ) -> None:
        said = self._said(tmp_path, when)
        assert (
            said
            == ["the code installed here has changed since this process began: start it anew"] * 2
        )

    def test_all_that_can_run_has_been_loaded_when_a_digest_is_stated(self, tmp_path: Path) -> None:
        said = self._said(tmp_path, "afterwards")
        assert said == ["runs True True", "runs True True", "True True"]

    def _said(self, folder: Path, when: str) -> list[str]:
        for room in ROOMS:
            shutil.copytree(
                ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in ("pyproject.toml", *(f"{name}.py" for name in top_modules())):
            shutil.copy(ROOT / name, folder / name)
        time.sleep(0.05)
        done = subprocess.run(
            [sys.executable, "-P", "-c", RUNNING, folder, when],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


class TestDifferences:
    def test_they_are_told_by_file_and_line(self) -> None:
        files = dict(installed_files())
        first = files["clients/app.py"]
        files["clients/app.py"] = first + b"import os\n"
        files["clients/zz.py"] = b"\xff new\n"
        del files["privacy/accounting/plan.py"]
        files["server/app.py"] = b"not a client's business"
        found = differences(files)
        assert [(each.name, each.change) for each in found] == [
            ("clients/app.py", "changed"),
            ("clients/zz.py", "added"),
            ("privacy/accounting/plan.py", "removed"),
        ]
        assert found[0].diff[:2] == ("--- installed/clients/app.py", "+++ bundle/clients/app.py")
        assert [line for line in found[0].diff[2:] if line[0] in "+-"] == ["+import os"]
        assert "+\\xff new" in found[1].diff
        assert all(line[0] in "-@" or line.startswith("+++") for line in found[2].diff)

    def test_a_line_end_of_another_kind_is_a_difference(self) -> None:
        """Was open: a bundle whose lines ended otherwise was changed, with nothing to be seen."""
        files = dict(installed_files())
        files["clients/app.py"] = files["clients/app.py"].replace(b"\n", b"\r", 1)
        (found,) = differences(files)
        assert any(line.startswith("+") and "\r" in line for line in found.diff)

    def test_there_are_none_to_what_is_installed(self) -> None:
        assert differences(installed_files()) == ()
