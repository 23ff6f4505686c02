"""Token ids and batches of questions, and the cache of the frozen layers' activations.

A survey question and its options share one sequence, so that options see each other. A response of
a pair stands alone after its prompt: its score must not depend on what it is compared with.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from alignment.data.records import Question
from alignment.model.rendering import ChatTemplate, tokens_of

_Each = TypeVar("_Each")


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenSequence:
    """One text for the encoder: its tokens and where the options stand.

    Attributes:
        token_ids: Token ids with the special tokens.
        spans: Per option, the half-open range of its tokens.
        lengths: Per option, its tokens before any were cut off.
    """

    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...]


class TextEncoder(Protocol):
    """Turns questions into the texts that a model reads."""

    def sequences(self, question: Question) -> tuple[TokenSequence, ...]:
        """The texts of a question, its options in their order."""


class QuestionEncoder:
    """Turns questions into token sequences of at most ``max_tokens`` tokens.

    Args:
        tokenizer: A Hugging Face tokenizer.
        max_tokens: Bound on the length of a sequence.
        chat: Reads responses to a prompt as turns of a conversation; None reads all as texts.
        apart: Gives every option a sequence of its own, also where options stand together.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        max_tokens: int,
        chat: ChatTemplate | None = None,
        *,
        apart: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._chat = chat
        self._apart = apart
        start = tokenizer.cls_token_id
        end = tokenizer.sep_token_id
        self._start = int(tokenizer.bos_token_id if start is None else start)
        self._end = int(tokenizer.eos_token_id if end is None else end)
        self._cache: dict[Question, tuple[TokenSequence, ...]] = {}

    def _sequence(self, text: str, options: Sequence[str]) -> TokenSequence:
        room = self._max_tokens - 2 - len(options)
        # Options have the first claim on the room; a question keeps at least a quarter of it.
        share = (room - room // 4) // len(options)
        if share < 1:
            raise ValueError(
                f"max_tokens = {self._max_tokens} cannot hold {len(options)} options: "
                f"give at least {2 + len(options) + -(-4 * len(options) // 3)}"
            )
        read = [tokens_of(self._tokenizer, option) for option in options]
        option_tokens = [tokens[:share] or [self._end] for tokens in read]
        question = tokens_of(self._tokenizer, text)
        left = room - sum(map(len, option_tokens))
        if len(question) > left:
            # The end of a long prompt says most about the reply, its start sets the scene.
            head = left // 4
            question = question[:head] + question[len(question) - (left - head) :]
        ids = [self._start, *question, self._end]
        spans = []
        for tokens in option_tokens:
            spans.append((len(ids), len(ids) + len(tokens)))
            ids += [*tokens, self._end]
        lengths = tuple(map(len, read))
        return TokenSequence(token_ids=tuple(ids), spans=tuple(spans), lengths=lengths)

    def sequences(self, question: Question) -> tuple[TokenSequence, ...]:
        """Sequences of a question: one for all options, or one for each where they stand alone."""
        known = self._cache.get(question)
        if known is None:
            known = self._cache[question] = tuple(self._sequences(question))
        return known

    def _sequences(self, question: Question) -> Iterator[TokenSequence]:
        if question.together and not self._apart:
            yield self._sequence(question.text, question.options)
            return
        for place, option in enumerate(question.options):
            if self._chat is None or question.together:
                yield self._sequence(question.text, (option,))
            else:
                yield shortened(*self._chat.tokens(question, place), self._max_tokens)


def shortened(token_ids: Sequence[int], prompt: int, max_tokens: int) -> TokenSequence:
    """A prompt with its response, cut to a bound.

    The response loses its end beyond three quarters of the room; then the prompt its beginning.
    Where there is nothing to read at all, one token of padding stands for it.

    Args:
        token_ids: Of both.
        prompt: How many of them are the prompt's.
        max_tokens: The bound.
    """
    token_ids = token_ids or (0,)
    # Something must stand before the first token of the response, and something in it.
    prompt = min(max(prompt, 1), len(token_ids) - 1)
    response = token_ids[prompt:][: max_tokens - max_tokens // 4]
    before = token_ids[:prompt][-(max_tokens - len(response)) :]
    return TokenSequence(
        token_ids=(*before, *response),
        spans=((len(before), len(before) + len(response)),),
        lengths=(len(token_ids) - prompt,),
    )


class FrozenLayers(Protocol):
    """The layers that never change; see :class:`alignment.model.encoders.encoder.Encoder`."""

    #: Numbers for each token, and their precision.
    prefix_width: int
    dtype: torch.dtype

    def prefix(self, token_ids: Tensor, mask: Tensor) -> Tensor:
        """Run the layers: (texts, tokens) int64 each to (texts, tokens, prefix_width)."""


#: How activations are kept, bit for bit: numpy has no number of 16 bits with so short a mantissa.
_BITS = {torch.float32: torch.float32, torch.bfloat16: torch.int16}
_STORED = {torch.float32: np.float32, torch.bfloat16: np.int16}
#: Tokens computed together at most, padding included.
_TOKENS_AT_ONCE = 1 << 14

_Bits: TypeAlias = NDArray[np.float32] | NDArray[np.int16]


class PrefixCache:
    """Activations of the frozen layers, each distinct text computed once.

    Kept in memory up to a bound, above it in a file that has no name: it cannot be opened by
    another process and is gone when this one ends.

    Args:
        encoder: Whose frozen layers run.
        memory_limit_bytes: Activations beyond it go to the nameless file.
        batch: Texts computed together.
    """

    def __init__(
        self, encoder: FrozenLayers, *, memory_limit_bytes: int = 1 << 30, batch: int = 32
    ) -> None:
        self._encoder = encoder
        self._limit = memory_limit_bytes
        self._batch = batch
        #: In memory the row itself, in the file the place where it begins.
        self._rows: dict[tuple[int, ...], _Bits | int] = {}
        self._stored: Any = _STORED[encoder.dtype]
        self._file: IO[bytes] | None = None
        self.memory_bytes = 0
        self.disk_bytes = 0

    def __len__(self) -> int:
        return len(self._rows)

    def _store(self, key: tuple[int, ...], row: _Bits) -> None:
        if self.memory_bytes + row.nbytes <= self._limit:
            self.memory_bytes += row.nbytes
            self._rows[key] = row.copy()
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="fedaccord-")
            weakref.finalize(self, self._file.close)
        self._file.seek(self.disk_bytes)
        self._file.write(row.tobytes())
        self._file.flush()
        self._rows[key] = self.disk_bytes
        self.disk_bytes += row.nbytes

    def _row(self, key: tuple[int, ...]) -> _Bits:
        row = self._rows[key]
        if not isinstance(row, int) or self._file is None:
            return np.asarray(row)
        # Read, not mapped: every mapping would hold a file descriptor.
        size = len(key) * self._encoder.prefix_width * np.dtype(self._stored).itemsize
        content = os.pread(self._file.fileno(), size, row)
        return np.frombuffer(content, dtype=self._stored).reshape(len(key), -1)

    def _compute(self, missing: list[tuple[int, ...]]) -> None:
        missing.sort(key=len)
        for part in within_tokens(missing, len, tokens=_TOKENS_AT_ONCE, most=self._batch):
            token_ids, mask = pad_tokens(part, max(map(len, part)))
            hidden = self._encoder.prefix(token_ids, mask)
            for key, row in zip(part, hidden.view(_BITS[hidden.dtype]).numpy(), strict=True):
                self._store(key, row[: len(key)])

    def fetch(self, sequences: Sequence[TokenSequence], length: int) -> Tensor:
        """Activations of texts, padded to one length.

        Args:
            sequences: The texts.
            length: Tokens to pad to; no text may be longer.

        Returns:
            What the encoder's ``prefix`` gave, (sequences, length, width), zero where padded.
        """
        keys = [sequence.token_ids for sequence in sequences]
        missing = [key for key in dict.fromkeys(keys) if key not in self._rows]
        if missing:
            self._compute(missing)
        hidden = np.zeros((len(keys), length, self._encoder.prefix_width), dtype=self._stored)
        for i, key in enumerate(keys):
            hidden[i, : len(key)] = self._row(key)
        return torch.from_numpy(hidden).view(self._encoder.dtype)


def within_tokens(
    rows: Sequence[_Each], length: Callable[[_Each], int], *, tokens: int, most: int
) -> Iterator[list[_Each]]:
    """Rows in parts that follow each other, each of few enough tokens when padded to its longest.

    Args:
        rows: What is parted.
        length: Of a row, in tokens.
        tokens: Bound of a part; a longer row has a part of its own.
        most: Rows of a part at most.
    """
    part: list[_Each] = []
    longest = 0
    for row in rows:
        longest = max(longest, length(row))
        if part and (len(part) == most or longest * (len(part) + 1) > tokens):
            yield part
            part, longest = [], length(row)
        part.append(row)
    if part:
        yield part


def pad_tokens(rows: Sequence[tuple[int, ...]], length: int) -> tuple[Tensor, Tensor]:
    """Token ids and mask of texts, (texts, length) int64 each; padding has id 0 and mask 0."""
    token_ids = torch.zeros((len(rows), length), dtype=torch.int64)
    mask = torch.zeros((len(rows), length), dtype=torch.int64)
    for i, row in enumerate(rows):
        token_ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return token_ids, mask


@dataclass(frozen=True, kw_only=True)
class QuestionBatch:
    """Questions ready for the predictor; K is the largest number of options.

    Attributes:
        hidden: (sequences, tokens, width), output of the frozen layers in the encoder's precision.
        token_ids: (sequences, tokens) int64, 0 where padded.
        mask: (sequences, tokens) int64.
        pooling: (sequences, slots, tokens) float32; row sums 1 where a slot holds an option.
        slots: (questions, K) int64, where each option's row lies among sequences * slots.
        present: (questions, K) bool, which options exist.
        lengths: (sequences, slots) float32, tokens of an option before any were cut off; 1 where a
            slot holds none.
        read: (sequences, read tokens) int64, places of the first token and of all options' tokens;
            None where shapes are fixed, for their number depends on the questions.
    """

    hidden: Tensor
    token_ids: Tensor
    mask: Tensor
    pooling: Tensor
    slots: Tensor
    present: Tensor
    lengths: Tensor
    read: Tensor | None = None

    def pooling_of_read(self) -> Tensor:
        """``pooling`` at the tokens that are read, (sequences, slots, read tokens) float32."""
        if self.read is None:
            return self.pooling
        # The first token is never an option's: padding with it adds nothing.
        return self.pooling.gather(2, self.read[:, None].expand(-1, self.pooling.shape[1], -1))


def collate(
    questions: Sequence[Question],
    encoder: TextEncoder,
    cache: PrefixCache,
    *,
    length: int | None = None,
) -> QuestionBatch:
    """Gather questions into one batch.

    Args:
        questions: At least one.
        encoder: Tokenises them.
        cache: Holds what the frozen layers make of them.
        length: Tokens to pad to, for shapes that do not depend on the questions; None pads to the
            longest of the batch and notes which tokens are read.
    """
    per_question = [encoder.sequences(question) for question in questions]
    sequences = [sequence for each in per_question for sequence in each]
    return gather(
        per_question,
        cache,
        length=length or max(len(s.token_ids) for s in sequences),
        width=max(len(s.spans) for s in sequences),
        options=max(sum(len(s.spans) for s in each) for each in per_question),
        read=max(len(read_places(s)) for s in sequences) if length is None else None,
    )


def gather(
    per_question: Sequence[Sequence[TokenSequence]],
    cache: PrefixCache,
    *,
    length: int,
    width: int,
    options: int,
    read: int | None,
) -> QuestionBatch:
    """Gather the texts of questions into one batch of a given shape; no text may exceed it.

    Args:
        per_question: Texts of each question; one that fills up a shape holds no option.
        cache: Holds what the frozen layers make of them.
        length: Tokens to pad to.
        width: Slots of a text.
        options: K.
        read: Tokens of a text that are noted as read, padded with the first; None notes none.
    """
    texts = [text for own in per_question for text in own]
    pooling = torch.zeros((len(texts), width, length))
    lengths = torch.ones((len(texts), width))
    slots = torch.zeros((len(per_question), options), dtype=torch.int64)
    present = torch.zeros(slots.shape, dtype=torch.bool)
    row = 0
    for place, own in enumerate(per_question):
        # An absent option reads a slot of its own question, never one of another unit.
        slots[place], option = row * width, 0
        for text in own:
            for slot, (start, end) in enumerate(text.spans):
                pooling[row, slot, start:end] = 1.0 / (end - start)
                lengths[row, slot] = text.lengths[slot]
                slots[place, option], present[place, option] = row * width + slot, True
                option += 1
            row += 1
    places = [read_places(text) for text in texts]
    token_ids, mask = pad_tokens([text.token_ids for text in texts], length)
    return QuestionBatch(
        hidden=cache.fetch(texts, length),
        token_ids=token_ids,
        mask=mask,
        pooling=pooling,
        slots=slots,
        present=present,
        lengths=lengths,
        read=None if read is None else torch.tensor([p + [0] * (read - len(p)) for p in places]),
    )


def read_places(sequence: TokenSequence) -> list[int]:
    """Places of the tokens that the head reads: the first one and those of all options."""
    return [0, *(place for start, end in sequence.spans for place in range(start, end))]


def pad_targets(targets: Sequence[Sequence[float]], width: int) -> Tensor:
    """Distributions over options, (questions, width) float32, zero where there is no option."""
    padded: NDArray[Any] = np.zeros((len(targets), width), dtype=np.float32)
    for i, target in enumerate(targets):
        padded[i, : len(target)] = target
    return torch.from_numpy(padded)
