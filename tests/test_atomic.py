"""Files are there whole, or as they were before."""

import ast
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import atomic
from atomic import force_out, opened_atomically, write_atomically, write_new


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_knows_nothing_of_the_rooms() -> None:
    tree = ast.parse(Path(atomic.__file__).read_text(encoding="utf-8"))
    named = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    assert all(str(name).partition(".")[0] in sys.stdlib_module_names for name in named)


class TestContent:
    @pytest.mark.parametrize("data", ["", "é\n\r\n", b"", b"\xff\x00", "x" * 300_000])
    def test_it_is_what_was_given_and_alone_in_its_folder(
        self, tmp_path: Path, data: str | bytes
    ) -> None:
        path = tmp_path / "file.json"
        for _ in range(2):
            write_atomically(path, data)
            assert path.read_bytes() == (data.encode() if isinstance(data, str) else data)
        assert list(tmp_path.iterdir()) == [path]

    def test_a_folder_is_made_only_where_that_is_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            write_atomically(tmp_path / "a" / "b" / "file", "x")
        assert not list(tmp_path.iterdir())
        write_atomically(tmp_path / "a" / "b" / "file", "x", parents=True)
        assert (tmp_path / "a" / "b" / "file").read_text() == "x"

    def test_a_link_is_replaced_and_what_it_names_stays(self, tmp_path: Path) -> None:
        (tmp_path / "other").write_text("other")
        (tmp_path / "link").symlink_to("other")
        write_atomically(tmp_path / "link", "new")
        assert (tmp_path / "other").read_text() == "other"
        assert not (tmp_path / "link").is_symlink()


class TestMode:
    @pytest.mark.parametrize(("mask", "usual"), [(0o022, 0o644), (0o077, 0o600)])
    def test_it_is_the_umasks_or_exactly_what_is_asked_for(
        self, tmp_path: Path, umask: Callable[[int], int], mask: int, usual: int
    ) -> None:
        umask(mask)
        path = tmp_path / "file"
        for mode in (None, 0o644, 0o600):
            write_atomically(path, "x", mode=mode)
            assert mode_of(path) == (usual if mode is None else mode)

    def test_a_private_file_is_private_from_its_first_byte(
        self, tmp_path: Path, umask: Callable[[int], int]
    ) -> None:
        umask(0)
        (tmp_path / "file").write_text("for all")
        with opened_atomically(tmp_path / "file", mode=0o600) as stream:
            (part,) = tmp_path.glob(".file.*.part")
            assert mode_of(part) == 0o600
            stream.write(b"x")
        assert mode_of(tmp_path / "file") == 0o600


class Gone(BaseException):
    """The process was killed here."""


