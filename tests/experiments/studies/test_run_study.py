"""``fedaccord experiment run``: what is run, recorded and reported, also where runs fail."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.provenance import code, versions
from experiments.studies.summary import curve_of
from server.config import RunConfig

Command = Callable[..., Any]

STUDY = """
title = "Batches <and> rounds"
draws = 2
target = 0.8
data = {data}

[settings]
federation.adapter_rounds = 0

[vary]
training.batch_size = [8, 16]

[[cases]]
name = "long"
settings = {{ federation.warmup_rounds = 4 }}

[[cases]]
name = "short"
settings = {{ federation.warmup_rounds = 2 }}
"""
PICTURES = [f"alignment_by_{what}" for what in ("round", "bytes", "value")]


def fake_rounds(config: RunConfig) -> list[dict[str, Any]]:
    """Every round lifts alignment by .1, and by .01 for the second draw; 4 groups send 100 each."""
    return [
        {
            "round": number,
            "groups": 4 if number else 0,
            "alignment": 0.5 + 0.1 * number + 0.01 * config.seed,
            "seconds_train": 2.0,
            "seconds_secagg": 1.0,
            "bytes_up": 400 if number else 0,
            "bytes_down": 800 if number else 0,
        }
        for number in range(config.federation.rounds + 1)
    ]


def fake_result(config: RunConfig) -> dict[str, Any]:
    rounds = config.federation.rounds
    return {
        "alignment": {
            "unseen_groups": {
                "mean": 0.5 + 0.1 * rounds + 0.01 * config.seed,
                "worst_group": 0.3,
                "log_loss": 1.1,
                "unseen_questions": None,
            },
            "without_context": {"mean": 0.5},
        },
        "context_swap_drop": 0.02,
        "rounds": rounds,
        "aborted_rounds": 0,
        "bytes": {"up_per_client_per_round": 100, "down_per_client_per_round": 200},
        "seconds": {"total": 12.0},
        "data": {"train_groups": 4, "held_out_groups": 2},
        "code": code(),
        "config": config.nested(),
    }


class Runs:
    """Stands in for real simulations; stops or fails at some of them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.stop_at = 0
        self.fail: set[str] = set()

    def __call__(self, config: RunConfig, *, overwrite: bool = False) -> dict[str, Any]:
        out = Path(config.out)
        self.names.append(out.name)
        if len(self.names) == self.stop_at:
            raise KeyboardInterrupt
        if out.name in self.fail:
            raise RuntimeError("the first line\nof several")
        out.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in fake_rounds(config))
        (out / "rounds.jsonl").write_text(lines, encoding="utf-8")
        result = fake_result(config)
        (out / "result.json").write_text(json.dumps(result), encoding="utf-8")
        return result


