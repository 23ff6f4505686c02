"""Alignment of a causal model to groups that disagree, under mean, least and adaptive rewards.

A predictor that a federation has trained rewards a tiny causal model
(:mod:`experiments.policy.causal`) for held-out groups, of which it knows some answers. The policy
begins by choosing evenly among the answers to every question, and is then aligned to the groups'
combined reward. It is judged twice: by the predictor that rewarded it, and by what the groups
really answered, which nothing here was trained on, so that a policy which pleases the predictor
alone is found out.
"""

from __future__ import annotations

import copy
import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alignment.model.file_names import ADAPTER_FOLDER, HEAD_FILE
from alignment.reward.combination import (
    COMBINATIONS,
    AdaptiveCombination,
    FloatArray,
    combination_named,
)
from atomic import write_atomically
from experiments.policy.causal import CausalModelConfig, TinyCausalModel, align, fit_evenly
from experiments.policy.scene import Scene, Scenes
from experiments.report.wording import Json
from experiments.studies.engine import RUNS_FOLDER, check_draws, mean_rows
from server.config import ConfigError
from texts import shown

STUDY_FILE = "policy.json"
FIGURES = ("worst_reward", "mean_reward", "worst_support", "mean_support", "kl")

CAVEATS = (
    "Reward is what the predictor believes, in standard deviations over the mean of the offered "
    "answers, so that every group speaks equally loudly; support is what is so: the share of a "
    "group's members whose own answer the policy gives.",
    "Draws share the predictor and the groups; they differ in the answers shown as context, hence "
    "the questions asked, and in the policy's chance.",
)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The worth of a policy to each group.

    Attributes:
        rewards: Mean reward of what it chooses, by the predictor.
        support: Mean share of the group's members whose own answer it gives.
        kl: Kullback-Leibler divergence from where it began, in nats, mean over prompts.
    """

    rewards: FloatArray
    support: FloatArray
    kl: float


@torch.no_grad()
def judge(policy: TinyCausalModel, reference: TinyCausalModel, scene: Scene) -> Judgement:
    """Judge a policy on all prompts; exactly, for every answer's probability is known."""
    prompts = list(scene.answers)
    now, before = policy(prompts).double(), reference(prompts).double()
    chances = now.exp().numpy()
    rewards, support = np.zeros(len(scene.groups)), np.zeros(len(scene.groups))
    for row, prompt in zip(chances, prompts, strict=True):
        chance = row[: len(scene.answers[prompt])]
        rewards += scene.rewards[prompt] @ chance
        support += scene.shares[prompt] @ chance
    kl = float((now.exp() * (now - before)).sum(dim=1).mean())
    return Judgement(rewards=rewards / len(prompts), support=support / len(prompts), kl=kl)


def neutral_model(scene: Scene, config: CausalModelConfig, *, seed: int) -> TinyCausalModel:
    """A policy that chooses about evenly: where all policies of a draw begin."""
    policy = TinyCausalModel(scene.answers, config=config, seed=seed)
    fit_evenly(policy, scene.answers, config, seed=seed)
    return policy


def align_policy(
    scene: Scene, reference: TinyCausalModel, name: str, config: CausalModelConfig, *, seed: int
) -> dict[str, Any]:
    """Align a policy to the groups' combined reward; what became of it, in types of JSON.

    Args:
        scene: Of the draw.
        reference: Where it begins; it is left as it is.
        name: Of the combination.
        config: Of policy and learning.
        seed: Of the draw.
    """
    started = time.perf_counter()
    policy = copy.deepcopy(reference)
    combination = combination_named(name, scene.groups)

    def reward(prompts: Sequence[str], completions: Sequence[str]) -> FloatArray:
        nonlocal combination
        rewards = scene.judge(prompts, completions)
        combined = combination.combine(rewards)
        combination = combination.observe(rewards)
        return combined

    align(policy, scene.answers, reward, config, seed=seed)
    before, after = (judge(each, reference, scene) for each in (reference, policy))
    weights = combination.weights if isinstance(combination, AdaptiveCombination) else None

    def named(values: FloatArray) -> dict[str, float]:
        return dict(zip(scene.groups, values.tolist(), strict=True))

    return {
        "combination": name,
        "seed": seed,
        "reward_before": named(before.rewards),
        "reward_after": named(after.rewards),
        "worst_reward": float(after.rewards.min()),
        "mean_reward": float(after.rewards.mean()),
        "support_before": named(before.support),
        "support_after": named(after.support),
        "worst_support": float(after.support.min()),
        "mean_support": float(after.support.mean()),
        "kl": after.kl,
        "weights": None if weights is None else named(weights),
        "distance": scene.distance,
        "prompts": len(scene.answers),
        "seconds": time.perf_counter() - started,
    }


