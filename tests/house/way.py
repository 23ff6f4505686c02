"""The way of a record: the files that a reader opens to follow it, counted while it is gone.

A tiny federation runs through the public command ``fedaccord simulate``: four invented groups,
default settings, secure aggregation on, one round of the head and one with adapters; ``private``
adds distributed noise. What counts as the way of a record is

1. the stack from the command down to the first message that asks a group to train, and
2. every call beneath a group's ``ClientApp`` in messages that ask it to train, of all groups
   together and in the order of time: reading and checking the data, encoding, training, clipping,
   noise, ledger, masks, the released vector. Functions that remember results are made to forget
   before the first of these messages: in a deployment that process has read nothing yet.

So the way ends where the vector leaves the group. Left out are the messages about keys and
signatures, those that evaluate held-out groups, and what the server does with the sum.

A call counts from the nearest function of the product that it was made in (libraries in between
leave no trace) to the function called; nested functions are part of the one around them, and
modules that load count for nothing. Each pair of functions counts once, when first gone, and only
if they lie in two files: that is a *hop*. A hop into a file that the way had reached before is a
*return*. So ``hops = files - 1 + returns``, whatever the layout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Literal, cast

Mode = Literal["plain", "private"]

_SETTINGS: dict[Mode, tuple[str, ...]] = {
    "plain": (),
    "private": ("privacy.mode=distributed", "privacy.records_per_unit=2"),
}
_COMMON = (
    "federation.warmup_rounds=1",
    "federation.adapter_rounds=1",
    "federation.evaluate_every=0",
)
_DATA = "sample:groups=4,respondents=8"

#: A function of the product: its file, relative to the checkout, and its qualified name.
_Place = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way of a record.

    Attributes:
        hops: Calls from one file into another, in the order in which they are first made: caller
            and callee as ``file:function``.
        files: In the order in which they are reached.
        returns: Hops into a file that was reached before.
    """

    hops: tuple[tuple[str, str], ...]
    files: tuple[str, ...]
    returns: int


def follow_record(checkout: Path, mode: Mode) -> Way:
    """Run a federation of a checkout in a process of its own and follow its records.

    Raises:
        RuntimeError: The run failed; its last lines are quoted.
    """
    root = checkout.resolve()
    # Safe path: the folder of this file must not be searched for modules of the checkout.
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "hops.json"
        done = subprocess.run(
            [sys.executable, "-P", __file__, str(root), mode, str(found)],
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode or not found.is_file():
            raise RuntimeError(f"{checkout}: the run failed: {done.stderr.strip()[-500:]}")
        hops = [(tuple(a), tuple(b)) for a, b in json.loads(found.read_text(encoding="utf-8"))]
    return _way_of(hops)


def _way_of(hops: Sequence[tuple[tuple[str, ...], tuple[str, ...]]]) -> Way:
    files = dict.fromkeys((hops[0][0][0], *(callee[0] for _, callee in hops)))
    return Way(
        hops=tuple((":".join(caller), ":".join(callee)) for caller, callee in hops),
        files=tuple(files),
        returns=len(hops) + 1 - len(files),
    )


class _Recorder:
    """Notes calls between files of a checkout while a ``ClientApp`` is asked to train."""

    def __init__(self, root: Path) -> None:
        self._root = f"{root}{os.sep}"
        self._loading = 0
        self.hops: dict[tuple[_Place, _Place], None] = {}

    def watch(self, handle: Any) -> Any:
        """A ``ClientApp.__call__`` that notes what is called while it runs."""

        def watched(app: Any, message: Any, context: Any) -> Any:
            if not message.metadata.message_type.startswith("train"):
                return handle(app, message, context)
            if not self.hops:
                self._forget()
                stack = list(self._stack(sys._getframe()))[::-1]
                for caller, callee in pairwise(stack):
                    self._note(caller, callee)
            sys.setprofile(self._profile)
            try:
                return handle(app, message, context)
            finally:
                sys.setprofile(None)

        return watched

    def _forget(self) -> None:
        """Empty the caches of the product's functions."""
        for module in list(sys.modules.values()):
            if self._inside(getattr(module, "__file__", None) or ""):
                for value in list(vars(module).values()):
                    if callable(clear := getattr(value, "cache_clear", None)):
                        clear()

    def _profile(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_name == "<module>" and event in ("call", "return"):
            self._loading += 1 if event == "call" else -1
        elif event == "call" and not self._loading and (callee := self._place(frame)):
            caller = next(self._stack(frame.f_back), None)
            if caller is not None:
                self._note(caller, callee)

    def _note(self, caller: _Place, callee: _Place) -> None:
        if caller[0] != callee[0]:
            self.hops.setdefault((caller, callee))

    def _stack(self, frame: FrameType | None) -> Iterator[_Place]:
        """Functions of the product from a frame to the command, without modules that load."""
        while frame is not None:
            if (place := self._place(frame)) is not None and frame.f_code.co_name != "<module>":
                yield place
            frame = frame.f_back

    def _inside(self, file: str) -> bool:
        """Whether a file is of the checkout, and not of an environment that lies in it."""
        return file.startswith(self._root) and "site-packages" not in file

    def _place(self, frame: FrameType) -> _Place | None:
        file = frame.f_code.co_filename
        if not self._inside(file) or file == __file__:
            return None
        return file.removeprefix(self._root), frame.f_code.co_qualname.split(".<locals>")[0]


def _record(root: Path, mode: Mode, found: Path) -> None:
    """Run the command of the checkout that is first on the path, and write down the hops."""
    from flwr.clientapp import ClientApp

    import fedaccord

    if Path(fedaccord.__file__).parent != root:
        raise RuntimeError(f"{fedaccord.__file__} is not of {root}")
    recorder = _Recorder(root)
    # Calls look up the method at the class: nothing of the product is changed.
    setattr(ClientApp, "__call__", recorder.watch(ClientApp.__call__))  # noqa: B010 - mypy takes no assignment
    settings = [f"--set={each}" for each in (*_COMMON, *_SETTINGS[mode])]
    with tempfile.TemporaryDirectory() as folder:
        fedaccord.app(
            ["simulate", f"--out={folder}/run", f"--data={_DATA}", *settings],
            standalone_mode=False,
        )
    found.write_text(json.dumps(list(recorder.hops)), encoding="utf-8")


if __name__ == "__main__":
    _record(Path(sys.argv[1]), cast(Mode, sys.argv[2]), Path(sys.argv[3]))
