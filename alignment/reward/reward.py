"""The trained predictor as a reward model of one or several groups.

The reward of a completion is its score after the prompt, as the predictor scores a response of a
pair: on the scale of log-odds, the common prior plus what the group's own answers add. Two scores
of one prompt predict the group's choice between the completions (Bradley-Terry: their difference is
the log-odds). A score alone means nothing, since every prompt and every group has a zero of its
own: compare completions of one prompt only, and give rewards of several groups a common zero
(:func:`centred`, or ``references`` of :meth:`RewardModel.rewards`) before they are combined or
averaged over prompts.

Scoring trains nothing, draws nothing at random and remembers nothing of what it has scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch

from alignment.config import ContextConfig
from alignment.data.answers import GroupAnswers
from alignment.data.conversations import Text, plain_of, turns_of
from alignment.data.records import Question
from alignment.model.context import Prior, Reading
from alignment.model.folder import load_predictor
from alignment.model.prediction import ContextPredictor
from alignment.model.predictor import Predictor
from alignment.reward.combination import Combination, FloatArray, MeanCombination


class RewardModel:
    """Scores completions as one or several groups would.

    Args:
        predictor: Of a federation; train it further, and another reward model must be made.
        readings: What each group's answers say, at least one group; see :meth:`reading`.
    """

    def __init__(self, predictor: Predictor, readings: Mapping[str, Reading]) -> None:
        if not readings:
            raise ValueError("no group whose reward is meant: give answers of at least one")
        self._predictor = predictor
        self._readings = dict(readings)

    @classmethod
    def reading(
        cls, predictor: Predictor, config: ContextConfig, contexts: Iterable[GroupAnswers]
    ) -> Self:
        """A reward model for groups of whom some answers are known.

        Args:
            predictor: Of a federation.
            config: How strongly it reads a group's answers.
            contexts: As from :func:`alignment.data.answers.tally`, read once, here.

        Raises:
            ValueError: There is no group, one comes twice, or one has no answer.
        """
        predict = ContextPredictor(predictor, config)
        readings: dict[str, Reading] = {}
        with torch.no_grad():
            for each in contexts:
                if each.group in readings:
                    raise ValueError(f"group {each.group!r} comes twice: put its answers together")
                if len(each) == 0:
                    raise ValueError(f"group {each.group!r} has no answer: give at least one")
                readings[each.group] = predict.read(each)
        return cls(predictor, readings)

    @classmethod
    def load(cls, folder: Path, contexts: Iterable[GroupAnswers]) -> Self:
        """The predictor in a published folder with the answers of some groups.

        Args:
            folder: What ``fedaccord publish`` has written, or the ``--out`` folder of a run.
            contexts: As for :meth:`reading`.

        Raises:
            ModelFolderError: The folder holds no predictor.
            ValueError: The contexts cannot be used.
        """
        return cls.reading(*load_predictor(folder), contexts)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups, in the order of all rewards."""
        return tuple(self._readings)

    def select(self, groups: Sequence[str]) -> RewardModel:
        """The same for some of its groups, in the order given.

        Raises:
            ValueError: A group is unknown, or none is given.
        """
        unknown = [group for group in groups if group not in self._readings]
        if unknown:
            known = ", ".join(self._readings)
            raise ValueError(f"group {unknown[0]!r} is unknown; choose among {known}")
        return RewardModel(self._predictor, {group: self._readings[group] for group in groups})

    @torch.no_grad()
    def scores(self, prompts: Sequence[Text], completions: Sequence[Text]) -> FloatArray:
        """Score completions, each after its prompt.

        A completion's score does not depend on the others of the call, but for rounding (1e-5).
        Texts longer than the predictor's ``max_tokens`` lose the middle of the prompt and, beyond
        three quarters of the room, the end of the completion.

        Args:
            prompts: One for each completion: texts or conversations.
            completions: Any texts, also empty ones, or conversations.

        Returns:
            (groups, completions) float64, log-odds with a zero of their own for each prompt and
            group.

        Raises:
            ValueError: There are not as many prompts as completions.
        """
        if len(prompts) != len(completions):
            raise ValueError(
                f"{len(prompts)} prompts for {len(completions)} completions: give one for each"
            )
        if not completions:
            return np.zeros((len(self.groups), 0))
        asked = [
            Question(
                question_id="",
                text=plain_of(prompt),
                options=(plain_of(completion),),
                together=False,
                turns=turns_of(prompt, completion),
            )
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        # Each text once, and texts of about one length side by side.
        different = sorted(dict.fromkeys(asked), key=lambda q: len(q.options[0]))
        place = {question: row for row, question in enumerate(different)}
        prior = self._predictor.prior_unremembered(different)
        rows = [place[question] for question in asked]
        chosen: FloatArray = self._in_context(prior)[:, rows, 0]
        return chosen

    def rewards(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Text],
        *,
        references: Sequence[Sequence[Text]] | None = None,
    ) -> FloatArray:
        """Rewards with one zero for all groups, fit to be combined and averaged over prompts.

        Args:
            prompts: One for each completion.
            completions: What is rewarded.
            references: For each completion, other completions of its prompt, at least one: their
                mean score is the zero. Of one reference, a reward is the log-odds that the group
                prefers the completion to it. Without any, the zero is the mean over all
                completions of the same prompt: of one alone the reward is 0, and rewards then do
                not show whether completions have become better for a group.

        Returns:
            (groups, completions) float64.
        """
        scores = self.scores(prompts, completions)
        if references is None:
            return centred(scores, prompts)
        if len(references) != len(prompts) or not all(references):
            raise ValueError(
                "references must hold, for each completion, at least one reference completion: "
                f"{len(references)} lists for {len(prompts)} completions"
            )
        pairs = dict.fromkeys(
            (prompt, text)
            for prompt, each in zip(prompts, references, strict=True)
            for text in each
        )
        known = self.scores([prompt for prompt, _ in pairs], [text for _, text in pairs])
        at = {pair: column for column, pair in enumerate(pairs)}
        for column, (prompt, each) in enumerate(zip(prompts, references, strict=True)):
            scores[:, column] -= known[:, [at[prompt, text] for text in each]].mean(axis=1)
        return scores

    @torch.no_grad()
    def log_probabilities(self, questions: Sequence[Question]) -> list[FloatArray]:
        """Log-probabilities with which a group gives each answer of survey questions.

        Args:
            questions: Their options are shown together.

        Returns:
            For each question (groups, options) float64, in nats; comparable between groups.
        """
        if not questions:
            return []
        prior = self._predictor.prior_unremembered(questions)
        scores = torch.from_numpy(self._in_context(prior))
        logs = torch.log_softmax(scores, dim=-1).numpy()
        return [logs[:, row, : len(q.options)] for row, q in enumerate(questions)]

    def _in_context(self, prior: Prior) -> FloatArray:
        """Scores as each group gives them, (groups, questions, K)."""
        each = [reading.scores(prior) for reading in self._readings.values()]
        scores: FloatArray = torch.stack(each).numpy()
        return scores


