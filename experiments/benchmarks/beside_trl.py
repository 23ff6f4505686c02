"""Benchmark ``trl``: a step of local training beside one of trl's trainers, on the same pairs."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import PrinterCallback

from alignment.config import LANGUAGE_MODEL, ContextConfig, PredictorConfig, TrainingConfig
from alignment.data.answers import GroupAnswers
from alignment.model.encoders.base_model import save_base
from alignment.model.encoders.reward_model import RewardEncoder
from alignment.model.predictor import Predictor
from clients.task import RoundTask
from clients.training.trainer import LocalObjective
from experiments.benchmarks.harness import Figure, Goal
from experiments.benchmarks.workloads.conversations import made_up_pairs
from experiments.benchmarks.workloads.memory import MemoryPeak
from experiments.benchmarks.workloads.trl_inputs import Steps, dataset_of, places_of
from terminal import echo

#: With this in the environment, as in ``reward/4/float32,policy/30/bfloat16``, these alone run.
SETTINGS = "FEDACCORD_TRL"
_ONLINE = "-online"
_USUAL = (
    *(
        f"{scores}/{layers}/{dtype}"
        for scores in ("reward", "policy")
        for layers in (4, 30)
        for dtype in ("float32", "bfloat16")
    ),
    f"policy{_ONLINE}/4/float32",
)
_TRAINERS = {"reward": "RewardTrainer", "policy": "DPOTrainer"}
_BATCH = 4
_TURNS = 3
_STEPS_FOR_MEMORY = 2
_RATE = 1e-3
_GOALS = {
    "reward": Goal(sense="at least", bound=1.3),
    "policy": Goal(sense="at least", bound=1.0),
}
_MEMORY_GOAL = Goal(sense="at most", bound=1.0)
_LOSS_GOAL = Goal(sense="at most", bound=0.02)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One comparison.

    Attributes:
        encoder: Folder of a causal language model that both sides load.
        scores: ``reward`` or ``policy``.
        layers: How many of the last layers carry adapters.
        dtype: Of the frozen weights of both sides.
        max_tokens: Longest text.
        steps: That each side takes, on 4 pairs each; the first is not counted.
        beforehand: Whether trl has computed the log-probabilities of the reference before it
            trains, as we have; else it computes them in every step.
    """

    encoder: str
    scores: str
    layers: int
    dtype: str
    max_tokens: int = 256
    steps: int = 1 + _TURNS
    beforehand: bool = True

    @property
    def name(self) -> str:
        """How figures call it."""
        how = "" if self.beforehand else ", reference in every step"
        return f"{self.scores}{how}, {self.layers} layers, {self.dtype}"

    @property
    def batches(self) -> list[range]:
        """The pairs of each step."""
        return [range(_BATCH * step, _BATCH * (step + 1)) for step in range(self.steps)]

    def predictor(self) -> Predictor:
        """What we train: no context, which trl has not."""
        config: dict[str, Any] = {"scores": self.scores, "dtype": self.dtype}
        return Predictor(
            PredictorConfig(
                encoder=self.encoder,
                lora_layers=self.layers,
                max_tokens=self.max_tokens,
                context_rank=0,
                **config,
            )
        )


