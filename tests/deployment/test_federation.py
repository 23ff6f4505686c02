"""Five organisations on a real SuperLink, with power cuts, a late comer, and a tap on the wire."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

ROUNDS = 18
FIRST = ("North", "South", "East", "West")
LATE = "Late"
COUNTED_ROUNDS = 6
#: Trains nothing: the model is measured on its answers, which are public.
MEASURED = "Public"
#: In every record, in every place that a text can have; nowhere else in the world.
MARKERS = ("zebrafinch-question", "zebrafinch-option", "zebrafinch-person", "zebrafinch-id")
SETTINGS = (
    "federation.minimum_groups=3",
    "federation.seats=5",
    # Long enough for a machine that has much else to do: a node that is gone is noticed before.
    "federation.round_timeout_seconds=75",
    "federation.stage_timeout_seconds=75",
    "federation.evaluate_every=0",
    "privacy.units_per_seat=40",
    "privacy.delta=0.001",
    "predictor.head_width=8",
    "predictor.max_tokens=32",
)
#: Noise shared among groups, and a step on raw answers in every round.
MASKED = (
    *SETTINGS,
    f"federation.warmup_rounds={ROUNDS}",
    "privacy.mode=distributed",
    "privacy.survivors=3",
)
#: Every group's own noise on counts of its answers, which is what a server asks for by default.
COUNTED = (*SETTINGS, f"federation.warmup_rounds={COUNTED_ROUNDS}")


def write_data(folder: Path, group: str) -> Path:
    """Answers of 24 people to 6 questions; every text carries a marker."""
    question, option, person, name = MARKERS
    generator = np.random.default_rng(len(group))
    path = folder / f"{group}.jsonl"
    with path.open("w") as file:
        for respondent in range(24):
            for number in range(6):
                row = {
                    "group": group,
                    "respondent": f"{person}-{group}-{respondent}",
                    "question_id": f"{name}-{number}",
                    "question": f"{question} number {number}?",
                    "options": [f"{option} yes", f"{option} no"],
                    "choice": int(generator.random() < 0.3 + 0.1 * number),
                }
                file.write(json.dumps(row) + "\n")
    return path


def received(home: Path) -> int:
    """How many requests to train the node of a group has taken in."""
    log = home / "logs" / "supernode.log"
    return len(re.findall("Receiving: train.masked", log.read_text())) if log.exists() else 0


def assert_no_marker(lab: Any, folder: Path) -> None:
    """No text of a record went over the wire, and none lies with the server."""
    wire = (folder / "wire.bin").read_bytes()
    kept = [path for path in lab.server.rglob("*") if path.is_file()]
    assert any(path.name.startswith("superlink.db") for path in kept)
    for marker in MARKERS:
        assert marker.encode() in (folder / "North.jsonl").read_bytes()
        assert marker.encode() not in wire, f"{marker} went over the wire"
        for path in kept:
            assert marker.encode() not in path.read_bytes(), f"{marker} lies in {path}"


def events_of(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ledger.read_text().splitlines()]


@pytest.fixture
def lab(make_lab: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    lab = make_lab(MASKED)
    for group in (*FIRST, LATE):
        lab.set_up(group, write_data(tmp_path, group))
    lab.set_up(MEASURED, write_data(tmp_path, MEASURED), "--role", "held_out")
    yield lab


@pytest.mark.slow
def test_a_federation_survives_power_cuts_and_keeps_what_it_promises(
    lab: Any, command: Callable[..., str], wait: Callable[..., Any], tmp_path: Path
) -> None:
    begun = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begun:6.1f} s  {text}", flush=True)

    server = lab.start_server()
    lab.admit(*FIRST, MEASURED)
    lab.pin(*FIRST)
    told = json.loads(command("client", "check", lab.home("North"), "--json"))
    assert told["holds"] and told["forecast"]["epsilon"] == 8
    stranger = command("client", "check", lab.home(LATE), "--quick", code=1)
    assert "does not know this node" in stranger
    for group in (*FIRST, MEASURED):
        lab.join(group)
    lab.wait_online(5)
    say("four groups that train and one that measures are online")
    command("server", "run", lab.server, "--name", "first", "--detach")
    lab.wait_round("first", 2)
    say("two rounds are over")

    # A client dies between a request to train and its answer; supervisord starts it anew.
    before = received(lab.home("South"))
    wait("the next request to train", lambda: received(lab.home("South")) > before)
    for program in ("supernode", "executor"):
        lab.groups["South"].kill(program)
    say("a client was killed in the masked stage")
    wait(
        "a round without South",
        lambda: any("South" in row["dropped"] for row in lab.rounds("first")),
    )
    say("a round went on without it")

    # The server's hub dies too, while the run that it relays goes on.
    server.kill("superlink")
    say("the SuperLink was killed")
    standing = len(lab.rounds("first"))
    lab.admit(LATE)
    lab.pin(*FIRST, LATE)
    lab.join(LATE)
    say("a fifth group was admitted and joins")
    wait("rounds after the kill", lambda: len(lab.rounds("first")) > standing + 1)
    say("rounds go on")
    wait(
        "the late comer in a sum",
        lambda: any(row["groups"] == 5 for row in lab.rounds("first")),
    )
    say("all five are in one sum")

    # The server's side of the run dies as well, and is taken up again.
    lab.kill_run()
    reached = lab.rounds("first")[-1]["round"]
    wait(
        "the end of what was killed",
        lambda: lab.status_of("first").startswith("finished:failed"),
        every=3,
    )
    command("server", "resume", lab.server, "first", "--detach")
    say("the server's side of the run was killed, and is resumed")
    lab.wait_round("first", reached + 2)
    say("it goes on")
    status = wait(
        "the end of the run",
        lambda: (s := lab.status_of("first")).startswith("finished") and s,
        every=5,
    )
    assert status == "finished:completed"
    say("the run is over")
    rows = lab.rounds("first")
    assert rows[-1]["round"] == ROUNDS
    assert 0 < rows[-1]["alignment"] <= 1
    assert sum(bool(row["aborted"]) for row in rows) <= 3
    numbers = [row["round"] for row in rows]
    assert numbers == sorted(set(numbers)), "a round was counted twice"
    # South came back after its node was started anew.
    lost = max(row["round"] for row in rows if row["round"] and "South" in row["dropped"])
    assert lost < ROUNDS

    out = lab.server / "runs" / "first"
    head = load_file(out / "head.safetensors")
    assert head and all(np.isfinite(each).all() for each in head.values())
    handed = lab.ledgers()
    verdict = command("audit", "verify", handed, "--roster", lab.server / "roster.json")
    assert re.search(r"\b0 fail", verdict), verdict
    # Nobody has paid for a round twice, whatever was killed in it.
    for ledger in (handed / "groups").glob("*.jsonl"):
        paid = [each["body"]["round"] for each in events_of(ledger) if each["type"] == "SPEND"]
        assert len(paid) == len(set(paid)) > 2, ledger.name
    for group in (*FIRST, LATE):
        (row,) = json.loads(command("client", "status", lab.home(group), "--json"))
        assert 0 < row["spent_epsilon"] <= row["budget_epsilon"]

    for program in reversed(lab.running):
        program.stop()
    wire = (tmp_path / "wire.bin").read_bytes()
    # The tap hears: names of messages and of groups are there.
    assert wire.count(b"train.masked") > 10 and b"Late" in wire
    assert_no_marker(lab, tmp_path)
    say("no marker anywhere")


@pytest.mark.slow
def test_answers_are_counted_once_however_often_they_are_trained_on(
    make_lab: Callable[..., Any],
    command: Callable[..., str],
    wait: Callable[..., Any],
    tmp_path: Path,
) -> None:
    lab = make_lab(COUNTED)
    for group in FIRST:
        lab.set_up(group, write_data(tmp_path, group))
    lab.set_up(MEASURED, write_data(tmp_path, MEASURED), "--role", "held_out")
    lab.start_server()
    lab.admit(*FIRST, MEASURED)
    lab.pin(*FIRST)
    for group in (*FIRST, MEASURED):
        lab.join(group)
    lab.wait_online(5)
    command("server", "run", lab.server, "--name", "first", "--detach")
    # A client dies at its first request, which is the one that counts.
    wait(
        "a request to train",
        lambda: received(lab.home("South")) or lab.status_of("first").startswith("finished"),
    )
    for program in ("supernode", "executor"):
        lab.groups["South"].kill(program)
    for run in ("first", "again"):
        if run == "again":
            command("server", "run", lab.server, "--name", run, "--detach")
        status = wait(
            f"the end of run {run}",
            lambda run=run: (s := lab.status_of(run)).startswith("finished") and s,
            every=5,
        )
        assert status == "finished:completed"
        assert lab.rounds(run)[-1]["round"] == COUNTED_ROUNDS

    handed = lab.ledgers()
    verdict = command("audit", "verify", handed, "--roster", lab.server / "roster.json")
    assert re.search(r"\b0 fail", verdict), verdict
    for group in FIRST:
        events = events_of(handed / "groups" / f"{group}.jsonl")
        kinds = [each["type"] for each in events]
        assert kinds.count("SPEND") == kinds.count("RELEASED") == 1, group
        used = [each["body"] for each in events if each["type"] == "USED"]
        assert len({each["tally"] for each in used}) == 1
        assert len({each["run"] for each in used}) == 2
        assert kinds.index("RELEASED") < kinds.index("USED")
        assert len(list((lab.home(group) / "ledgers").rglob("*.tallies/*.json"))) == 1
        (row,) = json.loads(command("client", "status", lab.home(group), "--json"))
        assert 0 < row["spent_epsilon"] <= row["budget_epsilon"]
    assert not list((handed / "groups").glob(f"{MEASURED}.jsonl"))

    for program in reversed(lab.running):
        program.stop()
    assert_no_marker(lab, tmp_path)
