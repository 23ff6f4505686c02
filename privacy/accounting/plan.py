"""The privacy plan: one frozen object from which every privacy parameter of a run follows.

`PrivacyPlan.calibrate` turns the terms people agreed on into what the kernel needs (noise
multiplier, integer grid, modulus), or refuses. The same plan is hashed, sent to the clients,
checked there again, and compared with what is about to be executed.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any, Self

from privacy.accounting import integer_grid as grid
from privacy.accounting.accountant import NeighboringRelation, SampledGaussian, pld_epsilon
from privacy.accounting.calibration import calibrate_noise_multiplier
from privacy.accounting.choices import Mode
from privacy.accounting.counts import NOISE_LOG2, CountTerms
from privacy.accounting.terms import PrivacyTerms, norm_of_counts, normalise
from privacy.canonical import canonical_json
from privacy.errors import EpsilonExceeded, ExecutionMismatch, PlanRefused
from privacy.kernel.packing import packed_bytes
from privacy.kernel.quantisation import MODULUS_BITS
from privacy.kernel.tally import CountBounds
from privacy.kernel.types import KernelSettings

_GRID_FIELDS = ("noise_log2", "sensitivity", "modulus_bits")
# What steps have and counts have not, and the other way round; plans of before have neither.
_OPTIONAL = frozenset({"shape", "counts"})


@dataclass(frozen=True, kw_only=True)
class PrivacyPlan(PrivacyTerms):
    """The terms of a run and the noise that pays for them.

    Every plan that exists satisfies the exact conditions: the honest shares reach the noise
    multiplier, S >= 50 sqrt(d), and no sum can leave the modulus. That the noise multiplier keeps
    the promised epsilon takes seconds to compute: `calibrate` makes it so, and `verify` recomputes
    it for a plan that came from elsewhere.

    Attributes:
        noise_multiplier: z; the one accounted.
        noise_log2: k; one share of noise has standard deviation 2^k.
        sensitivity: S, the integer L2 bound on one unit.
        modulus_bits: 32 or 64, of the words that sums are computed in; see `bits_needed`.
    """

    noise_multiplier: float
    noise_log2: int
    sensitivity: int
    modulus_bits: int

    def __post_init__(self) -> None:
        super().__post_init__()
        normalise(self, reals=("noise_multiplier",), counts=_GRID_FIELDS)
        _ = self.mechanism  # Bounds z.
        grid.check(self._demand, self._grid)
        _ = self.kernel  # Bounds C, S and k.

    @classmethod
    def calibrate(cls, terms: PrivacyTerms) -> Self:
        """Return the plan with the least noise that keeps the terms; takes about a second.

        Raises:
            GridTooCoarse: if no integer grid resolves the clipped vectors under this much noise.
            CalibrationFailed: if no noise in range reaches epsilon.
        """
        noise_multiplier = calibrate_noise_multiplier(
            epsilon=terms.epsilon,
            delta=terms.accounted_delta,
            sampling_rate=terms.sampling_rate,
            steps=terms.steps,
            relation=_accounted(terms),
        )
        return cls.with_noise(terms, noise_multiplier)

    @classmethod
    def with_noise(cls, terms: PrivacyTerms, noise_multiplier: float) -> Self:
        """Return the plan of this much noise, not yet `verify`-ed; `calibrate` takes the least.

        Raises:
            GridTooCoarse: as in `calibrate`.
        """
        demand = _demand(terms, noise_multiplier)
        chosen = grid.choose(demand) if terms.counts is None else grid.at(demand, NOISE_LOG2)
        return cls(
            **{field.name: getattr(terms, field.name) for field in fields(PrivacyTerms)},
            noise_multiplier=noise_multiplier,
            **asdict(chosen),
        )

    @property
    def mechanism(self) -> SampledGaussian:
        """The run as an accountant sees it, to be charged at `accounted_delta`."""
        return SampledGaussian(
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            steps=self.steps,
            relation=_accounted(self),
        )

    def count_bounds(self, options: Sequence[int]) -> CountBounds:
        """Return the bounds of counting answers to questions of so many options each.

        Raises:
            ExecutionMismatch: if the plan counts no answers.
        """
        if self.counts is None:
            raise ExecutionMismatch("the plan counts no answers; plan a tally")
        return CountBounds(
            options=tuple(options),
            answers=self.counts.answers_per_respondent,
            largest_weight=Fraction(self.counts.largest_weight),
            sensitivity=self.sensitivity,
            units=self.units,
            distributions=self.relation is NeighboringRelation.REPLACE_ONE,
        )

    def of_group(
        self, group: int, options: Sequence[int], *, questionnaire: str, units: int
    ) -> Self:
        """Return the plan of one group's counts, which says nothing of others.

        So that its digest is that of what happens to these data: the same in every run, with
        whatever groups.

        Args:
            group: its index, from 0.
            options: of each question of its questionnaire.
            questionnaire: digest of it; a plan names none where the group has come later.
            units: the public bound that the group states, at most that of its seat.
        """
        if self.counts is None:
            raise ExecutionMismatch("the plan counts no answers; plan a tally")
        self.check_seat(group=group, units=units)
        counted = min(self.counts.answers_per_respondent, len(options))
        return replace(
            self,
            groups=1,
            units_per_group=(units,),
            survivors=1,
            clipping_norm=norm_of_counts(counted, self.counts.largest_weight),
            dimension=sum(options),
            counts=CountTerms(
                answers_per_respondent=counted,
                largest_weight=self.counts.largest_weight,
                questionnaires=(questionnaire,),
            ),
        )

    @property
    def kernel(self) -> KernelSettings:
        """The settings of clipping and noise."""
        return KernelSettings(
            dimension=self.dimension,
            clipping_norm=self.clipping_norm,
            sensitivity=self.sensitivity,
            noise_log2=self.noise_log2,
            modulus_bits=self.modulus_bits,
        )

    @property
    def bits_needed(self) -> int:
        """Bits that hold every coordinate of the largest noised sum, and so all that travel.

        The extent of the sum lies strictly inside [-2^(bits-1), 2^(bits-1)). Words of 64 bits take
        33 at least, so that the modulus tells the size of the words.
        """
        bits = (2 * self._grid.extent(self._demand)).bit_length()
        return bits if self.modulus_bits == 32 else max(bits, 33)

    @property
    def bytes_up(self) -> int:
        """Bytes of the vector one client sends in a round, packed under secure aggregation.

        In local mode that is a mean in 32 bits a coordinate, followed by its weight.
        """
        if self.mode is Mode.LOCAL:
            return packed_bytes(self.dimension + 1, MODULUS_BITS)
        return packed_bytes(self.dimension, self.bits_needed)

    @property
    def noise_std_per_coordinate(self) -> float:
        """Standard deviation of the noise on the mean gradient, in gradient units.

        In distributed mode of the aggregate of all n groups; in local mode of the plain average of
        the groups' own mean gradients.
        """
        share = 2.0**self.noise_log2
        if self.mode is Mode.DISTRIBUTED:
            return self.mean_gradient_scale() * share * math.sqrt(self.groups)
        scales = [self.mean_gradient_scale(group) for group in range(self.groups)]
        return share * math.hypot(*scales) / self.groups

    def mean_gradient_scale(self, group: int | None = None) -> float:
        """Return the public constant C / (S q N) that turns an integer sum into a mean gradient.

        N is a public number, never the realised batch size: that of all groups in distributed mode,
        that of the group in local mode, where the group must be named.
        """
        if (group is None) != (self.mode is Mode.DISTRIBUTED):
            raise ValueError(
                f"group = {group} in {self.mode} mode; name the group in local mode only"
            )
        units = self.units if group is None else self.group_size(group)
        return self.clipping_norm / (self.sensitivity * self.sampling_rate * units)

    def verify(self) -> float:
        """Recompute the epsilon of the plan and return it.

        Raises:
            EpsilonExceeded: if it is above the epsilon the plan promises.
        """
        epsilon = pld_epsilon(self.mechanism, delta=self.accounted_delta)
        if epsilon > self.epsilon:
            raise EpsilonExceeded(
                f"noise_multiplier = {self.noise_multiplier} gives epsilon = {epsilon:.6f}, above "
                f"the promised {self.epsilon}; calibrate the plan"
            )
        return epsilon

    def check_executed(
        self, *, group: int, units: int, dimension: int, largest_weight: float
    ) -> None:
        """Check what an executor brings itself against what was accounted for.

        Everything else (sampling and its rate, clip, noise, batch cap, micro-batches and their
        shape, steps) it must take from this plan. All that is checked is public, so that a refusal
        tells nothing of a record.

        Args:
            group: whose execution it is, counted from 0.
            units: the public bound on the group's units that its own policy states.
            dimension: coordinates of a clipped vector.
            largest_weight: the largest weight of a unit.

        Raises:
            ExecutionMismatch: for the first value that differs.
        """
        self.check_seat(group=group, units=units)
        if dimension != self.dimension:
            raise ExecutionMismatch(
                f"dimension = {dimension} would be executed but {self.dimension} was accounted "
                "for; give all groups one predictor"
            )
        if not 0 <= largest_weight <= 1:
            raise ExecutionMismatch(
                f"largest_weight = {largest_weight} is outside [0, 1], so one unit could exceed "
                "the sensitivity; divide all weights by the largest one permitted"
            )

    def check_seat(self, *, group: int, units: int) -> None:
        """Check that the plan has a seat for a group of so many units; see `check_executed`.

        Raises:
            ExecutionMismatch: if it has not.
        """
        if not 0 <= group < self.groups:
            raise ExecutionMismatch(
                f"group = {group} is outside [0, {self.groups}), so nothing was accounted for it; "
                "count from 0"
            )
        if units > self.group_size(group):
            raise ExecutionMismatch(
                f"the bound of {units} units is above the {self.group_size(group)} accounted for "
                f"in group {group}; make a new plan with the bound that the group states"
            )

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as JSON types; `from_dict` reads them back."""
        plain = {name: str(getattr(self, name)) for name in ("unit", "mode", "relation")}
        values = {**asdict(self), **plain, "units_per_group": list(self.sizes)}
        for name in _OPTIONAL:
            # So that a plan of before has the digest that it had.
            if (part := getattr(self, name)) is None:
                del values[name]
            else:
                values[name] = part.as_dict()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan with these fields, checked like any other; not yet `verify`-ed.

        Raises:
            PlanRefused: for a missing or unknown field as well.
        """
        names = {field.name for field in fields(cls)} - _OPTIONAL
        given = set(values) - _OPTIONAL
        if names != given:
            raise PlanRefused(
                f"a plan lacks {sorted(names - given)} and has unknown {sorted(given - names)}; "
                "give exactly the fields of as_dict()"
            )
        return cls(**values)

    @classmethod
    def stated(cls, values: Mapping[str, Any]) -> Self:
        """Return the plan that canonical JSON states, where floats are strings; not yet verified.

        Raises:
            PlanRefused: if it is no plan, one that could not be kept, or spelled in another way
                than plans are written.
            ValueError: if a number is none.
        """
        reals = {field.name for field in fields(cls) if field.type is float}
        plan = cls.from_dict(
            {name: float(value) if name in reals else value for name, value in values.items()}
        )
        if canonical_json(plan.as_dict()) != canonical_json(values):
            raise PlanRefused("a plan is spelled in another way than as_dict(); give it as written")
        return plan

    def digest(self) -> str:
        """Return the SHA-256 of the plan's canonical JSON, in hexadecimal."""
        return _digest(self)

    @property
    def _demand(self) -> grid.GridDemand:
        return _demand(self, self.noise_multiplier)

    @property
    def _grid(self) -> grid.Grid:
        return grid.Grid(**{name: getattr(self, name) for name in _GRID_FIELDS})


@lru_cache(maxsize=256)
def _digest(plan: PrivacyPlan) -> str:
    """By all fields: rounds ask for it again and again, of equal plans."""
    return hashlib.sha256(canonical_json(plan.as_dict())).hexdigest()


def _accounted(terms: PrivacyTerms) -> NeighboringRelation:
    """The relation to an accountant: S of counts bounds neighbours of either, so one Gaussian."""
    return terms.relation if terms.counts is None else NeighboringRelation.ADD_OR_REMOVE_ONE


def _demand(terms: PrivacyTerms, noise_multiplier: float) -> grid.GridDemand:
    caps = [terms.batch_cap(group) for group in range(terms.groups)]
    alone = terms.mode is Mode.LOCAL
    return grid.GridDemand(
        noise_multiplier=noise_multiplier,
        honest_shares=terms.honest_shares,
        shares=1 if alone else terms.groups,
        largest_batch=max(caps) if alone else sum(caps),
        dimension=terms.dimension,
    )
