"""Defaults of kinds of runs, where they differ from those of the settings themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path

from alignment.config import PredictorConfig
from alignment.model.stated import stated_settings
from privacy.accounting.choices import AUTO, NO_PRIVACY, Mechanism, Mode
from strategies.wire.round_plan import Scalar, flatten

#: Defaults of runs whose steps are private: few coordinates, many units in every step, few rounds,
#: a server that smooths the noise away, and a context that speaks for very similar options only,
#: because noise has blurred the others. Chosen by leaving out groups of a public survey.
PRIVATE_DEFAULTS: Mapping[str, Scalar] = {
    "predictor.head_width": 64,
    "predictor.early_features": False,
    "context.strength": 8.0,
    "context.bandwidth": 0.3,
    "federation.warmup_rounds": 60,
    "federation.adapter_rounds": 0,
    "strategy.name": "fedadam",
    "strategy.learning_rate": 0.008,
    "strategy.momentum": 0.5,
    "strategy.averaging": 0.95,
}

#: Over them, defaults of runs by noised gradients that begin from a published model: shorter steps,
#: which leave what was known where noise says little. Measured on a public survey, at epsilon 2.
STARTED_DEFAULTS: Mapping[str, Scalar] = {"strategy.learning_rate": 0.002}

#: Defaults of runs on noised counts: as many rounds as without privacy, all of them of the head,
#: for adapters learn the noise, and few, long steps, whose noise averages out. Chosen on the
#: built-in sample data; on one's own, ``fedaccord experiment tune`` chooses at no cost.
COUNTED_DEFAULTS: Mapping[str, Scalar] = {
    "federation.warmup_rounds": 80,
    "federation.adapter_rounds": 0,
    "training.batch_size": 64,
    "training.learning_rate": 2e-3,
    "training.context_learning_rate": 2e-3,
}

#: Defaults of ``fedaccord experiment pairs``. A pair holds one bit where the answers of a survey
#: hold a distribution: at a survey's pace the head learns pairs by heart, and log-loss on held-out
#: prompts rises after two rounds. So few rounds, a head that learns slower and adapters that learn
#: faster. Each rate was chosen by log-loss on its own inner fold of a public set with hundreds of
#: pairs a group; groups of some dozens want 1e-3 for both. Private runs keep PRIVATE_DEFAULTS.
PAIR_DEFAULTS: Mapping[str, Scalar] = {
    "privacy.mechanism": "gradients",
    "predictor.early_features": False,
    "training.dropout": 0.0,
    "federation.warmup_rounds": 4,
    "federation.adapter_rounds": 8,
    "training.learning_rate": 3e-4,
    "training.adapter_learning_rate": 1e-3,
}

#: Defaults where a causal model scores. There is no head to warm up, a pair has two responses, and
#: a private step holds logits of all tokens, each as wide as the vocabulary.
POLICY_DEFAULTS: Mapping[str, Scalar] = {
    "federation.warmup_rounds": 0,
    "federation.adapter_rounds": 30,
    "privacy.records_per_unit": 8,
    "privacy.micro_batch": 1,
    "privacy.max_options": 2,
    "privacy.options_apart": True,
}

#: Defaults where a reward scores. What it reads of a text is wide, and its layer begins at nothing:
#: few rounds teach it what there is. A pair has two responses, and each has its own text.
REWARD_DEFAULTS: Mapping[str, Scalar] = {
    "training.dropout": 0.0,
    "federation.warmup_rounds": 10,
    "federation.adapter_rounds": 4,
    "privacy.records_per_unit": 8,
    "privacy.micro_batch": 4,
    "privacy.max_options": 2,
    "privacy.options_apart": True,
}

#: Defaults of what scores an option, by its name.
_SCORES: Mapping[str, Mapping[str, Scalar]] = {
    "policy": POLICY_DEFAULTS,
    "reward": REWARD_DEFAULTS,
}

_STRATEGY, _START, _MECHANISM = "strategy.", "training.start", "privacy.mechanism"


def with_presets(flat: Mapping[str, object]) -> Mapping[str, object]:
    """Settings as given, over the defaults of the kinds of runs that they ask for.

    A run whose steps are private has those of ``PRIVATE_DEFAULTS``, over them those of
    ``STARTED_DEFAULTS`` where it begins from a published model; one on noised counts has those of
    ``COUNTED_DEFAULTS``. Over them one with ``predictor.scores = policy`` or ``reward`` has the
    defaults of that, and one that begins from a published model the shape of its predictor.

    Args:
        flat: Settings with dotted keys.

    Raises:
        ValueError: There is no published model to take a shape from; one line.
    """
    if flat.get(_START):
        flat = {**_shape_of_start(str(flat[_START]), flat), **flat}
    scores = str(flat.get("predictor.scores", ""))
    flat = {**_SCORES.get(scores, {}), **flat}
    mode = flat.get("privacy.mode", NO_PRIVACY)
    if mode != NO_PRIVACY and flat.get(_MECHANISM, AUTO) == AUTO:
        # Who has the data may have chosen better before.
        apart = mode != Mode.LOCAL or scores in _SCORES
        flat = {**flat, _MECHANISM: str(Mechanism.GRADIENTS if apart else Mechanism.TALLY)}
    if mode == NO_PRIVACY:
        return flat
    counted = flat[_MECHANISM] == Mechanism.TALLY
    return {**(COUNTED_DEFAULTS if counted else _private_defaults(flat)), **flat}


def _private_defaults(flat: Mapping[str, object]) -> dict[str, Scalar]:
    """Those of private steps; of these, those of a strategy only where no other one is asked."""
    name = f"{_STRATEGY}name"
    own = flat.get(name, PRIVATE_DEFAULTS[name]) == PRIVATE_DEFAULTS[name]
    defaults = {**PRIVATE_DEFAULTS, **(STARTED_DEFAULTS if flat.get(_START) else {})}
    return {key: value for key, value in defaults.items() if own or not key.startswith(_STRATEGY)}


def _shape_of_start(folder: str, flat: Mapping[str, object]) -> dict[str, Scalar]:
    """The predictor of a folder, as settings; none where all are given: it may be gone by then."""
    if flat.keys() >= {f"predictor.{each.name}" for each in fields(PredictorConfig)}:
        return {}
    try:
        return flatten({"predictor": asdict(stated_settings(Path(folder))[0])})
    except ValueError as error:
        raise ValueError(f"{_START} = {folder!r}: {error}") from error
