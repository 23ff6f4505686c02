"""The checks of what a run has published: the files of its model, and what lies beside them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, file_digest
from privacy.audit.run_folder.stated_figures import check_figures
from privacy.audit.server_ledger.events import is_inside
from privacy.audit.server_ledger.pairs import paired_runs
from privacy.file_names import RESULT_FILE
from privacy.ledger.chain import Event

_WEIGHTS = frozenset(
    ".safetensors .bin .pt .pth .ckpt .gguf .ggml .onnx .h5 .hdf5 .keras .tflite .msgpack .npz "
    ".npy .pkl .pickle .joblib .mlmodel .ot .pb .params .model".split()
)
"""Endings of files that programs read models from."""


def check_published(evidence: Evidence) -> Iterator[Check]:
    """What lies in the folder of a run is what the server ledger and the plans say."""
    yield _files(evidence)
    yield from check_figures(evidence)


def _files(evidence: Evidence) -> Check:
    """The files of the model are those that the server ledger names, and no others are there."""
    last = _published(evidence)
    if last is None:
        return _unpublished(evidence)
    files = last.body.get("files")
    if (
        not isinstance(files, dict)
        or not files
        or not all(isinstance(digest, str) and is_inside(name) for name, digest in files.items())
    ):
        finding = "the server ledger does not name what was published."
        return failed("published", "server", finding)
    folder = evidence.published
    if folder is None:
        return left_open("published", "server", "the files of the model were not handed in.")
    if wrong := [name for name, digest in files.items() if file_digest(folder / name) != digest]:
        finding = f"{', '.join(wrong)}: missing, or not as the server ledger names it."
        return failed("published", "server", finding)
    if more := _unnamed(folder, files):
        finding = f"{', '.join(more)}: beside the model, and not named by the server ledger."
        return failed("published", "server", finding)
    return passed("published", "server", f"{len(files)} files are those of the server ledger.")


def run_of(evidence: Evidence) -> str | None:
    """The run whose folder was handed in, by its own word; None where it states none."""
    private = (evidence.result or {}).get("privacy")
    stated = [evidence.registered, private if isinstance(private, dict) else None]
    named = (each["run"] for each in stated if each is not None and "run" in each)
    return next((run for run in named if isinstance(run, str)), None)


def _published(evidence: Evidence) -> Event | None:
    """What the run has published at its end; of whichever run was last where none is named."""
    run, last = run_of(evidence), None
    for event in evidence.server_ledger.events if evidence.server_ledger else ():
        if run in (None, event.body.get("run")) and event.type in ("PUBLISHED", "RESUMED"):
            # A run that goes on has not published yet.
            last = event if event.type == "PUBLISHED" else None
    return last


def _unpublished(evidence: Evidence) -> Check:
    """Whether a run may have published nothing."""
    server = evidence.server_ledger
    finding = "the server ledger names no published model"
    if evidence.result is None or server is None or server.error is not None:
        return left_open("published", "server", f"{finding}.")
    if run_of(evidence) in paired_runs(server):
        return left_open("published", "server", f"{finding}: every group keeps its own.")
    return failed("published", "server", f"{finding}, and {RESULT_FILE} is of a finished run.")


def _unnamed(folder: Path, files: Mapping[str, Any]) -> list[str]:
    """Files of a model in a folder that are not named: all beside named ones, and all weights."""
    inside = {Path(name).parts[0] for name in files if len(Path(name).parts) > 1}
    found = ((path, path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return sorted(
        str(name)
        for path, name in found
        if name.as_posix() not in files
        and (name.parts[0] in inside or path.suffix.lower() in _WEIGHTS)
    )
