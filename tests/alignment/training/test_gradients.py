import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.model.encoding import pad_targets, read_places
from alignment.model.predictor import Predictor, tokens_in
from alignment.model.vector import load_vector, to_vector
from alignment.training.gradients import UnitGradients, UnitRows
from alignment.training.objectives import cross_entropy
from alignment.training.private_layout import MicroBatchShape, PrivateLayout, private_layout
from alignment.training.weighting import unit_weights
from privacy.kernel.clipping import clip_rows, clip_sum
from privacy.kernel.types import KernelSettings, Update

KINDS = ["bert", "roberta", "mpnet", "distilbert", "electra", "modernbert"]
POLICIES = ["gpt2", "llama"]
REWARDS = ["bert reward", "llama reward", "chat llama reward"]
#: A kind of model, and which of its coordinates.
CHOICES = [
    *[(kind, choice) for kind in ("bert", *REWARDS[:2]) for choice in ({}, {"adapters": False})],
    *((kind, {}) for kind in POLICIES),
]
SHAPE = MicroBatchShape(rows=3, records=3, length=40, options=4, apart=True)
SCALE = 0.1

Array = NDArray[np.float32]


def never(count: int) -> NDArray[np.float64]:
    raise AssertionError("nothing to choose")


@pytest.fixture
def make(
    encoder_folder: Callable[[str], str],
    make_predictor: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
) -> Callable[..., Predictor]:
    def made(kind: str = "bert", **shape: object) -> Predictor:
        if kind in POLICIES:
            shape = {"scores": "policy", "beta": 1.0, **shape}
        if kind in REWARDS:
            shape = {"scores": "reward", **shape}
        folder = encoder_folder(kind.removesuffix(" reward"))
        predictor = make_predictor(encoder=folder, **{"lora_layers": 2, **shape})
        shake(predictor, 1)
        with torch.no_grad():
            for _, parameter in predictor.trainable():
                parameter *= 0.2  # so that float32 errs by little
        return predictor

    return made


@pytest.fixture
def units(survey: tuple[Question, ...], pairs: tuple[Question, ...]) -> tuple[UnitRecords, ...]:
    """Five units of 1 to 3 records, two of which answer the same questions."""

    def unit(name: str, *answers: tuple[Question, tuple[float, ...]]) -> UnitRecords:
        questions, targets = zip(*answers, strict=True)
        return UnitRecords(unit=name, questions=questions, targets=targets)

    two, three, four = survey
    return (
        unit("a", (two, (1.0, 0.0))),
        unit("b", (two, (0.0, 1.0)), (three, (0.2, 0.3, 0.5)), (four, (0.0, 0.0, 1.0, 0.0))),
        unit("c", (pairs[0], (0.0, 1.0)), (pairs[1], (1.0, 0.0))),
        unit("d", (four, (0.0, 1.0, 0.0, 0.0)), (pairs[0], (1.0, 0.0)), (two, (0.0, 1.0))),
        unit("e", (two, (1.0, 0.0))),
    )


def gradients_of(
    predictor: Predictor, *, shape: MicroBatchShape = SHAPE, fairness: float = 0.0, **choice: Any
) -> UnitGradients:
    layout = private_layout(predictor, **choice)
    return UnitGradients(
        predictor, layout=layout, shape=shape, metric_scale=SCALE, fairness=fairness
    )


def acquainted(predictor: Predictor, units: Sequence[UnitRecords]) -> Predictor:
    """Taught a little, so that units are predicted better than by guessing, each differently."""
    optimizer = torch.optim.AdamW(predictor.head.parameters(), lr=0.01)
    for _ in range(8):
        for unit in units[:-1]:
            scores = predictor(predictor.batch(unit.questions))
            optimizer.zero_grad()
            cross_entropy(scores, pad_targets(unit.targets, scores.shape[1])).mean().backward()
            optimizer.step()
    return predictor


def stacked(batches: Iterator[UnitRows]) -> Array:
    return np.concatenate([batch.gradients for batch in batches])


def weights_of(
    gradients: UnitGradients, units: Sequence[UnitRecords], batches: int = 2
) -> NDArray[np.float64]:
    rows = gradients.rows(units, micro_batches=batches, uniforms=never)
    return np.concatenate([batch.weights for batch in rows])


