"""Counting answers once: persons' answers -> integer ballots -> exact noise -> a stored tally.

A person casts one *ballot*: of at most m answers, each to one option of a question. Three things
make the most of a bound S on its L2 norm, which is *checked in integers, person by person*:

- All ballots have norm S: who answered few questions counts for more in each, and everybody for
  the same in all. Survey weights scale a ballot down.
- An answer of A steps adds A to its option and takes C = A // 2K from all K options of its
  question, so that the total of the question keeps one half and noise of its own: a ballot that
  says less of how much was answered may say more of what.
- The grid is so fine that neither needs further rounding.

Where all that is known of a question is how n persons' answers were distributed, the shares times n
are counted as they are, and a person is bounded by what another answer of theirs can change: two
cells by the largest weight, where weights were normalised all others, and the rounding of each.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import InitVar, dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privacy.errors import ExecutionMismatch, StageSkipped
from privacy.kernel.randomness import ByteSource, random_words
from privacy.kernel.types import _SEAL, Clipped, KernelSettings, Noised, _StaysHere, centred

_Integers: TypeAlias = NDArray[np.int64]

# Of the total of a question; the rest is taken from all its options alike.
_KEPT = Fraction(1, 2)
# Roundings of a ballot are smaller than this part of its norm; where they are not, it is shortened.
_SHORTER_LOG2 = 12
_TIMES = 8


@dataclass(frozen=True, kw_only=True)
class CountBounds:
    """All that bounds the counts of a group; public, and none of it derived from its data.

    Attributes:
        options: options of each question of the questionnaire, in order.
        answers: m, answers of a person that count.
        largest_weight: the most that one answer counts.
        sensitivity: S, the bound on one person in steps of the integer grid.
        units: public bound on the number of persons.
        distributions: whether distributions of many persons are counted, not persons' answers.
    """

    options: tuple[int, ...]
    answers: int
    largest_weight: Fraction
    sensitivity: int
    units: int
    distributions: bool = False

    def __post_init__(self) -> None:
        if not self.options or min(self.options) < 1 or self.answers < 1:
            raise ValueError("a questionnaire needs a question, and each question an option")
        if self.step < 1:
            raise ExecutionMismatch(
                f"sensitivity = {self.sensitivity} resolves no answer of {self.answers}; "
                "count fewer answers of a person"
            )

    @property
    def cells(self) -> int:
        """All options of all questions: the length of a tally."""
        return sum(self.options)

    @cached_property
    def first_cells(self) -> _Integers:
        """The cell of the first option of each question, `(questions,) int64`."""
        return np.concatenate([[0], np.cumsum(self.options)[:-1]]).astype(np.int64)

    @cached_property
    def step(self) -> int:
        """Steps of the grid that one answer of weight 1 counts, of a person who gave m of them."""
        if self.distributions:
            return self._step_of_shares()
        widest = sorted(self.options, reverse=True)[: self.answers]
        square = self.largest_weight**2 * sum(map(_square_of_answer, widest))
        return math.isqrt(math.floor(Fraction(self.sensitivity) ** 2 / square))

    @property
    def total_share(self) -> Fraction:
        """The part of the total of a question that its cells keep."""
        return Fraction(1) if self.distributions else _KEPT

    def _step_of_shares(self) -> int:
        """The largest step at which replacing a person stays within S, all roundings included.

        In a question of K options that is sqrt(2) w steps, where normalised weights let a person
        move all cells, and one step of rounding a cell. Shares that are floats, and their
        normalisation, are off by 2^-50 in L1 norm: of either data set, in all persons' steps.
        """
        widest = sorted(self.options, reverse=True)[: self.answers]

        def fits(step: int) -> bool:
            floats = (self.units * step >> 49) + 1
            real = _root_above(2 * (step * self.largest_weight) ** 2) + floats
            total = sum((real + _root_above(Fraction(options))) ** 2 for options in widest)
            return total <= self.sensitivity**2

        low, high = 0, self.sensitivity + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low


def _square_of_answer(options: int) -> Fraction:
    """The squared norm of an answer of one step to a question of so many options."""
    return 1 - (1 - _KEPT**2) / options


def _root_above(square: Fraction) -> int:
    """The least integer whose square is at least that."""
    whole = math.ceil(square)
    root = math.isqrt(whole)
    return root if root * root == whole else root + 1


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Answers(_StaysHere):
    """Answers of persons, an entry each; what points nowhere counts as absent.

    Attributes:
        persons: `(n,) int64`, from 0.
        questions: `(n,) int64`, places in the questionnaire.
        options: `(n,) int64`, places in the question.
        weights: `(n,) float64`.
    """

    persons: _Integers
    questions: _Integers
    options: _Integers
    weights: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Distributions(_StaysHere):
    """Distributions of many persons' answers, one for each question at most.

    Attributes:
        questions: their places in the questionnaire.
        respondents: how many persons each stands for.
        shares: of each, one number for each option, sum 1; to full precision. Of a table that was
            rounded to a grid of width g, another answer of one of n persons may move every share
            by g, so n g answers: more than is accounted for, unless `largest_weight` is as large.
    """

    questions: Sequence[int]
    respondents: Sequence[int]
    shares: Sequence[Sequence[float]]


def count_answers(
    answers: Answers | Distributions,
    bounds: CountBounds,
    settings: KernelSettings,
    source: ByteSource,
) -> Clipped:
    """Count, exactly.

    Of answers of one person to one question one is counted, and of all of them m: which, is drawn
    by the source. Whatever else an entry says changes no cells but those of its own questions.

    Args:
        answers: of all persons, or distributions of them.
        bounds: public.
        settings: of the plan; its dimension is the number of cells.
        source: randomness of the operating system.

    Returns:
        The sum of all ballots, modulo the plan's modulus: exact, and not yet private.

    Raises:
        ExecutionMismatch: if bounds and settings are not of one plan, or of other answers.
    """
    mine = (bounds.cells, bounds.sensitivity, bounds.distributions)
    if mine != (settings.dimension, settings.sensitivity, isinstance(answers, Distributions)):
        raise ExecutionMismatch("what would be counted is not what the plan accounts for")
    if isinstance(answers, Distributions):
        cells = _cells_of_shares(answers, bounds, source)
    else:
        cells = _cells_of_persons(answers, bounds, source)
    vector = cells.astype(settings.modulus_dtype)
    return Clipped(settings=settings, vector=vector, seal=_SEAL)


def _cells_of_persons(answers: Answers, bounds: CountBounds, source: ByteSource) -> _Integers:
    """The sum of all ballots, `(cells,) int64`."""
    counted = _counted(answers, bounds, source)
    questions = answers.questions[counted]
    options = np.asarray(bounds.options, dtype=np.int64)[questions]
    _, person = np.unique(answers.persons[counted], return_inverse=True)
    steps, taken = _ballots(person, options, answers.weights[counted], bounds)
    cells = np.zeros(bounds.cells, dtype=np.int64)
    np.add.at(cells, bounds.first_cells[questions] + answers.options[counted], steps)
    from_all = np.zeros(len(bounds.options), dtype=np.int64)
    np.add.at(from_all, questions, taken)
    return cells - np.repeat(from_all, bounds.options)


def _ballots(
    person: NDArray[np.intp],
    options: _Integers,
    weights: NDArray[np.float64],
    bounds: CountBounds,
) -> tuple[_Integers, _Integers]:
    """Steps of every answer, and those taken from all options of its question.

    Floats decide how long a ballot is, and integers that it is no longer than S: one that were
    would count as absent. What becomes of a person's answers depends on that person's alone.
    """
    square = 1 - float(1 - _KEPT**2) / options
    length = np.sqrt(np.bincount(person, weights=square))[person]
    heaviest = float(bounds.largest_weight)
    steps = (bounds.sensitivity * np.minimum(weights, heaviest) / heaviest / length).astype(
        np.int64
    )
    for _ in range(_TIMES):
        taken = steps // (2 * options)
        squares = np.zeros(person.max(initial=-1) + 1, dtype=np.int64)
        np.add.at(squares, person, (steps - taken) ** 2 + (options - 1) * taken**2)
        over = (squares > bounds.sensitivity**2)[person]
        if not over.any():
            return steps, taken
        steps = np.where(over, np.maximum(steps - (steps >> _SHORTER_LOG2) - 1, 0), steps)
    return np.where(over, 0, steps), np.where(over, 0, taken)


def _counted(answers: Answers, bounds: CountBounds, source: ByteSource) -> NDArray[np.intp]:
    """Places of the answers that count: valid, one of a person and question, m of a person."""
    options = np.asarray(bounds.options, dtype=np.int64)
    valid = (answers.persons >= 0) & (answers.questions >= 0) & (answers.questions < len(options))
    valid[valid] &= answers.options[valid] < options[answers.questions[valid]]
    valid &= (answers.options >= 0) & np.isfinite(answers.weights) & (answers.weights > 0)
    # An order that nobody chooses: the first of a question counts, and the first m of a person.
    drawn = np.argsort(random_words(source, len(valid)))
    order = drawn[np.argsort(answers.persons[drawn], kind="stable")]
    order = order[valid[order]]
    # Counted anew from 0: of numbers as large as they come, products would be alike for two.
    _, person = np.unique(answers.persons[order], return_inverse=True)
    asked = person * len(options) + answers.questions[order]
    _, first = np.unique(asked, return_index=True)
    order = order[np.sort(first)]
    persons = answers.persons[order]
    begins = np.flatnonzero(np.diff(persons, prepend=-1))
    rank = np.arange(len(order)) - np.repeat(begins, np.diff(begins, append=len(order)))
    counted: NDArray[np.intp] = order[rank < bounds.answers]
    return counted


def _cells_of_shares(answers: Distributions, bounds: CountBounds, source: ByteSource) -> _Integers:
    cells = np.zeros(bounds.cells, dtype=np.int64)
    met = dict[int, int]()
    for place in np.argsort(random_words(source, len(answers.questions)), kind="stable").tolist():
        question = answers.questions[place]
        if 0 <= question < len(bounds.options):
            met.setdefault(question, place)
    for question, place in [*met.items()][: bounds.answers]:
        if not 0 < answers.respondents[place] <= bounds.units:
            continue
        own = _rounded(answers.shares[place], answers.respondents[place], bounds.step)
        if len(own) == bounds.options[question]:
            first = int(bounds.first_cells[question])
            cells[first : first + len(own)] = own
    return cells


def _rounded(shares: Sequence[float], respondents: int, step: int) -> list[int]:
    """Steps of each cell, rounded in exact arithmetic; none where a number makes no sense."""
    if not all(math.isfinite(share) and 0 <= share <= 1 for share in shares):
        return []
    return [round(Fraction(share) * respondents * step) for share in shares]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class PrivateTally:
    """Noised counts: private by themselves, whatever is computed of them.

    Attributes:
        bounds: of what was counted.
        noise_log2: k; the noise on every cell has standard deviation 2^k steps.
        cells: `(cells,) int64`, the sum of all ballots, or the shares times persons and
            `bounds.step`, plus noise.
    """

    bounds: CountBounds
    noise_log2: int
    cells: _Integers
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise StageSkipped("PrivateTally is made by privacy.kernel.tally alone; count answers")
        if self.cells.shape != (self.bounds.cells,) or self.cells.dtype != np.int64:
            raise ValueError(
                f"a tally is {self.cells.dtype} of shape {self.cells.shape}; give int64 of shape "
                f"({self.bounds.cells},)"
            )
        self.cells.flags.writeable = False

    def __repr__(self) -> str:
        return f"PrivateTally({len(self.bounds.options)} questions, {self.bounds.cells} cells)"

    @property
    def counts(self) -> NDArray[np.float64]:
        """The noised counts in answers, `(cells,) float64`; any may be negative.

        What ballots have taken from all options of a question is given back by its total, whose
        noise is larger by one over `bounds.total_share` than that of its counts explains.
        """
        options = np.asarray(self.bounds.options)
        totals = np.add.reduceat(self.cells, self.bounds.first_cells) / options
        kept = float(self.bounds.total_share)
        counts: NDArray[np.float64] = self.cells + np.repeat(totals * (1 / kept - 1), options)
        return counts / self.bounds.step

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise on a cell, in answers."""
        return 2.0**self.noise_log2 / self.bounds.step


