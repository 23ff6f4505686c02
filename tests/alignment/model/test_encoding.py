"""Token sequences that keep every option, and the cache of what the frozen layers make of them."""

import gc
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from alignment.config import PredictorConfig
from alignment.data.fields import MAX_OPTIONS
from alignment.data.records import (
    Question,
)
from alignment.model.encoders.encoder import Encoder
from alignment.model.encoding import (
    PrefixCache,
    QuestionEncoder,
    TokenSequence,
    collate,
    pad_targets,
    pad_tokens,
)

WORDS = ["tea", "coffee", "war", "peace", "free", "state", "tax", "care"]


@pytest.fixture(scope="module")
def encoder(bert: str) -> Encoder:
    return Encoder(PredictorConfig(encoder=bert, lora_layers=1))


class Counted(PrefixCache):
    """A cache that notes every text the frozen layers are run on."""

    def __init__(self, encoder: Encoder, **settings: int) -> None:
        super().__init__(encoder, **settings)
        self.encoder = encoder
        self.ran: list[tuple[int, ...]] = []

        def counted(token_ids: Tensor, mask: Tensor) -> Tensor:
            for row, length in zip(token_ids.tolist(), mask.sum(1).tolist(), strict=True):
                self.ran.append(tuple(row[:length]))
            return Encoder.prefix(encoder, token_ids, mask)

        encoder.prefix = counted

    def close(self) -> None:
        self.encoder.__dict__.pop("prefix", None)
        if self._file is not None:
            self._file.close()


@pytest.fixture
def counted(encoder: Encoder) -> Iterator[Callable[..., Counted]]:
    made: list[Counted] = []

    def make(**settings: int) -> Counted:
        made.append(Counted(encoder, **settings))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def text(*ids: int) -> TokenSequence:
    return TokenSequence(token_ids=ids, spans=(), lengths=())


def texts(count: int) -> list[TokenSequence]:
    """Different texts of 3 to 12 tokens."""
    draw = np.random.default_rng(0)
    rows = {(2, *draw.integers(5, 60, draw.integers(1, 11)).tolist(), 3) for _ in range(2 * count)}
    return [text(*row) for row in sorted(rows)[:count]]


def ask(words: int, options: list[int], *, together: bool = True) -> Question:
    """A question of so many words, with options of so many words each."""
    return Question(
        question_id="q",
        text=" ".join(WORDS[i % 8] for i in range(words)),
        options=tuple(
            " ".join(WORDS[(i + j) % 8] for i in range(n)) for j, n in enumerate(options)
        ),
        together=together,
    )


# --- token sequences -------------------------------------------------------------------------


def test_a_question_and_its_options_share_one_sequence(encoder: Encoder) -> None:
    question = Question(question_id="q", text="do you like tea ?", options=("yes", "no no"))
    (sequence,) = QuestionEncoder(encoder.tokenizer, 64).sequences(question)
    words = encoder.tokenizer.convert_ids_to_tokens(list(sequence.token_ids))
    assert words == "[CLS] do you like tea ? [SEP] yes [SEP] no no [SEP]".split()
    assert sequence.spans == ((7, 8), (9, 11))


def test_responses_of_a_pair_stand_alone_after_the_prompt(encoder: Encoder) -> None:
    question = Question(question_id="p", text="ask .", options=("yes", "no no"), together=False)
    first, second = QuestionEncoder(encoder.tokenizer, 64).sequences(question)
    words = encoder.tokenizer.convert_ids_to_tokens(list(second.token_ids))
    assert words == "[CLS] ask . [SEP] no no [SEP]".split()
    assert (first.spans, second.spans) == (((4, 5),), ((4, 6),))


def test_roberta_opens_and_closes_with_its_own_tokens(
    encoder_folder: Callable[[str], str],
) -> None:
    tokenizer = Encoder(PredictorConfig(encoder=encoder_folder("roberta"))).tokenizer
    question = Question(question_id="q", text="tea ?", options=("yes", "no"))
    (sequence,) = QuestionEncoder(tokenizer, 64).sequences(question)
    words = tokenizer.convert_ids_to_tokens(list(sequence.token_ids))
    assert words == "<s> tea ? </s> yes </s> no </s>".split()