def all_rows(gradients: UnitGradients, units: Sequence[UnitRecords], batches: int = 2) -> Array:
    return stacked(gradients.rows(units, micro_batches=batches, uniforms=never))


def naive_rows(
    predictor: Predictor, exact: Predictor, units: Sequence[UnitRecords], layout: PrivateLayout
) -> NDArray[np.float64]:
    """One unit and one record at a time, plain autograd in float64, no fixed shape."""
    load_vector(exact, to_vector(predictor))
    exact.batch([unit.questions[0] for unit in units])  # the encoder learns of its layers
    exact.double()
    rows = []
    for unit in units:
        exact.zero_grad()
        for question, target in zip(unit.questions, unit.targets, strict=True):
            batch = predictor.batch([question])
            batch = replace(batch, hidden=batch.hidden.double(), pooling=batch.pooling.double())
            loss = cross_entropy(exact(batch), pad_targets([target], len(target)).double()).sum()
            loss.backward()
        named = dict(exact.trainable())
        found = [named[name].grad for name in layout.names]
        rows.append(np.concatenate([g.numpy().ravel() for g in found if g is not None]))
    return np.stack(rows)


def distance(rows: NDArray[Any], expected: NDArray[Any]) -> float:
    """The largest relative distance of a row."""
    assert rows.shape == expected.shape
    norms = np.linalg.norm(expected, axis=1)
    assert (norms > 1e-3).all()
    return float((np.linalg.norm(rows - expected, axis=1) / norms).max())


# --- rows ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        (kind, choice)
        for kind in KINDS + REWARDS
        for choice in ({}, {"freeze_a": True}, {"adapters": False})
    ]
    + [(kind, choice) for kind in POLICIES for choice in ({}, {"freeze_a": True})],
    ids=str,
)
def test_rows_equal_a_naive_loop(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
) -> None:
    """Test 4. Encoders, rewards and policies: 1e-6 of the norm from float64 autograd."""
    predictor = make(kind)
    layout = private_layout(predictor, **choice)
    expected = naive_rows(predictor, make(kind), units, layout)
    longest = max(
        tokens_in(question, encoder=predictor.questions)
        for unit in units
        for question in unit.questions
    )
    shape = SHAPE if kind != "chat llama reward" else replace(SHAPE, length=longest)
    rows = all_rows(gradients_of(predictor, shape=shape, **choice), units)
    if kind == "bert reward":
        # What an untaught pooler says of two texts differs by little: what is left of it errs more.
        assert (np.linalg.norm(expected, axis=1) > 1e-4).all()
        assert np.linalg.norm(rows[: len(units), :-2] - expected, axis=1).max() < 1e-6
    else:
        assert distance(rows[: len(units), :-2], expected) < 1e-6


@pytest.mark.parametrize("kind", KINDS + POLICIES + REWARDS[:2])
def test_a_bound_on_the_tokens_read_changes_no_row(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], kind: str
) -> None:
    predictor = make(kind)
    expected = all_rows(gradients_of(predictor), units)[: len(units)]
    narrow = gradients_of(predictor, shape=replace(SHAPE, read=30))
    rows = all_rows(narrow, units)[: len(units)]
    assert distance(rows, expected) < 1e-6
    assert all_rows(narrow, units[::-1])[: len(units)].tobytes() == rows[::-1].tobytes()


@pytest.mark.parametrize(
    "shape",
    [
        {"lora_targets": "query,value"},
        {"lora_layers": 4, "lora_rank": 2},
        {"lora_rank": 0},
        {"lora_layers": 0},
    ],
    ids=str,
)
def test_rows_equal_a_naive_loop_wherever_the_adapters_are(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], shape: dict[str, object]
) -> None:
    predictor = make(**shape)
    expected = naive_rows(predictor, make(**shape), units, private_layout(predictor))
    rows = all_rows(gradients_of(predictor), units)
    assert distance(rows[: len(units), :-2], expected) < 1e-6


