"""The closed form of the head's rows: what autograd finds, and of each unit a function of it alone.

That they are the rows of a naive loop, and hold whatever rows must, is tested with those of
adapters in `test_gradients.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.model.encoding import pad_targets
from alignment.model.heads import PreferenceHead
from alignment.model.predictor import Predictor
from alignment.training import head_gradients
from alignment.training.gradients import UnitGradients
from alignment.training.head_gradients import BLOCK, HeadTable
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape, private_layout
from privacy.kernel.clipping import clip_rows
from privacy.kernel.types import KernelSettings, Update

SHAPE = MicroBatchShape(rows=3, records=3, length=40, options=5)
BATCHES = 3


@pytest.fixture(scope="module")
def predictor(make_predictor: Callable[..., Predictor], shake: Callable[..., None]) -> Predictor:
    made = make_predictor(lora_layers=1)
    shake(made, 3)
    return made


@pytest.fixture(scope="module")
def questions(survey: tuple[Question, ...], pairs: tuple[Question, ...]) -> tuple[Question, ...]:
    return (*survey, *pairs)


def never(count: int) -> NDArray[np.float64]:
    raise AssertionError("nothing to choose")


def gradients_of(
    predictor: Predictor, shape: MicroBatchShape = SHAPE, **choice: Any
) -> UnitGradients:
    layout = private_layout(predictor, adapters=False, **choice)
    return UnitGradients(predictor, layout=layout, shape=shape, metric_scale=0.1, fairness=1.5)


def integers_of(
    gradients: UnitGradients, units: Sequence[UnitRecords], batches: int = BATCHES, **reuse: bool
) -> list[bytes]:
    """What each row of a step becomes, to the last bit, rows that fill up included."""
    return [integers for _, integers in bits_of(gradients, units, batches, **reuse)]


def bits_of(
    gradients: UnitGradients, units: Sequence[UnitRecords], batches: int = BATCHES, **reuse: bool
) -> list[tuple[bytes, bytes]]:
    """The floats of each row with its weight, in which a clip hides nothing, and its integers."""
    found: list[tuple[bytes, bytes]] = []
    for each in gradients.rows(units, micro_batches=batches, uniforms=never, **reuse):
        kernel = KernelSettings(
            dimension=each.gradients.shape[1], clipping_norm=0.1, sensitivity=40_000,
            noise_log2=16, modulus_bits=32,
        )  # fmt: skip
        clipped = clip_rows(Update(gradients=each.gradients, weights=each.weights), kernel)
        found += [
            (row.tobytes() + weight.tobytes(), integers.tobytes())
            for row, weight, integers in zip(each.gradients, each.weights, clipped, strict=True)
        ]
    return found


def unit_of(
    name: str, answers: Sequence[tuple[int, int]], questions: Sequence[Question]
) -> UnitRecords:
    """A unit that chose options of questions, given by their places."""
    asked = [questions[place % len(questions)] for place, _ in answers]
    chosen = [choice % len(q.options) for q, (_, choice) in zip(asked, answers, strict=True)]
    return UnitRecords(
        unit=name,
        questions=tuple(asked),
        targets=tuple(
            tuple(float(option == own) for option in range(len(q.options)))
            for q, own in zip(asked, chosen, strict=True)
        ),
    )


answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=3)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data(), apart=st.booleans(), threads=st.integers(1, 2))
def test_no_bit_of_a_units_row_depends_on_others(
    predictor: Predictor,
    questions: tuple[Question, ...],
    data: st.DataObject,
    apart: bool,
    threads: int,
) -> None:
    """Others are permuted, replaced and dropped, and other texts are remembered: the same bytes."""
    shape = replace(SHAPE, apart=apart)
    everybody = [
        unit_of(f"u{place}", own, questions)
        for place, own in enumerate(data.draw(st.lists(answers, min_size=1, max_size=9)))
    ]
    sample = data.draw(st.permutations(everybody))[: data.draw(st.integers(1, len(everybody)))]
    strangers = [
        unit_of(f"s{place}", own, questions)
        for place, own in enumerate(data.draw(st.lists(answers, max_size=9 - len(sample))))
    ]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        warm = gradients_of(predictor, shape)
        warm.prepare(everybody)
        expected = dict(zip((u.unit for u in everybody), bits_of(warm, everybody), strict=False))
        mixed = data.draw(st.permutations([*sample, *strangers]))
        cold = gradients_of(predictor, shape)
        if data.draw(st.booleans()):
            cold.prepare(strangers)
        for gradients in (warm, cold):
            found = bits_of(gradients, mixed, reuse=data.draw(st.booleans()))
            for unit, row in zip(mixed, found, strict=False):
                assert row == expected.get(unit.unit, row)
            assert not any(any(integers) for _, integers in found[len(mixed) :])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("early", [True, False])
def test_the_part_that_options_share_is_counted_once_for_each(
    make_predictor: Callable[..., Predictor],
    shake: Callable[..., None],
    survey: tuple[Question, ...],
    early: bool,
) -> None:
    """Options in one text, with and without early features: 2e-6 of what autograd finds."""
    predictor = make_predictor(lora_layers=1, early_features=early)
    shake(predictor, 3)
    unit = unit_of("u", [(0, 1), (1, 2), (2, 0)], survey)
    (batch,) = gradients_of(predictor).rows([unit], micro_batches=1, uniforms=never)
    predictor.zero_grad()
    scores = predictor(predictor.batch(unit.questions))
    cross_entropy(scores, pad_targets(unit.targets, scores.shape[1])).sum().backward()
    layout = private_layout(predictor, adapters=False)
    named = dict(predictor.trainable())
    expected = np.concatenate([named[name].grad.numpy().ravel() for name in layout.names])
    predictor.zero_grad()
    distance = np.linalg.norm(batch.gradients[0, : len(expected)] - expected)
    assert distance < 2e-6 * np.linalg.norm(expected)


def test_an_option_is_the_same_wherever_it_lies_in_the_table() -> None:
    torch.manual_seed(0)
    head = PreferenceHead(48, 16, 2)
    option, others = torch.randn(1, 48), torch.randn(2 * BLOCK, 48)
    found = set()
    for place in range(1, 2 * BLOCK, 7):
        table = HeadTable(head, width=48, options=2)
        for number, other in enumerate(others[:place]):
            table.add(_question(number), other[None])
        table.add(_question(-1), option)
        table.begin()
        table.refresh(table.blocks([_question(-1)]))
        own = table.places(_question(-1))[0]
        assert own == place + 1 and table.features[own].equal(option[0])
        parts = (table.hidden[own], table.slopes[own], table.scores[own])
        found.add(b"".join(part.numpy().tobytes() for part in parts))
    assert len(found) == 1


def _question(number: int) -> Question:
    return Question(question_id=str(number), text="why ?", options=("yes", "no"))


def test_slopes_are_the_derivatives_of_the_scores() -> None:
    torch.manual_seed(0)
    head, pooled = PreferenceHead(48, 16, 2), torch.randn(5, 48)
    features, slopes, scores = head.with_slopes(pooled)
    inner = head.inner(pooled).detach().requires_grad_()
    expected = head.score(nn.functional.gelu(inner)).sum()
    (derivative,) = torch.autograd.grad(expected, inner)
    assert torch.allclose(slopes, derivative, atol=1e-7)
    assert scores.equal(head(pooled).detach()) and features.equal(head.features(pooled).detach())
    assert not any(part.requires_grad for part in (features, slopes, scores))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_a_question_that_overflows_makes_only_its_own_units_absent(
    predictor: Predictor,
    questions: tuple[Question, ...],
    monkeypatch: pytest.MonkeyPatch,
    value: float,
) -> None:
    units = [unit_of(f"u{place}", [(place % 3, 0)], questions) for place in range(7)]
    expected = integers_of(gradients_of(predictor), units)
    gradients = gradients_of(predictor)
    pooled_alone = gradients._pooled_alone

    def burst(question: Question) -> torch.Tensor:
        pooled = pooled_alone(question)
        return torch.full_like(pooled, value) if question == questions[1] else pooled

    monkeypatch.setattr(gradients, "_pooled_alone", burst)
    found = integers_of(gradients, units)
    touched = [questions[1] in unit.questions for unit in units]
    assert touched == [False, True, False, False, True, False, False]
    for place, other in enumerate(touched):
        assert (found[place] == expected[place]) != other
        assert any(found[place]) or other


def test_a_unit_on_which_the_products_fail_has_the_row_0_and_no_other(
    predictor: Predictor, questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    units = [unit_of(f"u{place}", [(place % 3, 0)], questions) for place in range(5)]
    gradients = gradients_of(predictor)
    expected = integers_of(gradients, units, reuse=True)
    table = gradients._head.table
    places = table.places

    def fail(question: Question) -> NDArray[np.int64]:
        if question == questions[1]:
            raise MemoryError("about a record")
        return places(question)

    monkeypatch.setattr(table, "places", fail)
    found = integers_of(gradients, units, reuse=True)
    assert [any(row) for row in found[:5]] == [True, False, True, True, False]
    assert all(found[place] == expected[place] for place in (0, 2, 3))


# --- shapes and time -----------------------------------------------------------------------------


class Recorder:
    """Notes the shapes of all that is computed in a step with libraries."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, predictor: Predictor) -> None:
        self.seen: list[Any] = []
        for name in ("bmm", "index_select", "softmax"):
            monkeypatch.setattr(head_gradients.torch, name, self._noted(name, getattr(torch, name)))
        with_slopes = predictor.head.with_slopes
        monkeypatch.setattr(predictor.head, "with_slopes", self._noted("slopes", with_slopes))

    def _noted(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*values: Any, **options: Any) -> Any:
            shapes = [tuple(v.shape) for v in values if isinstance(v, torch.Tensor)]
            self.seen.append((name, shapes))
            return function(*values, **options)

        return noted


