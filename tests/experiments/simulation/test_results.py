"""``result.json`` and the files beside it: complete, consistent with each other, repeatable."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment.data.population import Population, load_population
from alignment.evaluation.metrics import alignment_score
from alignment.model.folder import load_predictor
from alignment.model.vector import to_vector
from experiments.simulation.results import measure, read_rounds
from experiments.simulation.run import run
from server.config import RunConfig

MakeConfig = Callable[..., RunConfig]

SUMMARY = {
    "mean",
    "seen_questions",
    "unseen_questions",
    "worst_group",
    "cov",
    "groups",
    "log_loss",
}


@pytest.fixture
def population(finished: Any) -> Population:
    return load_population(finished.config.data, split="", seed=0, skip_invalid=False)


def read(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return content


class TestContent:
    def test_the_promised_keys_are_there(self, finished: Any) -> None:
        result = read(finished.out)
        assert set(result["alignment"]["unseen_groups"]) == SUMMARY
        assert {"mean"} <= set(result["alignment"]["train_groups"])
        assert {"total", "train", "secagg", "evaluate"} <= set(result["seconds"])
        assert set(result["bytes"]) == {"up_per_client_per_round", "down_per_client_per_round"}
        keys = {"mode", "unit", "delta", "epsilon", "accountant", "groups"}
        assert set(result["privacy"]) == keys
        assert {"context_swap_drop", "rounds", "parameters", "seed", "versions"} <= set(result)

    def test_what_run_returns_is_what_it_writes(self, finished: Any) -> None:
        assert read(finished.out) == json.loads(json.dumps(finished.result))

    def test_no_number_is_missing_or_out_of_bounds(self, finished: Any) -> None:
        def numbers(value: object) -> list[float]:
            if isinstance(value, Mapping):
                return [n for each in value.values() for n in numbers(each)]
            return [value] if isinstance(value, float) else []

        scores = finished.result["alignment"]
        assert all(math.isfinite(number) for number in numbers(finished.result))
        names = ("unseen_groups", "without_context", "swapped_context", "uniform", "question_mean")
        for name in names:
            summary = scores[name]
            assert len(summary["groups"]) == 2, name
            assert 0.1674 < summary["worst_group"] <= summary["mean"] <= 1
            assert min(summary["groups"].values()) == summary["worst_group"]

    def test_no_guarantee_is_claimed(self, finished: Any) -> None:
        privacy = read(finished.out)["privacy"]
        assert privacy["mode"] == "none"
        assert all(privacy[key] is None for key in ("unit", "delta", "epsilon", "accountant"))
        assert privacy["groups"] == {}
        assert read(finished.out)["secure_aggregation"] is True

    def test_the_run_is_described(self, finished: Any) -> None:
        result = read(finished.out)
        assert (result["rounds"], result["seed"]) == (4, 0)
        assert result["config"] == finished.config.nested()
        assert result["data"] == {
            "source": "tiny.jsonl",
            "records": 432,
            "skipped": 0,
            "left_out": {},
            "train_groups": 4,
            "held_out_groups": 2,
            "context_answers": 4,
        }
        for name in ("python", "flwr", "torch", "transformers", "peft", "datasets", "numpy"):
            assert result["versions"][name], name

    def test_the_parameters_are_those_of_the_model(self, finished: Any) -> None:
        predictor, _ = load_predictor(finished.out)
        size = to_vector(predictor).size
        assert finished.result["parameters"] == size
        # Four bytes a coordinate, the loss, the weight, and a little for identity; then keys,
        # signatures and shares of four members in four further messages. In the first two of four
        # rounds the head alone travels.
        head = sum(p.numel() for name, p in predictor.trainable() if name.startswith("head."))
        sent = 4 * ((size + head) / 2 + 2)
        up = finished.result["bytes"]["up_per_client_per_round"]
        assert sent < up < sent + 5000
        down = finished.result["bytes"]["down_per_client_per_round"]
        assert 4 * size < down < 4 * size + 12000

    def test_seconds_add_up(self, finished: Any) -> None:
        seconds = finished.result["seconds"]
        rounds = read_rounds(finished.out)
        assert seconds["train"] == pytest.approx(sum(r["seconds_train"] for r in rounds))
        assert 0 < seconds["train"] + seconds["evaluate"] < seconds["total"]


class TestConsistency:
    def test_the_last_round_measured_what_the_result_says(self, finished: Any) -> None:
        last = read_rounds(finished.out)[-1]
        assert last["alignment"] == pytest.approx(
            finished.result["alignment"]["unseen_groups"]["mean"], abs=1e-6
        )
        assert last["log_loss"] == pytest.approx(
            finished.result["alignment"]["unseen_groups"]["log_loss"], abs=1e-6
        )

    def test_context_helps_and_another_groups_context_does_not(self, finished: Any) -> None:
        """The tiny groups have opposite tastes: a few answers must tell."""
        result = finished.result
        scores = {name: each["mean"] for name, each in result["alignment"].items()}
        assert result["context_gain"] == scores["unseen_groups"] - scores["without_context"]
        assert result["context_swap_drop"] == scores["unseen_groups"] - scores["swapped_context"]
        assert result["context_gain"] > 0.05
        assert result["context_swap_drop"] > 0.05

    def test_fairness_is_that_of_the_scores_that_stand_beside_it(self, finished: Any) -> None:
        fairness, scores = finished.result["fairness"], finished.result["alignment"]
        assert fairness["confidence"] == 0.95 and fairness["resamples"] == 2000
        for side in ("unseen_groups", "train_groups"):
            groups = {name: each["value"] for name, each in fairness[side]["groups"].items()}
            assert groups == pytest.approx(scores[side]["groups"])
            assert fairness[side]["worst_group"]["value"] == pytest.approx(
                scores[side]["worst_group"]
            )
            assert fairness[side]["cov"]["value"] == pytest.approx(scores[side]["cov"])
            for each in fairness[side]["groups"].values():
                assert each["low"] < each["value"] < each["high"]
            assert fairness[side]["lowest_tenth"] is None
        assert fairness["gap"]["low"] <= fairness["gap"]["value"] <= fairness["gap"]["high"]

    def test_predictions_give_the_groups_scores(
        self, finished: Any, population: Population
    ) -> None:
        lines = (finished.out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert {row["group"] for row in rows} == set(population.split.draws)
        targets = {g: draws[0].target for g, draws in population.split.draws.items()}
        for group, expected in targets.items():
            mine = [row for row in rows if row["group"] == group]
            assert [row["question_id"] for row in mine] == list(expected)
        for row in rows:
            answers = population.answers[row["group"]].select([row["question_id"]])
            assert row["actual"] == list(answers.targets[0])
            assert row["question"] == answers.questions[0].text
            assert row["options"] == list(answers.questions[0].options)
            assert sum(row["with_context"]) == pytest.approx(1)
            assert sum(row["without_context"]) == pytest.approx(1)
            assert row["seen"] == (row["question_id"] in population.seen)
        own = measure(finished.out, population, 0).own
        first = [p.score.score for p in own if p.score.draw == 0]
        scores = [alignment_score(row["with_context"], row["actual"]) for row in rows]
        assert scores == pytest.approx(first)

    def test_seen_and_unseen_questions_are_apart(
        self, finished: Any, population: Population
    ) -> None:
        own = measure(finished.out, population, 0).own
        for seen, key in ((True, "seen_questions"), (False, "unseen_questions")):
            scores = [p.score for p in own if p.score.seen is seen]
            per_draw = [np.mean([s.score for s in scores if s.draw == d]) for d in range(5)]
            expected = finished.result["alignment"]["unseen_groups"][key]
            assert expected == pytest.approx(float(np.mean(per_draw)))
        unseen = population.split.unseen_questions
        assert {p.score.question_id for p in own if not p.score.seen} == unseen

    def test_train_groups_are_measured_on_what_they_trained_on(
        self, finished: Any, population: Population
    ) -> None:
        train = measure(finished.out, population, 0).train
        assert {p.score.group for p in train} == set(population.split.train_groups)
        assert all(p.score.seen for p in train)
        assert finished.result["alignment"]["train_groups"]["unseen_questions"] is None


class TestRepeating:
    @staticmethod
    def comparable(result: Mapping[str, Any]) -> dict[str, Any]:
        plain = json.loads(json.dumps(result))
        del plain["seconds"], plain["config"]["out"]
        # Seen to differ by two bytes in twenty thousand: what identifies messages is not seeded.
        plain["bytes"] = {
            name: pytest.approx(count, rel=1e-3) for name, count in plain["bytes"].items()
        }
        return plain

    def test_a_seed_repeats_the_result(
        self, finished: Any, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        again = run(make_config(tmp_path))
        assert self.comparable(again) == self.comparable(finished.result)
        for name in ("head.safetensors", "predictions.jsonl", "split.json"):
            assert (tmp_path / name).read_bytes() == (finished.out / name).read_bytes()

    def test_another_seed_does_not(
        self, finished: Any, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        split = str(finished.out / "split.json")
        same = run(make_config(tmp_path / "same", {"split": split}))
        other = run(make_config(tmp_path / "other", {"split": split, "seed": 1}))
        assert same["alignment"] == finished.result["alignment"]
        assert other["alignment"]["unseen_groups"] != same["alignment"]["unseen_groups"]
        assert other["seed"] == 1
