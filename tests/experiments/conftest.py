"""Whole runs on the tiny federation, each made once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from experiments.simulation.run import run
from server.config import RunConfig, read_run_config

MakeConfig = Callable[..., RunConfig]
# What is padded with its end token, as trl does here, is read up to the last other token.
CHAT = (
    "{% for m in messages %}{{ m['content'] }} </s> . {% endfor %}"
    "{% if add_generation_prompt %}? {% endif %}"
)


@pytest.fixture(scope="session")
def make_config(tiny_settings: Mapping[str, Any]) -> MakeConfig:
    """The tiny run's configuration with an ``out`` and other changes."""

    def make(out: Path, changes: Mapping[str, object] | None = None) -> RunConfig:
        return read_run_config({**tiny_settings, "out": str(out), **(changes or {})})

    return make


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run's folder and what ``run`` returned."""

    config: RunConfig
    out: Path
    result: Mapping[str, Any]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> FinishedRun:
    """The tiny run, once for the session: read its folder, never write there."""
    out = tmp_path_factory.mktemp("finished") / "out"
    config = make_config(out)
    return FinishedRun(config=config, out=out, result=run(config))


@pytest.fixture(scope="session")
def as_options(tiny_settings: Mapping[str, Any]) -> Sequence[str]:
    """The tiny settings, data apart, as options of the command."""
    pairs = [f"{key}={value}" for key, value in tiny_settings.items() if key != "data"]
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture(scope="session")
def chat_model(causal_model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tiny causal model with a chat template and room for longer texts."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(causal_model)
    tokenizer.chat_template = CHAT
    tokenizer.pad_token = tokenizer.eos_token
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=256,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    folder = tmp_path_factory.mktemp("chat")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
