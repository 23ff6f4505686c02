"""A tiny causal model made on the spot, and policy gradients that align it to a reward.

A word-level transformer that chooses among offered answers by how probable each is, word by word,
after the prompt. Small enough that a whole alignment takes seconds on a processor, and held to
answers that somebody could have given: one that writes freely soon finds strings of words that no
person says and the predictor, which has seen none like them, rewards.
:mod:`experiments.policy.study` aligns it to the rewards of groups.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

#: Rewards of a batch, (completions,) float64, for its prompts and completions.
Reward = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]
#: Of each prompt, the answers among which the policy chooses.
Answers = Mapping[str, Sequence[str]]

_PAD, _END, _ASK = 0, 1, 2
_SPECIAL = ("<pad>", "<end>", "<ask>")
#: Log-probability of an answer that is not there: finite, so that nothing becomes NaN.
_ABSENT = -1e9


@dataclass(frozen=True, kw_only=True)
class CausalModelConfig:
    """The shape of a causal model and how it learns.

    Attributes:
        width: Of the transformer.
        layers: Of the transformer.
        heads: Of attention.
        neutral_steps: Of fitting it to choose evenly, before it is aligned.
        steps: Of policy gradients.
        prompts: In a step of either.
        samples: Completions of each prompt in a step of policy gradients, at least 2.
        learning_rate: Of Adam.
        kl_weight: Price of a nat by which the policy leaves where it began, in units of reward.
    """

    width: int = 32
    layers: int = 2
    heads: int = 2
    neutral_steps: int = 80
    steps: int = 100
    prompts: int = 24
    samples: int = 8
    learning_rate: float = 4e-3
    kl_weight: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what cannot learn."""
        for name in ("width", "layers", "heads", "prompts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)} must be >= 1")
        if self.samples < 2:
            raise ValueError(f"samples = {self.samples} must be >= 2: each is held against others")
        if self.steps < 0 or self.neutral_steps < 0:
            raise ValueError(f"steps = {min(self.steps, self.neutral_steps)} must be >= 0")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate = {self.learning_rate} must be > 0: 0.004 is usual")
        if not self.kl_weight >= 0:
            raise ValueError(f"kl_weight = {self.kl_weight} must be >= 0: 0.2 is usual")


class TinyCausalModel(nn.Module):
    """A word-level GPT-2 that chooses among the answers to a prompt.

    Args:
        answers: All prompts and their answers; their words are its vocabulary.
        config: Its shape.
        seed: Draws its first values.
    """

    def __init__(self, answers: Answers, *, config: CausalModelConfig, seed: int) -> None:
        super().__init__()
        texts = [*answers, *(answer for each in answers.values() for answer in each)]
        words = dict.fromkeys(word for text in texts for word in text.split())
        places = {word: place for place, word in enumerate([*_SPECIAL, *words])}
        self._rows = {
            prompt: [
                ([*(places[w] for w in prompt.split()), _ASK], [places[w] for w in a.split()])
                for a in each
            ]
            for prompt, each in answers.items()
        }
        longest = max(len(p) + len(a) + 1 for rows in self._rows.values() for p, a in rows)
        shape: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = GPT2LMHeadModel(
                GPT2Config(
                    vocab_size=len(places),
                    n_positions=longest,
                    n_embd=config.width,
                    n_layer=config.layers,
                    n_head=config.heads,
                    bos_token_id=_ASK,
                    eos_token_id=_END,
                    pad_token_id=_PAD,
                    **shape,
                )
            )

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """Log-probabilities of choosing each answer, (prompts, K) float32, in nats.

        An answer is as probable as its words and its end, given the prompt, among the answers that
        are offered.
        """
        rows = [row for prompt in prompts for row in self._rows[prompt]]
        tokens = nn.utils.rnn.pad_sequence(
            [torch.tensor([*p, *a, _END]) for p, a in rows], batch_first=True, padding_value=_PAD
        )
        # Padding stands on the right, where causal attention never looks.
        seen = torch.ones_like(tokens)
        hidden = self.model.transformer(input_ids=tokens, attention_mask=seen).last_hidden_state
        at = [
            (i, place)
            for i, (p, a) in enumerate(rows)
            for place in range(len(p) - 1, len(p) + len(a))
        ]
        row, place = torch.tensor(at).T
        losses = functional.cross_entropy(
            self.model.lm_head(hidden[row, place]), tokens[row, place + 1], reduction="none"
        )
        each = torch.zeros(len(rows)).index_add(0, row, -losses)
        counts = [len(self._rows[prompt]) for prompt in prompts]
        logits = nn.utils.rnn.pad_sequence(
            list(torch.split(each, counts)), batch_first=True, padding_value=_ABSENT
        )
        return functional.log_softmax(logits, dim=-1)