def measure() -> list[Figure]:
    """Time and memory of a training step of trl's RewardTrainer and DPOTrainer, over ours.

    Measured: steps on 4 made-up pairs each, texts of 79 to 202 tokens, of the packaged language
    model on the processor: the same weights in the same precision, the same token ids, adapters of
    the same first values on the same linear modules, AdamW at the same rates, no gradient
    checkpointing. trl's steps are those of its own ``train()``, timed from the callback at a step's
    begin to that at its end, which leaves out its gathering of a batch; ours are those of local
    training, gathering included, and follow within the same turn: once with the frozen layers'
    activations at hand, as in every epoch but the first, and once with tokenising and computing
    them, as in the first. DPO is compared without and with log-probabilities of the reference that
    trl computed beforehand; the goal is against the faster. Tokens are those of texts, padding left
    out. Goals with the activations at hand: at least 1.3 x of RewardTrainer and 1.0 x of
    DPOTrainer.

    Memory is the peak of the resident set of a fresh process for each side, from when its model is
    loaded to the end of its second step; of ours that includes the frozen layers of a first
    epoch, of trl the reference beforehand is left out. Goal: no more than trl's. Both sides must
    train as many parameters on the same token ids, or the benchmark ends; the largest difference of
    their losses within the steps has a goal of 0.02 nats.

    FEDACCORD_TRL=reward/4/float32,policy/30/bfloat16 chooses among the settings; all of them take
    half an hour.

    Not measured: a GPU, trl's padding-free or packed batches, its kernels.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        save_base(LANGUAGE_MODEL, Path(folder), dtype=torch.float32)
        for setting in chosen_settings(folder):
            echo(f"{setting.name} ...", err=True)
            figures += list(compare(setting))
    return figures


def chosen_settings(encoder: str) -> list[Setting]:
    """All settings, or those that the environment names.

    Raises:
        ValueError: It names one that is not there.
    """
    asked = os.environ.get(SETTINGS, "")
    names = [name.strip() for name in asked.split(",")] if asked else list(_USUAL)
    for name in names:
        if name not in _USUAL:
            raise ValueError(f"{SETTINGS} names {name!r}: choose from {', '.join(_USUAL)}")
    parts = [name.split("/") for name in names]
    return [
        Setting(
            encoder=encoder,
            scores=scores.removesuffix(_ONLINE),
            layers=int(layers),
            dtype=dtype,
            beforehand=not scores.endswith(_ONLINE),
        )
        for scores, layers, dtype in parts
    ]


def compare(setting: Setting) -> Iterator[Figure]:
    """The figures of one setting."""
    yield from _memory_figures(setting)
    run, trainer, name = in_turns(setting), _TRAINERS[setting.scores], setting.name
    seconds = run.seconds
    goal = _GOALS[setting.scores]
    yield Figure.of(f"{name}: {trainer} / ours", seconds["trl"] / seconds["cached"], "x", goal)
    yield Figure.of(f"{name}: in the first epoch", seconds["trl"] / seconds["first"], "x")
    for side, words in (("trl", trainer), ("cached", "ours"), ("first", "ours, first epoch")):
        yield Figure.of(f"{name}: {words}", run.tokens / seconds[side], "tokens/s")
    yield Figure.of(f"{name}: losses differ", [run.loss_gap], "nats", _LOSS_GOAL)
    yield Figure.of(f"{name}: loss fell by", [run.losses[0] - run.losses[-1]], "nats")


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What a run in turns gave.

    Attributes:
        seconds: Of the steps that count, (steps - 1,) float64, by side: ``trl``, ``cached`` and
            ``first``, where ours begins with nothing computed.
        tokens: Of the same steps' texts, (steps - 1,).
        losses: Of all steps, ours with the activations at hand, nats.
        loss_gap: The largest difference between the losses of a step, nats.
        parameters: Numbers that are trained; the same on both sides.
    """

    seconds: dict[str, np.ndarray[Any, np.dtype[np.float64]]]
    tokens: np.ndarray[Any, np.dtype[np.float64]]
    losses: list[float]
    loss_gap: float
    parameters: int


def in_turns(setting: Setting) -> Run:
    """Let trl train, and take our steps on the same pairs after each of its own.

    Raises:
        RuntimeError: The sides read other tokens, or train other numbers of parameters.
    """
    answers = made_up_pairs(_BATCH * setting.steps)
    predictors = {side: setting.predictor() for side in ("cached", "first")}
    predictors["cached"].batch(answers.questions)
    ours = {side: _our_steps(each, answers, setting) for side, each in predictors.items()}
    losses: dict[str, list[float]] = {side: [] for side in ours}
    seconds: dict[str, list[float]] = {side: [] for side in ("trl", *ours)}

    def after(spent: float) -> None:
        seconds["trl"].append(spent)
        for side, steps in ours.items():
            start = time.perf_counter()
            losses[side].append(next(steps))
            seconds[side].append(time.perf_counter() - start)

    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        trainer = _trainer(setting, predictors["cached"], answers, Path(folder), Steps(after))
        texts = _texts(predictors["cached"], answers)
        if _texts_of_trl(trainer) != texts:
            raise RuntimeError("trl reads other tokens than we do: the comparison would be none")
        parameters = sum(each.numel() for _, each in predictors["cached"].trainable())
        found = sum(each.numel() for each in trainer.model.parameters() if each.requires_grad)
        if found != parameters:
            raise RuntimeError(f"trl trains {found} parameters, we {parameters}: make them alike")
        trainer.train()
        theirs = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    sizes = [sum(len(ids) for place in batch for ids in texts[place]) for batch in setting.batches]
    gaps = np.subtract(losses["cached"], theirs)
    return Run(
        seconds={side: np.array(taken[1:]) for side, taken in seconds.items()},
        tokens=np.array(sizes[1:], dtype=np.float64),
        losses=losses["cached"],
        loss_gap=float(np.abs(gaps).max()),
        parameters=parameters,
    )


def _texts(predictor: Predictor, answers: GroupAnswers) -> list[list[list[int]]]:
    """Token ids of both texts of each pair, the chosen one first."""
    texts = []
    for question, target in zip(answers.questions, answers.targets, strict=True):
        read = predictor.questions.sequences(question)
        texts.append([list(read[place].token_ids) for place in places_of(target)])
    return texts


