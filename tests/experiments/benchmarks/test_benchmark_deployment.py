"""The benchmark of deployments: figures of given rounds, what is run, and that all of it ends."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from clients.data.home import Home
from clients.deployment import join
from experiments.benchmarks import deployment
from experiments.benchmarks.deployment import (
    KINDS,
    STAGES,
    Measured,
    figures_of,
    flower_node_programs,
    flower_programs,
    read,
)
from experiments.benchmarks.harness import BENCHMARKS, Figure, values_by_key
from experiments.benchmarks.workloads import loopback
from experiments.benchmarks.workloads.loopback import (
    GROUPS,
    NotInTime,
    Program,
    SmallFederation,
    ending_in_order,
    free_port,
    read_rounds,
    wait_for,
    write_answers,
)
from server.config import read_run_config

MESSAGES = ("query.share", "train.masked", "query.confirm", "query.unmask")


def row(number: int, *seconds: float, aborted: str = "", groups: int = 3) -> dict[str, Any]:
    return {
        "round": number,
        "groups": groups,
        "aborted": aborted,
        "seconds_stages": {"advertise": 99.0, **dict(zip(STAGES, seconds, strict=True))},
    }


def log(rounds: Sequence[Sequence[float]]) -> str:
    lines = ["INFO code 00ff", "INFO query.setup answered in 9.00 s", "INFO query.advertise x"]
    for seconds in rounds:
        for message, took in zip(MESSAGES, seconds, strict=True):
            lines.append(f"2026-11-25 10:00:00,000 INFO {message} answered in {took:.2f} s")
    return "\n".join(lines) + "\n"


# --- what rounds and logs say


def test_the_first_rounds_do_not_count_and_the_slowest_handler_does() -> None:
    rows = [row(1, 9, 9, 9, 9), row(2, 9, 9, 9, 9)] + [row(n, 1, 2, 3, n) for n in (3, 4, 5)]
    quick = [[8, 8, 8, 8]] * 2 + [[0.1, 0.2, 0.3, 0.4]] * 3
    # This one has begun the next round when it is looked at.
    slow = [[8, 8, 8, 8]] * 2 + [[0, 0.5, 0, 0.1 * n] for n in (3, 4, 5)] + [[7, 7, 7, 7]]
    measured = read(rows, [log(quick), log(slow), log(quick)])
    assert measured.stages.tolist() == [[1, 2, 3, 3], [1, 2, 3, 4], [1, 2, 3, 5]]
    assert measured.a_stage.tolist() == [2.25, 2.5, 2.75]
    assert measured.handlers is not None
    np.testing.assert_allclose(
        measured.handlers, [[0.1, 0.5, 0.3, 0.4], [0.1, 0.5, 0.3, 0.4], [0.1, 0.5, 0.3, 0.5]]
    )
    assert read(rows, None).handlers is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row(n, 1, 1, 1, 1) for n in range(1, 5)], "4 rounds, need 5"),
        ([row(n, 1, 1, 1, 1, aborted="no" * (n == 3)) for n in range(1, 7)], "round 3 is no"),
        ([row(n, 1, 1, 1, 1, groups=3 - (n == 6)) for n in range(1, 7)], "round 6 is no .*2 gro"),
    ],
)
def test_rounds_that_are_few_or_went_wrong_are_no_measurement(
    rows: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(RuntimeError, match=words):
        read(rows, None)


@pytest.mark.parametrize("answers", [4, 7])
def test_a_log_that_does_not_fit_the_rounds_is_no_measurement(answers: int) -> None:
    rows = [row(n, 1, 1, 1, 1) for n in range(1, 6)]
    fits = log([[0, 0, 0, 0]] * 5)
    with pytest.raises(RuntimeError, match=rf"{answers} answers to 'share' in 5 rounds"):
        read(rows, [fits, log([[0, 0, 0, 0]] * answers)])


# --- figures


def of(*seconds: float, handler: float | None = None) -> Measured:
    """Rounds whose stages all take as long."""
    stages = np.repeat(np.array([seconds], dtype=float).T, 4, axis=1)
    return Measured(
        stages=stages, handlers=None if handler is None else np.full_like(stages, handler)
    )


@pytest.fixture
def figures() -> list[Figure]:
    return figures_of(
        {
            "ours": of(1, 1, 2, 2, 3, handler=0.5),
            "flower": of(8, 10, 12),
            "flower waits": of(4, 5, 6, handler=0.5),
        }
    )


def test_ratios_are_of_medians_and_causes_add_up(figures: list[Figure]) -> None:
    values = values_by_key(figures)
    assert values["ours_stage_seconds"] == values["ours_masked_seconds"] == 2
    assert values["flower_stage_seconds"] == 10
    assert values["flower_over_ours"] == 5
    assert values["flower_waits_over_ours"] == 2.5
    assert values["waits_seconds"] == 3
    assert values["processes_seconds"] == 5
    assert values["waits_seconds"] + values["processes_seconds"] == 10 - 2
    # Of a stage of 1, 1, 2, 2 and 3 s, half a second is work.
    assert values["ours_waiting_share"] == 75
    assert values["flower_waits_waiting_share"] == 90
    assert "flower_waiting_share" not in values
    assert all(figure.goal is None for figure in figures)
    stages = [key for key in values if key.startswith("flower_waits_")]
    assert len(stages) == 1 + len(STAGES) + 2


def test_an_interval_holds_the_ratio_and_is_the_same_again(figures: list[Figure]) -> None:
    (ratio,) = (each for each in figures if each.key == "flower_over_ours")
    assert "95 %" in ratio.name
    # No median of these rounds is beyond the rounds themselves.
    assert 8 / 3 <= ratio.lower < ratio.value < ratio.upper <= 12
    assert ratio.samples == 3
    even = figures_of({"ours": of(2, 2, 2), "flower": of(6, 6, 6)})[-1]
    assert (even.lower, even.value, even.upper) == (3, 3, 3)
    again = figures_of({"ours": of(1, 1, 2, 2, 3), "flower": of(8, 10, 12)})[-1]
    assert (again.lower, again.upper) == (ratio.lower, ratio.upper)


def test_without_ours_or_flower_there_is_nothing_to_compare() -> None:
    with pytest.raises(ValueError, match="measured ours: need ours and flower"):
        figures_of({"ours": of(1, 1, 1)})


# --- what is run


def test_flower_gets_the_flags_that_ours_has(tmp_path: Path) -> None:
    home = Home(folder=tmp_path)
    policy: Any = SimpleNamespace(
        machine=SimpleNamespace(poll_seconds=1.0, port=4321),
        server=SimpleNamespace(address="127.0.0.1:1234"),
    )
    ours, flower = join.programs(home, policy), flower_programs(home, policy)
    assert list(flower) == list(ours)
    node = flower["supernode"]
    assert Path(node[0]).name == "flower-supernode"
    assert Path(node[0]).exists()
    assert node[1:] == ours["supernode"][4:]
    assert f'home="{tmp_path.resolve()}"' in node
    assert node[node.index("--isolation") + 1] == "process"
    superexec = flower["executor"]
    assert Path(superexec[0]).name == "flower-superexec"
    assert Path(superexec[0]).exists()
    assert superexec[1:4] == ["--runtime-api-address", "127.0.0.1:4321", "--insecure"]
    assert superexec[-1] == ours["executor"][-1]
    mixed = flower_node_programs(home, policy)
    assert mixed == {"supernode": node, "executor": ours["executor"]}


def test_the_run_is_private_and_secure_with_all_groups() -> None:
    config = read_run_config({"privacy.mode": "distributed", **deployment._SETTINGS})
    assert config.privacy.mode == "distributed"
    assert config.federation.secure_aggregation
    assert config.privacy.survivors == config.federation.minimum_groups == len(GROUPS)
    most = max(kind.counted for kind in KINDS.values())
    assert config.federation.rounds > 2 * (deployment.UNCOUNTED + most)


def test_the_benchmark_has_its_place_and_its_name() -> None:
    assert BENCHMARKS["deployment"] == "experiments.benchmarks.deployment"
    assert list(KINDS) == ["ours", "flower", "flower waits"]
    assert [kind.needed for kind in KINDS.values()] == [True, True, False]


class Federation:
    """Has as many rounds as it is asked for at once; some never come."""

    closed = 0

    def __init__(self, folder: Path, settings: object, programs: object, say: object) -> None:
        self._rows = 0 if folder.name in self.silent else 12

    silent: tuple[str, ...] = ()

    def rounds(self) -> list[dict[str, Any]]:
        return [row(n, 1, 1, 1, 1) for n in range(1, self._rows + 1)]

    def log(self, group: str, program: str) -> str:
        assert program == "executor"
        return log([[0.25] * 4] * self._rows)

    def complaints(self) -> str:
        return "north/executor.log: refused"

    def close(self) -> None:
        type(self).closed += 1


@pytest.fixture
def federation(monkeypatch: pytest.MonkeyPatch) -> type[Federation]:
    class Fresh(Federation):
        pass

    def at_once(what: str, holds: Callable[[], Any], seconds: float) -> Any:
        if found := holds():
            return found
        raise NotInTime(what)

    monkeypatch.setattr(deployment, "SmallFederation", Fresh)
    monkeypatch.setattr(deployment, "wait_for", at_once)
    return Fresh


def test_federations_run_one_after_another_and_are_closed(
    federation: type[Federation], capsys: pytest.CaptureFixture[str]
) -> None:
    values = values_by_key(deployment.measure())
    assert values["flower_over_ours"] == 1
    assert values["ours_waiting_share"] == 75
    assert federation.closed == 3
    assert "flower waits: round 12 of 103.0 s, 0 s" in capsys.readouterr().err


def test_what_is_not_needed_is_left_out_and_the_rest_fails_with_its_reasons(
    federation: type[Federation], capsys: pytest.CaptureFixture[str]
) -> None:
    federation.silent = ("flower_waits",)
    assert "waits_seconds" not in values_by_key(deployment.measure())
    assert "flower waits: left out: rounds of flower waits" in capsys.readouterr().err
    federation.silent = ("flower",)
    with pytest.raises(NotInTime, match=r"rounds of flower\nnorth/executor.log: refused"):
        deployment.measure()
    assert federation.closed == 5


def test_where_time_is_short_the_optional_is_left_out(
    federation: type[Federation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deployment, "_LIMIT_SECONDS", deployment._LEAST_SECONDS / 2)
    assert "flower_over_ours" in values_by_key(deployment.measure())
    assert federation.closed == 2


# --- programs, and their end


def test_all_processes_of_a_program_end_with_it(tmp_path: Path) -> None:
    # One that takes no hint, and a child that is in another process group.
    script = textwrap.dedent(
        """
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "60"], process_group=0)
        print(child.pid, flush=True)
        time.sleep(60)
        """
    )
    program = Program(tmp_path, [sys.executable, "-c", script])
    output = tmp_path / "output.txt"
    child = int(wait_for("the child", lambda: output.read_text().strip(), 20))
    program.stop(seconds=0.2)
    for process in (child, program._process.pid):
        stat = Path(f"/proc/{process}/stat")
        wait_for(f"the end of {process}", lambda stat=stat: gone(stat), 5)
    program.stop()


def gone(stat: Path) -> bool:
    try:
        return stat.read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_a_federation_that_cannot_be_set_up_leaves_nothing_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    class Recorded:
        def __init__(self, folder: Path) -> None:
            self.folder = folder

        def ask_to_stop(self) -> None:
            stopped.append(f"ask {self.folder.name}")

        def stop(self) -> None:
            stopped.append(self.folder.name)

    class Silent:
        def __init__(self, *_: object) -> None: ...
        def nodes(self) -> Mapping[int, str]:
            return {1: "online"}

        def register(self, key: str, name: str) -> int:
            return 1

        def start(self, settings: object) -> int:
            raise RuntimeError("no run today")

    monkeypatch.setattr(loopback, "_supervised", lambda folder, programs: Recorded(folder))
    monkeypatch.setattr(loopback, "Control", Silent)
    said: list[str] = []
    settings = {"privacy.survivors": 3, "federation.minimum_groups": 3}
    with pytest.raises(RuntimeError, match="no run today"):
        SmallFederation(tmp_path / "lab", settings, join.programs, said.append)
    clients = [group.lower() for group in GROUPS]
    assert stopped == [*(f"ask {name}" for name in clients), *clients, "server"]
    assert said == ["the SuperLink answers"]


def test_being_told_to_end_runs_what_is_to_be_done_first() -> None:
    before = signal.getsignal(signal.SIGTERM)
    done = []
    with pytest.raises(SystemExit) as stop, ending_in_order():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            done.append(True)
    assert stop.value.code == 128 + signal.SIGTERM
    assert done
    assert signal.getsignal(signal.SIGTERM) is before


def test_waiting_gives_what_it_waited_for_or_says_what_did_not_come() -> None:
    answers = iter([0, "", "there"])
    assert wait_for("it", lambda: next(answers), 5, every=0.01) == "there"
    with pytest.raises(NotInTime, match=r"a miracle: not within 0\.05 s"):
        wait_for("a miracle", lambda: False, 0.05, every=0.01)


def test_a_round_that_is_being_written_is_left_for_the_next_look(tmp_path: Path) -> None:
    path = tmp_path / "rounds.jsonl"
    assert read_rounds(path) == []
    path.write_text('{"round": 0}\n{"round": 1}\n{"rou')
    assert [each["round"] for each in read_rounds(path)] == [0, 1]


def test_answers_are_of_one_group_and_the_same_for_all(tmp_path: Path) -> None:
    written = [write_answers(tmp_path / f"{group}.jsonl", group) for group in GROUPS]
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in written]
    assert [{each["group"] for each in of_one} for of_one in rows] == [{g} for g in GROUPS]
    assert [[each["choice"] for each in of_one] for of_one in rows] == [
        [each["choice"] for each in rows[0]]
    ] * 3


def test_a_free_port_can_be_listened_on() -> None:
    script = "import socket, sys; socket.create_server(('127.0.0.1', int(sys.argv[1])))"
    subprocess.run([sys.executable, "-c", script, str(free_port())], check=True, timeout=30)
