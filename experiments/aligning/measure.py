"""What a policy and a reward are worth to groups whose true preferences are known.

Of every prompt that nobody trained on, one of the offered responses is chosen: by how likely the
language model finds it, by what its alignment has made more likely, or by the reward. The choice is
worth to a group the chance that one of its members prefers it to another offered response. So a
policy is judged by what groups want, and not by a reward that was learned of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from alignment.config import ContextConfig
from alignment.model.encoders.causal import CausalEncoder
from alignment.model.predictor import Predictor
from alignment.reward.reward import RewardModel
from experiments.aligning.stage import Stage

BY_CHANCE, BEFORE, AFTER = "by chance", "language model", "after alignment"
BY_REWARD, BY_CONTEXT, AT_BEST = "reward", "reward in context", "the group itself"
#: Ways to choose, in the order of tables.
CHOOSERS = (BY_CHANCE, BEFORE, AFTER, BY_REWARD, BY_CONTEXT, AT_BEST)

_Scores = list[NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a language model writes to a prompt before and after its alignment.

    Attributes:
        prompt: What it was asked.
        before: What the base model writes, the likeliest word by word.
        after: The same of the aligned one.
    """

    prompt: str
    before: str
    after: str


def wins(stage: Stage) -> dict[str, _Scores]:
    """By group, of each prompt and response the chance that it is preferred to another one."""
    return {
        group.name: [
            np.array(
                [
                    statistics.fmean(
                        group.preference(one, other) for other in prompt.responses if other != one
                    )
                    for one in prompt.responses
                ]
            )
            for prompt in stage.prompts
        ]
        for group in stage.groups
    }


def worth(stage: Stage, policy: Predictor, reward: RewardModel) -> dict[str, dict[str, float]]:
    """By way to choose and group, the mean worth of its choices; see the module.

    Args:
        stage: Prompts and groups.
        policy: A causal model and its adapters.
        reward: Of the same groups.
    """
    asked = stage.offered()
    truth = wins(stage)
    likely, learned = likely_responses(policy, stage), _rows(policy, stage)
    in_context = {
        name: [row[place] for row in _rewards(reward, stage)]
        for place, name in enumerate(reward.groups)
    }
    common = [np.mean([in_context[n][i] for n in reward.groups], axis=0) for i in range(len(asked))]
    choices: dict[str, Mapping[str, _Scores | None]] = {
        BY_CHANCE: dict.fromkeys(truth),
        BEFORE: dict.fromkeys(truth, likely),
        AFTER: dict.fromkeys(truth, learned),
        BY_REWARD: dict.fromkeys(truth, common),
        BY_CONTEXT: in_context,
        AT_BEST: truth,
    }
    return {
        name: {group: _mean_worth(truth[group], scores[group]) for group in truth}
        for name, scores in choices.items()
    }


def _mean_worth(truth: _Scores, scores: _Scores | None) -> float:
    if scores is None:
        return statistics.fmean(float(each.mean()) for each in truth)
    pairs = zip(truth, scores, strict=True)
    return statistics.fmean(float(each[int(np.argmax(score))]) for each, score in pairs)


@torch.no_grad()
def likely_responses(policy: Predictor, stage: Stage) -> _Scores:
    """Log-probability a token that the base model gives each response, in nats."""
    assert isinstance(policy.encoder, CausalEncoder)  # noqa: S101 - scores = policy has no other
    found = []
    for question in stage.offered():
        batch = policy.batch([question])
        found.append(policy.encoder.base_log_probability(batch)[0].double().numpy())
    return found


@torch.no_grad()
def _rows(policy: Predictor, stage: Stage) -> _Scores:
    asked = stage.offered()
    scores = policy.prior(asked).scores.numpy()
    return [row[: len(q.options)] for row, q in zip(scores, asked, strict=True)]


def _rewards(reward: RewardModel, stage: Stage) -> _Scores:
    """Of each prompt the rewards of its responses, (groups, responses)."""
    found = []
    for question in stage.offered():
        scores = reward.scores([question.text] * len(question.options), question.options)
        found.append(scores - scores.mean(axis=1, keepdims=True))
    return found


@torch.no_grad()
def write_texts(policy: Predictor, prompts: Sequence[str], *, tokens: int) -> tuple[Written, ...]:
    """Let the base model and the aligned one answer prompts, the likeliest word by word.

    Args:
        policy: A causal model with a chat template, and its adapters.
        prompts: What is asked.
        tokens: Longest answer.
    """
    written = []
    for prompt in prompts:
        with policy.encoder.base_alone():
            before = _answer(policy, prompt, tokens)
        written.append(Written(prompt=prompt, before=before, after=_answer(policy, prompt, tokens)))
    return tuple(written)


def _answer(policy: Predictor, prompt: str, tokens: int) -> str:
    model: Any = policy.encoder.model
    tokenizer: Any = policy.encoder.tokenizer
    asked = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    read = tokenizer(text, add_special_tokens=False, return_tensors="pt").to(policy.encoder.device)
    ids = model.generate(
        **read, max_new_tokens=tokens, do_sample=False, repetition_penalty=1.1, use_cache=True
    )
    said = tokenizer.decode(ids[0, read["input_ids"].shape[1] :], skip_special_tokens=True)
    return str(said).strip()


def summary(by_group: Mapping[str, float]) -> dict[str, float | str]:
    """Mean and least of a figure over groups, and whose the least is."""
    worst = min(by_group, key=lambda name: by_group[name])
    return {"mean": statistics.fmean(by_group.values()), "worst": by_group[worst], "group": worst}


def reward_of(stage: Stage, predictor: Predictor, context: ContextConfig) -> RewardModel:
    """The trained reward with the context of every group."""
    return RewardModel.reading(predictor, context, stage.contexts.values())
