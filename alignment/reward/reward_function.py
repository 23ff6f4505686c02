"""The reward of groups as a function that trainers of language models call.

``trl.GRPOTrainer(reward_funcs=RewardFunction(model))`` needs nothing else; neither does this module
need trl. See docs/aligning.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from alignment.reward.combination import AdaptiveCombination, Combination, MeanCombination
from alignment.reward.reward import RewardModel

#: A text, or messages of a conversation with ``role`` and ``content``.
Text: TypeAlias = str | Sequence[Mapping[str, Any]]


def text_of(text: Text) -> str:
    """The text that the predictor reads.

    Of a conversation, the contents of its messages with a blank line between; instructions of the
    ``system`` are left out, for nobody who answered for a group has seen them.

    Raises:
        ValueError: A message has no text.
    """
    if isinstance(text, str):
        return text
    return "\n\n".join(_content(each) for each in text if each.get("role") != "system")


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, Sequence) else [content]
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    if len(texts) < len(parts) or not all(isinstance(each, str) for each in texts):
        raise ValueError(
            f"a message of role {message.get('role')!r} has no text: only texts can be scored"
        )
    return "".join(str(each) for each in texts)


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
        self, prompts: Sequence[Text], completions: Sequence[Text], **columns: Any
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
            [text_of(prompt) for prompt in prompts],
            [text_of(completion) for completion in completions],
            references=None if given is None else [_references(each) for each in given],
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


def _references(given: Any) -> list[str]:
    """One reference or several, each a text or a conversation."""
    if isinstance(given, str):
        return [given]
    if isinstance(given, Sequence) and given and isinstance(given[0], Mapping):
        return [text_of(given)]
    if not isinstance(given, Sequence) or not given:
        raise ValueError("a reference is missing: give each prompt one completion, or a list")
    return [text_of(each) for each in given]
