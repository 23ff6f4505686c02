"""Settings of the predictor, its context and its training. Cheap to import: no torch here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

#: Encoders that come in pip packages: the default one, and a small language model.
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
LANGUAGE_MODEL = "SmolLM2-135M-Instruct"
#: Where encoders may compute; ``auto`` takes what the machine has.
DEVICES = ("auto", "cpu", "cuda", "mps")
MAX_FAIRNESS = 10.0


def _require(holds: bool, name: str, value: float, bound: str, remedy: str) -> None:
    if not (holds and math.isfinite(value)):
        raise ValueError(f"{name} = {value!r} must be {bound}: {remedy}")


def _at_least(config: object, least: int, **remedies: str) -> None:
    """Refuse settings below a bound; each is named with its remedy."""
    for name, remedy in remedies.items():
        value = getattr(config, name)
        _require(value >= least, name, value, f">= {least}", remedy)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} = {value!r} is none of {', '.join(known)}: choose one")


def _above_zero(config: object, **remedies: str) -> None:
    """Refuse settings that are not positive; each is named with its remedy."""
    for name, remedy in remedies.items():
        value = getattr(config, name)
        _require(value > 0, name, value, "> 0", remedy)


@dataclass(frozen=True, kw_only=True)
class PredictorConfig:
    """The shape of the predictor: every party of a federation must hold the same.

    Attributes:
        encoder: ``all-MiniLM-L6-v2`` (from its pip package, every file checked), a folder in
            Hugging Face format, or a hub id.
        lora_layers: Adapters sit on the last so many layers; the layers below are frozen and
            computed once per text, whether there are adapters or not.
        lora_rank: Rank of every adapter; 0 trains the head alone.
        lora_alpha: Scale of the adapters' output: ``lora_alpha / lora_rank``.
        lora_targets: Ends of the names of the linear modules that carry adapters; ``all-linear``
            takes every linear module of the adapted layers.
        head_width: Hidden width of the head.
        early_features: The head also reads what an option is below the adapted layers, where words
            still say more than the whole question does.
        option_length: The head also reads how long an option is, beyond what ``max_tokens`` shows
            of it: what a reader of two responses sees at a glance.
        context_rank: Directions in which groups may differ, learned by the federation so that a
            few answers of a group tell where it stands.
        max_tokens: Longest text in tokens. A longer question or prompt loses its middle and keeps
            at least a quarter of the room, three parts of that for its end; an option, or a
            response, loses what goes beyond its share of the rest. For a causal model see
            :class:`alignment.model.encoders.causal.ResponseEncoder`.
        scores: What scores an option. ``head``: a small head on what an encoder makes of it.
            ``reward``: one linear layer on what stands at the end of its text, as a reward model
            of other libraries has it. ``policy``: how much more probable adapters make it to a
            causal language model, which is direct preference optimisation; head and context have
            no part in it.
        beta: Of a causal model: its implicit reward is beta times the log-ratio of the adapted
            model and the base model.
        depth: Layers of the encoder that run, from below; 0 runs all. What a language model thinks
            of a text is often plainer in the middle than at its end, which is busy with the next
            word.
        dtype: Precision of the frozen weights and of what they compute. Adapters, head, and all
            that leaves the encoder are float32.
        chat_template: Conversations, and prompts with their responses, are read as the tokenizer's
            chat template renders them, where it has one.
    """

    encoder: str = DEFAULT_ENCODER
    lora_layers: int = 1
    lora_rank: int = 4
    lora_alpha: int = 8
    lora_targets: str = "all-linear"
    head_width: int = 96
    early_features: bool = True
    option_length: bool = False
    context_rank: int = 16
    max_tokens: int = 128
    scores: Literal["head", "reward", "policy"] = "head"
    beta: float = 0.1
    depth: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    chat_template: bool = True

    def __post_init__(self) -> None:
        """Refuse shapes that cannot be built."""
        none = "use 0 for none"
        _at_least(self, 0, lora_layers=none, lora_rank=none, context_rank="16 is usual")
        _at_least(self, 0, depth="0 runs all layers")
        _at_least(self, 1, head_width="96 is usual")
        _at_least(self, 16, max_tokens="128 is usual")
        _above_zero(self, lora_alpha="8 is usual", beta="0.1 is usual")
        _one_of("scores", self.scores, ("head", "reward", "policy"))
        _one_of("dtype", self.dtype, ("float32", "bfloat16"))
        if 0 < self.depth < self.lora_layers:
            raise ValueError(
                f"depth = {self.depth} is less than lora_layers = {self.lora_layers}: raise it"
            )
        if self.scores == "reward" and self.lora_layers < 1:
            raise ValueError(
                "lora_layers = 0 with scores = 'reward': give at least 1; lora_rank = 0 trains no "
                "adapter"
            )
        if self.scores == "policy":
            self._check_causal()

    def _check_causal(self) -> None:
        if self.encoder == DEFAULT_ENCODER:
            raise ValueError(
                f"encoder = {self.encoder!r} writes no text and scores = 'policy' wants a causal "
                "language model: give "
                f"{LANGUAGE_MODEL!r}, a folder in Hugging Face format or a hub id of one"
            )
        if min(self.lora_layers, self.lora_rank) < 1:
            raise ValueError(
                f"lora_layers = {self.lora_layers} and lora_rank = {self.lora_rank} must be >= 1 "
                "with scores = 'policy', which trains adapters alone: raise them"
            )
        if self.depth:
            raise ValueError(
                f"depth = {self.depth} but scores = 'policy' writes with all layers: set it to 0"
            )

    @property
    def apart(self) -> bool:
        """Whether every option is read in a text of its own, whatever the kind of the records."""
        return self.scores != "head"

    @property
    def adapted(self) -> bool:
        """Whether there are adapters at all."""
        return self.lora_rank > 0 and self.lora_layers > 0


@dataclass(frozen=True, kw_only=True)
class ContextConfig:
    """The strength with which a group's own answers correct the prior.

    Strength and bandwidth were chosen on the train groups of a public survey by leaving groups out.
    Reading a context trains nothing: it costs no privacy budget and the answers never leave their
    group.

    Attributes:
        strength: Variance, in squared logits, of a group's deviation from the common prior that
            options alike share; the directions the federation learned come on top.
        bandwidth: Width of the kernel over option features on the unit sphere: smaller means that
            an answer speaks only for very similar options.
        single_choice: How much the choice of one person says, where an answer that many share says
            1; chosen on held-out persons of a public poll.
    """

    strength: float = 16.0
    bandwidth: float = 0.5
    single_choice: float = 0.25

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        _at_least(self, 0, strength="16 is usual")
        _above_zero(self, bandwidth="0.5 is usual")
        share = self.single_choice
        _require(0 < share <= 1, "single_choice", share, "in (0, 1]", "0.25 is usual")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The local training of a client within one round.

    Attributes:
        local_epochs: Passes over the group's questions per round.
        local_steps: Steps per round, the same for groups of all sizes; 0 counts epochs instead.
        batch_size: Questions per step.
        learning_rate: Of the head (AdamW).
        adapter_learning_rate: Of the LoRA adapters (AdamW).
        weight_decay: Decoupled, of both.
        dropout: Share of the head's hidden features that a step does without, drawn anew for each
            option. Private steps drop none: their gradients must not depend on chance.
        context_learning_rate: Of the directions in which groups differ (AdamW).
        context_weight_decay: Decoupled, of these directions.
        context_weight: Weight of the loss in context beside that of the prior; 0 trains no
            directions.
        context_questions: Questions shown when the directions are trained.
        proximal: Weight of half the squared distance from the round's first vector in a group's
            loss (FedProx); 0 for none.
        fairness: q of q-FFL (Li et al. 2020, https://arxiv.org/abs/1905.10497): whoever is
            predicted badly counts more, by what it loses beyond the entropy of its answers, over
            what guessing would, to the power q; 0 counts all alike. Groups are weighed without
            differential privacy, units of privacy with it; see ``alignment.training.weighting``.
        batch_tokens: Most tokens, padding included, of what a step that trains adapters holds at
            once; a larger batch is worked off in parts whose gradients add up to its own, but for
            what is dropped and for contexts, which are those of a part. 0 holds the batch as a
            whole.
        gradient_checkpointing: Such a step computes activations again instead of keeping them.
        start: The model that the first round begins from: in the settings of a run the folder of a
            published model; in a round plan and in an invitation, which name no folder, the digest
            of its vector. Empty draws the first values by seed.
    """

    local_epochs: float = 1.0
    local_steps: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-3
    adapter_learning_rate: float = 3e-4
    weight_decay: float = 0.01
    dropout: float = 0.3
    context_learning_rate: float = 1e-3
    context_weight_decay: float = 0.01
    context_weight: float = 1.0
    context_questions: int = 20
    proximal: float = 0.0
    fairness: float = 0.0
    batch_tokens: int = 0
    gradient_checkpointing: bool = False
    start: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot train."""
        none = "use 0 for none"
        _at_least(self, 0, weight_decay=none, context_weight_decay=none, context_weight=none)
        _at_least(self, 0, proximal=none, local_steps="0 counts epochs")
        _at_least(self, 0, batch_tokens="0 holds a batch as a whole")
        _at_least(self, 1, batch_size="16 is usual", context_questions="20")
        _above_zero(
            self,
            local_epochs="1 is usual",
            learning_rate="0.001 is usual",
            adapter_learning_rate="0.001 is usual; lora_rank = 0 trains no adapter",
            context_learning_rate="0.001 is usual; context_weight = 0 trains no directions",
        )
        _require(0 <= self.dropout < 1, "dropout", self.dropout, "in [0, 1)", "0.3 is usual")
        # Above, next to nothing is left of whoever is predicted a little better than by guessing.
        _require(
            0 <= self.fairness <= MAX_FAIRNESS,
            "fairness",
            self.fairness,
            f"in [0, {MAX_FAIRNESS:g}]",
            "0 for none",
        )
