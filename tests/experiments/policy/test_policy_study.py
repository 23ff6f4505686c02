"""Policies aligned to groups that disagree: the gradient, the judgement, the whole study."""

import copy
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from alignment.data.answers import GroupAnswers, tally
from alignment.data.records import parse_record
from experiments.policy import study as policy_study
from experiments.policy.causal import (
    CausalModelConfig,
    TinyCausalModel,
    advantages,
    align,
    fit_evenly,
)
from experiments.policy.plot import PICTURE, draw_policies, policies_title
from experiments.policy.scene import Scene, disagreeing_groups, train_model
from experiments.policy.study import (
    align_policy,
    judge,
    model_digest,
    neutral_model,
    summarise,
)
from server.config import ConfigError

Command = Callable[..., Any]

ANSWERS = {
    "is tea good ?": ("yes", "no , never", "it is as good as coffee"),
    "war or peace ?": ("peace", "war"),
}
#: Width and steps that take a second.
SMALL: dict[str, Any] = {"width": 16, "layers": 1, "heads": 2, "neutral_steps": 60}


@pytest.fixture(scope="module")
def policy() -> TinyCausalModel:
    config = CausalModelConfig(**SMALL)
    made = TinyCausalModel(ANSWERS, config=config, seed=0)
    fit_evenly(made, ANSWERS, config, seed=0)
    return made.requires_grad_(False)


# --- the policy -------------------------------------------------------------------------------


def test_an_answer_is_as_probable_as_its_words_among_those_offered() -> None:
    policy = TinyCausalModel(ANSWERS, config=CausalModelConfig(**SMALL), seed=3)
    with torch.no_grad():
        together = policy(list(ANSWERS)).exp()
        assert together.sum(dim=1) == pytest.approx(torch.ones(2))
        assert together[1, 2] == 0  # war or peace has two answers
        for row, prompt in enumerate(ANSWERS):
            logits = []
            for asked, answer in policy._rows[prompt]:
                # Word by word, each text alone: an oracle without padding.
                total, text = 0.0, list(asked)
                for word in (*answer, 1):
                    logs = policy.model(torch.tensor([text])).logits[0, -1].log_softmax(-1)
                    total += float(logs[word])
                    text.append(word)
                logits.append(total)
            expected = torch.tensor(logits).softmax(-1)
            assert together[row, : len(logits)] == pytest.approx(expected, abs=1e-5)


def test_the_neutral_model_chooses_about_evenly(policy: TinyCausalModel) -> None:
    chances = policy(list(ANSWERS)).exp()
    assert chances[0] == pytest.approx(torch.full((3,), 1 / 3), abs=0.1)
    assert chances[1, :2] == pytest.approx(torch.full((2,), 1 / 2), abs=0.1)


def test_advantages_are_over_the_other_completions() -> None:
    gains = advantages(torch.tensor([[3.0, 0.0, 0.0], [5.0, 5.0, 5.0]]))
    assert gains == pytest.approx(torch.tensor([[3.0, -1.5, -1.5], [0.0, 0.0, 0.0]]))


def test_alignment_reaches_the_optimum_that_theory_names(policy: TinyCausalModel) -> None:
    """Reward less weighted divergence is highest at ``reference * exp(reward / weight)``."""
    wanted = {"yes": 0.5, "no , never": 0.0, "it is as good as coffee": -0.5, "peace": 0, "war": 1}
    config = CausalModelConfig(**SMALL, steps=400, samples=16, kl_weight=0.6, learning_rate=3e-3)

    def reward(prompts: Any, completions: Any) -> Any:
        assert all(c in ANSWERS[p] for p, c in zip(prompts, completions, strict=True))
        return np.array([wanted[each] for each in completions], dtype=float)

    learner = copy.deepcopy(policy).requires_grad_(True)
    align(learner, ANSWERS, reward, config, seed=1)
    for row, (prompt, answers) in enumerate(ANSWERS.items()):
        before = policy([prompt])[0].exp().numpy()
        tilted = before * np.exp(np.array([wanted[each] for each in answers]) / 0.6)
        with torch.no_grad():
            after = learner(list(ANSWERS)).exp().numpy()[row, : len(answers)]
        assert after == pytest.approx(tilted / tilted.sum(), abs=0.08)


def test_equal_seeds_align_alike(policy: TinyCausalModel) -> None:
    config = CausalModelConfig(**SMALL, steps=3, samples=2)
    made = []
    for _ in range(2):
        learner = copy.deepcopy(policy).requires_grad_(True)
        align(learner, ANSWERS, lambda p, _: np.arange(len(p)) / 4, config, seed=5)
        made.append(learner(list(ANSWERS)))
    assert torch.equal(*made)


@pytest.mark.parametrize(
    "setting", [{"samples": 1}, {"steps": -1}, {"kl_weight": -0.1}, {"learning_rate": 0}]
)
def test_what_cannot_learn_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))} = "):
        CausalModelConfig(**setting)


