"""The reward of groups as a function that trainers of language models call.

``trl.GRPOTrainer(reward_funcs=RewardFunction(model))`` needs nothing else; neither does this module
need trl. See docs/aligning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from alignment.data.conversations import Conversation, Text, parse_messages
from alignment.reward.combination import AdaptiveCombination, Combination, MeanCombination
from alignment.reward.reward import RewardModel

#: A text, or messages of a conversation as :func:`alignment.data.conversations.parse_messages`.
Given: TypeAlias = str | Sequence[Mapping[str, Any]]


def text_of(given: Given, *, field: str = "text") -> Text:
    """A text as it is, or a conversation without the instructions of its system.

    Nobody who answered for a group has seen those; a developer's are the system's. What says
    nothing is scored too.

    Args:
        given: What a trainer hands over.
        field: How messages name it.

    Raises:
        ValueError: One line with the field and what is no text.
    """
    if isinstance(given, str):
        return given
    messages = parse_messages(field, given) if given != [] else ()
    kept = tuple(each for each in messages if each.role != "system")
    return Conversation(kept) if kept else ""


class RewardFunction:
    """Rewards completions as groups would; called as trl's ``GRPOTrainer`` calls it.

    Attributes:
        combination: The one for the next batch; with its ``state()`` a training can go on.

    Args:
        model: Whose groups judge.
        combination: Of the model's groups; None takes the mean.
        name: Under which trainers log the reward.
        references: Column of the data set with a reference completion for each prompt, or a list
            of them: rewards are log-odds against it (:meth:`RewardModel.rewards`). Where the data
            set has no such column, rewards are centred over the completions of a prompt that are
            scored together; of one alone they would say nothing.
    """

    def __init__(
        self,
        model: RewardModel,
        *,
        combination: Combination | None = None,
        name: str = "fedaccord",
        references: str = "reference",
    ) -> None:
        self.combination: Combination = combination or MeanCombination(groups=model.groups)
        if self.combination.groups != model.groups:
            raise ValueError(
                f"the combination is of groups {self.combination.groups!r}, the model of "
                f"{model.groups!r}: give both the same, in one order"
            )
        self.__name__ = name
        self._model = model
        self._references = references

    def __call__(
        self, prompts: Sequence[Given], completions: Sequence[Given], **columns: Any
    ) -> list[float]:
        """Reward a batch.

        Args:
            prompts: One for each completion: texts or conversations.
            completions: Texts, or conversations of what the model said.
            columns: Other columns of the data set, one entry for each completion; of them only the
                references are read. Where trl hands over ``log_metric``, each group's mean reward
                is logged with it, and its weight where groups are weighed.

        Returns:
            One reward for each completion.

        Raises:
            ValueError: Weights shall follow past rewards, but there are no references; or a text
                is missing.
        """
        given = columns.get(self._references)
        if given is None and isinstance(self.combination, AdaptiveCombination):
            raise ValueError(
                f"no column {self._references!r}: centred rewards do not show which group has been "
                "served badly; give each prompt a reference completion, or combine by mean or min"
            )
        rewards = self._model.rewards(
            _texts("prompts", prompts),
            _texts("completions", completions),
            references=None if given is None else _references(self._references, given),
        )
        combined = self.combination.combine(rewards)
        self._log(rewards.mean(axis=1).tolist(), columns.get("log_metric"))
        self.combination = self.combination.observe(rewards)
        return [float(each) for each in combined]

    def _log(self, means: Sequence[float], log: Callable[[str, float], None] | None) -> None:
        if log is None:
            return
        for group, mean in zip(self._model.groups, means, strict=True):
            log(f"{self.__name__}/{group}", mean)
        if isinstance(self.combination, AdaptiveCombination):
            weights = self.combination.weights.tolist()
            for group, weight in zip(self._model.groups, weights, strict=True):
                log(f"{self.__name__}/weight/{group}", weight)


def _texts(field: str, given: Sequence[Given]) -> list[Text]:
    return [text_of(each, field=f"{field}[{i}]") for i, each in enumerate(given)]


def _references(column: str, given: Sequence[Any]) -> list[list[Text]]:
    """For each completion one reference or several, each a text or a conversation."""
    references = []
    for i, each in enumerate(given):
        several = isinstance(each, list | tuple) and len(each) > 0
        if not several and not isinstance(each, str):
            raise ValueError(
                f"column {column!r}: a reference is missing at entry {i}: give each prompt one "
                "completion, or a list"
            )
        one = isinstance(each, str) or isinstance(each[0], Mapping)
        references.append(_texts(f"{column}[{i}]", [each] if one else each))
    return references
