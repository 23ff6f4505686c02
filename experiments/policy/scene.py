"""Prompts, rewards and answers of groups that disagree, for aligning a causal model to them.

The groups are held out: the predictor that rewards for them has seen none of their answers but
those that are shown to it as context, and the questions asked are none of these.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from alignment.data.answers import GroupAnswers
from alignment.data.population import Population, load_population
from alignment.data.split import CONTEXT_QUESTIONS, SPLIT_FILE, Split, draws_of
from alignment.evaluation.metrics import jensen_shannon_distance
from alignment.model.folder import load_predictor
from alignment.reward.combination import FloatArray
from alignment.reward.reward import RewardModel, standardised
from atomic import write_atomically
from experiments.report.wording import plural
from privacy.file_names import CONFIG_FILE, RESULT_FILE
from server.config import ConfigError
from server.settings import assemble

MODEL_FOLDER = "model"
#: Groups that are held out where the study trains a predictor itself.
GROUPS = 3
#: Questions the policy is asked at most.
MOST_PROMPTS = 60
#: Rounds of a predictor that the study trains itself.
_TRAINING = {
    "federation.warmup_rounds": 36,
    "federation.adapter_rounds": 4,
    "federation.evaluate_every": 0,
}


def disagreeing_groups(answers: Mapping[str, GroupAnswers], number: int = GROUPS) -> list[str]:
    """Groups of which a majority differs from the rest: the two farthest, and those nearest them.

    Distance is the mean Jensen-Shannon distance of answers to common questions. After the two
    farthest apart, each further group is the one nearest to any of those chosen: of three, two are
    alike and one stands alone.

    Args:
        answers: Of all groups, at least as many as are wanted and one more to train.
        number: How many are wanted, at least 2.

    Raises:
        ConfigError: There are too few groups.
    """
    if len(answers) <= number:
        raise ConfigError(
            f"the data hold {plural(len(answers), 'group')}; the study holds out {number} and "
            "needs others to train"
        )
    distances = {frozenset(pair): _distance(answers, *pair) for pair in combinations(answers, 2)}
    chosen = list(max(combinations(answers, 2), key=lambda pair: distances[frozenset(pair)]))
    while len(chosen) < number:
        rest = [group for group in answers if group not in chosen]
        chosen.append(
            min(rest, key=lambda g: min(distances[frozenset((g, other))] for other in chosen))
        )
    return sorted(chosen)


def _distance(answers: Mapping[str, GroupAnswers], first: str, second: str) -> float:
    one, other = (_targets(answers[group]) for group in (first, second))
    common = [question for question in one if question in other]
    if not common:
        return 0.0
    return statistics.fmean(jensen_shannon_distance(one[q], other[q]) for q in common)


def _targets(answers: GroupAnswers) -> dict[str, tuple[float, ...]]:
    ids = (question.question_id for question in answers.questions)
    return dict(zip(ids, answers.targets, strict=True))


def train_model(out: Path, *, data: str) -> Path:
    """Train the predictor of a study on all groups but some that disagree; returns its folder.

    A finished one is kept.

    Raises:
        ConfigError: The data have too few groups, or the folder holds another run.
    """
    folder = out / MODEL_FOLDER
    if (folder / RESULT_FILE).exists():
        used = _config_of(folder)
        if used.data != data:
            raise ConfigError(
                f"{folder}: was trained on {used.data!r}, not {data!r}; choose another --out"
            )
        return folder
    from experiments.simulation.run import run

    population = load_population(data, split="", seed=0, skip_invalid=False)
    answers = population.answers
    held_out = disagreeing_groups(answers)
    split = Split(
        train_groups=tuple(group for group in answers if group not in held_out),
        draws={group: draws_of(answers[group], seed=0) for group in held_out},
    )
    write_atomically(out / SPLIT_FILE, split.to_json(), parents=True)
    given = {"data": data, "split": str(out / SPLIT_FILE), "out": str(folder)}
    run(assemble(config=None, assignments=[], given=given, defaults=_TRAINING), overwrite=True)
    return folder


def _config_of(model: Path) -> Any:
    """The settings of a run, without its place."""
    config = model / CONFIG_FILE
    if not config.is_file():
        raise ConfigError(
            f"--model {model}: holds no {CONFIG_FILE}; give the --out folder of a finished run"
        )
    return assemble(config=config, assignments=[], given={"out": str(model)})


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """Prompts, rewards and answers of one draw of the study.

    Attributes:
        groups: Who is to be pleased.
        answers: Of each prompt, the answers that may be chosen.
        rewards: Of each prompt (groups, answers), standardised over its answers.
        shares: Of each prompt (groups, answers), the shares of the groups' members who gave them.
        distance: Mean Jensen-Shannon distance between the groups' answers to the prompts.
    """

    groups: tuple[str, ...]
    answers: Mapping[str, tuple[str, ...]]
    rewards: Mapping[str, FloatArray]
    shares: Mapping[str, FloatArray]
    distance: float

    def judge(self, prompts: Sequence[str], completions: Sequence[str]) -> FloatArray:
        """Rewards of completions, (groups, completions)."""
        columns = [
            self.rewards[prompt][:, self.answers[prompt].index(completion)]
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        return np.array(columns).T


class Scenes:
    """Makes the scene of each draw; the predictor is loaded once.

    Args:
        model: The ``--out`` folder of a finished run; its held-out groups are to be pleased.

    Raises:
        ValueError: It holds no predictor, or its data cannot be read.
    """

    def __init__(self, model: Path) -> None:
        config = _config_of(model)
        split = str(model / SPLIT_FILE)
        self._population: Population = load_population(
            config.data, split=split, seed=config.seed, skip_invalid=config.skip_invalid
        )
        self._predictor = load_predictor(model)
        self.groups = tuple(self._population.split.draws)
        if len(self.groups) < 2:
            raise ConfigError(
                f"--model {model}: held out {plural(len(self.groups), 'group')}; rewards are "
                "combined from 2"
            )

    def draw(self, seed: int) -> Scene:
        """Draw context questions by seed; the groups' other questions become prompts.

        Raises:
            ConfigError: The groups have too few questions in common.
        """
        answers = self._population.answers
        unseen = self._population.split.unseen_questions
        common = [
            question.question_id
            for question in answers[self.groups[0]].questions
            if all(question.question_id in _targets(answers[group]) for group in self.groups)
        ]
        chance = np.random.default_rng([seed, 0])
        order = [common[i] for i in chance.permutation(len(common)).tolist()]
        order.sort(key=unseen.__contains__)
        shown = min(CONTEXT_QUESTIONS, len(order) // 2)
        asked = order[shown:][:MOST_PROMPTS]
        if shown == 0 or not asked:
            raise ConfigError(
                f"groups {', '.join(self.groups)} have {plural(len(common), 'question')} in "
                "common; the study needs 2"
            )
        model = RewardModel.reading(
            *self._predictor, [answers[group].select(order[:shown]) for group in self.groups]
        )
        return self._scene(model, asked)

    def _scene(self, model: RewardModel, asked: Sequence[str]) -> Scene:
        each = {group: self._population.answers[group].select(asked) for group in self.groups}
        questions = each[self.groups[0]].questions
        offered = {q.text: q.options for q in questions}
        prompts = [q.text for q in questions for _ in q.options]
        options = [option for q in questions for option in q.options]
        flat = standardised(model.scores(prompts, options), prompts)
        ends = np.cumsum([len(q.options) for q in questions])[:-1]
        tables = np.split(flat, ends, axis=1)
        return Scene(
            groups=self.groups,
            answers=offered,
            rewards=dict(zip(offered, tables, strict=True)),
            shares={
                q.text: np.array([each[group].targets[row] for group in self.groups])
                for row, q in enumerate(questions)
            },
            distance=statistics.fmean(
                _distance(each, *pair) for pair in combinations(self.groups, 2)
            ),
        )