def fit_evenly(
    policy: TinyCausalModel, answers: Answers, config: CausalModelConfig, *, seed: int
) -> None:
    """Fit a policy to choose all answers of a prompt alike: the neutral mixture of all groups.

    Args:
        policy: What learns.
        answers: Of each prompt, all that may be said.
        config: How it learns.
        seed: Draws the batches.
    """
    chance = np.random.default_rng([seed, 1])
    prompts = list(answers)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    for _ in range(config.neutral_steps):
        asked = _draw(prompts, config.prompts, chance)
        logs = policy(asked)
        present = logs > _ABSENT / 2
        loss = -(logs * present).sum(dim=1).div(present.sum(dim=1)).mean()
        _step(policy, optimizer, loss)


def advantages(rewards: Tensor) -> Tensor:
    """Gain of each completion over the mean of the *other* completions of its prompt.

    A baseline that does not depend on the completion leaves the policy gradient unbiased (REINFORCE
    leave-one-out; Ahmadian et al. 2024, arXiv:2402.14740). Unlike GRPO it does not divide by the
    spread, which would make more of prompts on which all completions are nearly as good.

    Args:
        rewards: (prompts, samples), at least 2 samples.
    """
    others = rewards.sum(dim=1, keepdim=True) - rewards
    return rewards - others / (rewards.shape[1] - 1)


def align(
    policy: TinyCausalModel,
    answers: Answers,
    reward: Reward,
    config: CausalModelConfig,
    *,
    seed: int,
) -> None:
    """Align a policy to a reward by policy gradients, at a price for leaving where it began.

    Climbs the mean of ``reward - kl_weight * log(policy / reference)``: reward less ``kl_weight``
    times the Kullback-Leibler divergence from the reference, the policy as it is given. Completions
    are drawn from the policy as it is, rewarded, and used once.

    Args:
        policy: What learns.
        answers: Of each prompt, all that may be said.
        reward: Of a batch; called once a step, so it may change from step to step.
        config: How it learns.
        seed: Draws prompts and completions.
    """
    reference = copy.deepcopy(policy).requires_grad_(False)
    chance = np.random.default_rng([seed, 2])
    dice = torch.Generator().manual_seed(int(chance.integers(2**31)))
    prompts = list(answers)
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    for _ in range(config.steps):
        asked = _draw(prompts, config.prompts, chance)
        logs = policy(asked)
        drawn = torch.multinomial(
            logs.detach().exp(), config.samples, replacement=True, generator=dice
        )
        now = logs.gather(1, drawn)
        rewards = reward(
            [prompt for prompt in asked for _ in range(config.samples)],
            [answers[p][i] for p, row in zip(asked, drawn.tolist(), strict=True) for i in row],
        )
        with torch.no_grad():
            left = now - reference(asked).gather(1, drawn)
            given = torch.from_numpy(rewards).float().reshape(left.shape)
            gain = advantages(given - config.kl_weight * left)
        _step(policy, optimizer, -(gain * now).mean())


def _draw(prompts: Sequence[str], number: int, chance: np.random.Generator) -> list[str]:
    chosen = chance.choice(len(prompts), min(number, len(prompts)), replace=False)
    return [prompts[i] for i in chosen.tolist()]


def _step(policy: TinyCausalModel, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