def test_the_sum_of_the_rows_is_the_gradient_of_the_loss_in_the_order_of_trainable(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()
    layout = private_layout(predictor)
    for unit in units:
        scores = predictor(predictor.batch(unit.questions))
        targets = pad_targets(unit.targets, scores.shape[1])
        cross_entropy(scores, targets).sum().backward()
    gradients = [
        torch.zeros_like(p) if p.grad is None else p.grad for _, p in predictor.trainable()
    ]
    expected = layout.extract(np.concatenate([g.numpy().ravel() for g in gradients]))
    total = all_rows(gradients_of(predictor), units).sum(axis=0)
    assert distance(layout.split(total)[0][None], expected[None]) < 1e-5


def test_rows_equal_those_of_opacus(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    """Test 4. Within 2e-6, relative to the norm."""
    from opacus.grad_sample import GradSampleModule

    predictor = make()
    ones = [
        replace(u, questions=u.questions[:1], targets=u.targets[:1], weights=()) for u in units[:2]
    ]
    shape = replace(SHAPE, rows=2, records=1, apart=False)
    rows = all_rows(gradients_of(predictor, shape=shape), ones, 1)

    layout = private_layout(predictor)
    named = dict(predictor.trainable())
    owners = dict.fromkeys(name.rpartition(".")[0] for name in layout.names)
    modules = nn.ModuleList([predictor.get_submodule(owner) for owner in owners])
    modules.train()  # Opacus ignores modules in evaluation mode.
    hooked = GradSampleModule(modules, loss_reduction="sum")
    targets = pad_targets([unit.targets[0] for unit in ones], 2)
    scores = predictor(predictor.batch([unit.questions[0] for unit in ones]))
    with warnings.catch_warnings():
        # Its hooks see that stored activations want no gradient.
        warnings.filterwarnings("ignore", "Full backward hook is firing", UserWarning)
        cross_entropy(scores, targets).sum().backward()
    parts = [named[name].grad_sample.reshape(2, -1) for name in layout.names]
    hooked.remove_hooks()
    assert distance(rows[:, :-2], torch.cat(parts, dim=1).numpy()) < 2e-6


# --- nothing but the unit decides its row ----------------------------------------------------


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("kind", "choice"), CHOICES, ids=str)
def test_companions_and_positions_change_no_bit_of_a_row(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
) -> None:
    """Test 5. Other companions, other places, other order: the same bytes."""
    predictor = make(kind)
    expected = all_rows(gradients_of(predictor, **choice), units)
    for places in [(4, 3, 2, 1, 0), (2,), (3, 0, 1)]:
        # Made anew: neither may it matter who was met before.
        rows = all_rows(gradients_of(predictor, **choice), [units[place] for place in places])
        assert rows[: len(places)].tobytes() == expected[list(places)].tobytes()


@pytest.mark.parametrize("choice", [{}, {"adapters": False}], ids=str)
def test_leaving_one_out_changes_no_bit_of_the_weighted_rows_of_all_others(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], choice: dict[str, bool]
) -> None:
    """Rows, weights and the integers they become: of each subset of four, those of all five."""
    predictor = acquainted(make(), units)
    settings = KernelSettings(
        dimension=private_layout(predictor, **choice).dimension,
        clipping_norm=0.1, sensitivity=10**6, noise_log2=4, modulus_bits=64,
    )  # fmt: skip

    def made(sample: Sequence[UnitRecords]) -> tuple[list[bytes], list[float]]:
        # Made anew: neither may it matter who was met before.
        gradients = gradients_of(predictor, fairness=1.5, **choice)
        batches = list(gradients.rows(sample, micro_batches=2, uniforms=never))
        updates = [Update(gradients=each.gradients, weights=each.weights) for each in batches]
        integers = np.concatenate([clip_rows(update, settings) for update in updates])
        assert not integers[len(sample) :].any()
        weights = np.concatenate([each.weights for each in batches])
        rows = np.concatenate([each.gradients for each in batches])
        both = zip(rows, integers, strict=True)
        return [row.tobytes() + each.tobytes() for row, each in both], weights.tolist()

    rows, weights = made(units)
    assert len(set(weights[:4])) > 2 and weights[4] == weights[0]  # or nothing is weighted
    for left_out in range(len(units)):
        others = [place for place in range(len(units)) if place != left_out]
        fewer, their_weights = made([units[place] for place in others])
        assert fewer[:4] == [rows[place] for place in others]
        assert their_weights[:4] == [weights[place] for place in others]


