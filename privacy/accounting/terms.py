"""The terms of a run: the choices made before any noise is computed.

Terms that could not be kept are refused here, before a calibration is paid for.
"""

import math
import operator
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from scipy.stats import binom

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import MAX_EPSILON, Mechanism, Mode, Unit
from privacy.accounting.counts import ANSWERS, CountTerms
from privacy.accounting.shape import StepShape
from privacy.errors import DeltaTooLarge, NonPoissonSampling, PlanRefused, TooFewHonestShares

MAX_GROUPS = 100_000
"""More groups than one federation has; a plan from elsewhere must not exhaust memory."""

TRUNCATION_SHARE = 1e-3
"""Part of delta set aside for batches that exceed their cap."""

LIFETIME_EPSILON = 16.0
"""Caps on batches are drawn up for a lifetime budget of up to this epsilon, however small the
epsilon of one run: what a cut batch costs grows with the epsilon of all runs together."""


_REALS = ("epsilon", "delta", "sampling_rate", "clipping_norm")
_COUNTS = ("groups", "rounds", "local_steps", "survivors", "colluding", "dimension")


@dataclass(frozen=True, kw_only=True)
class PrivacyTerms:
    """The choices made before any noise is computed.

    Attributes:
        unit: the unit of privacy. A person in m groups pays m times.
        mode: distributed (one step a round) or local (`local_steps` steps a round).
        epsilon: the bound promised for the whole run, even if it is stopped early.
        delta: the failure probability; below one over the units of all groups together.
        groups: n.
        units_per_group: public upper bounds on the number of units, one for each group; a single
            number counts for all groups.
        sampling_rate: q, the probability that a unit takes part in a step.
        sampling: "poisson", the only sampling the accountants cover.
        relation: the neighbouring relation.
        rounds: rounds of the run.
        local_steps: charged steps of a group in a round; 1 in distributed mode.
        survivors: u_min, least number of groups in a sum that is unmasked.
        colluding: c, groups that may tell the server what they know, their own noise included.
        clipping_norm: C.
        dimension: d, training metrics included.
        shape: the bounds of every step, which a group executes exactly; None where no group does,
            as in a forecast, and in plans of before shapes were planned.
        counts: the bounds of a group's counts, where answers are counted once and every round
            trains on the noised counts: then rounds and steps are those of the one release.

    Raises:
        PlanRefused: one of its subclasses, for each thing that cannot be guaranteed.
    """

    unit: Unit = Unit.RESPONDENT
    mode: Mode = Mode.DISTRIBUTED
    epsilon: float
    delta: float
    groups: int
    units_per_group: tuple[int, ...] | int
    sampling_rate: float
    sampling: str = "poisson"
    relation: NeighboringRelation = NeighboringRelation.ADD_OR_REMOVE_ONE
    rounds: int
    local_steps: int = 1
    survivors: int
    colluding: int = 0
    clipping_norm: float
    dimension: int
    shape: StepShape | None = None
    counts: CountTerms | None = None

    def __post_init__(self) -> None:
        normalise(self, reals=_REALS, counts=_COUNTS)
        _set(self, "unit", _member(Unit, "unit", self.unit))
        _set(self, "mode", _member(Mode, "mode", self.mode))
        _set(self, "relation", _member(NeighboringRelation, "relation", self.relation))
        _set(self, "units_per_group", _sizes(self.units_per_group, self.groups))
        if isinstance(self.shape, Mapping):
            _set(self, "shape", StepShape.read(self.shape))
        if isinstance(self.counts, Mapping):
            _set(self, "counts", CountTerms.read(self.counts))
        self._check_release()
        self._check_sampling()
        self._check_counts()
        self._check_budget()

    @property
    def release(self) -> Mechanism:
        """How data are read: once, as counts, or in every step."""
        return Mechanism.GRADIENTS if self.counts is None else Mechanism.TALLY

    @property
    def sizes(self) -> tuple[int, ...]:
        """The public upper bound on the units of each group, `(n,)`."""
        return _sizes(self.units_per_group, self.groups)

    @property
    def units(self) -> int:
        """The public number of units of all groups together."""
        return sum(self.sizes)

    @property
    def steps(self) -> int:
        """T, the steps charged to a unit over the whole run."""
        return self.rounds * self.local_steps

    @property
    def honest_shares(self) -> int:
        """h, the noise shares that are certain to be in an unmasked sum and unknown to others."""
        return 1 if self.mode is Mode.LOCAL else self.survivors - self.colluding

    @property
    def accounted_delta(self) -> float:
        """The delta left to the accountants once truncated batches are paid for."""
        return self.delta * (1 - TRUNCATION_SHARE)

    def group_size(self, group: int) -> int:
        """Return the public upper bound on the units of one group, counted from 0."""
        if not 0 <= group < self.groups:
            raise ValueError(f"group = {group} is outside [0, {self.groups}); count from 0")
        return self.sizes[group]

    def batch_cap(self, group: int) -> int:
        """Return the most units of a group that one step takes, so that timing tells nothing.

        A step whose sample is larger drops the excess. Over T steps that happens with probability
        at most `TRUNCATION_SHARE` * delta / (1 + exp(epsilon)), so, by coupling the run with its
        untruncated twin, it adds at most `TRUNCATION_SHARE` * delta to delta. Unlike accounting
        for truncated batches, this holds for every accountant, Renyi filters included. The epsilon
        is that of the run, or `LIFETIME_EPSILON` where that is larger.
        """
        return self._cap(self.group_size(group))

    def cut_chance(self) -> float:
        """Return a bound on the chance that any step of a group has a sample above its cap."""
        chances = (
            float(binom.sf(self._cap(units), units, self.sampling_rate))
            for units in set(self.sizes)
        )
        return self.steps * max(chances)

    def _cap(self, units: int) -> int:
        epsilon = max(self.epsilon, LIFETIME_EPSILON)
        chance = TRUNCATION_SHARE * self.delta / ((1 + math.exp(epsilon)) * self.steps)
        return _binomial_cap(units, self.sampling_rate, chance)

    def micro_batches(self, group: int) -> int:
        """Return the number of micro-batches that every step of a group processes."""
        return -(-self.batch_cap(group) // self.required_shape.micro_batch)

    @property
    def required_shape(self) -> StepShape:
        """The shape of a step.

        Raises:
            PlanRefused: if the plan has none, so that nobody can execute it.
        """
        if self.shape is None:
            raise PlanRefused("the plan states no shape of a step; plan the run with this version")
        return self.shape

    def _check_release(self) -> None:
        """Counts are released once, by each group for itself; see `CountTerms`."""
        if self.counts is None:
            return
        once = (self.sampling_rate, self.rounds, self.local_steps, self.shape, self.mode)
        if once != (1.0, 1, 1, None, Mode.LOCAL):
            raise PlanRefused(
                "counts are taken once, of everybody, and each group adds all of the noise: plan "
                "them with sampling_rate = 1, rounds = 1, local_steps = 1, mode = 'local'"
            )
        replaces = self.relation is NeighboringRelation.REPLACE_ONE
        if replaces and self.counts.largest_weight < 1:
            raise PlanRefused(
                f"counts.largest_weight = {self.counts.largest_weight:g} is below 1, and of "
                "distributions somebody weighs as much as the mean: give 1 or more"
            )
        if len(self.counts.questionnaires) != self.groups:
            raise PlanRefused(
                f"counts.questionnaires has {len(self.counts.questionnaires)} entries for groups = "
                f"{self.groups}; give one for each"
            )

    def _check_sampling(self) -> None:
        if self.sampling != "poisson":
            raise NonPoissonSampling(
                f"sampling = {self.sampling!r} is not 'poisson': shuffled or fixed-size batches "
                "are not covered by any accountant here; "
                "use privacy.kernel.randomness.poisson_sample"
            )
        if not 0 < self.sampling_rate <= 1:
            raise PlanRefused(
                f"sampling_rate = {self.sampling_rate} is outside (0, 1]; "
                "give the probability that a unit takes part in a step"
            )

    def _check_counts(self) -> None:
        for name in ("rounds", "local_steps", "survivors", "dimension"):
            if getattr(self, name) < 1:
                raise PlanRefused(f"{name} = {getattr(self, name)} is below 1; give at least 1")
        if self.mode is Mode.DISTRIBUTED and self.local_steps != 1:
            raise PlanRefused(
                f"local_steps = {self.local_steps} is not 1 in distributed mode, where a group "
                "alone has too little noise to take a step; use mode = 'local'"
            )
        if self.survivors > self.groups:
            raise PlanRefused(
                f"survivors = {self.survivors} is above groups = {self.groups}; lower it"
            )
        if self.colluding < 0:
            raise PlanRefused(f"colluding = {self.colluding} is negative; give 0 or more")
        if self.honest_shares < 1:
            raise TooFewHonestShares(
                f"survivors - colluding = {self.survivors} - {self.colluding} is below 1 honest "
                "noise share; require more survivors, tolerate fewer colluders or use local mode"
            )
        if not 0 < self.clipping_norm < math.inf:
            raise PlanRefused(
                f"clipping_norm = {self.clipping_norm} is not positive and finite; "
                "choose a norm near that of a typical gradient"
            )

    def _check_budget(self) -> None:
        if not 0 < self.epsilon <= MAX_EPSILON:
            raise PlanRefused(
                f"epsilon = {self.epsilon} is outside (0, {MAX_EPSILON}]; "
                "choose a budget that protects, such as 1 to 8"
            )
        if not 0 < self.delta < 1 / self.units:
            raise DeltaTooLarge(
                f"delta = {self.delta} is not in (0, {1 / self.units:.3g}), one over n = "
                f"{self.units} units, those of all {self.groups} groups; choose a smaller delta"
            )


def norm_of_counts(answers: int, largest_weight: float) -> float:
    """Return the L2 norm of what a person adds to counts, in answers: C of a plan of counts."""
    return largest_weight * math.sqrt(answers)


def terms_of_counts(
    *,
    unit: Unit,
    epsilon: float,
    delta: float,
    units_per_group: Sequence[int],
    options: Sequence[Sequence[int]],
    questionnaires: Sequence[str],
    distributions: bool,
    answers_per_respondent: int = 0,
    largest_weight: float = 1.0,
) -> PrivacyTerms:
    """Return the terms under which every group's answers are counted, once.

    Args:
        unit: the unit of privacy.
        epsilon: the bound promised for everybody's answers.
        delta: the failure probability.
        units_per_group: public upper bounds, of free seats too.
        options: of each group that is there, the options of each question of its questionnaire.
        questionnaires: digests of these.
        distributions: whether distributions of many persons are counted.
        answers_per_respondent: m; 0 takes `ANSWERS`, and all where persons cannot be told apart.
        largest_weight: the most that one answer counts.
    """
    most = max(map(len, options))
    answers = answers_per_respondent or (most if distributions else ANSWERS)
    answers = answers if unit is Unit.RESPONDENT else 1
    replaced = NeighboringRelation.REPLACE_ONE
    free = len(units_per_group) - len(questionnaires)
    return PrivacyTerms(
        unit=unit,
        mode=Mode.LOCAL,
        epsilon=epsilon,
        delta=delta,
        groups=len(units_per_group),
        units_per_group=tuple(units_per_group),
        sampling_rate=1.0,
        # Of distributions the number of persons is known: a neighbour answers otherwise.
        relation=replaced if distributions else NeighboringRelation.ADD_OR_REMOVE_ONE,
        rounds=1,
        survivors=1,
        clipping_norm=norm_of_counts(answers, largest_weight),
        dimension=max(map(sum, options)),
        counts=CountTerms(
            answers_per_respondent=answers,
            largest_weight=largest_weight,
            questionnaires=(*questionnaires, *[""] * free),
        ),
    )


@lru_cache(maxsize=4096)
def _binomial_cap(units: int, sampling_rate: float, chance: float) -> int:
    """Return the least size a binomial sample exceeds with at most the given chance."""
    sizes = range(1, units)
    return 1 + bisect_left(
        sizes, True, key=lambda size: bool(binom.sf(size, units, sampling_rate) <= chance)
    )


_Choice = TypeVar("_Choice", bound=StrEnum)


def _member(kind: type[_Choice], name: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        raise PlanRefused(
            f"{name} = {value!r} is not offered; use one of {[member.value for member in kind]}"
        ) from None


def _sizes(units_per_group: Sequence[int] | int, groups: int) -> tuple[int, ...]:
    if not 1 <= groups <= MAX_GROUPS:
        raise PlanRefused(f"groups = {groups} is outside [1, {MAX_GROUPS}]; give their number")
    given = units_per_group if isinstance(units_per_group, Sequence) else [units_per_group] * groups
    sizes = tuple(_count("units_per_group", size) for size in given)
    if len(sizes) != groups:
        raise PlanRefused(
            f"units_per_group has {len(sizes)} entries for groups = {groups}; give one for each"
        )
    if min(sizes) < 1:
        raise PlanRefused(f"units_per_group holds {min(sizes)}; every group needs at least 1 unit")
    return sizes


def _count(name: str, value: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise PlanRefused(f"{name} = {value!r} is not an integer; give a whole number")
    return operator.index(value)


def normalise(terms: "PrivacyTerms", *, reals: tuple[str, ...], counts: tuple[str, ...]) -> None:
    """Turn fields into plain floats and ints, so that equal terms have one canonical form."""
    for name in counts:
        _set(terms, name, _count(name, getattr(terms, name)))
    for name in reals:
        value = getattr(terms, name)
        if isinstance(value, bool | str) or not hasattr(value, "__float__"):
            raise PlanRefused(f"{name} = {value!r} is not a number; give one")
        _set(terms, name, float(value))


def _set(terms: "PrivacyTerms", name: str, value: object) -> None:
    object.__setattr__(terms, name, value)