@pytest.fixture
def simulated(monkeypatch: pytest.MonkeyPatch) -> Runs:
    runs = Runs()
    monkeypatch.setattr("experiments.simulation.run.run", runs)
    return runs


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time of what is not about them."""
    monkeypatch.setattr("experiments.studies.plots.draw_study", lambda folder, study: [])


@pytest.fixture
def study(command: Command, tmp_path: Path, tiny_data: Path) -> Command:
    """Run the study above on the tiny data into ``out``."""
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(data=json.dumps(str(tiny_data))), encoding="utf-8")

    def call(*more: object) -> Any:
        return command("experiment", "run", path, "--out", tmp_path / "out", *more)

    return call


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


class TestCommand:
    def test_help_has_an_example_that_can_be_planned(self, command: Command) -> None:
        from experiments.studies.file import find_study, read_study

        outcome = command("experiment", "run", "--help")
        assert outcome.code == 0
        text = " ".join(outcome.out.split())
        words = text.partition("Example: fedaccord experiment run ")[2].split()
        assert read_study(find_study(Path(words[0]))).conditions()
        for option in ("out", "set", "workers", "ray-address", "overwrite", "json"):
            assert re.search(rf" --{option} +([A-Z]+ +)?[A-Z]\w* \w+", outcome.out), option

    def test_runs_come_draw_by_draw_and_lead_to_files(
        self, study: Command, simulated: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        outcome = study()
        assert outcome.code == 0, outcome.err
        assert simulated.names == [
            f"{case},batch_size={size}-seed{seed}"
            for seed in (0, 1)
            for case in ("long", "short")
            for size in (8, 16)
        ]
        rows = [" ".join(line.split()) for line in outcome.out.splitlines()]
        assert "long 8 2 .9050 ± .0071 .3000 1.1000 100 B 12 3" in rows
        assert f"Report: {tmp_path / 'out' / 'study.html'}" in outcome.out
        left = {path.name for path in (tmp_path / "out").iterdir()}
        pictures = {f"{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")}
        assert left == {
            *("runs", "split.json", "study.json", "study.md", "study.html"),
            *pictures,
        }
        assert max(map(len, outcome.out.splitlines()[:10])) <= 80

    @pytest.mark.usefixtures("undrawn")
    def test_json_is_the_file_with_rows_means_and_what_made_them(
        self, study: Command, simulated: Runs, tmp_path: Path, tiny_data: Path
    ) -> None:
        outcome = study("--json")
        assert outcome.out == (tmp_path / "out" / "study.json").read_text(encoding="utf-8")
        found = json.loads(outcome.out)
        assert (found["runs"], found["finished"], found["seeds"]) == (8, 8, [0, 1])
        assert (found["title"], found["target"]) == ("Batches <and> rounds", 0.8)
        assert (found["code"], found["versions"]) == (code(), versions())
        assert found["vary"] == {"training.batch_size": [8, 16]}
        assert found["axis"] == "training.batch_size"
        assert found["settings"] == {"federation.adapter_rounds": 0}
        assert [each["label"] for each in found["conditions"]][:2] == [
            "long, batch size 8",
            "long, batch size 16",
        ]
        config = found["conditions"][3]["config"]
        assert (config["training.batch_size"], config["federation.warmup_rounds"]) == (16, 2)
        assert config["federation.evaluate_every"] == 1
        assert config.keys() == RunConfig().flat().keys() - {"out", "seed", "resume"}
        row = found["rows"][1]
        assert (row["condition"], row["seed"], row["run"]) == (0, 1, "long,batch_size=8-seed1")
        assert row["alignment"] == pytest.approx(0.91)
        assert (row["unseen_questions"], row["groups_per_round"]) == (None, 4)
        assert row["bytes_total"] == 4 * (400 + 800)
        mean = found["means"][0]
        assert (mean["condition"], mean["draws"]) == (0, 2)
        assert mean["alignment"] == pytest.approx({"mean": 0.905, "spread": 0.01 / 2**0.5})
        assert "not all runs were made by the same code" not in str(found["caveats"]).lower()

    @pytest.mark.usefixtures("undrawn")
    def test_the_target_is_read_off_the_rounds(self, study: Command, simulated: Runs) -> None:
        """.8 after 3 rounds of 3 s and 100 bytes a client; 2 rounds do not reach it."""
        found = json.loads(study("--json").out)
        long, short = found["means"][0], found["means"][2]
        assert (long["reached"], short["reached"]) == (2, 0)
        assert long["rounds_to_target"]["mean"] == 3
        assert long["bytes_to_target"]["mean"] == 300
        assert long["seconds_to_target"]["mean"] == 12
        assert short["rounds_to_target"] == {"mean": None, "spread": None}

    @pytest.mark.usefixtures("undrawn")
    def test_figures_of_other_code_are_said_to_be(
        self, study: Command, simulated: Runs, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert study().code == 0
        simulated.names.clear()
        other = {"version": "9", "commit": "f" * 40, "changed": False}
        monkeypatch.setattr("experiments.studies.summary.code", lambda: other)
        found = json.loads(study("--json").out)
        assert simulated.names == []
        assert found["code"] == other != found["rows"][0]["code"]
        assert any("Not all runs were made by the same code" in each for each in found["caveats"])

    @pytest.mark.usefixtures("undrawn")
    def test_ctrl_c_keeps_what_has_finished_and_the_same_command_goes_on(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        simulated.stop_at = 6
        stopped = study()
        assert stopped.code == 130
        assert stopped.err.splitlines()[-1].startswith("stopped: 5 of 8 runs have finished")
        found = read(tmp_path / "out" / "study.json")
        assert [mean["draws"] for mean in found["means"]] == [2, 1, 1, 1]
        page = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
        assert "Not finished: 3 runs of 8." in page
        simulated.names.clear()
        simulated.stop_at = 0
        assert study().code == 0
        assert len(simulated.names) == 3

    @pytest.mark.usefixtures("undrawn")
    def test_a_run_that_fails_is_named_and_the_others_go_on(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        simulated.fail = {"short,batch_size=8-seed0"}
        outcome = study()
        assert outcome.code == 1
        assert len(simulated.names) == 8
        assert "short, batch size 8, draw 1: failed, RuntimeError: the first line" in (
            outcome.err.splitlines()
        )
        assert outcome.err.splitlines()[-1].startswith("1 of 8 runs failed, short, batch size 8")
        assert read(tmp_path / "out" / "study.json")["finished"] == 7

    @pytest.mark.usefixtures("undrawn")
    def test_changed_settings_need_overwrite(self, study: Command, simulated: Runs) -> None:
        assert study().code == 0
        refused = study("--set", "training.weight_decay=0.5")
        assert refused.code == 2
        assert "was run with training.weight_decay = 0.01, not 0.5; choose another" in refused.err
        assert study("--set", "training.weight_decay=0.5", "--overwrite").code == 0

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--workers", "0"), "error: --workers 0 must lie in [1, 1024]"),
            (("--ray-address", "here"), "error: --ray-address 'here' must be host:port, ray://"),
            (("--ray-address", "127.0.0.1:1"), "error: --ray-address 127.0.0.1:1: nothing answers"),
            (("--set", "training.batch_size=3"), "error: --set training.batch_size: "),
            (("--set", "training.batchsize=3"), "did you mean 'training.batch_size'?"),
        ],
    )
    def test_bad_options_are_one_line_and_run_nothing(
        self, study: Command, simulated: Runs, tmp_path: Path, words: Sequence[str], said: str
    ) -> None:
        outcome = study(*words)
        assert (outcome.code, outcome.out) == (2, "")
        assert said in outcome.err and len(outcome.err.splitlines()) == 1
        assert (simulated.names, (tmp_path / "out").exists()) == ([], False)


class Page(HTMLParser):
    """What a page holds that might load something, and its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]


