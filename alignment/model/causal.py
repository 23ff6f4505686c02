"""A causal language model as predictor: its implicit rewards are the scores of responses.

Direct preference optimisation (Rafailov et al. 2023, https://arxiv.org/abs/2305.18290, equations 5
and 7) is the Bradley-Terry likelihood of a pair whose responses have the scores
``beta * (log p(response | prompt) - log p_base(response | prompt))``, where ``p`` has adapters and
the base model has none. Everything else that this project does with scores therefore holds for a
causal model as it is: training, gradients by unit of privacy, evaluation, secure sums, resuming.

The log-probability of a response is the sum over its tokens and the token that ends it, not their
mean. The base model's never changes: it is computed once per text and kept beside the activations
of the frozen layers, so a training step runs the adapted layers once, forward and back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from alignment.config import PredictorConfig
from alignment.data.records import Question
from alignment.model.context import ABSENT, Prior
from alignment.model.encoder import Encoder, take_tokens
from alignment.model.encoder_files import EncoderError
from alignment.model.encoding import QuestionBatch, TokenSequence, tokens_of

#: Between a survey question and the option that answers it; a response carries its own.
_BEFORE_OPTION = "\n"
#: How far two logits may be apart that must be the same number.
_TOLERANCE = 1e-3


class ResponseEncoder:
    """Turns questions into texts for a causal model: prompt, one response, end.

    Every option is a response and has a text of its own; an option of a survey question begins a
    new line. Where a text is too long, the response loses its end beyond three quarters of the
    room, its end token with it; then the prompt loses its beginning. Words that spell a special
    token, of a chat template for one, are read as letters.

    Args:
        tokenizer: A Hugging Face tokenizer with an end token.
        max_tokens: Bound on the length of a text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._end = int(tokenizer.eos_token_id)
        start = tokenizer.bos_token_id
        self._start = () if start is None else (int(start),)
        self._cache: dict[Question, tuple[TokenSequence, ...]] = {}

    def _sequence(self, text: str, response: str) -> TokenSequence:
        room = self._max_tokens - len(self._start)
        said = [*tokens_of(self._tokenizer, response), self._end][: room - room // 4]
        prompt = tokens_of(self._tokenizer, text)[-(room - len(said)) :]
        # Something must stand before the first token whose probability counts.
        before = [*self._start, *prompt] or [self._end]
        ids = (*before, *said)
        return TokenSequence(token_ids=ids, spans=((len(before), len(ids)),))

    def sequences(self, question: Question) -> tuple[TokenSequence, ...]:
        """Texts of a question, one for each option in their order."""
        known = self._cache.get(question)
        if known is None:
            text = question.text + _BEFORE_OPTION if question.together else question.text
            known = tuple(self._sequence(text, option) for option in question.options)
            self._cache[question] = known
        return known


def token_log_probabilities(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log-probability of tokens: (..., vocabulary) float32 and (...) int64 to (...) float32."""
    chosen = logits.gather(-1, token_ids[..., None]).squeeze(-1)
    return chosen - logits.logsumexp(dim=-1)


class CausalEncoder(Encoder):
    """A frozen causal language model with trainable LoRA adapters on its last layers.

    Where an encoder gives last hidden states, it gives logits, (texts, tokens, vocabulary) float32.
    What it keeps of a text has one column more than the activations of the frozen layers: the
    log-probability that the base model, without adapters, gives each token.

    Raises:
        EncoderError: The model looks at what comes later, or its tokenizer has no end token.
    """

    _kind: ClassVar[Any] = AutoModelForCausalLM
    _task: ClassVar[str | None] = "CAUSAL_LM"

    def __init__(
        self, config: PredictorConfig, *, seed: int = 0, adapter: Path | None = None
    ) -> None:
        super().__init__(config, seed=seed, adapter=adapter)
        if self.tokenizer.eos_token_id is None:
            raise EncoderError(
                f"encoder {config.encoder!r} has a tokenizer without an end token: set its "
                "eos_token"
            )
        self.prefix_width = self.hidden_size + 1
        base = cast(PreTrainedModel, cast(PeftModel, self.model).get_base_model())
        output = cast(Any, base).get_output_embeddings()
        if output is None:
            raise EncoderError(f"encoder {config.encoder!r} has no output embeddings: use another")
        # Past the registry of modules: it is a part of the model already.
        self.__dict__["_output"] = output
        self._can_narrow = True
        self._require_causal(config.encoder, base.config.vocab_size)

    @staticmethod
    def _positions(base: PreTrainedModel) -> int | None:
        """The longest text that the base model was made for."""
        longest: int | None = getattr(base.config, "max_position_embeddings", None)
        return longest

    @torch.no_grad()
    def _require_causal(self, name: str, vocabulary: int) -> None:
        """Refuse a model whose word on a token depends on the tokens after it."""
        token_ids = torch.tensor([[0, 0], [0, vocabulary - 1]])
        one, other = self._run(token_ids, torch.ones_like(token_ids))[:, 0]
        if not torch.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE):
            raise EncoderError(
                f"encoder {name!r} reads what comes after a token: scores = 'policy' wants a "
                "causal language model"
            )

    def _run(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        output = self.model(input_ids=token_ids, attention_mask=mask, use_cache=False)
        return cast(Tensor, output.logits)

    @contextmanager
    def _last_layer_narrowed(self, read: Tensor) -> Iterator[None]:
        """Let only the tokens that are read become logits: most of what a step would hold."""

        def narrow(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
            return (take_tokens(args[0], read), *args[1:])

        hook = cast(nn.Module, self.__dict__["_output"]).register_forward_pre_hook(narrow)
        try:
            yield
        finally:
            hook.remove()

    @torch.no_grad()
    def prefix(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Run the frozen layers, and ask the base model for the probability of every token.

        Args:
            token_ids: (texts, tokens) int64.
            mask: (texts, tokens) int64, 1 for a token and 0 for padding, which comes last.

        Returns:
            (texts, tokens, hidden + 1) float32: what goes into the first adapted layer, and the
            log-probability of the token given those before it; 0 for the first and for padding.
        """
        hidden = super().prefix(token_ids, mask)
        reference = torch.zeros((*mask.shape, 1))
        with cast(PeftModel, self.model).disable_adapter():
            # One text at a time: logits are as wide as the vocabulary.
            for row, length in enumerate(mask.sum(dim=1).tolist()):
                each = slice(row, row + 1)
                logits = self.suffix(hidden[each, :length], mask[each, :length])
                reference[each, 1:length, 0] = token_log_probabilities(
                    logits[:, :-1], token_ids[each, 1:length]
                )
        return torch.cat([hidden, reference], dim=-1)

    def pooled(self, batch: QuestionBatch) -> Tensor:
        """Log-ratio of adapted and base model for each option: (questions, K, 1) float32."""
        hidden, reference = batch.hidden[..., :-1].contiguous(), batch.hidden[..., -1]
        read = batch.read
        if read is None:
            read = torch.arange(batch.mask.shape[1]).expand_as(batch.mask)
        # A token is foretold where the one before it stands.
        logits = self.suffix(hidden, batch.mask, (read - 1).clamp(min=0))
        said = token_log_probabilities(logits, batch.token_ids.gather(1, read))
        gained = said - reference.gather(1, read)
        of_option = batch.pooling_of_read() > 0
        ratios = torch.where(of_option, gained[:, None], 0.0).sum(dim=-1)
        return ratios.flatten()[batch.slots][..., None]


class ImplicitReward(nn.Module):
    """Scores an option by its log-ratio; nothing in it is trained.

    A context corrects scores by features that compare options, and a log-ratio is none. So a causal
    model reads no context and predicts the same for all groups.

    Args:
        beta: Factor of the log-ratio.
    """

    reads_context = False

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def forward(self, pooled: Tensor, dropout: object = None) -> Tensor:
        """Score options: (..., 1) float32 to (...) float32; there are no features to drop."""
        return self.beta * pooled.squeeze(-1)

    def prior(self, pooled: Tensor, present: Tensor) -> Prior:
        """The prior of options, without features or directions."""
        nothing = pooled[..., :0]
        return Prior(
            scores=self(pooled).masked_fill(~present, ABSENT),
            features=nothing,
            directions=nothing,
            present=present,
        )