def _texts_of_trl(trainer: Any) -> list[list[list[int]]]:
    rows = trainer.train_dataset
    before = "prompt_ids" if "prompt_ids" in rows.column_names else None
    return [
        [list(row[before] if before else []) + list(row[side]) for side in _TRL_SIDES]
        for row in rows
    ]


_TRL_SIDES = ("chosen_ids", "rejected_ids")


def _our_steps(predictor: Predictor, answers: GroupAnswers, setting: Setting) -> Iterator[float]:
    """Steps of local training as a client takes them; each yields its loss before it."""
    training = TrainingConfig(
        batch_size=_BATCH,
        learning_rate=_RATE,
        adapter_learning_rate=_RATE,
        dropout=0.0,
        context_weight=0.0,
    )
    task = RoundTask(
        run="benchmark",
        round=1,
        seed=0,
        train_adapter=True,
        learning_rate_scale=1.0,
        predictor=predictor.config,
        training=training,
        context=ContextConfig(),
        compression=None,
        private=None,
        strategy=None,
        digest="",
    )
    objective = LocalObjective(predictor, answers, task, np.random.default_rng(0))
    return objective.steps(setting.batches)


def _trainer(
    setting: Setting, like: Predictor, answers: GroupAnswers, out: Path, steps: Steps
) -> Any:
    """A trainer of trl with adapters and last layer of a predictor that is yet untrained."""
    import trl

    model = cast(PeftModel, like.encoder.model)
    ours = cast(LoraConfig, model.peft_config["default"])
    reward = setting.scores == "reward"
    settings: dict[str, Any] = {
        "output_dir": str(out),
        "use_cpu": True,
        "bf16": False,
        "model_init_kwargs": {"dtype": setting.dtype},
        "max_length": setting.max_tokens,
        "max_steps": setting.steps,
        "per_device_train_batch_size": _BATCH,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "activation_checkpointing": False,
        "learning_rate": _RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": TrainingConfig().weight_decay,
        "max_grad_norm": 0.0,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    if not reward:
        settings |= {"beta": like.config.beta, "precompute_ref_log_probs": setting.beforehand}
    library: Any = trl
    trainer = getattr(library, _TRAINERS[setting.scores])(
        model=setting.encoder,
        args=(library.RewardConfig if reward else library.DPOConfig)(**settings),
        train_dataset=dataset_of(answers, joined=reward),
        peft_config=LoraConfig(
            r=ours.r,
            lora_alpha=ours.lora_alpha,
            target_modules=ours.target_modules,
            task_type="SEQ_CLS" if reward else "CAUSAL_LM",
        ),
        callbacks=[steps],
    )
    trainer.remove_callback(PrinterCallback)
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    if isinstance(like.encoder, RewardEncoder):
        state |= like.encoder.state_of_last_layer(cast(Any, like.head).score.weight)
    set_peft_model_state_dict(trainer.model, state)
    return trainer


def _memory_figures(setting: Setting) -> Iterator[Figure]:
    peaks = {}
    for side in ("ours", "trl"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:
            peaks[side] = fresh.submit(
                peak_of_steps, side, setting, torch.get_num_threads()
            ).result()
    share = peaks["ours"] / peaks["trl"]
    yield Figure.of(f"{setting.name}: memory, ours / trl", [share], "x", _MEMORY_GOAL)
    for side, peak in peaks.items():
        yield Figure.of(f"{setting.name}: memory, {side}", [peak], "GB")


def peak_of_steps(side: str, setting: Setting, threads: int) -> float:
    """The most memory that this process holds while one side takes steps, GB.

    Args:
        side: ``ours`` or ``trl``.
        setting: What it does.
        threads: Of torch.
    """
    torch.set_num_threads(threads)
    answers, predictor = made_up_pairs(_BATCH * setting.steps), setting.predictor()
    peak = MemoryPeak()
    if side == "ours":
        steps = _our_steps(predictor, answers, setting)
        peak.reset()
        for _ in range(_STEPS_FOR_MEMORY):
            next(steps)
        return peak.gigabytes()
    taken: list[float] = []

    def after(spent: float) -> None:
        taken.append(spent)
        if len(taken) == _STEPS_FOR_MEMORY:
            raise _Enough

    with tempfile.TemporaryDirectory(prefix="fedaccord-") as folder:
        callback = Steps(after, peak.reset)
        trainer = _trainer(setting, predictor, answers, Path(folder), callback)
        del predictor
        try:
            trainer.train()
        except _Enough:
            return peak.gigabytes()
    raise RuntimeError("trl took fewer steps than asked for")


class _Enough(Exception):
    """Ends a training whose memory is known."""