def carry_out_draws(
    out: Path,
    *,
    model: Path,
    names: Sequence[str],
    draws: int,
    config: CausalModelConfig,
    overwrite: bool,
    say: Callable[[str], None],
    finished: Callable[[Sequence[Json]], None],
) -> list[Json]:
    """Align one policy for every draw and combination; what was done before is not done again.

    Args:
        out: Folder of the study; each result is kept in it as soon as it is there.
        model: The predictor's run.
        names: Of combinations.
        draws: How many, with seeds from 0.
        config: Of policies and learning.
        overwrite: Do again what was done with other settings.
        say: Told what begins.
        finished: Told all results so far after each.

    Raises:
        ConfigError: A result was made with other settings or another predictor.
    """
    check_draws(draws)
    made_with = {"policy": asdict(config), "model": model_digest(model)}
    places = {
        (name, seed): out / RUNS_FOLDER / f"{name}-seed{seed}.json"
        for seed in range(draws)
        for name in names
    }
    rows = {}
    for key, place in places.items():
        row = _kept(place, made_with, overwrite=overwrite)
        if row is not None:
            rows[key] = row
    if rows:
        say(f"{len(rows)} of {len(places)} policies had been aligned before")
        finished(list(rows.values()))
    scenes, scene, reference, drawn = None, None, None, None
    for number, (key, place) in enumerate(places.items(), start=1):
        if key in rows:
            continue
        name, seed = key
        scenes = scenes or Scenes(model)
        say(f"policy {number} of {len(places)}: {shown(name)}, draw {seed + 1}")
        if scene is None or reference is None or drawn != seed:
            scene, drawn = scenes.draw(seed), seed
            reference = neutral_model(scene, config, seed=seed)
        rows[key] = align_policy(scene, reference, name, config, seed=seed)
        write_atomically(
            place, json.dumps({**made_with, "row": rows[key]}, indent=2) + "\n", parents=True
        )
        finished([rows[key] for key in places if key in rows])
    return [rows[key] for key in places]


def _kept(place: Path, made_with: Json, *, overwrite: bool) -> Json | None:
    """A result that was made before with the same settings."""
    if not place.exists():
        return None
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
        row: Json = content.pop("row")
        same = content == dict(made_with)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"{place}: is no result of this study; remove it") from error
    if same:
        return row
    if not overwrite:
        raise ConfigError(
            f"{place}: was made with other settings or another predictor; choose another --out, or "
            "--overwrite to do it again"
        )
    return None


def model_digest(model: Path) -> str:
    """Digest of a predictor's published files, SHA-256 in hexadecimal digits."""
    digest = hashlib.sha256()
    files = [model / HEAD_FILE, *sorted((model / ADAPTER_FOLDER).rglob("*"))]
    for file in files:
        if file.is_file():
            digest.update(file.relative_to(model).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def read_names(text: str) -> list[str]:
    """Combinations from ``mean,min,adaptive``.

    Raises:
        ConfigError: One is unknown.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in COMBINATIONS]
    if unknown or not names:
        known = ", ".join(COMBINATIONS)
        raise ConfigError(f"--combinations {text!r} must name some of: {known}")
    return names


def summarise(rows: Sequence[Json], config: CausalModelConfig) -> dict[str, Any]:
    """The contents of ``policy.json``.

    ``adaptive_against_mean`` holds, draw by draw, what adaptive weights gain the worst group over
    the mean, by the predictor and by the true answers; None where one of them was not aligned.
    """
    at = {(row["combination"], row["seed"]): row for row in rows}
    seeds = sorted({row["seed"] for row in rows})
    both = [seed for seed in seeds if {("mean", seed), ("adaptive", seed)} <= set(at)]

    def gains(figure: str) -> list[float]:
        return [at["adaptive", s][figure] - at["mean", s][figure] for s in both]

    return {
        "groups": list(rows[0]["reward_after"]),
        "distance": statistics.fmean(row["distance"] for row in rows),
        "policy": asdict(config),
        "before": _before(rows),
        "rows": [dict(row) for row in rows],
        "means": mean_rows(rows, by=("combination",), figures=FIGURES),
        "adaptive_against_mean": {
            "draws": both,
            "worst_reward": gains("worst_reward"),
            "worst_support": gains("worst_support"),
        }
        if both
        else None,
        "caveats": list(CAVEATS),
    }


def _before(rows: Sequence[Json]) -> dict[str, float]:
    """The same figures of the policies before they were aligned, mean over rows."""
    figures: dict[str, float] = {"kl": 0.0}
    for kind in ("reward", "support"):
        each = [list(row[f"{kind}_before"].values()) for row in rows]
        figures[f"worst_{kind}"] = statistics.fmean(min(values) for values in each)
        figures[f"mean_{kind}"] = statistics.fmean(statistics.fmean(values) for values in each)
    return figures
