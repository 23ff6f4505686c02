"""The split of groups into train and held-out ones, with draws of context and targets.

A split is fixed before training and read from a file or drawn by a seed. Context questions are
shown to the predictor with the group's answers; target questions are what it must predict.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from alignment.data.answers import GroupAnswers
from texts import UnfitText, name_of, read_text, spelled

SPLIT_FILE = "split.json"

#: Most questions shown of a held-out group, share of groups and of questions held out by default.
CONTEXT_QUESTIONS = 20
HELD_OUT_GROUPS = 0.25
HELD_OUT_QUESTIONS = 0.15
DRAWS = 5
FEWEST_GROUPS = 3


class SplitError(ValueError):
    """A split cannot be read, or does not fit the data."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Question ids shown as context, and those to predict."""

    context: tuple[str, ...]
    target: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Train groups, and draws of context and targets for each held-out group.

    Attributes:
        train_groups: Groups that take part in training.
        draws: Held-out group to its draws, each measured alone and then averaged.
        unseen_questions: Questions taken out of the train groups' data, so that some targets were
            answered by no train group.
    """

    train_groups: tuple[str, ...]
    draws: Mapping[str, tuple[Draw, ...]]
    unseen_questions: frozenset[str] = field(default_factory=frozenset)

    def training_answers(self, answers: GroupAnswers) -> GroupAnswers:
        """The answers that a train group may train on."""
        return answers.without(self.unseen_questions)

    def check(self, answers: Mapping[str, GroupAnswers]) -> None:
        """Refuse a split that does not fit the data.

        Raises:
            SplitError: A group is unknown, on both sides, or lacks a question asked for.
        """
        both = set(self.train_groups) & set(self.draws)
        if both:
            raise SplitError(f"split: group {min(both)!r} trains and is held out; choose one")
        for group in (*self.train_groups, *self.draws):
            if group not in answers:
                raise SplitError(f"split: group {group!r} is not in the data; correct its name")
        for group, draws in self.draws.items():
            known = {question.question_id for question in answers[group].questions}
            for draw in draws:
                if not draw.target:
                    raise SplitError(f"split: a draw of {group!r} has no target to predict")
                if set(draw.context) & set(draw.target):
                    raise SplitError(f"split: a context question of {group!r} is also a target")
                missing = [q for q in (*draw.context, *draw.target) if q not in known]
                if missing:
                    raise SplitError(f"split: group {group!r} has no answer to {missing[0]!r}")
        for group in self.train_groups:
            if len(self.training_answers(answers[group])) == 0:
                raise SplitError(f"split: no question is left to train group {group!r}")

    def to_json(self) -> str:
        """The text of a split file."""
        return json.dumps(
            {
                "train_groups": list(self.train_groups),
                "eval_groups": list(self.draws),
                "unseen_questions": sorted(self.unseen_questions),
                "eval": {
                    group: {
                        str(i): {"context": list(draw.context), "target": list(draw.target)}
                        for i, draw in enumerate(draws)
                    }
                    for group, draws in self.draws.items()
                },
            },
            indent=1,
        )


def _names(
    value: object, where: str, *, spelling: Callable[[str], str] = spelled
) -> tuple[str, ...]:
    """The names of a list, each in its one spelling, as records have them."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise SplitError(f"{where} must be a list of texts")
    try:
        names = tuple(map(spelling, value))
    except UnfitText as error:
        raise SplitError(f"{where}: a name {error}") from error
    if len(set(names)) < len(names):
        raise SplitError(f"{where} names one twice; name each once")
    return names


def read_split(path: Path) -> Split:
    """Read a split file: train_groups, and per held-out group its draws of context and target.

    Raises:
        SplitError: One line that names the file and the field.
    """
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise SplitError(f"{path}: cannot be read as JSON: {error}") from error
    try:
        held_out = list(content["eval"].items())
        groups = _names([group for group, _ in held_out], f"{path}: eval", spelling=name_of)
        draws = {
            group: tuple(
                Draw(
                    context=_names(draw["context"], f"{path}: eval.{group}.{name}.context"),
                    target=_names(draw["target"], f"{path}: eval.{group}.{name}.target"),
                )
                for name, draw in each.items()
            )
            for group, (_, each) in zip(groups, held_out, strict=True)
        }
        train = _names(content["train_groups"], f"{path}: train_groups", spelling=name_of)
    except (KeyError, TypeError, AttributeError) as error:
        raise SplitError(
            f"{path}: a split holds 'train_groups' and 'eval' (group -> draw -> context, target): "
            f"{type(error).__name__} {error}"
        ) from error
    if not train or not draws or not all(draws.values()):
        raise SplitError(f"{path}: needs at least one train group and one draw per held-out group")
    if not all(draw.target for each in draws.values() for draw in each):
        raise SplitError(f"{path}: a draw has no target; name at least one question to predict")
    unseen = _names(content.get("unseen_questions", []), f"{path}: unseen_questions")
    return Split(train_groups=train, draws=draws, unseen_questions=frozenset(unseen))


def draw_split(answers: Mapping[str, GroupAnswers], *, seed: int) -> Split:
    """Hold out a quarter of the groups (at least one) and some questions, by seed.

    Raises:
        SplitError: There are too few groups, or a held-out group answered too little.
    """
    groups = sorted(answers)
    if len(groups) < FEWEST_GROUPS:
        raise SplitError(
            f"the data hold {len(groups)} group(s), a split needs at least {FEWEST_GROUPS}: "
            "two to train and one to hold out; add groups or give a split file"
        )
    generator = np.random.default_rng(seed)
    shuffled = [groups[i] for i in generator.permutation(len(groups))]
    held_out = sorted(shuffled[: max(1, round(HELD_OUT_GROUPS * len(groups)))])
    train = tuple(group for group in groups if group not in held_out)
    everything = sorted({q.question_id for each in answers.values() for q in each.questions})
    hidden = generator.choice(
        len(everything), size=round(HELD_OUT_QUESTIONS * len(everything)), replace=False
    )
    unseen = frozenset(everything[i] for i in hidden)
    # A group that answered little keeps its first question, or it could not train at all.
    unseen -= {
        answers[group].questions[0].question_id
        for group in train
        if len(answers[group].without(unseen)) == 0
    }
    draws = {group: _draws(answers[group], unseen, generator) for group in held_out}
    return Split(train_groups=train, draws=draws, unseen_questions=unseen)


def draws_of(answers: GroupAnswers, *, seed: int) -> tuple[Draw, ...]:
    """Draw contexts and targets of one held-out group by seed, as `draw_split` does for all.

    Raises:
        SplitError: The group answered too little.
    """
    return _draws(answers, frozenset(), np.random.default_rng(seed))


def _draws(
    answers: GroupAnswers, unseen: frozenset[str], generator: np.random.Generator
) -> tuple[Draw, ...]:
    ids = [question.question_id for question in answers.questions]
    if len(ids) < 2:
        raise SplitError(
            f"held-out group {answers.group!r} answered {len(ids)} question(s), needs 2: "
            "one as context, one to predict; give a split file without it"
        )
    shown = min(CONTEXT_QUESTIONS, max(1, len(ids) // 3))
    draws = []
    for _ in range(DRAWS):
        order = [ids[i] for i in generator.permutation(len(ids))]
        # Nobody can have asked the group a question that is to be new to everyone.
        order.sort(key=unseen.__contains__)
        draws.append(Draw(context=tuple(order[:shown]), target=tuple(order[shown:])))
    return tuple(draws)
