"""Keys of all parties of a simulation, read again only where their folder has changed."""

import os
import time
from pathlib import Path

import pytest

from privacy.identity import key_folder
from privacy.identity.key_folder import MEMBERS, SERVERS, KeyFolder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that are read, in turn."""
    key_folder._roster.cache_clear()
    folders: list[Path] = []
    read_roster = key_folder._read_roster

    def reading(folder: Path) -> object:
        folders.append(folder)
        return read_roster(folder)

    monkeypatch.setattr(key_folder, "_read_roster", reading)
    return folders


def settle(folder: Path) -> None:
    """Let a folder have changed a minute ago."""
    then = time.time_ns() - 60 * 10**9
    os.utime(folder, ns=(then, then))


def test_roles_and_folders_have_rosters_of_their_own(tmp_path: Path) -> None:
    keys, others = KeyFolder(tmp_path / "a"), KeyFolder(tmp_path / "b")
    public = keys.own("North").public
    server = keys.own("North", role=SERVERS).public
    assert dict(keys.roster()) == {"North": public}
    assert dict(keys.roster(role=SERVERS)) == {"North": server}
    assert len(others.roster()) == 0
    assert len({public, server, others.own("North").public}) == 3


def test_a_key_that_has_just_come_is_in_the_next_roster(tmp_path: Path, read: list[Path]) -> None:
    """Within one tick of the clock a folder can change without its time telling."""
    keys = KeyFolder(tmp_path)
    keys.own("North")
    folder = tmp_path / MEMBERS
    assert list(keys.roster()) == ["North"]
    before = folder.stat()
    keys.own("South")
    os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert list(keys.roster()) == ["North", "South"]


def test_a_settled_folder_is_read_once_and_again_when_it_changes(
    tmp_path: Path, read: list[Path]
) -> None:
    keys, folder = KeyFolder(tmp_path), tmp_path / MEMBERS
    keys.own("North")
    settle(folder)
    assert [list(keys.roster()) for _ in range(3)] == [["North"]] * 3
    assert read == [folder]
    keys.own("South")
    assert list(keys.roster()) == ["North", "South"]
    assert len(read) == 2
