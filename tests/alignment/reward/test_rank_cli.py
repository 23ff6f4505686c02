"""``fedaccord rank`` as its users meet it: best of n for groups, and pairs for training."""

import json
from collections.abc import Callable
from math import exp
from pathlib import Path
from typing import Any

import pytest

from alignment.config import ContextConfig
from alignment.model.folder import save_predictor
from alignment.model.predictor import Predictor

Command = Callable[..., Any]
WriteRows = Callable[..., Path]

PROMPT = "do you like tea ?"


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory,
    make_predictor: Callable[..., Predictor],
    shake: Callable[..., None],
) -> Path:
    folder = tmp_path_factory.mktemp("model")
    predictor = make_predictor()
    shake(predictor, 0)
    # A narrow kernel: to an untrained encoder all short texts look much alike.
    save_predictor(predictor, folder, ContextConfig(strength=50.0, bandwidth=0.02))
    return folder


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, write_rows: WriteRows) -> Path:
    """East and north say yes, west says no."""
    rows = []
    for group, (chosen, rejected) in {
        "east": ("yes", "no"),
        "north": ("yes", "no"),
        "west": ("no", "yes"),
    }.items():
        row = {"group": group, "prompt": PROMPT, "chosen": chosen, "rejected": rejected}
        rows += [{**row, "annotator": f"{group} {i}"} for i in range(4)]
    return write_rows(tmp_path_factory.mktemp("context") / "ours.jsonl", rows)


@pytest.fixture
def drafts(tmp_path: Path, write_rows: WriteRows) -> Path:
    rows = [
        {"prompt": PROMPT, "completions": ["no", "yes"]},
        {"question": PROMPT, "options": ["yes", "no"]},
    ]
    return write_rows(tmp_path / "drafts.jsonl", rows)


def one_line(outcome: Any) -> str:
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    lines: list[str] = outcome.err.splitlines()
    assert len(lines) == 1, outcome.err
    return lines[0]


def rows(outcome: Any) -> list[dict[str, Any]]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


@pytest.fixture
def rank(command: Command, model: Path, context: Path, drafts: Path) -> Command:
    words = ("rank", "--model", model, "--context", context, "--candidates", drafts)
    return lambda *more: command(*words, *more)


def test_the_best_depends_on_whose_answers_are_given(rank: Command) -> None:
    for group, best in (("east", "yes"), ("west", "no")):
        first, survey = rows(rank("--group", group, "--best", "1", "--json"))
        assert [each["completion"] for each in first["ranked"]] == [best]
        assert first["prompt"] == PROMPT
        assert first["reward"] == "centred score"
        assert list(first["ranked"][0]["groups"]) == [group]
        assert first["ranked"][0]["index"] == ["no", "yes"].index(best)
        assert survey["reward"] == "log-probability"
        assert survey["ranked"][0]["reward"] < 0


def test_without_best_all_are_shown_with_rewards_that_sum_to_nothing(rank: Command) -> None:
    first, survey = rows(rank("--group", "east", "--json"))
    assert sum(each["reward"] for each in first["ranked"]) == pytest.approx(0, abs=1e-9)
    assert sum(exp(each["reward"]) for each in survey["ranked"]) == pytest.approx(1)


def test_groups_of_the_file_are_combined_as_asked(rank: Command) -> None:
    mean, least = (rows(rank("--combine", how, "--json"))[0] for how in ("mean", "min"))
    assert mean["ranked"][0]["completion"] == "yes"  # two groups of three
    for each in mean["ranked"]:
        assert each["reward"] == pytest.approx(sum(each["groups"].values()) / 3)
    for each in least["ranked"]:
        assert each["reward"] == min(each["groups"].values())
    assert mean["combination"] == {"name": "mean", "groups": ["east", "north", "west"]}


def test_who_lost_the_first_choices_wins_a_later_one(
    command: Command, model: Path, context: Path, tmp_path: Path, write_rows: WriteRows
) -> None:
    many = write_rows(
        tmp_path / "many.jsonl", [{"prompt": PROMPT, "completions": ["no", "yes"]}] * 6
    )
    words = ("rank", "--model", model, "--context", context, "--candidates", many, "--json")
    said = rows(command(*words, "--combine", "adaptive"))
    best = [row["ranked"][0]["completion"] for row in said]
    assert best[0] == "yes"
    assert "no" in best
    assert said[0]["combination"]["history"] == []
    assert said[1]["combination"]["history"][2] < 0  # west was served badly
    plain = rows(command(*words, "--combine", "mean"))
    assert {row["ranked"][0]["completion"] for row in plain} == {"yes"}


def test_people_get_a_table(rank: Command) -> None:
    outcome = rank("--group", "east", "--group", "west")
    assert outcome.code == 0
    assert PROMPT in outcome.out
    header = outcome.out.splitlines()[1].split()
    assert header == ["reward", "east", "west", "completion"]


