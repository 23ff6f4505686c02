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
from alignment.model.encoders.device import CPU, widened
from alignment.model.encoders.encoder import Encoder
from alignment.model.encoders.encoder_files import EncoderError
from alignment.model.encoders.layers import take_tokens
from alignment.model.encoding import QuestionBatch, TokenSequence, shortened
from alignment.model.rendering import ChatTemplate, parted, tokens_of

#: Between a survey question and the option that answers it; a response carries its own.
_BEFORE_OPTION = "\n"


class ResponseEncoder:
    """Turns questions into texts for a causal model: prompt, one response, end.

    Every option is a response and has a text of its own; an option of a survey question begins a
    new line. Where a text is too long, the response loses its end beyond three quarters of the
    room, its end token with it; then the prompt loses its beginning. Words that spell a special
    token, of a chat template for one, are read as letters.

    Args:
        tokenizer: A Hugging Face tokenizer with an end token.
        max_tokens: Bound on the length of a text.
        chat: Reads responses to a prompt as turns of a conversation; None reads all as texts.
        joined: Read a text as other libraries read it: prompt and response as one, with no token
            of a start or an end that no template has put there.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        chat: ChatTemplate | None = None,
        *,
        joined: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._chat = chat
        self._joined = joined
        # Joined texts have no such token.
        self._end = -1 if joined else int(tokenizer.eos_token_id)
        start = tokenizer.bos_token_id
        self._start = () if start is None else (int(start),)
        self._cache: dict[Question, tuple[TokenSequence, ...]] = {}

    def _sequence(self, text: str, response: str) -> TokenSequence:
        if self._joined:
            read = parted(self._tokenizer, text + response, len(text), special=False)
            return shortened(*read, self._max_tokens)
        room = self._max_tokens - len(self._start)
        whole = [*tokens_of(self._tokenizer, response), self._end]
        said = whole[: room - room // 4]
        prompt = tokens_of(self._tokenizer, text)[-(room - len(said)) :]
        # Something must stand before the first token whose probability counts.
        before = [*self._start, *prompt] or [self._end]
        ids = (*before, *said)
        return TokenSequence(token_ids=ids, spans=((len(before), len(ids)),), lengths=(len(whole),))

    def sequences(self, question: Question) -> tuple[TokenSequence, ...]:
        """Texts of a question, one for each option in their order."""
        known = self._cache.get(question)
        if known is None:
            known = self._cache[question] = tuple(self._sequences(question))
        return known

    def _sequences(self, question: Question) -> Iterator[TokenSequence]:
        text = question.text + _BEFORE_OPTION if question.together else question.text
        for place, option in enumerate(question.options):
            if self._chat is None or question.together:
                yield self._sequence(text, option)
            else:
                yield shortened(*self._chat.tokens(question, place), self._max_tokens)


def token_log_probabilities(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Log-probability of tokens: (..., vocabulary) and (...) int64 to (...) float32."""
    logits = widened(logits)
    chosen = logits.gather(-1, token_ids[..., None]).squeeze(-1)
    return chosen - logits.logsumexp(dim=-1)


class _OfTokens(torch.autograd.Function):
    """Log-probability of tokens from what a frozen output layer reads.

    One text at a time, and the gradient of each log-probability on the way forward: logits, many
    times as wide as all else, are there for one text only, and what is kept for the way back is as
    wide as the layer's input. That every text has a product of its own also keeps it apart from its
    neighbours.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, output: nn.Linear, token_ids: Tensor) -> Tensor:
        """(texts, tokens, hidden) and (texts, tokens) int64 to (texts, tokens) float32."""
        found = torch.empty(token_ids.shape, device=hidden.device)
        slopes = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for row, (read, tokens) in enumerate(zip(hidden, token_ids, strict=True)):
            logits = widened(output(read))
            normalizer = logits.logsumexp(dim=-1, keepdim=True)
            found[row] = (logits.gather(-1, tokens[:, None]) - normalizer).squeeze(-1)
            if slopes is not None:
                # Of the log-probability by logits: 1 for the token, less the probability of each.
                by_logits = logits.sub_(normalizer).exp_().neg_()
                by_logits[torch.arange(len(tokens)), tokens] += 1
                torch.mm(by_logits.to(read.dtype), output.weight, out=slopes[row])
        ctx.slopes = slopes
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """By the layer's input."""
        return gradient.to(ctx.slopes.dtype)[..., None] * ctx.slopes, None, None