@pytest.mark.parametrize(("kind", "choice"), CHOICES, ids=str)
def test_what_others_computed_before_changes_no_bit_of_a_row(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
) -> None:
    everything = [question for unit in units for question in unit.questions]
    predictor = make(kind)
    alone = all_rows(gradients_of(predictor, **choice), units[:1])
    predictor.batch(everything)
    predictor.pooled_now(everything)
    gradients = gradients_of(predictor, **choice)
    gradients.prepare(units)
    assert all_rows(gradients, units[:1]).tobytes() == alone.tobytes()


@pytest.mark.parametrize("kind", KINDS[:1] + POLICIES)
def test_texts_that_leave_no_padding_change_no_bit_of_their_rows(
    make: Callable[..., Predictor], pairs: tuple[Question, ...], kind: str
) -> None:
    """Libraries may take another path where no mask hides anything."""
    predictor = make(kind, max_tokens=16)
    long = replace(pairs[0], text="say yes . " * 16, options=("no " * 16, "yes " * 16))
    full = [UnitRecords(unit=name, questions=(long,), targets=((1.0, 0.0),)) for name in ("a", "b")]
    short = UnitRecords(unit="c", questions=pairs[:1], targets=((1.0, 0.0),))
    assert {len(s.token_ids) for s in predictor.questions.sequences(long)} == {16}
    assert {len(s.token_ids) for s in predictor.questions.sequences(pairs[0])} != {16}
    shape = MicroBatchShape(rows=2, length=16, options=2, apart=True)
    alone = all_rows(gradients_of(predictor, shape=shape), full, 1)
    assert alone[0].any()
    beside = all_rows(gradients_of(predictor, shape=shape), [full[0], short], 1)
    assert alone[0].tobytes() == beside[0].tobytes()