@settings(max_examples=150, deadline=None)
@given(
    words=st.integers(0, 300),
    options=st.lists(st.integers(0, 120), min_size=2, max_size=20),
    max_tokens=st.integers(16, 160),
    together=st.booleans(),
)
def test_truncation_keeps_every_option_and_the_bound(
    encoder: Encoder, words: int, options: list[int], max_tokens: int, together: bool
) -> None:
    alone = len(options) if together else 1
    room = max_tokens - 2 - alone
    assume(room - room // 4 >= alone)  # below this not even one token per option fits
    question = ask(words, options, together=together)
    sequences = QuestionEncoder(encoder.tokenizer, max_tokens).sequences(question)
    kept = [(sequence, span) for sequence in sequences for span in sequence.spans]
    assert len(kept) == len(options)
    for (sequence, (start, end)), option in zip(kept, question.options, strict=True):
        wanted = encoder.tokenizer(option, add_special_tokens=False)["input_ids"] or [3]
        assert 1 <= end - start <= len(wanted)
        assert list(sequence.token_ids[start:end]) == wanted[: end - start]
        assert sequence.token_ids[end] == 3  # the separator, so spans never touch
    for sequence in sequences:
        assert len(sequence.token_ids) <= max_tokens
        asked = sequence.token_ids[1 : sequence.token_ids.index(3)]
        assert len(asked) >= min(words, room // 4)


@settings(max_examples=60, deadline=None)
@given(words=st.integers(0, 20), options=st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_nothing_is_cut_where_all_fits(encoder: Encoder, words: int, options: list[int]) -> None:
    question = ask(words, options)
    (sequence,) = QuestionEncoder(encoder.tokenizer, 160).sequences(question)
    parts = [question.text, *question.options]
    whole = [2]
    for part in parts:
        whole += [*encoder.tokenizer(part, add_special_tokens=False)["input_ids"], 3]
    assert list(sequence.token_ids) == whole
    assert [end - start for start, end in sequence.spans] == options


def test_a_long_question_loses_its_middle(encoder: Encoder) -> None:
    question = ask(200, [1, 1])
    (sequence,) = QuestionEncoder(encoder.tokenizer, 32).sequences(question)
    every = encoder.tokenizer(question.text, add_special_tokens=False)["input_ids"]
    left = 32 - 2 - 2 - 2
    assert list(sequence.token_ids[1 : 1 + left]) == every[:6] + every[-(left - 6) :]
    assert len(sequence.token_ids) == 32


def test_as_many_options_as_a_record_may_have_keep_the_bound(encoder: Encoder) -> None:
    shape = PredictorConfig()
    try:
        (sequence,) = QuestionEncoder(encoder.tokenizer, shape.max_tokens).sequences(
            ask(200, [1] * MAX_OPTIONS)
        )
    except ValueError as error:
        assert "max_tokens" in str(error)  # a refusal in one line would do as well
    else:
        assert len(sequence.token_ids) <= shape.max_tokens


def test_an_option_of_no_tokens_still_has_a_place(encoder: Encoder) -> None:
    question = Question(question_id="q", text="tea ?", options=("yes", "\u200b"))
    (sequence,) = QuestionEncoder(encoder.tokenizer, 64).sequences(question)
    start, end = sequence.spans[1]
    assert (end - start, sequence.token_ids[start]) == (1, 3)


def test_a_text_cannot_forge_special_tokens(encoder: Encoder) -> None:
    question = Question(question_id="q", text="[CLS] tea [PAD]", options=("yes [SEP] no", "no"))
    (sequence,) = QuestionEncoder(encoder.tokenizer, 64).sequences(question)
    assert [sequence.token_ids.count(special) for special in (0, 2, 3)] == [0, 1, 3]


# --- the cache -------------------------------------------------------------------------------


def test_each_distinct_text_is_computed_once(counted: Callable[..., Counted]) -> None:
    cache = counted(batch=4)
    some = texts(10)
    cache.fetch([*some, *some[:3]], 12)
    cache.fetch(list(reversed(some)), 16)
    cache.fetch([*some[:2], text(2, 58, 3)], 12)
    assert len(cache) == 11
    assert sorted(cache.ran) == sorted({s.token_ids for s in some} | {(2, 58, 3)})


def test_a_row_is_what_the_frozen_layers_make_of_the_text_alone(
    encoder: Encoder, counted: Callable[..., Counted]
) -> None:
    cache = counted(batch=4)
    some = texts(10)
    hidden = cache.fetch(some, 20)
    _, mask = pad_tokens([sequence.token_ids for sequence in some], 20)
    for row, sequence in enumerate(some):
        length = len(sequence.token_ids)
        alone = encoder.prefix(torch.tensor([sequence.token_ids]), torch.ones(1, length).long())[0]
        assert (hidden[row, :length] - alone).abs().max() < 1e-5
        assert torch.equal(hidden[row, length:], torch.zeros(20 - length, 32))
        assert mask[row].tolist() == [1] * length + [0] * (20 - length)


def test_padding_does_not_touch_a_stored_row(counted: Callable[..., Counted]) -> None:
    short, long = text(2, 9, 3), text(2, *range(5, 60), 3)
    together, alone = counted(), counted()
    beside = together.fetch([short, long], 64)
    single = alone.fetch([short], 3)
    assert (beside[0, :3] - single[0]).abs().max() < 1e-5
    again = together.fetch([short], 3)
    assert torch.equal(again[0], beside[0, :3])


def test_fetched_rows_are_copies(counted: Callable[..., Counted]) -> None:
    cache = counted()
    first = cache.fetch([text(2, 9, 3)], 3)
    kept = first.clone()
    first.fill_(7.0)
    assert torch.equal(cache.fetch([text(2, 9, 3)], 3), kept)


def test_above_its_bound_the_cache_goes_to_disk_with_equal_values(
    counted: Callable[..., Counted],
) -> None:
    some = texts(40)
    sizes = [len(s.token_ids) * 32 * 4 for s in some]
    wide, narrow = counted(), counted(memory_limit_bytes=sum(sizes) // 3)
    expected = wide.fetch(some, 12)
    actual = narrow.fetch(some, 12)
    again = narrow.fetch(some, 12)
    assert torch.equal(actual, expected)
    assert torch.equal(again, expected)
    assert (wide.memory_bytes, wide.disk_bytes) == (sum(sizes), 0)
    assert narrow.memory_bytes + narrow.disk_bytes == sum(sizes)
    assert sum(sizes) // 4 < narrow.memory_bytes <= sum(sizes) // 3


def test_the_file_of_the_cache_has_no_name(
    counted: Callable[..., Counted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cache = counted(memory_limit_bytes=0)
    cache.fetch(texts(5), 12)
    assert cache.memory_bytes == 0
    assert cache._file is not None
    status = os.fstat(cache._file.fileno())
    assert (status.st_nlink, status.st_size) == (0, cache.disk_bytes)
    assert status.st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_rows_on_disk_cost_no_file_descriptors(counted: Callable[..., Counted]) -> None:
    cache = counted(memory_limit_bytes=0)
    before = len(os.listdir("/proc/self/fd"))
    cache.fetch(texts(50), 12)
    assert len(os.listdir("/proc/self/fd")) - before <= 2


def test_a_dropped_cache_closes_its_file(encoder: Encoder) -> None:
    cache = PrefixCache(encoder, memory_limit_bytes=0)
    cache.fetch(texts(2), 12)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del cache
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


# --- batches ---------------------------------------------------------------------------------


def test_a_batch_pools_exactly_the_tokens_of_each_option(
    encoder: Encoder, survey: tuple[Question, ...], pairs: tuple[Question, ...]
) -> None:
    reader, cache = QuestionEncoder(encoder.tokenizer, 64), PrefixCache(encoder)
    asked = [survey[0], pairs[0], survey[2], pairs[1], survey[1]]
    batch = collate(asked, reader, cache)
    pooled = torch.bmm(batch.pooling, batch.hidden).flatten(0, 1)[batch.slots]
    assert len(batch.slots) == 5
    assert batch.present.tolist() == [[i < len(q.options) for i in range(4)] for q in asked]
    for row, question in enumerate(asked):
        spans = [(s, span) for s in reader.sequences(question) for span in s.spans]
        for slot, (sequence, (start, end)) in enumerate(spans):
            hidden = cache.fetch([sequence], len(sequence.token_ids))
            mean = hidden[0, start:end].mean(dim=0)
            assert torch.allclose(pooled[row, slot], mean, atol=1e-6)


def test_a_batch_is_padded_to_the_length_asked_for(
    encoder: Encoder, survey: tuple[Question, ...]
) -> None:
    reader, cache = QuestionEncoder(encoder.tokenizer, 64), PrefixCache(encoder)
    longest = max(len(s.token_ids) for q in survey for s in reader.sequences(q))
    tight, wide = collate(survey, reader, cache), collate(survey, reader, cache, length=64)
    assert (tight.hidden.shape, wide.hidden.shape) == ((3, longest, 32), (3, 64, 32))
    assert torch.equal(wide.hidden[:, :longest], tight.hidden)
    assert wide.mask.sum() == tight.mask.sum()
    assert not wide.pooling[:, :, longest:].any()


def test_padding_of_tokens_and_targets() -> None:
    ids, mask = pad_tokens([(5, 6), (7,)], 3)
    assert ids.tolist() == [[5, 6, 0], [7, 0, 0]]
    assert mask.tolist() == [[1, 1, 0], [1, 0, 0]]
    assert (ids.dtype, mask.dtype) == (torch.int64, torch.int64)
    targets = pad_targets([(0.25, 0.75), (1.0, 0.0, 0.0)], 4)
    assert targets.tolist() == [[0.25, 0.75, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
    assert targets.dtype == torch.float32