# --- whom it serves ---------------------------------------------------------------------------


def conflict(seed: int, prompts: int = 8) -> Scene:
    """Two groups alike and a third with other wishes; every prompt has a compromise."""
    chance = np.random.default_rng([99, seed])
    answers = {f"question {i} ?": ("ours", "theirs", "both somehow") for i in range(prompts)}
    rewards, shares = {}, {}
    for prompt in answers:
        many, few = 1 + chance.normal(0, 0.1, 2)
        table = np.array([[many, -many, 0.2], [many, -many, 0.2], [-few, few, 0.2]])
        rewards[prompt] = table - table.mean(axis=1, keepdims=True)
        shares[prompt] = np.array([[0.7, 0.1, 0.2], [0.6, 0.2, 0.2], [0.1, 0.7, 0.2]])
    return Scene(
        groups=("east", "north", "west"),
        answers=answers,
        rewards=rewards,
        shares=shares,
        distance=0.3,
    )


def test_a_policy_is_judged_exactly() -> None:
    scene = conflict(0, prompts=1)
    policy = neutral_model(scene, CausalModelConfig(**SMALL), seed=0)
    judged = judge(policy, policy, scene)
    (prompt,) = scene.answers
    with torch.no_grad():
        chances = policy([prompt])[0].exp().double().numpy()
    assert judged.rewards == pytest.approx(scene.rewards[prompt] @ chances, abs=1e-5)
    assert judged.support == pytest.approx(scene.shares[prompt] @ chances, abs=1e-5)
    assert judged.kl == pytest.approx(0, abs=1e-6)
    other = TinyCausalModel(scene.answers, config=CausalModelConfig(**SMALL), seed=8)
    assert judge(other, policy, scene).kl > 0.01
    drawn = scene.judge([prompt] * 2, ["theirs", "ours"])
    assert drawn == pytest.approx(scene.rewards[prompt][:, [1, 0]])


@pytest.mark.parametrize("seed", range(2))
def test_adaptive_weights_serve_the_worst_group_better_than_the_mean(seed: int) -> None:
    config = CausalModelConfig(**SMALL, steps=60, learning_rate=1e-2, kl_weight=0.1)
    scene = conflict(seed, prompts=4)
    reference = neutral_model(scene, config, seed=seed)
    before = reference(list(scene.answers)).detach()
    rows = {
        name: align_policy(scene, reference, name, config, seed=seed)
        for name in ("mean", "adaptive")
    }
    assert torch.equal(reference(list(scene.answers)).detach(), before)
    mean, adaptive = rows["mean"], rows["adaptive"]
    # The mean follows the majority and leaves the third group worse off than it was.
    assert min(mean["reward_after"], key=mean["reward_after"].get) == "west"
    assert mean["worst_reward"] < mean["reward_before"]["west"] - 0.2
    assert adaptive["worst_reward"] > mean["worst_reward"] + 0.2
    assert adaptive["worst_support"] > mean["worst_support"]
    assert mean["weights"] is None
    assert sum(adaptive["weights"].values()) == pytest.approx(1)
    assert adaptive["kl"] > 0


# --- which groups -----------------------------------------------------------------------------


def answers_of(shares: Mapping[str, float]) -> dict[str, GroupAnswers]:
    rows = [
        {
            "group": group,
            "question_id": f"q{i}",
            "question": f"number {i} ?",
            "options": ["yes", "no"],
            "distribution": [share, 1 - share],
        }
        for group, share in shares.items()
        for i in range(3)
    ]
    return tally(parse_record(row) for row in rows)


def test_two_alike_and_one_that_stands_alone_are_held_out() -> None:
    answers = answers_of({"a": 0.1, "b": 0.5, "c": 0.95, "d": 0.6, "e": 0.85})
    assert disagreeing_groups(answers) == ["a", "c", "e"]
    assert disagreeing_groups(answers, 2) == ["a", "c"]
    with pytest.raises(ConfigError, match="holds out 3"):
        disagreeing_groups(answers_of({"a": 0.1, "b": 0.5, "c": 0.9}))