def private_tally(noised: Noised, bounds: CountBounds) -> PrivateTally:
    """Take noised counts as a tally: one group's, with all of the noise.

    Raises:
        StageSkipped: if there is no noise in them.
    """
    if not isinstance(noised, Noised):
        raise StageSkipped(f"private_tally() takes Noised, not {type(noised).__name__}; add noise")
    cells = centred(noised.vector).copy()
    return PrivateTally(
        bounds=bounds, noise_log2=noised.settings.noise_log2, cells=cells, seal=_SEAL
    )


def stored_tally(
    cells: Sequence[Any], bounds: CountBounds, *, noise_log2: int, content: bytes, digest: str
) -> PrivateTally:
    """Take a tally that was kept, from the file of which somebody has recorded the digest.

    Args:
        cells: integers, as the file has them.
        bounds: as the file has them.
        noise_log2: likewise.
        content: the bytes of the file.
        digest: SHA-256 of it, as it was recorded when the tally was made.

    Raises:
        StageSkipped: if the file is another.
    """
    if hashlib.sha256(content).hexdigest() != digest:
        raise StageSkipped("the file is not the tally that was recorded; bring back the copy")
    if not all(type(cell) is int and -(2**62) < cell < 2**62 for cell in cells):
        raise StageSkipped("the file holds no integers where counts belong; bring back the copy")
    kept = np.array(cells, dtype=np.int64)
    return PrivateTally(bounds=bounds, noise_log2=noise_log2, cells=kept, seal=_SEAL)