class TestReport:
    def test_the_page_needs_no_network_and_escapes_what_it_is_given(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        assert study().code == 0
        text = (tmp_path / "out" / "study.html").read_text(encoding="utf-8")
        page = Page(text)
        assert len(page.loads) == page.tags.count("img") == 3
        assert all(each.startswith("data:image/png;base64,") for each in page.loads)
        assert not {"script", "link", "iframe"} & set(page.tags)
        assert "<h1>Batches &lt;and&gt; rounds</h1>" in text
        assert "default-src 'none'" in text

    @pytest.mark.usefixtures("undrawn")
    def test_the_table_has_a_row_for_each_condition_and_no_empty_column(
        self, study: Command, simulated: Runs, tmp_path: Path
    ) -> None:
        assert study().code == 0
        text = (tmp_path / "out" / "study.md").read_text(encoding="utf-8")
        table = [
            [cell.strip() for cell in line.strip("|").split("|")]
            for line in text.splitlines()
            if line.startswith("|")
        ]
        assert len(table) == 2 + 4
        heading, _, *rows = table
        assert heading[:5] == ["case", "batch size", "draws", "alignment", "worst group"]
        assert {len(row) for row in table} == {len(heading)}
        assert not {"unseen questions", "aborted"} & set(heading)
        cells = dict(zip(heading, rows[0], strict=True))
        assert (cells["alignment"], cells["swap drop"]) == (".9050 ± .0071", "+.0200")
        assert (cells["bytes up"], cells["bytes in all"]) == ("100 B", "4.8 kB")
        assert (cells["rounds to target"], cells["bytes to target"]) == ("3", "300 B")
        assert dict(zip(heading, rows[2], strict=True))["rounds to target"] == "\N{EN DASH}"
        assert "- .800 is never reached by: short, batch size 8; short, batch size 16." in text
        assert f"commit {code()['commit']}" in text or f"fedaccord {code()['version']}" in text


class TestCurve:
    FIGURES: Mapping[str, Any] = {"train_groups": 4, "bytes_up_per_client_per_round": 50}

    def record(self, number: int, **more: Any) -> dict[str, Any]:
        usual = {"alignment": 0.5, "seconds_train": 1.0, "seconds_secagg": 0.5}
        return {"round": number, **usual, **more}

    def test_bytes_add_up_whatever_each_round_weighs(self) -> None:
        rounds = [
            self.record(0, bytes_up=0),
            self.record(1, bytes_up=40, alignment=None),
            self.record(2, bytes_up=400),
        ]
        curve = curve_of(rounds, self.FIGURES)
        assert [(p["round"], p["bytes_up"], p["seconds"]) for p in curve] == [
            (0, 0, 1.5),
            (2, 110, 4.5),
        ]

    def test_rounds_that_nobody_counted_weigh_the_mean(self) -> None:
        rounds = [self.record(0), self.record(1, bytes_up=None), self.record(2, bytes_up=40)]
        assert [p["bytes_up"] for p in curve_of(rounds, self.FIGURES)] == [0, 50, 60]
        nobody = {"train_groups": 4, "bytes_up_per_client_per_round": None}
        assert [p["bytes_up"] for p in curve_of(rounds, nobody)] == [0, None, None]


def test_a_real_study_of_two_groups_of_data(
    command: Command, tmp_path: Path, tiny_encoder: str, tiny_settings: Mapping[str, Any]
) -> None:
    """Two runs of one round on sample data, each with a split of its own."""
    path = tmp_path / "s.toml"
    kept = {key: value for key, value in tiny_settings.items() if key != "data"}
    lines = [f"{key} = {json.dumps(value)}" for key, value in kept.items()]
    path.write_text(
        "\n".join(
            [
                'title = "Small"\ndata = "sample:respondents=2"\ndraws = 1\n[settings]',
                *(each for each in lines if "rounds" not in each),
                "federation.warmup_rounds = 1\nfederation.adapter_rounds = 0",
                "[vary]\nsample.groups = [4, 5]",
            ]
        ),
        encoding="utf-8",
    )
    out = tmp_path / "out"
    outcome = command("experiment", "run", path, "--out", out, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert [(row["train_groups"], row["seed"]) for row in found["rows"]] == [
        (3, 0), (4, 0),
    ]  # fmt: skip
    for row in found["rows"]:
        rounds = [
            json.loads(line)
            for line in (out / "runs" / row["run"] / "rounds.jsonl").read_text().splitlines()
        ]
        assert row["bytes_total"] == sum(r["bytes_up"] + r["bytes_down"] for r in rounds)
        assert row["curve"][-1]["bytes_up"] == rounds[1]["bytes_up"] / row["train_groups"]
        assert row["code"] == code()
    assert len(list((out / "splits").rglob("split.json"))) == 2
    again = command("experiment", "run", path, "--out", out, "--json")
    assert json.loads(again.out) == found
    assert again.err.splitlines() == ["2 of 2 runs had finished before"]


@pytest.mark.slow
def test_runs_side_by_side_are_the_same_runs_and_failures_are_named(
    shell: Command, tmp_path: Path, tiny_data: Path, tiny_settings: Mapping[str, Any]
) -> None:
    """A process of its own: Ray starts others, and all must be gone when it ends."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in tiny_settings.items()]
    (tmp_path / "s.toml").write_text(
        "\n".join(
            [
                f"draws = 1\ndata = {json.dumps(str(tiny_data))}\n[settings]",
                *lines[1:],
                "[[cases]]\nname = 'good'",
                "[[cases]]\nname = 'bad'",
                "settings = { training.learning_rate = 1e30, training.local_epochs = 4 }",
                "[[cases]]\nname = 'also good'\nsettings = { training.batch_size = 8 }",
            ]
        ),
        encoding="utf-8",
    )
    words = ("experiment", "run", "s.toml", "--json", "--out")
    done = shell(*words, "two", "--workers", 2)
    assert done.code == 1
    assert (
        "bad, draw 1: failed, SimulationError: a client failed: ValueError: training diverged: "
        "lower training.learning_rate"
    ) in done.err.splitlines()
    rows = json.loads(done.out)["rows"]
    assert [row["condition"] for row in rows] == [0, 2]
    alone = shell(*words, "one")
    for row, other in zip(rows, json.loads(alone.out)["rows"], strict=True):
        assert row["alignment"] == other["alignment"]
        assert row["curve"][-1]["alignment"] == other["curve"][-1]["alignment"]
