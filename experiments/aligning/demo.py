"""The demonstration ``fedaccord demo --lm``: from groups' own pairs to an aligned language model.

Two federations over the same groups and pairs: one trains a reward, the other aligns the language
model itself, by direct preference optimisation of its adapters. Both are judged on prompts that
nobody trained on, group by group, by preferences that are known to be true.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from alignment.config import LANGUAGE_MODEL
from atomic import write_atomically
from experiments.aligning.stage import Stage, set_stage
from experiments.report.wording import Json
from server.config import RunConfig
from server.settings import assemble
from texts import shown

STUDY_FILE = "aligned.json"
REWARD_FOLDER, POLICY_FOLDER = "reward", "policy"
#: Typical persons of a group, and the pairs that each judges.
PERSONS, PAIRS = 16, 6
#: Prompts whose answers are shown, and the length of these.
TEXTS, TOKENS = 4, 90

_SHARED: Mapping[str, object] = {
    "predictor.encoder": LANGUAGE_MODEL,
    "predictor.dtype": "bfloat16",
    "predictor.max_tokens": 224,
    "privacy.options_apart": True,
    "federation.evaluate_every": 0,
}
#: A language model knows best what a text is worth in the middle of its layers.
_REWARD: Mapping[str, object] = {
    **_SHARED,
    "predictor.scores": "reward",
    "predictor.depth": 18,
    "predictor.lora_layers": 2,
    "federation.warmup_rounds": 10,
    "federation.adapter_rounds": 2,
    "training.dropout": 0.0,
    "training.learning_rate": 1e-3,
    "training.adapter_learning_rate": 1e-3,
}
_POLICY: Mapping[str, object] = {
    **_SHARED,
    "predictor.scores": "policy",
    "predictor.lora_layers": 2,
    "federation.warmup_rounds": 0,
    "federation.adapter_rounds": 2,
    "federation.final_learning_rate_scale": 0.5,
    "training.adapter_learning_rate": 4e-3,
}


def carry_out(
    out: Path, *, assignments: Sequence[str], say: Callable[[str], None]
) -> dict[str, Any]:
    """Train reward and policy, judge both, and write ``aligned.json``; returns its contents.

    Args:
        out: Folder of the demonstration, replaced.
        assignments: ``key=value`` for both federations.
        say: Told what begins.
    """
    from experiments.simulation.run import run

    started = time.perf_counter()
    stage = set_stage(out, persons=PERSONS, pairs=PAIRS)

    def settings(defaults: Mapping[str, object], folder: str) -> RunConfig:
        given = {"data": str(stage.records), "split": str(stage.split), "out": str(out / folder)}
        return assemble(config=None, assignments=assignments, given=given, defaults=defaults)

    results = {}
    for folder, defaults, what in (
        (REWARD_FOLDER, _REWARD, "a reward, trained by all groups together"),
        (POLICY_FOLDER, _POLICY, "the language model, aligned by all groups together"),
    ):
        say(f"{what}: {shown(folder)}/")
        results[folder] = run(settings(defaults, folder), overwrite=True)
    say("both, judged on prompts that nobody trained on")
    content = _judged(out, stage, results)
    content["seconds"] = time.perf_counter() - started
    write_atomically(out / STUDY_FILE, json.dumps(content, indent=2) + "\n")
    return content


def _judged(out: Path, stage: Stage, results: Mapping[str, Json]) -> dict[str, Any]:
    from alignment.model.folder import load_predictor
    from experiments.aligning.measure import reward_of, summary, worth, write_texts

    policy, _ = load_predictor(out / POLICY_FOLDER)
    reward = reward_of(stage, *load_predictor(out / REWARD_FOLDER))
    choices = worth(stage, policy, reward)
    prompts = [prompt.text for prompt in stage.prompts[:: len(stage.prompts) // TEXTS][:TEXTS]]
    written = write_texts(policy, prompts, tokens=TOKENS)
    return {
        "encoder": policy.config.encoder,
        "groups": [group.name for group in stage.groups],
        "prompts": len(stage.prompts),
        "pairs": {"judged": sum(len(each) for each in stage.held_out.values())},
        "accuracy": {folder: _accuracy(result["pairs"]) for folder, result in results.items()},
        "longer_wins": results[REWARD_FOLDER]["pairs"]["longer_wins"]["accuracy"]["value"],
        "worth": choices,
        "summary": {name: summary(each) for name, each in choices.items()},
        "texts": [asdict(each) for each in written],
    }


def _accuracy(pairs: Json) -> dict[str, float | None]:
    own, without = pairs["unseen_groups"], pairs["without_context"]
    return {
        "mean": own["accuracy"]["value"],
        "worst": own["worst_group"]["value"],
        "without_context": None if without is None else without["accuracy"]["value"],
    }