def test_of_many_groups_the_least_pleased_is_named(
    command: Command, model: Path, drafts: Path, tmp_path: Path, write_rows: WriteRows
) -> None:
    answers = [
        {"group": f"g{i}", "prompt": PROMPT, "chosen": a, "rejected": b}
        for i, (a, b) in enumerate([("yes", "no")] * 4 + [("no", "yes")])
    ]
    ours = write_rows(tmp_path / "five.jsonl", answers)
    outcome = command("rank", "--model", model, "--context", ours, "--candidates", drafts)
    assert outcome.out.splitlines()[1].split() == ["reward", "least", "of", "completion"]
    first = outcome.out.splitlines()[2].split()
    assert first[2:] == ["g4", "yes"]


def test_texts_are_shown_as_they_are(
    command: Command, model: Path, context: Path, tmp_path: Path, write_rows: WriteRows
) -> None:
    row = {"prompt": "is [/tea] good ?", "completions": ["[tea] yes", "no"]}
    drafts = write_rows(tmp_path / "odd.jsonl", [row])
    outcome = command("rank", "--model", model, "--context", context, "--candidates", drafts)
    assert "is [/tea] good ?" in outcome.out
    assert "[tea] yes" in outcome.out


def test_pairs_are_exported_for_training(rank: Command, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    outcome = rank("--group", "west", "--export-pairs", file, "--json")
    assert outcome.err.startswith("wrote 2 pairs from 2 prompts")
    pairs = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rankings = rows(outcome)
    for pair, ranking in zip(pairs, rankings, strict=True):
        best, worst = ranking["ranked"][0], ranking["ranked"][-1]
        assert pair == {
            "prompt": PROMPT,
            "chosen": best["completion"],
            "rejected": worst["completion"],
            "margin": best["reward"] - worst["reward"],
        }
    assert pairs[0]["chosen"] == "no"
    assert one_line(rank("--export-pairs", file)).endswith("exists; choose another name")
    rank("--group", "west", "--export-pairs", tmp_path / "few.jsonl", "--least-margin", "1e6")
    assert (tmp_path / "few.jsonl").read_text(encoding="utf-8") == ""


def test_conversations_are_ranked_and_exported_as_such(
    command: Command, model: Path, context: Path, tmp_path: Path, write_rows: WriteRows
) -> None:
    def said(role: str, text: str) -> list[dict[str, str]]:
        return [{"role": role, "content": text}]

    prompt, no = said("user", PROMPT), said("assistant", "no")
    drafts = write_rows(tmp_path / "drafts.jsonl", [{"prompt": prompt, "completions": [no, "yes"]}])
    file = tmp_path / "pairs.jsonl"
    words = ("rank", "--model", model, "--context", context, "--candidates", drafts)
    (ranking,) = rows(command(*words, "--group", "west", "--json", "--export-pairs", file))
    assert ranking["prompt"] == prompt
    assert [each["completion"] for each in ranking["ranked"]] == [no, "yes"]
    pair = json.loads(file.read_text(encoding="utf-8"))
    margin = ranking["ranked"][0]["reward"] - ranking["ranked"][1]["reward"]
    sides = {"chosen": no, "rejected": said("assistant", "yes")}
    assert pair == {"prompt": prompt, **sides, "margin": margin}
    assert PROMPT in command(*words, "--group", "west").out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            '{"prompt": "a", "completions": ["b", [{"role": "user", "content": "c"}]]}',
            "completion 1 answers with a message of the user",
        ),
        (
            '{"prompt": "a", "completions": [[{"role": "gpt", "content": null}]]}',
            "completion 0 message 0: content is missing",
        ),
        ('{"prompt": "a"}', "completions"),
        ('{"prompt": "a", "completions": []}', "completions"),
        ('{"prompt": "a", "completions": ["b", " "]}', "completion 1 is empty"),
        ('{"prompt": "a", "completions": "b"}', "completions"),
        ('{"completions": ["b"]}', "'prompt': is missing"),
        ('{"prompt": "\\ud800", "completions": ["b"]}', "half a surrogate pair"),
        ('{"question": "a", "options": ["b"]}', "has 1 options"),
        ("", "no rows"),
    ],
)
def test_candidates_that_cannot_be_ranked_are_one_line(
    command: Command, model: Path, context: Path, tmp_path: Path, text: str, complaint: str
) -> None:
    file = tmp_path / "wrong.jsonl"
    file.write_text(text, encoding="utf-8")
    outcome = command("rank", "--model", model, "--context", context, "--candidates", file)
    line = one_line(outcome)
    assert complaint in line
    assert str(file) in line


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--group", "south"), "--group 'south' is not in "),
        (("--combine", "median"), "'median' must be one of: mean, min, adaptive"),
        (("--best", "-1"), "--best -1 must be at least 0"),
    ],
)
def test_wrong_options_are_one_line(rank: Command, more: tuple[str, ...], complaint: str) -> None:
    assert complaint in one_line(rank(*more))


def test_help_shows_an_example(command: Command) -> None:
    assert "fedaccord rank --model" in " ".join(command("rank", "--help").out.split())
