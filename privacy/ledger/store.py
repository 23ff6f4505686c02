"""The file of a ledger: one writer, whole lines, on disk before anybody relies on them."""

import fcntl
import json
import logging
import os
import stat
from pathlib import Path
from typing import Self

from atomic import force_out
from privacy.errors import LedgerLocked, LedgerUnwritable

_SECTOR = 512
_LOG = logging.getLogger(__name__)


class Store:
    """The open, locked file; `append` returns once its bytes are durable.

    The lock is on the file itself, so neither another name of it nor the removal of a lock file
    lets a second writer in. Where a write fails, the file is cut back to what was durable; until
    that has worked nothing more is written.

    Args:
        descriptor: of the locked file, open for reading and writing.
        path: for messages.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path
        self._length = os.fstat(descriptor).st_size
        self._process = os.getpid()
        self._dirty = False
        self._closed = False

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make an empty file, durable with its name in the folder, and lock it.

        Raises:
            FileExistsError: if there is one: what was spent is not forgotten.
            LedgerUnwritable: if it could not be made durable.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor, path)
            os.fsync(descriptor)
            force_out(path.parent)
        except OSError as error:
            os.close(descriptor)
            raise _unwritable(path, error) from error
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Lock a file that exists.

        Raises:
            FileNotFoundError: if it does not: a missing ledger is not an empty one.
            LedgerLocked: if it is open elsewhere, in this process or another.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{path} is not a file; give the path of a ledger")
            _lock(descriptor, path)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path)

    @property
    def path(self) -> Path:
        """Of the file."""
        return self._path

    def read(self) -> bytes:
        """The file without a last line that a crash has torn; to be checked, then `mend`ed."""
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            return whole_lines(file.read())

    def mend(self, data: bytes) -> int:
        """Make the file what `read` has returned, durably; return the number of bytes cut off.

        Raises:
            LedgerUnwritable: if that failed.
        """
        torn = self._length - len(data)
        if torn < 0:
            self.append(data[torn:])
        if torn <= 0:
            return 0
        try:
            self._cut(len(data))
        except OSError as error:
            raise _unwritable(self._path, error) from error
        _LOG.warning("%s: a torn last line of %d bytes was cut off", self._path, torn)
        return torn

    def append(self, line: bytes) -> None:
        """Write bytes at the end and wait until they are on disk.

        Raises:
            LedgerUnwritable: if they are not; none of them is then left, or the next call cuts
                them off before it writes.
        """
        self._require_owner()
        try:
            if self._dirty:
                self._cut(self._length)
            self._dirty = True
            os.lseek(self._descriptor, self._length, os.SEEK_SET)
            rest = line
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            os.fsync(self._descriptor)
        except OSError as error:
            self._undo()
            raise _unwritable(self._path, error) from error
        self._length += len(line)
        self._dirty = False

    def close(self) -> None:
        """Release the lock; nothing can be written afterwards."""
        if not self._closed:
            self._closed = True
            os.close(self._descriptor)

    def _cut(self, length: int) -> None:
        os.ftruncate(self._descriptor, length)
        os.fsync(self._descriptor)
        self._length = length
        self._dirty = False

    def _undo(self) -> None:
        try:
            self._cut(self._length)
        except OSError:
            _LOG.warning("%s: a failed write could not be undone yet", self._path)

    def _require_owner(self) -> None:
        if self._closed:
            raise LedgerLocked(f"{self._path} was closed; open it again")
        if os.getpid() != self._process:
            raise LedgerLocked(
                f"{self._path} was opened by process {self._process}; a fork must not write to it"
            )


def whole_lines(data: bytes) -> bytes:
    """The lines of a ledger without a last one that a crash has torn.

    Only a last line without its newline can be torn: nothing was released on its account, since a
    spend is released after its newline is on disk. A line that lacks the newline alone is given it,
    so what it charges stays charged. A last line with its newline is never left out, whatever it
    holds, unless a sector of it was never written. A whole line with something in place of its
    newline is given one too, so that the check finds it.
    """
    start = data.rfind(b"\n", 0, max(len(data) - 1, 0)) + 1
    last = data[start:]
    if b"\0" * _SECTOR in last:
        return data[:start]
    if not last or last.endswith(b"\n"):
        return data
    return data + b"\n" if _begins_whole(last) else data[:start]


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LedgerLocked(f"{path} is open elsewhere; close it there first") from None


def _begins_whole(text: bytes) -> bool:
    """Whether bytes begin with a whole JSON value, as no beginning of a line does."""
    try:
        json.JSONDecoder().raw_decode(text.decode("latin-1"))
    except (ValueError, RecursionError):
        return False
    return True


def _unwritable(path: Path, error: OSError) -> LedgerUnwritable:
    return LedgerUnwritable(
        f"{path}: {error.strerror or error}; nothing was recorded, so nothing may be released; "
        "free the disk and try again"
    )
