"""A finished run, measured: the material of its figures."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alignment.data.answers import questions_of
from alignment.data.population import Population
from alignment.data.records import SurveyRecord
from alignment.data.split import CONTEXT_QUESTIONS, Draw
from alignment.evaluation.calibration import JudgedTarget, summarise_choices
from alignment.evaluation.fairness import CONFIDENCE, RESAMPLES, gap, measure_fairness
from alignment.evaluation.held_out import (
    Prediction,
    judged_pairs,
    predict_draws,
    predict_held_out,
    summarise_predictions,
)
from alignment.evaluation.pairs import (
    PairSummary,
    are_pairs,
    summarise_accuracy,
    summarise_pairs,
)
from alignment.model.folder import load_predictor
from alignment.model.prediction import ContextPredictor
from alignment.model.vector import to_vector
from clients.training.trainer import predictor_for
from experiments.counting.choice import choice_for
from experiments.simulation.baseline import even_shares, longer_wins, question_mean
from experiments.simulation.grid_records import Traffic
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.own_models import drawn_groups, has_own_models, spread_of_models
from experiments.simulation.traffic import training_traffic
from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.plan import PrivacyPlan
from privacy.file_names import PRIVACY_FILE, START_FILE
from privacy.ledger.paths import group_model
from privacy.lineage import read_start
from server.config import RunConfig
from server.state.telemetry import ROUNDS_FILE

#: Probabilities no farther apart are the same, but for rounding.
_SAME = 1e-6


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Predictions on the held-out groups, shown their own answers, another group's, or none.

    Attributes:
        own: Of the predictor, shown the group's own answers.
        swapped: Shown another group's; empty where there is one held-out group.
        none: Shown no answers.
        train: Of the train groups' own questions, shown their own answers.
        uniform: Even shares on the same targets.
        question_mean: The train groups' mean answers on the same targets.
        longer: Of pairs, that the longer response wins, on the same targets; else empty.
        parameters: That were trained.
    """

    own: Sequence[Prediction]
    swapped: Sequence[Prediction]
    none: Sequence[Prediction]
    train: Sequence[Prediction]
    uniform: Sequence[Prediction]
    question_mean: Sequence[Prediction]
    longer: Sequence[Prediction]
    parameters: int


def holds_pairs(population: Population) -> bool:
    """Whether all that is asked of held-out groups is which of two responses they prefer.

    Of the held-out groups alone: of what kind a train group's records are, is theirs to tell.
    """
    return all(are_pairs(population.answers[group].questions) for group in population.split.draws)


