"""Hostile questions, options, prompts and paths, through the commands that print or draw them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import HOSTILE_TEXT, assert_seen

Command = Callable[..., Any]
WriteRows = Callable[..., Path]

ONE_ROUND = (
    *("--set", "federation.warmup_rounds=0"),
    *("--set", "federation.adapter_rounds=1"),
    *("--set", "federation.evaluate_every=0"),
)


@pytest.fixture(scope="module")
def hostile_data(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: WriteRows,
) -> Path:
    """The tiny choices, with hostile texts in every question, option and respondent's record."""
    rows = [
        {
            **row,
            "question": f"{HOSTILE_TEXT} {row['question']}",
            "options": [f"{option} {HOSTILE_TEXT}" for option in row["options"]],
        }
        for row in tiny_rows
    ]
    return write_rows(tmp_path_factory.mktemp("hostile") / "d\x1b[2K\u202e.jsonl", rows)


def assert_all_seen(outcome: Any, folder: Path | None = None) -> None:
    assert_seen(outcome.out)
    assert_seen(outcome.err)
    for path in folder.rglob("*") if folder is not None else ():
        if path.suffix in (".html", ".md"):
            assert_seen(path.read_text(encoding="utf-8"))


def test_a_run_its_pages_and_what_it_predicts_show_every_character(
    command: Command,
    tmp_path: Path,
    hostile_data: Path,
    as_options: Sequence[str],
    write_rows: WriteRows,
) -> None:
    """Was open: questions reached terminals and pages with every escape in them."""
    out = tmp_path / "out"
    words = ("simulate", "--data", hostile_data, "--out", out, *as_options, *ONE_ROUND)
    done = command(*words)
    assert done.code == 0, done.err
    assert_all_seen(done, out)
    assert r"\x1b[2K" in (out / "report.html").read_text(encoding="utf-8")
    done = command(*words, "--overwrite", "--json")
    assert json.loads(done.out)["rounds"] == 1
    assert_all_seen(done)

    asked = write_rows(
        tmp_path / "asked.jsonl", [{"question": HOSTILE_TEXT, "options": [HOSTILE_TEXT, "no"]}]
    )
    words = ("predict", "--model", out, "--questions", asked)
    context = ("--context", hostile_data, "--group", "Group\u00a01")
    for more in ((), ("--json",)):
        done = command(*words, *context, *more)
        assert done.code == 0, done.err
        assert_all_seen(done)
        assert "[bold]x[/bold]" in " ".join(done.out.split())
    assert json.loads(done.out)["question"] == HOSTILE_TEXT

    drafts = write_rows(
        tmp_path / "drafts.jsonl", [{"prompt": HOSTILE_TEXT, "completions": [HOSTILE_TEXT, "no"]}]
    )
    words = ("rank", "--model", out, "--context", hostile_data, "--candidates", drafts)
    for more in (("--group", "Group 1"), ("--group", "Group 1", "--group", "Group 2"), ("--json",)):
        done = command(*words, *more)
        assert done.code == 0, done.err
        assert_all_seen(done)


@pytest.mark.parametrize(
    "words",
    [
        ("simulate", "--data", "no\x1b[2Kdata\u202e"),
        ("simulate", "--set", f"privacy.mode={HOSTILE_TEXT}"),
        ("simulate", "--set", f"{HOSTILE_TEXT}=1"),
        ("predict", "--model", "x\x9b8m", "--questions", "y\u200b"),
        ("client", "check", "no\x1b[2Khome"),
        ("client", "status", "no\u202ehome"),
        ("server", "status", "no\x1b[2Klab"),
        ("audit", "verify", "no\x1b[2Kledger"),
        ("strategies", "--check", HOSTILE_TEXT),
        ("plan", "--mode", HOSTILE_TEXT),
        ("plan", "--rounds", HOSTILE_TEXT),
        ("plan", HOSTILE_TEXT),
        ("plan", "--\x1b[2K"),
        ("\x1b[2K\u202e",),
        ("client", "roster", "a", "b", "\x1b[2K"),
    ],
    ids=ascii,
)
def test_what_was_typed_comes_back_in_errors_as_it_can_be_seen(
    command: Command, words: Sequence[str]
) -> None:
    """Was open: an error repeated what it refused, escapes and all."""
    done = command(*words)
    assert done.code in (1, 2)
    assert_all_seen(done)


def test_units_of_one_person_are_one(
    command: Command, tmp_path: Path, as_options: Sequence[str], write_rows: WriteRows
) -> None:
    """Was open: the same name, composed and decomposed, had two budgets."""
    rows = []
    for group in ("North", "South", "East", "West"):
        for person in ("Zo\u00eb", "Zoe\u0308", " Zo\u00eb\u00a0", "Jan"):
            for number in range(4):
                asked = {"question_id": f"q{number}", "question": f"do you like {number} ?"}
                row = {"group": group, "respondent": person, "options": ["yes", "no"], **asked}
                rows.append({**row, "choice": number % 2})
    data, out = write_rows(tmp_path / "d.jsonl", rows), tmp_path / "out"
    private = ("--set", "privacy.mode=distributed", "--set", "privacy.delta=0.01")
    done = command(
        *("simulate", "--data", data, "--out", out, *as_options, *private),
        *("--set", "federation.warmup_rounds=1", "--set", "federation.adapter_rounds=0"),
        *("--set", "privacy.micro_batch=4"),
    )
    assert done.code == 0, done.err
    shown = json.loads(command("client", "status", out, "--json").out)
    assert [row["units"] for row in shown] == [2, 2, 2]