@pytest.mark.parametrize("kind", KINDS[:1] + POLICIES)
def test_every_text_is_computed_on_its_own(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    predictor = make(kind)
    prefix, counts = predictor.encoder.prefix, []

    def counted(token_ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        counts.append(len(token_ids))
        return prefix(token_ids, mask)

    monkeypatch.setattr(predictor.encoder, "prefix", counted)
    gradients = gradients_of(predictor)
    gradients.prepare(units)
    prepared = len(counts)
    all_rows(gradients, units)
    texts = {
        sequence.token_ids
        for unit in units
        for question in unit.questions
        for sequence in predictor.questions.sequences(question)
    }
    assert prepared == len(texts)
    assert counts == [1] * (len(texts) + 1)  # and the text of one token that fills up


def test_equal_units_have_equal_rows(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    rows = all_rows(gradients_of(make()), units)
    assert rows[0].tobytes() == rows[4].tobytes() != rows[1].tobytes()


# --- fixed shapes ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3, 5])
def test_shapes_do_not_depend_on_the_size_of_the_sample(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    monkeypatch: pytest.MonkeyPatch,
    size: int,
) -> None:
    """Test 25. 0 to 12 units: four micro-batches of one shape, each."""
    predictor = make()
    suffix, shapes = predictor.encoder.suffix, []

    def noted(hidden: torch.Tensor, mask: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        shapes.append([tuple(part.shape) for part in (hidden, mask, read)])
        return suffix(hidden, mask, read)

    monkeypatch.setattr(predictor.encoder, "suffix", noted)
    gradients = gradients_of(predictor, shape=replace(SHAPE, read=30))
    batches = list(gradients.rows(units[:size], micro_batches=4, uniforms=never))
    assert shapes == [[(37, 40, 32), (37, 40), (37, 30)]] * 4
    dimension = private_layout(predictor).dimension
    assert [batch.gradients.shape for batch in batches] == [(3, dimension)] * 4
    assert all(batch.gradients.dtype == np.float32 for batch in batches)
    weights = np.concatenate([batch.weights for batch in batches])
    assert weights.tolist() == [1.0] * size + [0.0] * (12 - size)


@pytest.mark.parametrize("choice", [{}, {"adapters": False}], ids=str)
def test_a_weight_is_that_of_the_losses_of_a_units_own_records(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], choice: dict[str, bool]
) -> None:
    predictor = acquainted(make(), units)
    weights = weights_of(gradients_of(predictor, fairness=2.0, **choice), units)
    expected = []
    for unit in units:
        scores = predictor(predictor.batch(unit.questions)).detach()
        losses = cross_entropy(scores, pad_targets(unit.targets, scores.shape[1]))
        expected += unit_weights([unit.targets], [losses.mean().item()], strength=2.0).tolist()
    assert weights[:5] == pytest.approx(expected, rel=1e-5)
    assert 0 < min(expected) < 0.95 < max(expected)
    assert weights[5:].tolist() == [0.0] * len(weights[5:])  # and rows that fill up count nothing


def test_without_fairness_every_unit_has_the_weight_one_and_no_row_ever_depends_on_it(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()
    plain = gradients_of(predictor)
    assert weights_of(plain, units).tobytes() == np.array([1.0] * 5 + [0.0]).tobytes()
    fair = gradients_of(predictor, fairness=3.0)
    assert all_rows(fair, units).tobytes() == all_rows(plain, units).tobytes()


@pytest.mark.parametrize("scale", [1e-3, 1e20, 1e38])
def test_hostile_weights_of_the_model_leave_every_row_within_the_sensitivity(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], scale: float
) -> None:
    """Losses of 0, of many nats, infinite and not a number: no row exceeds S, in integers."""
    predictor = make()
    with torch.no_grad():
        for parameter in predictor.head.score.parameters():
            parameter *= scale
    settings = KernelSettings(
        dimension=private_layout(predictor).dimension,
        clipping_norm=0.1, sensitivity=10**6, noise_log2=4, modulus_bits=64,
    )  # fmt: skip
    gradients = gradients_of(predictor, fairness=2.0)
    for batch in gradients.rows(units, micro_batches=2, uniforms=never):
        assert ((batch.weights >= 0) & (batch.weights <= 1)).all()
        update = Update(gradients=batch.gradients, weights=batch.weights)
        for row in clip_rows(update, settings):
            assert sum(int(value) ** 2 for value in row) <= settings.sensitivity**2


@pytest.mark.parametrize(("kind", "choice"), CHOICES, ids=str)
def test_rows_that_fill_up_contribute_nothing(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
) -> None:
    metrics = ("units", "loss", "correct")
    gradients = gradients_of(make(kind), metrics=metrics, **choice)
    batches = list(gradients.rows(units[:2], micro_batches=2, uniforms=never))
    assert not batches[0].gradients[2:].any() and not batches[1].gradients.any()
    assert all(batches[0].gradients[:2].any(axis=1))

    settings = KernelSettings(
        dimension=batches[0].gradients.shape[1],
        clipping_norm=1.0,
        sensitivity=100_000,
        noise_log2=16,
        modulus_bits=32,
    )
    updates = [Update(gradients=b.gradients, weights=b.weights) for b in batches]
    own = clip_rows(Update(gradients=batches[0].gradients[:2]), settings).sum(axis=0)
    assert own.any()
    summed = clip_sum(updates, settings).vector.view(np.int32)
    assert np.array_equal(summed, own)


# --- the contribution of a respondent --------------------------------------------------------


def test_a_respondent_of_a_thousand_records_contributes_as_many_as_permitted(
    make: Callable[..., Predictor], survey: tuple[Question, ...]
) -> None:
    """Test 23. 1000 records, a cap of 3: the row of the 3 drawn, bit for bit."""
    answers = [(survey[i % 3], i) for i in range(1000)]
    loud = UnitRecords(
        unit="loud",
        questions=tuple(question for question, _ in answers),
        targets=tuple(tuple(float(o == i % len(q.options)) for o in range(len(q.options)))
                      for q, i in answers),
    )  # fmt: skip
    kept = [7, 500, 998]
    order = np.ones(1000)
    order[kept] = [0.2, 0.0, 0.1]
    asked = []

    def uniforms(count: int) -> NDArray[np.float64]:
        asked.append(count)
        return order

    chosen = replace(
        loud,
        unit="chosen",
        questions=tuple(loud.questions[i] for i in kept),
        targets=tuple(loud.targets[i] for i in kept),
        weights=(),
    )
    gradients = gradients_of(make())
    rows = stacked(gradients.rows([loud, chosen], micro_batches=1, uniforms=uniforms))
    assert asked == [1000]
    assert rows[0].tobytes() == rows[1].tobytes()
    one = replace(chosen, questions=chosen.questions[:1], targets=chosen.targets[:1], weights=())
    assert np.count_nonzero(all_rows(gradients, [one], 1).any(axis=1)) == 1


@pytest.mark.parametrize("fairness", [0.0, 2.0])
@pytest.mark.parametrize(("kind", "choice"), CHOICES[:3], ids=str)
def test_no_neighbour_of_a_respondent_is_further_than_the_sensitivity(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
    fairness: float,
) -> None:
    """Test 24. All 31 subsets of five respondents against each with one left out: at most S.

    A task is one respondent, and nothing that is trained privately mixes the records of two: there
    are no bins, so no neighbour costs 2 S. Norms are those of integers, exact.
    """
    predictor = make(kind)
    settings = KernelSettings(
        dimension=private_layout(predictor, **choice).dimension,
        clipping_norm=0.01,
        sensitivity=10**6,
        noise_log2=4,
        modulus_bits=64,
    )

    def summed(sample: Sequence[UnitRecords]) -> NDArray[np.int64]:
        gradients = gradients_of(predictor, fairness=fairness, **choice)
        rows = gradients.rows(sample, micro_batches=2, uniforms=never)
        updates = [Update(gradients=each.gradients, weights=each.weights) for each in rows]
        return clip_sum(updates, settings).vector.view(np.int64)

    subsets = [[u for i, u in enumerate(units) if mask >> i & 1] for mask in range(2 ** len(units))]
    sums = [summed(subset) for subset in subsets]
    furthest = 0
    for mask, i in (
        (m, i) for m in range(1, len(subsets)) for i in range(len(units)) if m >> i & 1
    ):
        moved = sums[mask] - sums[mask ^ (1 << i)]
        furthest = max(furthest, sum(int(v) ** 2 for v in moved))
    assert 0.99 * settings.sensitivity**2 < furthest <= settings.sensitivity**2


def test_a_unit_cannot_be_in_a_sample_twice(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    with pytest.raises(ValueError, match="in the sample twice"):
        gradients_of(make()).rows([units[0], units[0]], micro_batches=1, uniforms=never)


# --- metrics ---------------------------------------------------------------------------------


def test_metrics_ride_behind_the_gradient_as_means_over_the_records_of_a_unit(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()
    gradients = gradients_of(predictor, metrics=("units", "loss", "correct"))
    rows = all_rows(gradients, units)
    layout = private_layout(predictor, metrics=("units", "loss", "correct"))
    for row, unit in zip(rows, units, strict=False):
        scores = predictor(predictor.batch(unit.questions)).detach()
        targets = pad_targets(unit.targets, scores.shape[1])
        hits = scores.argmax(dim=1) == targets.argmax(dim=1)
        _, metrics = layout.split(row)
        assert metrics == {
            "units": pytest.approx(SCALE),
            "loss": pytest.approx(SCALE * cross_entropy(scores, targets).mean().item(), rel=1e-5),
            "correct": pytest.approx(SCALE * hits.float().mean().item()),
        }
    assert 0 < rows[:5, -1].sum() < 5 * SCALE  # some are right, some are wrong


def test_without_metrics_a_row_is_the_gradient_alone(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()
    bare = all_rows(gradients_of(predictor, metrics=()), units)
    assert np.array_equal(bare, all_rows(gradients_of(predictor), units)[:, :-2])


# --- the predictor stays as it is ------------------------------------------------------------


def test_nothing_is_left_behind_on_the_predictor(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()

    def plain() -> list[torch.Tensor]:
        predictor.zero_grad()
        scores = predictor(predictor.batch(units[1].questions, length=SHAPE.length))
        targets = pad_targets(units[1].targets, 4)
        cross_entropy(scores, targets).sum().backward()
        return [p.grad.clone() for _, p in predictor.trainable() if p.grad is not None]

    def traces() -> dict[str, list[str]]:
        tensors = {name: sorted(vars(p)) for name, p in predictor.named_parameters()}
        hooks = {n: [str(len(m._forward_hooks))] for n, m in predictor.named_modules()}
        return {**tensors, **hooks}

    expected, before, vector = plain(), traces(), to_vector(predictor)
    predictor.zero_grad()
    all_rows(gradients_of(predictor), units)
    assert all(p.grad is None for p in predictor.parameters())
    assert traces() == before
    assert np.array_equal(to_vector(predictor), vector)
    assert all(a.equal(b) for a, b in zip(plain(), expected, strict=True))


@pytest.mark.parametrize(("kind", "choice"), CHOICES, ids=str)
def test_rows_follow_the_weights(
    make: Callable[..., Predictor],
    shake: Callable[[nn.Module, int], None],
    units: tuple[UnitRecords, ...],
    kind: str,
    choice: dict[str, bool],
) -> None:
    predictor = make(kind)
    gradients = gradients_of(predictor, **choice)
    before = all_rows(gradients, units)
    shake(predictor.encoder, 2)
    after = all_rows(gradients, units)
    assert after.tobytes() == all_rows(gradients_of(predictor, **choice), units).tobytes()
    assert (after[:5] != before[:5]).any(axis=1).all()


def test_rows_come_without_a_gradient_being_asked_for(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    predictor = make()
    expected = all_rows(gradients_of(predictor), units)
    with torch.no_grad():
        assert np.array_equal(all_rows(gradients_of(predictor), units), expected)


# --- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("micro_batches", [0, 1])
def test_a_sample_above_the_room_is_refused_without_telling_its_size(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], micro_batches: int
) -> None:
    with pytest.raises(ValueError, match="exceeds micro_batches") as error:
        gradients_of(make()).rows(units, micro_batches=micro_batches, uniforms=never)
    assert "5" not in str(error.value)


# --- totality: no record makes a step fail ------------------------------------------------------

#: Bounds that some questions of the units exceed, and others do not.
EXCEEDED = [{"options": 3}, {"length": 12}, {"read": 5}, {"apart": False}]


@pytest.mark.parametrize("change", EXCEEDED, ids=str)
@pytest.mark.parametrize("choice", [{}, {"adapters": False}], ids=str)
def test_a_record_that_exceeds_the_shape_counts_as_absent(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    change: dict[str, int],
    choice: dict[str, bool],
) -> None:
    """Was open: a step failed if, and only if, somebody's record exceeded a bound."""
    shape = replace(SHAPE, **change)
    gradients = gradients_of(make(), shape=shape, **choice)
    gradients.prepare(units)
    rows = all_rows(gradients, units)
    assert rows.shape[0] == 6
    for place, unit in enumerate(units):
        fitting = [i for i, each in enumerate(unit.questions) if fits(shape, make(), each)]
        if not fitting:
            assert not rows[place].any()
            continue
        kept = UnitRecords(
            unit=unit.unit,
            questions=tuple(unit.questions[i] for i in fitting),
            targets=tuple(unit.targets[i] for i in fitting),
        )
        alone = all_rows(gradients_of(make(), shape=shape, **choice), [kept])
        assert np.array_equal(rows[place], alone[0])
    left = sum(not fits(shape, make(), question) for unit in units for question in unit.questions)
    assert 0 < left == gradients.left_out(units)


def fits(shape: MicroBatchShape, predictor: Predictor, question: Question) -> bool:
    texts = predictor.questions.sequences(question)
    return (
        len(question.options) <= shape.options
        and (shape.apart or len(texts) == 1)
        and all(len(text.token_ids) <= shape.length for text in texts)
        and (shape.read is None or all(len(read_places(text)) <= shape.read for text in texts))
    )


class Panic(BaseException):
    """What a tokenizer written in another language may raise: no Exception."""


@pytest.mark.parametrize("error", [IndexError, ZeroDivisionError, MemoryError, Panic])
@pytest.mark.parametrize("choice", [{}, {"adapters": False}], ids=str)
def test_a_text_that_cannot_be_read_counts_as_absent(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    choice: dict[str, bool],
) -> None:
    """Was open: an encoder whose tokenizer fails on one text told who had it."""
    predictor = make()
    expected = all_rows(gradients_of(predictor, **choice), units)
    gone = units[2].questions[0]
    read = predictor.questions.sequences

    def fail(question: Question) -> Any:
        if question == gone:
            raise error("about a record")
        return read(question)

    monkeypatch.setattr(predictor.questions, "sequences", fail)
    gradients = gradients_of(predictor, **choice)
    gradients.prepare(units)
    rows = all_rows(gradients, units)
    touched = [gone in unit.questions for unit in units]
    assert touched == [False, False, True, True, False]
    for place, unit in enumerate(units):
        assert np.array_equal(rows[place], expected[place]) != touched[place], unit.unit


@pytest.mark.parametrize("error", [RuntimeError, Panic])
def test_a_unit_on_which_the_step_itself_fails_has_the_row_0_and_no_other(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    predictor = make()
    gradients = gradients_of(predictor)
    expected = all_rows(gradients, units)
    batch_of = gradients._gather
    gone = units[2].questions[0]

    def fail(questions: Sequence[Question | None]) -> Any:
        if gone in questions:
            raise error("about a record")
        return batch_of(questions)

    monkeypatch.setattr(gradients, "_gather", fail)
    weights = weights_of(gradients, units)
    rows = all_rows(gradients, units)
    assert not rows[2:4].any()
    for place in (0, 1, 4):
        assert np.array_equal(rows[place], expected[place])
    assert weights.tolist() == [1, 1, 0, 0, 1, 0]


def test_what_fails_without_any_unit_is_raised(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of everybody must not pass for noise, and is about no record."""
    gradients = gradients_of(make())

    def fail(questions: object) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(gradients, "_gather", fail)
    for sample in (units, []):
        with pytest.raises(RuntimeError, match="broken"):
            all_rows(gradients, sample)


def test_who_is_told_to_stop_stops(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = make()

    def stop(question: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor.questions, "sequences", stop)
    with pytest.raises(KeyboardInterrupt):
        gradients_of(predictor).prepare(units)


def test_a_model_that_overflows_on_a_text_gives_a_row_that_the_clip_makes_zero(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    """Weights stay in [0, 1] and rows within their bound, whatever the numbers are."""
    predictor = make()
    with torch.no_grad():
        for name, parameter in predictor.trainable():
            if name.startswith("head."):
                parameter.fill_(float("inf"))
    gradients = gradients_of(predictor, fairness=2.0)
    for batch in gradients.rows(units, micro_batches=2, uniforms=never):
        assert ((batch.weights >= 0) & (batch.weights <= 1)).all()
        clipped = clip_rows(
            Update(gradients=batch.gradients, weights=batch.weights), settings_of(batch)
        )
        assert (clipped.astype(np.int64) ** 2).sum(axis=1).max() <= 10**12


def settings_of(batch: UnitRows) -> KernelSettings:
    return KernelSettings(
        dimension=batch.gradients.shape[1], clipping_norm=1.0, sensitivity=10**6, noise_log2=16,
        modulus_bits=64,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["rows", "records", "length", "options", "read"])
def test_an_empty_shape_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} = 0 must be"):
        replace(SHAPE, **{name: 0})


@pytest.mark.parametrize("scale", [0.0, float("nan"), float("inf")])
def test_a_scale_that_hides_or_bursts_the_metrics_is_refused(
    make: Callable[..., Predictor], scale: float
) -> None:
    predictor = make()
    with pytest.raises(ValueError, match="metric_scale = "):
        UnitGradients(predictor, layout=private_layout(predictor), shape=SHAPE, metric_scale=scale)


def test_a_layout_of_another_predictor_is_refused(make: Callable[..., Predictor]) -> None:
    layout = private_layout(make(lora_rank=2))
    with pytest.raises(ValueError, match="of another predictor"):
        UnitGradients(make(), layout=layout, shape=SHAPE, metric_scale=SCALE)


def test_only_plain_linear_modules_have_rows(make: Callable[..., Predictor]) -> None:
    class Twice(nn.Linear):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(inputs)

    predictor = make()
    predictor.head.score = Twice(16, 1)
    with pytest.raises(ValueError, match=r"head\.score is a Twice"):
        gradients_of(predictor)


def test_an_encoder_that_mixes_texts_is_refused(
    make: Callable[..., Predictor],
    units: tuple[UnitRecords, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predictor = make()
    inner = predictor.head.inner

    def flat(pooled: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = inner(pooled.flatten(0, 1))
        return hidden.unflatten(0, pooled.shape[:2])

    monkeypatch.setattr(predictor.head, "features", flat)
    with pytest.raises(ValueError, match="mixes texts"):
        all_rows(gradients_of(predictor, shape=replace(SHAPE, apart=False)), units[:2])


def test_rows_do_not_show_their_values(
    make: Callable[..., Predictor], units: tuple[UnitRecords, ...]
) -> None:
    (batch,) = gradients_of(make()).rows(units[:1], micro_batches=1, uniforms=never)
    assert "array" not in repr(batch)
