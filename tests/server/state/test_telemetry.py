"""What a person or a program can watch: files of rounds, the bar, TensorBoard."""

import json
from pathlib import Path
from typing import Any

import pytest

from server.config import RunConfig, read_run_config
from server.rounds.loop import RoundRecord
from server.state.telemetry import ROUNDS_FILE, TENSORBOARD_FOLDER, observers


def record(number: int, **changes: Any) -> RoundRecord:
    fields: dict[str, Any] = {
        "round": number,
        "rounds": 3,
        "train_adapter": number > 1,
        "groups": 0 if number == 0 else 4,
        "dropped": (),
        "aborted": "",
        "loss": None if number == 0 else 1.0 / number,
        "alignment": 0.5 + number / 10 if number % 2 == 0 else None,
        "log_loss": 1.5 - number / 10 if number % 2 == 0 else None,
        "seconds_train": 0.25,
        "seconds_secagg": 0.0625,
        "seconds_evaluate": 0.125,
        "seconds_stages": {} if number == 0 else {"share": 0.5, "masked": 0.75},
    }
    return RoundRecord(**{**fields, **changes})


def settings(out: Path, **flat: object) -> RunConfig:
    schedule = {"federation.warmup_rounds": 1, "federation.adapter_rounds": 2}
    return read_run_config({"out": str(out), **schedule, **flat})


def watch(config: RunConfig, *records: RoundRecord, after: int | None = None) -> None:
    with observers(config, after=after) as watching:
        for each in records:
            for observe in watching:
                observe(each)


def test_rounds_are_written_one_a_line(tmp_path: Path) -> None:
    watch(settings(tmp_path), record(0), record(1, dropped=("Ä", "B")), record(2))
    text = (tmp_path / ROUNDS_FILE).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["round"] for row in rows] == [0, 1, 2]
    assert rows[1] == {
        "round": 1,
        "rounds": 3,
        "train_adapter": False,
        "groups": 4,
        "dropped": ["Ä", "B"],
        "aborted": "",
        "loss": 1.0,
        "alignment": None,
        "log_loss": None,
        "seconds_train": 0.25,
        "seconds_secagg": 0.0625,
        "seconds_evaluate": 0.125,
        "seconds_stages": {"share": 0.5, "masked": 0.75},
        "distance": None,
        "accuracy": None,
        "margin": None,
    }
    assert text.endswith("}\n")