def test_a_step_computes_the_same_whoever_is_in_it(
    predictor: Predictor, questions: tuple[Question, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty batch, one unit, a full batch, one record or three: the same products."""
    everybody = [unit_of(f"u{p}", [(p, 0), (p + 1, 1), (p + 2, 1)], questions) for p in range(9)]
    short = [
        replace(u, questions=u.questions[:1], targets=u.targets[:1], weights=()) for u in everybody
    ]
    shape = replace(SHAPE, apart=True)
    kinds = []
    for sample in ([], everybody[:1], everybody, short[:4], short):
        gradients = gradients_of(predictor, shape)
        gradients.prepare(everybody)
        with monkeypatch.context() as patch:
            recorder = Recorder(patch, predictor)
            list(gradients.rows(sample, micro_batches=BATCHES, uniforms=never))
        kinds.append(recorder.seen)
    assert all(seen == kinds[0] for seen in kinds)
    assert [name for name, _ in kinds[0]].count("slopes") == 1
    assert ("slopes", [(BLOCK, predictor.encoder.pooled_width)]) in kinds[0]
    assert [name for name, _ in kinds[0]].count("softmax") == BATCHES


def test_blocks_are_computed_for_everybody_and_once_for_each_weights(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 questions of two options in three blocks: all three, also where nobody is drawn."""
    asked = [replace(_question(number), text=f"why {number} ?") for number in range(300)]
    everybody = [unit_of(f"u{number}", [(number, 0)], asked) for number in range(300)]
    gradients = gradients_of(predictor)
    gradients.prepare(everybody)
    recorder = Recorder(monkeypatch, predictor)

    def blocks(sample: Sequence[UnitRecords]) -> int:
        recorder.seen.clear()
        list(gradients.rows(sample, micro_batches=1, uniforms=never))
        return sum(name == "slopes" for name, _ in recorder.seen)

    assert [blocks([]), blocks(everybody[:2]), blocks(everybody[-2:])] == [3, 0, 0]
    with torch.no_grad():
        predictor.head.score.bias += 1
    assert [blocks(everybody[:1]), blocks([])] == [3, 0]
    gradients.prepare(everybody[:1])
    with torch.no_grad():
        predictor.head.score.bias -= 1
    assert blocks([]) == 1


def test_rows_follow_the_weights_of_the_head(
    predictor: Predictor, questions: tuple[Question, ...], weights: list[nn.Parameter]
) -> None:
    units = [unit_of(f"u{place}", [(place, 0)], questions[:3]) for place in range(3)]
    gradients = gradients_of(predictor)
    before = integers_of(gradients, units, 1)
    for parameter in weights:
        with torch.no_grad():
            parameter.mul_(1.5).add_(0.01)
        after = integers_of(gradients, units, 1)
        assert after == integers_of(gradients_of(predictor), units, 1)
        assert parameter is weights[-1] or all(a != b for a, b in zip(after, before, strict=True))
        before = after


@pytest.fixture
def weights(predictor: Predictor) -> Iterator[list[nn.Parameter]]:
    """Those of the head, put back afterwards; last the bias that shifts all scores alike."""
    head = predictor.head
    parameters = [head.inner.weight, head.inner.bias, head.score.weight, head.score.bias]
    values = [parameter.detach().clone() for parameter in parameters]
    yield parameters
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)


def test_room_that_is_used_again_holds_nothing_of_those_before(
    predictor: Predictor, questions: tuple[Question, ...]
) -> None:
    units = [unit_of(f"u{p}", [(p, 0), (p + 1, 1)], questions[:3]) for p in range(9)]
    gradients = gradients_of(predictor)
    expected = [
        integers_of(gradients_of(predictor), sample) for sample in (units, units[:4], [], units)
    ]
    found = [integers_of(gradients, sample, reuse=True) for sample in (units, units[:4], [], units)]
    assert found == expected
    rooms = {
        each.gradients.ctypes.data
        for each in gradients.rows(units, micro_batches=BATCHES, uniforms=never, reuse=True)
    }
    assert len(rooms) == 1
    kept = list(gradients.rows(units, micro_batches=BATCHES, uniforms=never))
    assert len({each.gradients.ctypes.data for each in kept}) == BATCHES
