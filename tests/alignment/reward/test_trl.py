"""Training as a user of trl would: GRPO with our reward, and pairs for DPO, on tiny models."""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers, tally
from alignment.data.records import PairRecord
from alignment.model.predictor import Predictor
from alignment.reward.candidates import Candidates, preference_pairs, rank, write_pairs
from alignment.reward.combination import AdaptiveCombination, MeanCombination
from alignment.reward.reward import RewardModel
from alignment.reward.reward_function import RewardFunction

# trl 1.16 asks transformers 5.23 by a name that it gives up.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)

WORDS = "yes no tea coffee is good bad the do you like want more less war peace . ?".split()
PROMPTS = ("do you like tea ?", "is war good ?", "do you want more coffee ?")
CHAT = (
    "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}. {% endif %}"
)


@pytest.fixture(scope="module")
def reward_model(
    make_predictor: Callable[..., Predictor], shake: Callable[..., None]
) -> RewardModel:
    """Two groups of which one likes what the other dislikes."""
    records = [
        PairRecord(
            group=group, annotator=f"{group} {i}", prompt=prompt, chosen=chosen, rejected=rejected
        )
        for group, (chosen, rejected) in {"for": ("yes", "no"), "against": ("no", "yes")}.items()
        for prompt in PROMPTS
        for i in range(4)
    ]
    predictor = make_predictor()
    shake(predictor, 0)
    contexts: Mapping[str, GroupAnswers] = tally(records)
    return RewardModel.reading(predictor, ContextConfig(bandwidth=0.02), contexts.values())


@pytest.fixture
def tokenizer() -> Any:
    special: dict[str, Any] = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    vocabulary = {piece: place for place, piece in enumerate([*special.values(), *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=special["unk_token"]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(tokenizer_object=made, **special)
    tokenizer.chat_template = CHAT
    return tokenizer


@pytest.fixture
def policy(tokenizer: Any) -> GPT2LMHeadModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = GPT2Config(
            vocab_size=len(tokenizer),
            n_embd=16,
            n_layer=1,
            n_head=2,
            n_positions=32,
            bos_token_id=1,
            eos_token_id=1,
            pad_token_id=0,
        )
        return GPT2LMHeadModel(config)


class Heard(RewardFunction):
    """Our reward as it is, with a note of every call."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self.calls: list[tuple[list[Any], list[Any], list[float]]] = []

    def __call__(self, prompts: Any, completions: Any, **columns: Any) -> list[float]:
        rewards = super().__call__(prompts, completions, **columns)
        self.calls.append((list(prompts), list(completions), rewards))
        return rewards


def settings(out: Path, **more: Any) -> dict[str, Any]:
    return {
        "output_dir": str(out),
        "use_cpu": True,
        "report_to": "none",
        "logging_steps": 1,
        "save_strategy": "no",
        "disable_tqdm": True,
        "bf16": False,
        # trl turns it on by a name that transformers gives up.
        "activation_checkpointing": False,
        "seed": 0,
        **more,
    }


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)


@pytest.mark.parametrize("conversational", [False, True])
def test_grpo_trains_on_the_reward_of_two_groups(
    reward_model: RewardModel,
    tokenizer: Any,
    policy: GPT2LMHeadModel,
    tmp_path: Path,
    conversational: bool,
) -> None:
    from trl import GRPOConfig, GRPOTrainer

    rows: list[dict[str, Any]] = [{"prompt": prompt, "reference": "no"} for prompt in PROMPTS * 2]
    if conversational:
        rows = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in rows]
    combination = AdaptiveCombination(groups=reward_model.groups)
    reward = Heard(reward_model, combination=combination, name="two_groups")
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=reward,
        args=GRPOConfig(
            **settings(
                tmp_path,
                max_steps=2,
                per_device_train_batch_size=8,
                num_generations=4,
                max_completion_length=4,
                learning_rate=1e-2,
            )
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    before = policy.transformer.wte.weight.detach().clone()
    trainer.train()

    assert len(reward.calls) == 2
    for prompts, completions, rewards in reward.calls:
        assert len(prompts) == len(completions) == len(rewards) == 8
        kinds = {list if conversational else str}
        assert {type(each) for each in (*prompts, *completions)} == kinds
    logged = [row for row in trainer.state.log_history if "rewards/two_groups/mean" in row]
    means = [sum(rewards) / 8 for _, _, rewards in reward.calls]
    assert [row["rewards/two_groups/mean"] for row in logged] == pytest.approx(means, abs=1e-5)
    for row in logged:
        assert row["two_groups/for"] != row["two_groups/against"]
        weights = row["two_groups/weight/for"] + row["two_groups/weight/against"]
        assert weights == pytest.approx(1)
    history = reward.combination.state()["history"]
    assert len(history) == 2 and history[0] != history[1]
    assert not torch.equal(policy.transformer.wte.weight, before)
    # The same completions are worth something else to each of the groups alone.
    prompts, completions, _ = reward.calls[0]
    alone = [
        RewardFunction(reward_model.select([group]))(prompts, completions, reference=["no"] * 8)
        for group in reward_model.groups
    ]
    assert alone[0] != pytest.approx(alone[1], abs=1e-3)


def test_dpo_trains_on_exported_pairs(
    reward_model: RewardModel, tokenizer: Any, policy: GPT2LMHeadModel, tmp_path: Path
) -> None:
    from trl import DPOConfig, DPOTrainer

    choices = [
        Candidates(prompt=prompt, completions=("yes", "no", "bad tea")) for prompt in PROMPTS
    ]
    one = reward_model.select(["for"])
    pairs = preference_pairs(rank(one, choices, MeanCombination(groups=one.groups)))
    file = tmp_path / "pairs.jsonl"
    assert write_pairs(pairs, file) == len(PROMPTS)
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    policy.save_pretrained(tmp_path / "policy")  # the reference is loaded from it once more
    trainer = DPOTrainer(
        model=str(tmp_path / "policy"),
        args=DPOConfig(
            **settings(
                tmp_path / "dpo", max_steps=12, per_device_train_batch_size=3, learning_rate=1e-2
            )
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    trainer.train()
    logged = [row for row in trainer.state.log_history if "rewards/margins" in row]
    # The policy begins as its own reference, and moves towards what the group prefers.
    assert logged[0]["rewards/margins"] == pytest.approx(0, abs=1e-6)
    assert logged[-1]["rewards/margins"] > 0.01