def test_a_round_can_be_read_before_the_run_ends(tmp_path: Path) -> None:
    with observers(settings(tmp_path)) as watching:
        for observe in watching:
            observe(record(0))
        assert len((tmp_path / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()) == 1


def test_rounds_of_an_older_run_are_replaced(tmp_path: Path) -> None:
    watch(settings(tmp_path), record(0), record(1))
    watch(settings(tmp_path), record(0))
    assert len((tmp_path / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()) == 1


def test_rounds_survive_a_run_that_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="broke"), observers(settings(tmp_path)) as watching:
        for observe in watching:
            observe(record(0))
        raise RuntimeError("the run broke")
    assert len((tmp_path / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()) == 1


class TestGoingOn:
    def numbers(self, folder: Path) -> list[int]:
        lines = (folder / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["round"] for line in lines]

    def test_rounds_after_the_checkpoint_are_cut_off_and_those_that_follow_appended(
        self, tmp_path: Path
    ) -> None:
        watch(settings(tmp_path), *(record(number) for number in range(4)))
        before = (tmp_path / ROUNDS_FILE).read_bytes().splitlines()
        watch(settings(tmp_path), record(2), record(3), after=1)
        assert self.numbers(tmp_path) == [0, 1, 2, 3]
        assert (tmp_path / ROUNDS_FILE).read_bytes().splitlines()[:2] == before[:2]
        assert [path.name for path in tmp_path.iterdir()] == [ROUNDS_FILE]

    @pytest.mark.parametrize("torn", ['{"round": 2, "rou', "[]\n", '{"round": "x"}\n', "\x00\x00"])
    def test_what_a_crash_has_torn_goes_too(self, tmp_path: Path, torn: str) -> None:
        watch(settings(tmp_path), record(0), record(1))
        with (tmp_path / ROUNDS_FILE).open("a", encoding="utf-8") as file:
            file.write(torn)
        watch(settings(tmp_path), record(3), after=2)
        assert self.numbers(tmp_path) == [0, 1, 3]

    def test_events_of_tensorboard_go_on(self, tmp_path: Path) -> None:
        config = settings(tmp_path, track="tensorboard")
        watch(config, record(0), record(1), record(2))
        watch(config, record(2, loss=9.0), after=1)
        assert _scalars(tmp_path / TENSORBOARD_FOLDER)["loss/train"] == [(1, 1.0), (2, 9.0)]

    def test_the_bar_goes_on(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        watch(settings(tmp_path), after=2)
        assert "round 2/3" in capsys.readouterr().err


class TestProgress:
    def test_without_a_terminal_measurements_are_lines_on_stderr(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        watch(settings(tmp_path), record(0), record(1), record(2))
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = captured.err.splitlines()
        assert lines[:2] == ["round 0/3 alignment 0.5000", "round 2/3 alignment 0.7000"]
        assert "\x1b" not in captured.err

    def test_dropped_groups_are_named(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        watch(settings(tmp_path), record(1, dropped=("North", "South")))
        assert "round 1: no answer from North, South" in capsys.readouterr().err

    def test_an_aborted_round_says_why(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        reason = "TooFewMembers: 2 members have shared, 3 needed"
        watch(settings(tmp_path), record(1, dropped=("North",), aborted=reason))
        shown = " ".join(capsys.readouterr().err.split())
        assert f"round 1 was aborted, the model stays as it was: {reason}" in shown
        assert "no answer" not in shown

    @pytest.mark.parametrize("name", ["North [red] Lab", "North [/red] Lab"])
    def test_names_are_shown_as_they_are(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
    ) -> None:
        watch(settings(tmp_path), record(1, dropped=(name,)))
        assert f"no answer from {name}" in capsys.readouterr().err


class TestTensorBoard:
    def test_events_can_be_read_back(self, tmp_path: Path) -> None:
        lost = record(2, aborted="TooFewMembers", dropped=("B",))
        watch(settings(tmp_path, track="tensorboard"), record(0), record(1), lost)
        scalars = _scalars(tmp_path / TENSORBOARD_FOLDER)
        assert scalars == {
            "loss/train": [(1, 1.0), (2, 0.5)],
            "alignment/held_out_groups": [(0, 0.5), (2, pytest.approx(0.7))],
            "log_loss/held_out_groups": [(0, 1.5), (2, pytest.approx(1.3))],
            "seconds/train": [(0, 0.25), (1, 0.25), (2, 0.25)],
            "seconds/share": [(1, 0.5), (2, 0.5)],
            "seconds/masked": [(1, 0.75), (2, 0.75)],
            "groups/in_sum": [(0, 0.0), (1, 4.0), (2, 4.0)],
            "groups/dropped": [(0, 0.0), (1, 0.0), (2, 1.0)],
            "rounds/aborted": [(0, 0.0), (1, 0.0), (2, 1.0)],
        }

    def test_it_is_not_written_unless_asked_for(self, tmp_path: Path) -> None:
        watch(settings(tmp_path), record(0))
        assert [path.name for path in tmp_path.iterdir()] == [ROUNDS_FILE]

    def test_a_second_run_in_the_folder_replaces_the_first(self, tmp_path: Path) -> None:
        for _ in range(2):
            watch(settings(tmp_path, track="tensorboard"), record(0), record(1))
        assert _scalars(tmp_path / TENSORBOARD_FOLDER)["loss/train"] == [(1, 1.0)]


def _scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }
