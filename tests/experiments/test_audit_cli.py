"""The reviewer's and the engineer's commands, on the ledgers of a real private run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.run import run
from server.config import read_run_config

PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tiny_settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private run of four groups and four rounds; read it, never write it."""
    out = tmp_path_factory.mktemp("private") / "run"
    run(read_run_config({**tiny_settings, **PRIVATE, "out": str(out)}))
    return out


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "run"))


def test_a_sound_run_verifies_line_by_line(command: Command, folder: Path) -> None:
    outcome = command("audit", "verify", folder)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert sum(line.startswith("ok ") for line in lines) > 40
    assert lines[-1].endswith("0 fail, 1 are open.")
    assert not any(line.startswith("FAILS") for line in lines)


@pytest.mark.parametrize(
    "words", [("audit", "verify"), ("audit", "report"), ("client", "status")], ids=" ".join
)
def test_a_reviewer_needs_few_libraries(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Those that the page for reviewers names, and none of what clients and servers run on."""
    program = (
        "import sys\n"
        "class Missing:\n"
        "    names = sys.argv.pop(1).split()\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in self.names: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import fedaccord; fedaccord.main()\n"
    )
    missing = "torch transformers peft flwr datasets opacus pydantic tomli_w httpx supervisor"
    more = ("--out", str(tmp_path / "review")) if words[1] == "report" else ()
    done = subprocess.run(
        [sys.executable, "-c", program, missing, *words, folder, *more],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def counted(tiny_settings: Mapping[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four groups that count answers once; read it, never write it."""
    out = tmp_path_factory.mktemp("counted") / "run"
    tally = {
        "privacy.mode": "local",
        "privacy.mechanism": "tally",
        "privacy.delta": 1e-3,
        "privacy.answers_per_respondent": 11,
    }
    run(read_run_config({**tiny_settings, **tally, "out": str(out)}))
    return out


class TestRunsThatCountAnswers:
    """What a reviewer and an engineer see of a run that is trained on tallies."""

    def test_it_verifies_and_its_tallies_are_named(self, command: Command, counted: Path) -> None:
        outcome = command("audit", "verify", counted)
        assert outcome.code == 0, outcome.out
        for said in ("1 tally: answers were counted once", "4 tallies with the noise", "at hand"):
            assert said in outcome.out

    def test_its_card_says_what_was_noised_and_no_field_of_gradients(
        self, command: Command, counted: Path, tmp_path: Path
    ) -> None:
        assert command("audit", "report", counted, "--out", tmp_path).code == 0
        for name in ("privacy-card.md", "privacy-report.html", "dpia.md", "annex-iv.md"):
            text = (tmp_path / name).read_text(encoding="utf-8")
            assert "counted once" in text, name
            for gradients in ("Poisson", "Clipping norm", "Bounds of a step", "coordinates in an"):
                assert gradients not in text, (name, gradients)
        card = (tmp_path / "privacy-card.md").read_text(encoding="utf-8")
        for said in (
            "All that is computed from the noised counts costs nothing",
            "Questionnaire of Group 0",
            "At most 11 answers of a respondent",
            "neighbours differ in one person being there or not",
            "By every group in full",
            "Answers beyond the most that are counted",
        ):
            assert said in card, said
        registry = (tmp_path / "opendp-registry.yaml").read_text(encoding="utf-8")
        assert "clipping_norm" not in registry and "answers_per_respondent: 11" in registry

    def test_its_plan_is_attacked_as_counts(self, command: Command, counted: Path) -> None:
        size = ("--canaries", "500", "--guesses", "100")
        for plan in (counted, counted / "privacy.json"):
            outcome = command("audit", "canaries", "--plan", plan, *size, "--json")
            found = json.loads(outcome.out)
            assert (outcome.code, found["steps"], found["sampling_rate"]) == (0, 1, 1.0)
        outcome = command("audit", "canaries", "--mechanism", "tally", *size)
        assert outcome.code == 0 and "epsilon = 1 " in outcome.out
        assert command("audit", "canaries", "--mechanism", "laplace").code == 2

    def test_its_status_is_one_spend_and_its_uses(self, command: Command, counted: Path) -> None:
        rows = json.loads(command("client", "status", counted, "--json").out)
        assert [row["tally"] for row in rows] == [{"counted": True, "rounds": 4}] * 4
        assert {row["rounds_left"] for row in rows} == {None}
        assert "counted once" in command("client", "status", counted).out


def test_the_checks_as_json(command: Command, folder: Path) -> None:
    outcome = command("audit", "verify", folder, "--json")
    content = json.loads(outcome.out)
    assert content["holds"] is True
    assert {check["status"] for check in content["checks"]} == {"pass", "open"}
    assert {check["about"] for check in content["checks"]} >= {"Group 0", "server", "all"}


def test_a_ledger_alone_leaves_open_what_it_cannot_show(command: Command, folder: Path) -> None:
    (ledger, *_) = sorted((folder / "ledgers" / "groups").glob("*.jsonl"))
    alone = folder.parent / "alone.jsonl"
    shutil.copy(ledger, alone)
    content = json.loads(command("audit", "verify", alone, "--json").out)
    still = {check["id"] for check in content["checks"] if check["status"] == "open"}
    assert content["holds"] and still >= {"key", "book", "published"}


def test_a_run_that_is_not_private_has_no_ledgers(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    for name in ("result.json", "rounds.jsonl", "predictions.jsonl"):
        shutil.copy(folder / name, tmp_path)
    outcome = command("audit", "verify", tmp_path)
    assert outcome.code == 2 and "no ledgers there" in outcome.err


def test_a_changed_figure_fails_and_is_named(command: Command, copied: Path) -> None:
    ledger = next((copied / "ledgers" / "groups").glob("Group-4*.jsonl"))
    ledger.write_bytes(ledger.read_bytes().replace(b'"attempt":1', b'"attempt":2', 1))
    outcome = command("audit", "verify", copied)
    assert outcome.code == 1
    (line,) = [line for line in outcome.out.splitlines() if "Group 4, chain" in line]
    assert line.startswith("FAILS") and "line 4" in line
    assert "cannot be relied on" in outcome.out


def test_a_roster_of_the_reviewer_decides_about_keys(
    command: Command, folder: Path, tmp_path: Path
) -> None:
    roster = json.loads((folder / "ledgers" / "roster.json").read_text())
    roster["members"]["Group 1"] = "ab" * 32
    own = tmp_path / "keys.json"
    own.write_text(json.dumps(roster))
    outcome = command("audit", "verify", folder, "--roster", own)
    assert outcome.code == 1
    assert any("FAILS" in line and "nobody" in line for line in outcome.out.splitlines())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("audit", "verify", "nowhere"), "no ledgers there"),
        (("audit", "verify", "{folder}", "--roster", "nowhere.json"), "nowhere.json"),
        (("audit", "report", "nowhere", "--out", "x"), "no ledgers there"),
        (("audit", "canaries", "--plan", "nowhere.json"), "privacy.json"),
        (("audit", "canaries", "--mode", "central"), "--mode 'central'"),
        (("audit", "canaries", "--canaries", "3"), "canaries"),
        (("client", "status", "nowhere"), "no ledgers there"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    command: Command, folder: Path, words: tuple[str, ...], message: str
) -> None:
    outcome = command(*(word.format(folder=folder) for word in words))
    assert outcome.code in (1, 2)
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert message in line


@pytest.mark.parametrize("name", ["verify", "report", "canaries"])
def test_help_has_an_example(command: Command, name: str) -> None:
    outcome = command("audit", name, "--help")
    assert outcome.code == 0 and f"fedaccord audit {name}" in outcome.out


def test_status_tells_what_is_left(command: Command, folder: Path) -> None:
    rows = json.loads(command("client", "status", folder, "--json").out)
    assert [row["group"] for row in rows] == [f"Group {number}" for number in (0, 1, 4, 5)]
    for row in rows:
        assert (row["units"], row["unit"], row["rounds_left"]) == (6, "respondent", 0)
        # The default budget pays for the run's own plan and no more.
        assert row["spent_epsilon"] == pytest.approx(row["budget_epsilon"], abs=2e-6)
        assert 0 <= row["left_share"] < 1e-5
    outcome = command("client", "status", folder)
    assert outcome.code == 0 and "Group 5" in outcome.out


def test_status_of_a_damaged_ledger_fails(command: Command, copied: Path) -> None:
    ledger = next((copied / "ledgers" / "groups").glob("*.jsonl"))
    ledger.write_bytes(ledger.read_bytes()[50:])
    outcome = command("client", "status", copied)
    assert outcome.code == 1 and "line 1" in outcome.err


def test_canaries_print_the_bound_beside_the_claim(command: Command) -> None:
    words = ("--rounds", "20", "--canaries", "1000", "--guesses", "100")
    outcome = command("audit", "canaries", *words)
    assert outcome.code == 0
    assert "claimed   epsilon = 1" in outcome.out and "proved    epsilon >= " in outcome.out
    result = json.loads(command("audit", "canaries", *words, "--json").out)
    assert result["epsilon_lower"] <= result["epsilon_claimed"] == 1.0
    assert result["steps"] == 20


def test_canaries_audit_the_plan_of_a_run(command: Command, folder: Path) -> None:
    words = ("--plan", folder / "privacy.json", "--canaries", "300", "--guesses", "60", "--json")
    outcome = command("audit", "canaries", *words)
    result = json.loads(outcome.out)
    plan = json.loads((folder / "privacy.json").read_text())["plan"]
    assert result["noise_multiplier"] == plan["noise_multiplier"]
    assert (result["steps"], result["honest_shares"]) == (4, 3)


def test_a_report_is_written_and_its_card_verifies(
    command: Command, copied: Path, tmp_path: Path
) -> None:
    about = tmp_path / "about.toml"
    about.write_text('purpose = "to try it"\n')
    outcome = command("audit", "report", copied, "--out", copied, "--about", about)
    assert outcome.code == 0
    card = json.loads((copied / "privacy-card.json").read_text())
    assert "to try it" in json.dumps(card)
    assert "to try it" in (copied / "privacy-report.html").read_text()
    again = json.loads(command("audit", "verify", copied, "--json").out)
    (compared,) = [check for check in again["checks"] if check["id"] == "card"]
    assert compared["status"] == "pass"
    head = copied / "head.safetensors"
    head.write_bytes(head.read_bytes() + b"x")
    outcome = command("audit", "verify", copied)
    assert outcome.code == 1 and "head.safetensors: missing, or not as" in outcome.out