def _train_draws(population: Population, seed: int) -> dict[str, tuple[Draw, ...]]:
    """One draw per train group, of questions it trained on."""
    generator = np.random.default_rng([seed, 1])
    draws: dict[str, tuple[Draw, ...]] = {}
    for group in population.split.train_groups:
        answers = population.split.training_answers(population.answers[group])
        ids = [q.question_id for q in answers.questions]
        order = [ids[i] for i in generator.permutation(len(ids))]
        shown = min(CONTEXT_QUESTIONS, len(ids) // 3)
        draws[group] = (Draw(context=tuple(order[:shown]), target=tuple(order[shown:])),)
    return draws


def measure(folder: Path, population: Population, seed: int) -> Measured:
    """Measure a predictor that a run has left in a folder."""
    predictor, context = load_predictor(folder)
    # Frozen layers make the same of a text whoever asks: the clients of this process have done it.
    predictor.cache = predictor_for(predictor.config).cache
    split, answers = population.split, population.answers
    held_out, train = (
        ContextPredictor(predictor, context, questions=questions_of(answers[g] for g in groups))
        for groups in (split.draws, split.train_groups)
    )
    train_draws = _train_draws(population, seed)
    return Measured(
        own=predict_held_out(held_out, population),
        swapped=(
            predict_held_out(held_out, population, shown="swapped") if len(split.draws) > 1 else []
        ),
        none=predict_held_out(held_out, population, shown="none"),
        train=predict_draws(train, answers, train_draws, seen=population.seen),
        uniform=predict_held_out(even_shares, population),
        question_mean=predict_held_out(question_mean(population), population),
        longer=predict_held_out(longer_wins, population) if holds_pairs(population) else [],
        parameters=to_vector(predictor).size,
    )


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """Material from which the figures of a run are computed.

    Attributes:
        config: The run.
        population: Its groups.
        measured: Predictions of what it left.
        own_models: How the groups' own models differ; None where all have one in common.
        rounds: The records of ``rounds.jsonl``.
        left_out: By group, people who took no part in some round, for lack of budget.
        traffic: Bytes of all groups in all rounds of training that the grid counted.
        counted_rounds: So many rounds, at least 1.
        seconds: Since the run began, or went on.
        seconds_measuring: Of them, what ``measured`` and ``own_models`` took.
    """

    config: RunConfig
    population: Population
    measured: Measured
    own_models: Mapping[str, Any] | None
    rounds: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, int]
    traffic: Traffic
    counted_rounds: int
    seconds: float
    seconds_measuring: float

    @cached_property
    def summaries(self) -> Mapping[str, dict[str, Any] | None]:
        """Alignment by context, and that of the yardsticks."""
        measured = self.measured
        return {
            "unseen_groups": _summary(measured.own),
            "without_context": _summary(measured.none),
            # One held-out group has nobody to swap with.
            "swapped_context": _summary(measured.swapped) if measured.swapped else None,
            "uniform": _summary(measured.uniform),
            "question_mean": _summary(measured.question_mean),
            "train_groups": _summary(measured.train),
        }

    @property
    def start(self) -> dict[str, Any] | None:
        """What is stated of the model that the run began from; None where values were drawn."""
        written = Path(self.config.out) / START_FILE
        return read_start(written) if self.config.training.start else None

    def choices(self) -> dict[str, Any] | None:
        """Accuracy and calibration of predicted choices; None of surveys."""
        # Of the held-out groups alone: of what kind a train group's records are, is theirs to tell.
        held_out = (self.population.records[group] for group in self.population.split.draws)
        if any(isinstance(record, SurveyRecord) for each in held_out for record in each):
            return None
        return {
            "unseen_groups": _judged(self.measured.own),
            "without_context": _judged(self.measured.none),
            "uniform": _judged(self.measured.uniform),
        }

    @property
    def on_pairs(self) -> bool:
        """Whether the figures of pairs speak of the run."""
        return bool(self.measured.longer)

    @cached_property
    def pairs(self) -> Mapping[str, dict[str, Any] | None]:
        """Accuracy, margin and calibration on pairs, by context; those of the yardstick.

        None where a context was not measured, or changes no prediction.
        """
        own, train = self.measured.own, self.measured.train
        contexts = {"without_context": self.measured.none, "swapped_context": self.measured.swapped}
        return {
            "unseen_groups": asdict(_pairs(own)),
            **{
                name: asdict(_pairs(other)) if _differ(own, other) else None
                for name, other in contexts.items()
            },
            "longer_wins": asdict(summarise_accuracy(judged_pairs(self.measured.longer))),
            # Each group's records may lie in a file of their own, and be of another kind.
            "train_groups": asdict(_pairs(train))
            if are_pairs(each.question for each in train)
            else None,
        }

    @cached_property
    def fairness(self) -> Mapping[str, Any]:
        """Evenness over groups, held-out and train groups apart."""
        generator = np.random.default_rng([self.config.seed, 2])
        own, train = ([p.score for p in part] for part in (self.measured.own, self.measured.train))
        apart = gap(train, own, generator)
        return {
            "confidence": CONFIDENCE,
            "resamples": RESAMPLES,
            "unseen_groups": asdict(measure_fairness(own, generator)),
            "train_groups": asdict(measure_fairness(train, generator)),
            "gap": None if apart is None else asdict(apart),
        }

    def bytes_per_client_per_round(self, way: Literal["up", "down"]) -> int:
        """Bytes that a client sent or received in a mean round."""
        total = self.traffic.bytes_up if way == "up" else self.traffic.bytes_down
        return round(total / (len(self.population.split.train_groups) * self.counted_rounds))

    def privacy(self) -> dict[str, Any]:
        """The promise of the run, from the plan that was registered before it began."""
        return _privacy(self.config, Path(self.config.out), self.left_out)

    def mechanism(self) -> dict[str, Any] | None:
        """How the data of a private run were read, and why so; None without privacy."""
        privacy = self.config.privacy
        if not privacy.private:
            return None
        choice = choice_for(self.config, self.population)
        return {
            "name": privacy.mechanism,
            # Where somebody has decided otherwise there is nothing to explain.
            "why": choice.reason if choice.mechanism == privacy.mechanism else "",
            "assumed_respondents": self.config.simulation.respondents,
        }

    def predictions(self) -> list[dict[str, Any]]:
        """One row per target of the first draw of each held-out group."""
        return [
            {
                "group": own.score.group,
                "question_id": own.question.question_id,
                "question": own.question.text,
                "options": list(own.question.options),
                "actual": list(own.actual),
                "with_context": list(own.predicted),
                "without_context": list(none.predicted),
                "seen": own.score.seen,
            }
            for own, none in zip(self.measured.own, self.measured.none, strict=True)
            if own.score.draw == 0
        ]


def _summary(predictions: Sequence[Prediction]) -> dict[str, Any]:
    return asdict(summarise_predictions(predictions))