def test_a_predictor_is_trained_without_the_groups_that_disagree(
    tmp_path: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []

    def run(config: Any, *, overwrite: bool) -> None:
        made.append(config)
        out = Path(config.out)
        out.mkdir(parents=True)
        (out / "result.json").write_text("{}", encoding="utf-8")
        (out / "config.toml").write_text(f'data = "{config.data}"\n', encoding="utf-8")

    monkeypatch.setattr("experiments.simulation.run.run", run)
    folder = train_model(tmp_path, data=str(tiny_data))
    assert train_model(tmp_path, data=str(tiny_data)) == folder
    assert len(made) == 1
    split = json.loads((tmp_path / "split.json").read_text(encoding="utf-8"))
    assert len(split["train_groups"]) == len(split["eval_groups"]) == 3
    parities = [int(group[-1]) % 2 for group in split["eval_groups"]]
    assert sorted(parities) in ([0, 0, 1], [0, 1, 1])
    with pytest.raises(ConfigError, match="choose another --out"):
        train_model(tmp_path, data="sample")


# --- the study as its users meet it -----------------------------------------------------------


@pytest.fixture
def study(command: Command, finished: Any, tmp_path: Path) -> Command:
    words = ("experiment", "policy", "--model", finished.out, "--out", tmp_path / "study")
    return lambda *more: command(*words, "--draws", 2, "--steps", 2, *more)


def test_the_study_leaves_figures_and_a_picture(
    study: Command, finished: Any, tmp_path: Path
) -> None:
    outcome = study("--json")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    assert said == json.loads((tmp_path / "study" / "policy.json").read_text(encoding="utf-8"))
    held_out = list(finished.result["alignment"]["unseen_groups"]["groups"])
    assert sorted(said["groups"]) == sorted(held_out)
    kinds = [(row["seed"], row["combination"]) for row in said["rows"]]
    assert kinds == [(s, name) for s in range(2) for name in ("mean", "min", "adaptive")]
    for row in said["rows"]:
        assert row["worst_reward"] == min(row["reward_after"].values())
        assert 0 < row["worst_support"] <= row["mean_support"] < 1
    # One draw begins alike whatever the combination; another draw does not.
    begins = [tuple(row["reward_before"].values()) for row in said["rows"]]
    assert len(set(begins)) == 2
    gains = said["adaptive_against_mean"]["worst_reward"]
    at = {(row["combination"], row["seed"]): row["worst_reward"] for row in said["rows"]}
    assert gains == [at["adaptive", seed] - at["mean", seed] for seed in range(2)]
    assert (tmp_path / "study" / PICTURE).stat().st_size > 10_000
    assert "before" in study().out


def test_a_study_that_was_stopped_goes_on_and_does_nothing_twice(
    study: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, names = policy_study.align_policy, []

    def counted(*positional: Any, **named: Any) -> dict[str, Any]:
        if len(names) == 2:
            names.append("stop")
            raise KeyboardInterrupt
        names.append(positional[2])
        return real(*positional, **named)

    monkeypatch.setattr(policy_study, "align_policy", counted)
    outcome = study()
    assert outcome.code == 130
    assert "goes on with the rest" in outcome.err
    half = json.loads((tmp_path / "study" / "policy.json").read_text(encoding="utf-8"))
    assert [row["combination"] for row in half["rows"]] == ["mean", "min"]
    assert half["adaptive_against_mean"] is None
    assert "2 of 6 policies had been aligned before" in study().err
    assert names[3:] == ["adaptive", "mean", "min", "adaptive"]
    assert study().code == 0
    assert len(names) == 7
    refused = study("--kl-weight", "0.5")
    assert refused.code == 2
    assert refused.err.splitlines()[-1].startswith("error: ")
    assert "was made with other settings" in refused.err
    assert study("--kl-weight", "0.5", "--overwrite").code == 0
    assert len(names) == 13


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--combinations", "mean,median"), "must name some of: mean, min, adaptive"),
        (("--draws", "0"), "--draws 0 must lie in"),
        (("--kl-weight", "-1"), "kl_weight = -1.0 must be >= 0"),
        (("--model", "nowhere"), "holds no config.toml"),
    ],
)
def test_wrong_options_are_one_line(study: Command, more: tuple[str, ...], complaint: str) -> None:
    outcome = study(*more)
    assert outcome.code == 2
    assert complaint in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_another_predictor_has_another_digest(finished: Any, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    for name in ("head.safetensors", "adapter/adapter_model.safetensors"):
        (tmp_path / name).write_bytes((finished.out / name).read_bytes())
    first = model_digest(tmp_path)
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"other")
    assert model_digest(tmp_path) != first


def test_the_picture_says_what_is_so(tmp_path: Path) -> None:
    config = CausalModelConfig(**SMALL)

    def row(name: str, seed: int, worst: float) -> dict[str, Any]:
        groups = {"east": 0.5, "west": worst}
        return {
            "combination": name,
            "seed": seed,
            "reward_before": dict.fromkeys(groups, 0.0),
            "reward_after": groups,
            "support_before": dict.fromkeys(groups, 0.3),
            "support_after": groups,
            "distance": 0.2,
            **dict.fromkeys(("worst_reward", "worst_support"), worst),
            **dict.fromkeys(("mean_reward", "mean_support", "kl"), 0.4),
        }

    worse = [row("mean", 0, 0.2), row("adaptive", 0, 0.1), row("mean", 1, 0.2)]
    study = summarise([*worse, row("adaptive", 1, 0.5)], config)
    assert policies_title(study) == (
        "Adaptive weights against the mean: the worst group's reward is higher in 1 of 2 draws, "
        "by +0.100 on average"
    )
    assert draw_policies(tmp_path, study).is_file()
    alone = summarise(worse[:1], config)
    assert alone["adaptive_against_mean"] is None
    assert draw_policies(tmp_path, alone).is_file()
