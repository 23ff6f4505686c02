"""The snippets of docs/aligning.md do what the page says."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alignment.config import ContextConfig
from alignment.model.folder import save_predictor
from alignment.model.predictor import Predictor

PAGE = (Path(__file__).parents[3] / "docs" / "aligning.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_page_rewards_and_gives_trl_its_reward(
    make_predictor: Callable[..., Predictor],
    write_rows: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_predictor(make_predictor(), tmp_path / "published", ContextConfig())
    rows = [
        {"group": group, "prompt": "tea ?", "chosen": chosen, "rejected": rejected}
        for group, chosen, rejected in (("north", "yes", "no"), ("west", "no", "yes"))
    ]
    write_rows(tmp_path / "ours.jsonl", rows)
    monkeypatch.chdir(tmp_path)
    first, second = BLOCKS
    names: dict[str, Any] = {"dataset": None}
    exec(compile(first, "first", "exec"), names)  # noqa: S102 it is our own page
    assert names["first"].completion in names["drafts"]
    assert set(names["first"].rewards) == {"north", "west"}
    # A trainer is called as the page calls it; what trl makes of it is shown in test_trl.
    given: dict[str, Any] = {}

    class Trainer:
        def __init__(self, **named: Any) -> None:
            given.update(named)

        def train(self) -> None:
            prompts, texts = ["tea ?"] * 2, ["yes", "no"]
            assert len(given["reward_funcs"](prompts, texts, reference=["no"] * 2)) == 2

    second = second.replace("from trl import GRPOConfig, GRPOTrainer\n", "")
    names |= {"GRPOConfig": dict, "GRPOTrainer": Trainer}
    exec(compile(second, "second", "exec"), names)  # noqa: S102 - our own page
    assert "'adaptive'" in capsys.readouterr().out