def centred(rewards: FloatArray, prompts: Sequence[Text]) -> FloatArray:
    """Rewards less their mean over the completions of the same prompt.

    Args:
        rewards: (groups, completions).
        prompts: One for each completion.
    """
    out = np.array(rewards, dtype=np.float64)
    for columns in _columns(out, prompts):
        out[:, columns] -= out[:, columns].mean(axis=1, keepdims=True)
    return out


def standardised(rewards: FloatArray, prompts: Sequence[Text]) -> FloatArray:
    """Centred rewards over their standard deviation within the prompt; 0 where there is none.

    Takes from groups what they gain by strong opinions: each speaks as loudly on every prompt.

    Args:
        rewards: (groups, completions).
        prompts: One for each completion.
    """
    out = centred(rewards, prompts)
    for columns in _columns(out, prompts):
        spread = out[:, columns].std(axis=1, keepdims=True)
        # Equal completions differ by rounding only, which is no opinion.
        out[:, columns] = np.where(spread > 1e-6, out[:, columns] / np.maximum(spread, 1e-6), 0.0)
    return out


def _columns(rewards: FloatArray, prompts: Sequence[Text]) -> list[list[int]]:
    """Of each prompt, the places of its completions."""
    if rewards.ndim != 2 or rewards.shape[1] != len(prompts):
        raise ValueError(
            f"rewards have shape {rewards.shape} for {len(prompts)} prompts: need one column each"
        )
    places: dict[Text, list[int]] = {}
    for column, prompt in enumerate(prompts):
        places.setdefault(prompt, []).append(column)
    return list(places.values())


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """One candidate beside the others of its prompt.

    Attributes:
        index: Its place among the candidates as they were given.
        completion: Its text or messages.
        reward: Of all groups combined.
        rewards: Of each group.
    """

    index: int
    completion: Text
    reward: float
    rewards: Mapping[str, float]


def ranked(
    completions: Sequence[Text], rewards: FloatArray, combination: Combination
) -> tuple[Ranked, ...]:
    """Candidates of one prompt, the best first; of equals the earlier one first.

    Args:
        completions: The candidates.
        rewards: (groups, completions), with one zero for all groups.
        combination: Of the same groups.
    """
    combined = combination.combine(rewards)
    order = np.argsort(-combined, kind="stable").tolist()
    return tuple(
        Ranked(
            index=i,
            completion=completions[i],
            reward=float(combined[i]),
            rewards=dict(zip(combination.groups, rewards[:, i].tolist(), strict=True)),
        )
        for i in order
    )


def best_of_n(
    model: RewardModel,
    prompt: Text,
    completions: Sequence[Text],
    *,
    best: int = 1,
    combination: Combination | None = None,
) -> tuple[Ranked, ...]:
    """The best of several completions of one prompt.

    Args:
        model: Whose groups judge.
        prompt: What the completions answer.
        completions: The candidates, at least one.
        best: How many are wanted.
        combination: Of the model's groups; None takes the mean.

    Returns:
        At most ``best`` candidates, the best first. Rewards are centred over all candidates.
    """
    if not completions or best < 1:
        raise ValueError(
            f"{len(completions)} completions, best = {best}: need at least 1 of either"
        )
    rewards = model.rewards([prompt] * len(completions), completions)
    chosen = combination or MeanCombination(groups=model.groups)
    return ranked(completions, rewards, chosen)[:best]
