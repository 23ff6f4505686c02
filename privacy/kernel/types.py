"""The stages of a vector on its way out: Update -> Clipped -> Noised -> Masked.

One frozen type per stage. A stage can only be made by the step that turns the stage before it into
it, so code that forgets to clip or to add noise does not run, and only `Masked` may leave
the process: the others refuse to be pickled or copied and do not show their contents.
"""

from dataclasses import InitVar, dataclass
from typing import Any, ClassVar, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from privacy.errors import StageSkipped

MAX_NOISE_LOG2 = 24
MAX_SENSITIVITY = 2**30
"""Largest integer sensitivity: a row fits int32 and its squared norm fits int64."""

Modular: TypeAlias = NDArray[np.unsignedinteger[Any]]
"""A vector of integers modulo 2^32 or 2^64, `(d,)`."""

# Held by the functions that make a stage, in this room only.
_SEAL = object()


@dataclass(frozen=True, kw_only=True)
class KernelSettings:
    """The integers a plan fixes for clipping and noise, carried along by every stage.

    Attributes:
        dimension: d, coordinates of the vector, training metrics included.
        clipping_norm: C, the L2 bound on the contribution of one unit, in gradient units.
        sensitivity: S, the same bound on the integer grid.
        noise_log2: k; one noise share has standard deviation 2^k on the grid.
        modulus_bits: sums are taken modulo 2^modulus_bits, 32 or 64.
    """

    dimension: int
    clipping_norm: float
    sensitivity: int
    noise_log2: int
    modulus_bits: int

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ValueError(f"dimension = {self.dimension} is below 1; give the vector's length")
        if not 1e-30 <= self.clipping_norm <= 1e30:
            raise ValueError(
                f"clipping_norm = {self.clipping_norm} is outside [1e-30, 1e30]; "
                "choose a norm near that of a typical gradient"
            )
        if not 0 <= self.noise_log2 <= MAX_NOISE_LOG2:
            raise ValueError(
                f"noise_log2 = {self.noise_log2} is outside [0, {MAX_NOISE_LOG2}]; "
                "take it from a PrivacyPlan"
            )
        if self.modulus_bits not in (32, 64):
            raise ValueError(f"modulus_bits = {self.modulus_bits} is neither 32 nor 64; choose one")
        if not (self.target_norm > 0 and self.sensitivity <= MAX_SENSITIVITY):
            raise ValueError(
                f"sensitivity = {self.sensitivity} is outside (sqrt(d)/2 + 1, {MAX_SENSITIVITY}] "
                f"at d = {self.dimension}; take it from a PrivacyPlan"
            )

    @property
    def target_norm(self) -> float:
        """The norm a clipped row has before rounding: rounding adds at most sqrt(d)/2."""
        return float(self.sensitivity - np.sqrt(self.dimension) / 2 - 1)

    @property
    def modulus_dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The unsigned dtype whose arithmetic is the modulus."""
        return np.dtype(f"uint{self.modulus_bits}")


class _StaysHere:
    """Private contents: no pickling, no copying, no printing."""

    def __reduce__(self) -> NoReturn:
        raise StageSkipped(f"{type(self).__name__} must not leave the process; only Masked may")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Update(_StaysHere):
    """One micro-batch of raw gradients, one row per unit of privacy.

    Attributes:
        gradients: `(units, d) float32`; the records of a unit are already summed into its row.
        weights: `(units,)` in [0, 1], applied inside the clip; 0 marks a padding row. None means 1
            for every row.
    """

    gradients: NDArray[np.float32]
    weights: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.gradients.ndim != 2 or self.gradients.dtype != np.float32:
            raise ValueError(
                f"gradients are {self.gradients.dtype} of shape {self.gradients.shape}; "
                "give float32 of shape (units, d)"
            )
        if self.weights is None:
            return
        if self.weights.shape != self.gradients.shape[:1]:
            raise ValueError(
                f"weights have shape {self.weights.shape}, not {self.gradients.shape[:1]}; "
                "give one weight per unit"
            )
        if not np.all((self.weights >= 0) & (self.weights <= 1)):
            raise ValueError(
                "a weight is outside [0, 1]; a weight above 1 would raise the sensitivity, "
                "so divide all weights by the largest one permitted"
            )

    def __repr__(self) -> str:
        return f"Update(dimension={self.gradients.shape[1]})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class _Stage:
    settings: KernelSettings
    vector: Modular
    seal: InitVar[object] = None

    made_by: ClassVar[str]

    def __post_init__(self, seal: object) -> None:
        name = type(self).__name__
        if seal is not _SEAL:
            raise StageSkipped(f"{name} is made by {self.made_by} alone; call it instead")
        expected = (self.settings.dimension,)
        if self.vector.shape != expected or self.vector.dtype != self.settings.modulus_dtype:
            raise ValueError(
                f"{name} is {self.vector.dtype} of shape {self.vector.shape}; "
                f"give uint{self.settings.modulus_bits} of shape {expected}"
            )
        self.vector.flags.writeable = False

    def __repr__(self) -> str:
        settings = self.settings
        return f"{type(self).__name__}({settings.dimension} x uint{settings.modulus_bits})"


class Clipped(_StaysHere, _Stage):
    """The sum of the clipped rows of one step, modulo 2^modulus_bits: exact, and not yet private.

    Adding or removing one unit moves it by at most `settings.sensitivity` in L2 norm.
    """

    made_by = "privacy.kernel.clipping.clip_sum"


class Noised(_StaysHere, _Stage):
    """A clipped sum with one share of noise.

    In distributed mode one share protects nobody: only the sum of the shares does, so this stays
    in the process. In local mode the share is the full noise.
    """

    made_by = "privacy.kernel.discrete_gaussian.add_noise"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Quantised(_StaysHere):
    """A real vector as integers, its weight among them: exact, and not private.

    Attributes:
        vector: `(n,)` residues.
        fraction_bits: f; the integers count multiples of 2^-f.
        modulus_bits: sums of these vectors are taken modulo 2^modulus_bits.
    """

    vector: Modular
    fraction_bits: int
    modulus_bits: int = 32
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise StageSkipped(
                "Quantised is made by privacy.kernel.quantisation alone; call quantise"
            )
        self.vector.flags.writeable = False

    def __repr__(self) -> str:
        return f"Quantised({self.vector.size} x {self.vector.dtype})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Masked:
    """A vector under the pads of secure aggregation: all a client ever sends.

    Attributes:
        vector: `(d,)`, uniformly random to whoever does not know the pad.
    """

    vector: Modular
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise StageSkipped("Masked is made by privacy.kernel.types.mask alone; call it instead")
        self.vector.flags.writeable = False

    def __repr__(self) -> str:
        return f"Masked({self.vector.size} x {self.vector.dtype})"


def mask(stage: Noised | Quantised, pad: Modular) -> Masked:
    """Add the pad of secure aggregation to a vector that is ready to be summed.

    Args:
        stage: the vector to hide.
        pad: `(d,)` of the same modulus, the sum of a client's self and pairwise masks.

    Raises:
        StageSkipped: if the vector is neither `Noised` nor `Quantised`, or the pad is all zero and
            hides nothing.
    """
    if not isinstance(stage, Noised | Quantised):
        raise StageSkipped(
            f"mask() takes Noised or Quantised, not {type(stage).__name__}; add noise first"
        )
    if pad.shape != stage.vector.shape or pad.dtype != stage.vector.dtype:
        raise ValueError(
            f"pad is {pad.dtype} of shape {pad.shape}; "
            f"give {stage.vector.dtype} of shape {stage.vector.shape}"
        )
    if not pad.any():
        raise StageSkipped("the pad is all zero and hides nothing; expand it from agreed keys")
    return Masked(vector=stage.vector + pad, seal=_SEAL)


def residues(integers: NDArray[np.signedinteger[Any]], settings: KernelSettings) -> Modular:
    """Reduce signed integers modulo 2^modulus_bits: unsigned, so that wrapping is well defined."""
    if settings.modulus_bits == 32:
        return integers.astype(np.int32, copy=False).view(np.uint32)
    return integers.astype(np.int64, copy=False).view(np.uint64)


def centred(vector: Modular) -> NDArray[np.int64]:
    """Lift residues to the integers of the range [-2^(bits-1), 2^(bits-1)), `(d,) int64`.

    Equal to the true sum whenever that lies in the range, which a `PrivacyPlan` guarantees.
    """
    if vector.dtype == np.uint32:
        return vector.view(np.int32).astype(np.int64)
    return vector.view(np.int64)