class TestFailure:
    @pytest.mark.parametrize("durable", [False, True])
    @pytest.mark.parametrize("call", ["open", "fdopen", "fsync", "fchmod", "replace"])
    @pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Gone()])
    def test_at_any_call_it_leaves_the_old_file_alone(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        call: str,
        durable: bool,
        error: BaseException,
    ) -> None:
        path = tmp_path / "file"
        write_atomically(path, "old")

        def failing(*_: Any, **__: Any) -> None:
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(os, call, failing)
            if call == "fsync" and not durable:
                write_atomically(path, "old", durable=durable, mode=0o600)
            else:
                with pytest.raises(type(error)):
                    write_atomically(path, "new", durable=durable, mode=0o600)
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_disk_that_is_really_full_leaves_the_old_file_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        write_atomically(path, "old")
        # A limit on the size of files fails a write in its middle, as a full disk does.
        code = (
            "import pathlib, resource, signal, sys\n"
            "from atomic import write_atomically\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
            "try:\n"
            "    write_atomically(pathlib.Path(sys.argv[1]), 'n' * 5000)\n"
            "except OSError as error:\n"
            "    print(error.strerror)\n"
        )
        root = Path(atomic.__file__).parent
        told = subprocess.run([sys.executable, "-c", code, path], cwd=root, capture_output=True)
        assert told.stdout == b"File too large\n", told.stderr
        assert path.read_text() == "old"
        assert list(tmp_path.iterdir()) == [path]

    def test_a_kill_before_the_rename_leaves_the_old_file_to_every_reader(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "file.json"
        write_atomically(path, "old")
        code = (
            "import os, pathlib, signal, sys\n"
            "import atomic\n"
            "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "atomic.write_atomically(pathlib.Path(sys.argv[1]), 'new', durable=True)\n"
        )
        root = Path(atomic.__file__).parent
        assert subprocess.run([sys.executable, "-c", code, path], cwd=root).returncode == -9
        assert path.read_text() == "old"
        # What is left is read by nobody: hidden, and not of the kind of the file.
        (left,) = set(tmp_path.iterdir()) - {path}
        assert left.name.startswith(".file.json.") and left.suffix == ".part"
        write_atomically(path, "new")
        assert path.read_text() == "new"

    def test_what_is_raised_within_the_block_leaves_the_old_file_alone(
        self, tmp_path: Path
    ) -> None:
        write_atomically(tmp_path / "file", "old")
        with pytest.raises(ZeroDivisionError):
            with opened_atomically(tmp_path / "file") as stream:
                stream.write(b"new")
                stream.write(bytes(1 // 0))
        assert (tmp_path / "file").read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 1


def test_no_reader_sees_a_part_while_two_write(tmp_path: Path) -> None:
    path, size = tmp_path / "file", 50_000
    write_atomically(path, "a" * size)
    done = False

    def write(letter: str) -> None:
        for _ in range(60):
            write_atomically(path, letter * size)

    def read() -> int:
        times = 0
        while not done or times == 0:
            text = path.read_text()
            assert len(text) == size and len(set(text)) == 1
            times += 1
        return times

    with ThreadPoolExecutor(3) as threads:
        reader = threads.submit(read)
        try:
            for writer in [threads.submit(write, letter) for letter in "bc"]:
                writer.result()
        finally:
            done = True
        assert reader.result() > 0
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_durable_is_forced_out_before_it_is_named_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, os.replace

    def logged(descriptor: int) -> None:
        order.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).suffix}")
        # Nothing is left in a buffer of this process by then.
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert os.fstat(descriptor).st_size == 3
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", logged)
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("rename"), replace(*a)))
    write_atomically(tmp_path / "file", "new")
    assert order == ["rename"]
    write_atomically(tmp_path / "file", "new", durable=True)
    assert order[1:] == ["sync .part", "rename", "sync "]
    force_out(tmp_path / "file")
    assert order[-1] == "sync "


class TestNew:
    def test_it_is_its_owners_alone(self, tmp_path: Path, umask: Callable[[int], int]) -> None:
        umask(0)
        write_new(tmp_path / "key", b"secret")
        write_new(tmp_path / "certificate", b"public", mode=0o644)
        assert (mode_of(tmp_path / "key"), mode_of(tmp_path / "certificate")) == (0o600, 0o644)
        assert (tmp_path / "key").read_bytes() == b"secret"

    def test_it_never_replaces(self, tmp_path: Path) -> None:
        write_new(tmp_path / "key", b"secret")
        (tmp_path / "link").symlink_to("nowhere")
        for name in ("key", "link"):
            with pytest.raises(FileExistsError):
                write_new(tmp_path / name, b"other")
        assert (tmp_path / "key").read_bytes() == b"secret"
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize("call", ["write", "fsync", "link", "unlink"])
    @pytest.mark.parametrize("after", [False, True])
    def test_whoever_is_killed_on_the_way_leaves_all_of_it_or_nothing(
        self, tmp_path: Path, call: str, after: bool
    ) -> None:
        """Was open: an empty key lay in the way of every later start."""
        script = (
            "import os, signal, sys; from pathlib import Path; import atomic\n"
            f"real = os.{call}\n"
            "def dying(*given, **named):\n"
            f"    {'real(*given, **named)' if after else 'pass'}\n"
            "    os.kill(os.getpid(), signal.SIGKILL)\n"
            f"os.{call} = dying\n"
            # Buffered streams write below os.write: half of it is there when they are flushed.
            "if sys.argv[2] == 'write':\n"
            "    os.fdopen = lambda descriptor, _: dying(descriptor, b'sec')\n"
            "atomic.write_new(Path(sys.argv[1]), b'secret')\n"
        )
        path = tmp_path / "key"
        done = subprocess.run(
            [sys.executable, "-c", script, path, call],
            cwd=Path(atomic.__file__).parent,
            check=False,
        )
        assert done.returncode == -9
        if path.exists():
            assert path.read_bytes() == b"secret"
            assert call in ("link", "unlink")
        else:
            write_new(path, b"secret")
            assert path.read_bytes() == b"secret"

    def test_it_never_replaces_where_files_have_no_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def failing(*_: object) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", failing)
        write_new(tmp_path / "key", b"secret")
        with pytest.raises(FileExistsError):
            write_new(tmp_path / "key", b"other")
        assert list(tmp_path.iterdir()) == [tmp_path / "key"]
        assert (tmp_path / "key").read_bytes() == b"secret"
        assert mode_of(tmp_path / "key") == 0o600