class CausalEncoder(Encoder):
    """A frozen causal language model with trainable LoRA adapters on its last layers.

    Where an encoder gives last hidden states, it gives logits, (texts, tokens, vocabulary) float32.
    What it keeps of a text has columns behind the activations of the frozen layers: the bits of the
    log-probability, float32, that the base model without adapters gives each token.

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
        # The bits of a float32 ride behind the activations, in as many columns as they take.
        self._reference_columns = torch.float32.itemsize // self.dtype.itemsize
        self.prefix_width = self.hidden_size + self._reference_columns
        base = cast(PreTrainedModel, cast(PeftModel, self.model).get_base_model())
        output = cast(Any, base).get_output_embeddings()
        if output is None:
            raise EncoderError(f"encoder {config.encoder!r} has no output embeddings: use another")
        # Past the registry of modules: it is a part of the model already.
        self.__dict__["_output"] = output
        self._can_narrow = True
        if not self.causal:
            raise EncoderError(
                f"encoder {config.encoder!r} reads what comes after a token: scores = 'policy' "
                "wants a causal language model"
            )
        self._plain_output = type(output) is nn.Linear and self._ends_with(output)

    @torch.no_grad()
    def _ends_with(self, output: nn.Linear) -> bool:
        """Whether logits are what the output layer gives: some models bound them after it."""
        token_ids = torch.zeros((1, 1), dtype=torch.int64, device=self.device)
        with self._output_left_out():
            read = self._run(token_ids, torch.ones_like(token_ids))
        return torch.equal(output(read), self._run(token_ids, torch.ones_like(token_ids)))

    @contextmanager
    def _output_left_out(self) -> Iterator[None]:
        """Let the model give what its output layer would read instead of logits."""
        state = self.__dict__["_output"].__dict__
        state["forward"] = lambda read: read
        try:
            yield
        finally:
            del state["forward"]

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
            (texts, tokens, prefix_width): what goes into the first adapted layer, and the bits of
            the log-probability of the token given those before it; 0 for the first and for
            padding.
        """
        hidden = super().prefix(token_ids, mask)
        reference = torch.zeros((*mask.shape, 1))
        with self.base_alone():
            # One text at a time: logits are as wide as the vocabulary.
            for row, length in enumerate(mask.sum(dim=1).tolist()):
                each = slice(row, row + 1)
                logits = self.suffix(hidden[each, :length], mask[each, :length])
                reference[each, 1:length, 0] = token_log_probabilities(
                    logits[:, :-1], token_ids[each, 1:length].to(logits.device)
                ).to(CPU)
        return torch.cat([hidden, reference.view(self.dtype)], dim=-1)

    def _reference(self, batch: QuestionBatch) -> Tensor:
        """Log-probability of every token by the base model, (texts, tokens) float32."""
        columns = self._reference_columns
        reference = batch.hidden[..., -columns:]
        if columns > 1:
            reference = reference.contiguous().view(torch.float32)
        return reference.squeeze(-1)

    def base_log_probability(self, batch: QuestionBatch) -> Tensor:
        """Mean log-probability of a token of each option by the base model, in nats.

        Returns:
            (questions, K) float32.
        """
        means = torch.bmm(batch.pooling, self._reference(batch)[..., None])
        return means.squeeze(-1).flatten()[batch.slots]

    def pooled(self, batch: QuestionBatch) -> Tensor:
        """Log-ratio of adapted and base model for each option: (questions, K, 1) float32."""
        hidden = batch.hidden[..., : -self._reference_columns].contiguous()
        read = batch.read
        if read is None:
            read = torch.arange(batch.mask.shape[1]).expand_as(batch.mask)
        said = self._said(hidden, batch.mask, read, batch.token_ids.gather(1, read)).to(CPU)
        gained = said - self._reference(batch).gather(1, read)
        of_option = batch.pooling_of_read() > 0
        ratios = torch.where(of_option, gained[:, None], 0.0).sum(dim=-1)
        return ratios.flatten()[batch.slots][..., None]

    def _said(self, hidden: Tensor, mask: Tensor, read: Tensor, token_ids: Tensor) -> Tensor:
        """Log-probability of the tokens at some places: (texts, read tokens) float32."""
        # A token is foretold where the one before it stands.
        before, token_ids = (read - 1).clamp(min=0), token_ids.to(self.device)
        if not self._plain_output:
            return token_log_probabilities(self.suffix(hidden, mask, before), token_ids)
        with self._output_left_out():
            last = self.suffix(hidden, mask, before)
        apply = cast(Any, _OfTokens).apply
        return cast(Tensor, apply(last, self.__dict__["_output"], token_ids))


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
