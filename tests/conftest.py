"""What every room's tests share: a tiny encoder, data and settings for it, and the command."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# Small matrices are slower on two threads, and much slower where others want the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# As the command has it: threads that wait soon sleep, which halves the tests of two threads.
os.environ.setdefault("GOMP_SPINCOUNT", "20000")

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = "yes no more less both tea coffee war peace do you like or the and is a good bad ? . ,"
CAUSAL_WORDS = (
    "[UNK] <s> </s> do you like ? . is yes no tea coffee war peace state market tax care good bad"
)
MARKERS = ("zebraquestion", "zebraoption", "zebrarespondent")
QUESTIONS, RESPONDENTS = 12, 6

WriteRows = Callable[..., Path]
REPOSITORY = Path(__file__).parents[1]

# A busy machine is no fault of what is tested.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a BERT of 4 layers and width 32 that knows a few dozen pieces of words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    folder = tmp_path_factory.mktemp("encoder")
    special = {name: f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    pieces = [*special.values(), *WORDS.split(), *LETTERS]
    pieces += [f"##{letter}" for letter in LETTERS]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token=special["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokens: dict[str, Any] = {f"{name}_token": piece for name, piece in special.items()}
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, **tokens).save_pretrained(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(
            BertConfig(
                vocab_size=len(vocabulary),
                hidden_size=32,
                num_hidden_layers=4,
                num_attention_heads=4,
                intermediate_size=48,
                max_position_embeddings=160,
            )
        ).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def causal_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a GPT-2 of 2 layers and width 32 that knows two dozen words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    from transformers.utils import logging

    folder = tmp_path_factory.mktemp("causal")
    vocabulary = {word: index for index, word in enumerate(CAUSAL_WORDS.split())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast
    marks = {"unk_token": "[UNK]", "bos_token": "<s>", "eos_token": "</s>"}
    fast(tokenizer_object=tokenizer, **marks).save_pretrained(folder)
    quiet: Any = logging.disable_progress_bar
    quiet()
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(vocabulary), n_embd=32, n_layer=2, n_head=2, n_positions=32, **ends
        )
        GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session", name="write_rows")
def write_rows_fixture() -> WriteRows:
    """Write rows as JSON Lines: ``write_rows(path, rows)``."""
    return write_rows


@pytest.fixture(scope="session")
def tiny_rows() -> tuple[dict[str, Any], ...]:
    """Choices of 6 groups on 12 questions: even groups like what odd groups dislike."""
    rows = []
    for group in range(6):
        for question in range(QUESTIONS):
            options = ["yes", "no"] if question % 2 else ["more", "less", "both"]
            for respondent in range(RESPONDENTS):
                first = (group % 2 == 0) == (respondent + question % 3 < RESPONDENTS - 1)
                rows.append(
                    {
                        "group": f"Group {group}",
                        "respondent": f"person {group} {respondent}",
                        "question_id": f"q{question:02d}",
                        "question": f"do you like {LETTERS[question]} {LETTERS[question + 9]} ?",
                        "options": options,
                        "choice": 0 if first else 1,
                    }
                )
    return tuple(rows)


@pytest.fixture(scope="session")
def tiny_data(
    tmp_path_factory: pytest.TempPathFactory, tiny_rows: tuple[dict[str, Any], ...]
) -> Path:
    """A file of the tiny choices; read it, never write it."""
    return write_rows(tmp_path_factory.mktemp("data") / "tiny.jsonl", tiny_rows)


@pytest.fixture(scope="session")
def tiny_settings(tiny_encoder: str, tiny_data: Path) -> dict[str, Any]:
    """Dotted settings of a run of 4 rounds that takes a second: 4 groups train, 2 are held out."""
    return {
        "data": str(tiny_data),
        "predictor.encoder": tiny_encoder,
        "predictor.head_width": 8,
        "predictor.max_tokens": 64,
        "training.batch_size": 4,
        "federation.warmup_rounds": 2,
        "federation.adapter_rounds": 2,
        "federation.evaluate_every": 2,
    }


class Everything(logging.Handler):
    """Keeps every message of every logger, with what a formatter would add."""

    def __init__(self) -> None:
        super().__init__(level=0)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(logging.Formatter("%(name)s %(message)s").format(record))


@pytest.fixture
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """All logs at the level of debugging; Flower's logger does not pass its own on."""
    handler = Everything()
    caplog.set_level(logging.DEBUG)
    loggers = [logging.getLogger(), logging.getLogger("flwr")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    yield handler.lines
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


@pytest.fixture(scope="session")
def marked_data(
    tmp_path_factory: pytest.TempPathFactory, tiny_rows: tuple[dict[str, Any], ...]
) -> Path:
    """The tiny choices with a word of ``MARKERS`` in every text, for hearing where texts go."""
    rows = [
        {
            **row,
            "respondent": f"zebrarespondent {row['respondent']}",
            "question": f"zebraquestion {row['question']}",
            "options": [f"zebraoption {option}" for option in row["options"]],
        }
        for row in tiny_rows
    ]
    return write_rows(tmp_path_factory.mktemp("data") / "marked.jsonl", rows)


@pytest.fixture(scope="session")
def markers() -> tuple[str, ...]:
    """The words that stand in the texts of ``marked_data``."""
    return MARKERS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run ``fedaccord`` in this process, through its own front door."""

    import fedaccord

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["fedaccord", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            fedaccord.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Outcome(code=code, out=captured.out, err=captured.err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Command:
    """Run ``fedaccord`` as a user does: a process of its own, in a folder of its own."""

    def call(*arguments: object) -> Outcome:
        done = subprocess.run(
            [sys.executable, REPOSITORY / "fedaccord.py", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "100"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    return call
