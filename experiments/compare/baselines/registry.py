"""The baselines by name: a new one is a class in a file of its own, and a line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alignment.config import PredictorConfig
from experiments.compare.baselines.gpo_baselines import GpoBaseline, Recipe
from experiments.compare.baselines.methods import Baseline
from experiments.compare.baselines.sentences import Sentences
from experiments.compare.baselines.simple import (
    OPTION_POSITION,
    TRAIN_GROUP_MEAN,
    UNIFORM,
    NearestQuestion,
)


def baselines(
    encoder: PredictorConfig, *, recipe: Recipe, say: Callable[[str], None]
) -> Mapping[str, Baseline]:
    """Every baseline by the name that ``--methods`` knows.

    Args:
        encoder: The frozen encoder that some embed with: that of the runs they are compared with.
        recipe: How Group Preference Optimization is trained.
        say: Told of what takes long.
    """
    # One for all, so that every text is embedded once.
    sentences = Sentences(encoder, say=say)

    def gpo(*, federated: bool, rescaled: bool) -> GpoBaseline:
        return GpoBaseline(
            sentences=sentences, federated=federated, rescaled=rescaled, recipe=recipe
        )

    return {
        "uniform": UNIFORM,
        "position": OPTION_POSITION,
        "train-mean": TRAIN_GROUP_MEAN,
        "nearest": NearestQuestion(sentences),
        "gpo": gpo(federated=False, rescaled=False),
        "gpo-rescaled": gpo(federated=False, rescaled=True),
        "pluralllm": gpo(federated=True, rescaled=False),
        "pluralllm-rescaled": gpo(federated=True, rescaled=True),
    }