def _judged(predictions: Sequence[Prediction]) -> dict[str, Any]:
    targets = [
        JudgedTarget(draw=each.score.draw, predicted=each.predicted, actual=each.actual)
        for each in predictions
    ]
    return asdict(summarise_choices(targets))


def _pairs(predictions: Sequence[Prediction]) -> PairSummary:
    return summarise_pairs(judged_pairs(predictions))


def _differ(own: Sequence[Prediction], other: Sequence[Prediction]) -> bool:
    """Whether another context changes a prediction: a model that reads none makes two alike."""
    if not other:
        return False
    ours, theirs = ([each.predicted for each in part] for part in (own, other))
    return not np.allclose(ours, theirs, rtol=0.0, atol=_SAME)


def read_rounds(out: Path) -> list[dict[str, Any]]:
    """The records of ``rounds.jsonl``."""
    lines = (out / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _privacy(config: RunConfig, out: Path, left_out: Mapping[str, int]) -> dict[str, Any]:
    """The promise of privacy, from the plan that was registered before the run began."""
    mode = config.privacy.mode
    if not config.privacy.private:
        nothing = dict.fromkeys(("unit", "delta", "epsilon", "accountant"))
        return {"mode": mode, **nothing, "groups": {}}
    registered = json.loads((out / PRIVACY_FILE).read_text(encoding="utf-8"))
    plan = PrivacyPlan.from_dict(registered["plan"])
    # A seat without a name was free to the end.
    seats = zip(registered["groups"], plan.sizes, strict=True)
    units = [(name, count) for name, count in seats if name]
    return {
        "mode": mode,
        "unit": str(plan.unit),
        "delta": plan.delta,
        "epsilon": plan.epsilon,
        "accountant": "dp-accounting PLD",
        "epsilon_pld": registered["epsilon_pld"],
        "second_opinion": registered["epsilon_opacus"],
        "mechanism": str(plan.release),
        "noise_multiplier": plan.noise_multiplier,
        **(_of_counts(plan, registered) if plan.counts else _of_steps(plan)),
        "honest_shares": plan.honest_shares,
        "relation": str(plan.relation),
        "plan_digest": registered["plan_digest"],
        "run": registered["run"],
        "groups": {
            name: {"units": count, "epsilon": plan.epsilon, "left_out": left_out.get(name, 0)}
            for name, count in units
        },
    }


def _of_steps(plan: PrivacyPlan) -> dict[str, Any]:
    return {
        "noise_std_per_coordinate": plan.noise_std_per_coordinate,
        "sampling_rate": plan.sampling_rate,
        "clipping_norm": plan.clipping_norm,
        "steps": plan.steps,
        "dimension": plan.dimension,
    }


def _of_counts(plan: PrivacyPlan, registered: Mapping[str, Any]) -> dict[str, Any]:
    """What was counted; the noise is that of each group, in answers."""
    asked, counts = registered["questionnaires"], plan.counts
    noise = {}
    for group, (name, units) in enumerate(zip(registered["groups"], plan.sizes, strict=True)):
        if name and counts is not None:
            options, digest = asked[name]["options_by_question"], asked[name]["digest"]
            own = plan.of_group(group, options, questionnaire=digest, units=units)
            noise[name] = 2.0**own.noise_log2 / own.count_bounds(options).step
    return {
        "answers_per_respondent": counts and counts.answers_per_respondent,
        "largest_weight": counts and counts.largest_weight,
        "distributions": plan.relation is NeighboringRelation.REPLACE_ONE,
        "noise_std_of_a_count": noise,
        "questionnaires": {name: each["digest"] for name, each in asked.items()},
    }


def measure_run(
    config: RunConfig,
    population: Population,
    grid: LocalGrid,
    left_out: Mapping[str, int],
    *,
    started: float,
    done: int = 0,
) -> FinishedRun:
    """Measure what a run has left in its folder.

    Args:
        config: The run.
        population: Its groups.
        grid: On which it ran.
        left_out: By group, people who took no part in some round, for lack of budget.
        started: ``time.perf_counter()`` when the run began, or went on.
        done: Rounds that it had done before it went on: the grid has not counted those.
    """
    out = Path(config.out)
    begun = time.perf_counter()
    groups = drawn_groups(out, population, config.seed) if has_own_models(out) else ()
    measured = measure(group_model(out, groups[0]) if groups else out, population, config.seed)
    own_models = spread_of_models(out, population, groups) if groups else None
    now, rounds = time.perf_counter(), read_rounds(out)
    return FinishedRun(
        config=config,
        population=population,
        measured=measured,
        own_models=own_models,
        rounds=rounds,
        left_out=left_out,
        traffic=training_traffic(grid),
        counted_rounds=max(1, rounds[-1]["round"] - done),
        seconds=now - started,
        seconds_measuring=now - begun,
    )
