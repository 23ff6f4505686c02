"""Observers of a running federation: a file of JSON lines, a progress bar, TensorBoard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from atomic import write_atomically
from server.config import RunConfig
from server.rounds.loop import Observer, RoundRecord
from terminal import Terminal
from texts import shown, visible

ROUNDS_FILE = "rounds.jsonl"
TENSORBOARD_FOLDER = "tensorboard"


@contextmanager
def _json_lines(path: Path, after: int | None) -> Iterator[Observer]:
    if after is not None:
        _cut(path, after)
    with path.open("w" if after is None else "a", encoding="utf-8") as file:

        def observe(record: RoundRecord) -> None:
            file.write(json.dumps(asdict(record)) + "\n")
            file.flush()

        yield observe


def _cut(path: Path, after: int) -> None:
    """Leave the records up to a round; later ones, and what a crash has torn, go."""
    kept = []
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        try:
            beyond = json.loads(line)["round"] > after
        except (ValueError, KeyError, TypeError):
            break
        if beyond or not line.endswith(b"\n"):
            break
        kept.append(line)
    write_atomically(path, b"".join(kept))


@contextmanager
def progress_bar(rounds: int, after: int | None = None) -> Iterator[Observer]:
    """A bar on the terminal; elsewhere a line for every measurement and every loss.

    Args:
        rounds: Of the whole run.
        after: Round that a resumed run goes on from.
    """
    console = Terminal(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("round {task.completed:.0f}/{task.total:.0f}", markup=False),
        TextColumn("{task.fields[figures]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=rounds, completed=after or 0, figures="")
        measured = ""

        def observe(record: RoundRecord) -> None:
            nonlocal measured
            if record.accuracy is not None:
                measured = f"accuracy {record.accuracy:.4f}"
            elif record.alignment is not None:
                measured = f"alignment {record.alignment:.4f}"
            # Where no bar is seen, every measurement, or else a sign of life now and then.
            due = record.alignment is not None or (record.round > 0 and record.round % 10 == 0)
            if due and not console.is_terminal:
                console.print(f"round {record.round}/{rounds} {measured}".rstrip())
            if record.aborted:
                console.print(
                    f"round {record.round} was aborted, the model stays as it was: "
                    f"{visible(record.aborted)}"
                )
            elif record.dropped:
                silent = ", ".join(map(shown, record.dropped))
                console.print(f"round {record.round}: no answer from {silent}")
            what = "adapters and head" if record.train_adapter else "head"
            progress.update(task, completed=record.round, description=what, figures=measured)

        yield observe


@contextmanager
def _tensorboard(folder: Path, after: int | None) -> Iterator[Observer]:
    from torch.utils.tensorboard import SummaryWriter

    if after is None:
        # Events of an earlier run would be drawn as part of this one.
        shutil.rmtree(folder, ignore_errors=True)
    # Readers drop what an earlier writer has put from this step on.
    writer = SummaryWriter(str(folder), purge_step=None if after is None else after + 1)

    def observe(record: RoundRecord) -> None:
        figures = {
            **{f"seconds/{stage}": took for stage, took in record.seconds_stages.items()},
            "loss/train": record.loss,
            "alignment/held_out_groups": record.alignment,
            "log_loss/held_out_groups": record.log_loss,
            "accuracy/held_out_groups": record.accuracy,
            "margin/held_out_groups": record.margin,
            "seconds/train": record.seconds_train,
            "groups/in_sum": record.groups,
            "groups/dropped": len(record.dropped),
            "rounds/aborted": int(bool(record.aborted)),
        }
        for name, value in figures.items():
            if value is not None:
                writer.add_scalar(name, value, record.round)

    try:
        yield observe
    finally:
        writer.close()


@contextmanager
def observers(config: RunConfig, *, after: int | None = None) -> Iterator[tuple[Observer, ...]]:
    """The observers that a run asks for, open until the run ends.

    Args:
        config: The run.
        after: The round that the run goes on after; None begins anew.
    """
    out = Path(config.out)
    with ExitStack() as stack:
        chosen = [
            stack.enter_context(_json_lines(out / ROUNDS_FILE, after)),
            stack.enter_context(progress_bar(config.federation.rounds, after)),
        ]
        if config.track == "tensorboard":
            chosen.append(stack.enter_context(_tensorboard(out / TENSORBOARD_FOLDER, after)))
        yield tuple(chosen)
