"""The groups of the built-in sample pairs: what each likes in a response, and how sure it is.

Twelve named organisations, in clusters and some alone, and as many generated ones as a study needs.
They agree on quality and disagree on style. Of two responses a group's member prefers one by a
Bradley-Terry draw on quality and the member's leanings, which lie around those of the group.

``JudgingGroup.preference`` is what such draws come to on the whole. It is the truth of these data:
a study can hold a reward or a policy against it. On pairs drawn as in the sample, the best
predictor that knows the group is right on .77 of them, the best that knows only the population on
.67, and "the longer one" on .52.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alignment.data.sample_data import MOST_GROUPS, MOST_SEVERITY, generated_name
from alignment.data.sample_pairs.prompt import AXES, Response

_FloatArray = NDArray[np.float64]

# How strongly quality, and how strongly style, decides a preference, against mere chance.
_QUALITY, _STYLE = 1.4, 1.1
# Standard deviation of a person around the group, and of a generated group around a named one.
_PERSON_SPREAD, _GROUP_SPREAD = 0.5, 0.4
# Smallest and largest generated group, relative to the typical number of persons.
_SMALLEST, _LARGEST = 0.75, 1.25
# Persons of the average that stands for a whole group: nodes and weights of a normal variable.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(24)


@dataclass(frozen=True, kw_only=True)
class JudgingGroup:
    """An invented organisation whose members judge responses.

    Attributes:
        name: Its name.
        size: Persons in it, relative to the typical number.
        leanings: How much it likes each of ``AXES``, in their order; negative where it dislikes.
    """

    name: str
    size: float
    leanings: tuple[float, ...]

    def preference(self, first: Response, second: Response) -> float:
        """The chance that a person of the group prefers the first of two responses."""
        apart = np.subtract(first.style, second.style)
        spread = _STYLE * _PERSON_SPREAD * float(np.sqrt((apart**2).sum()))
        leads = self.liking(first) - self.liking(second) + spread * _NODES
        return float((_WEIGHTS * chance_of(leads)).sum() / _WEIGHTS.sum())

    def liking(self, response: Response) -> float:
        """What a response is worth to a person of the group's own leanings, in log-odds."""
        return float(liking(response, np.array(self.leanings)))

    def draw_persons(self, count: int, rng: np.random.Generator) -> _FloatArray:
        """Leanings of persons around those of the group, (count, axes)."""
        noise = rng.normal(0.0, _PERSON_SPREAD, (count, len(AXES)))
        return np.array(self.leanings) + noise


# Leanings in the order of AXES: thorough, warm, cautious, asking.
_NAMED_GROUPS = (
    JudgingGroup(name="Larkhill Night Ward", size=1.2, leanings=(-1.1, -0.6, 0.2, -0.7)),
    JudgingGroup(name="Beacon Dispatch Room", size=1.0, leanings=(-1.3, -0.9, -0.5, -0.7)),
    JudgingGroup(name="Tidegate Harbour Pilots", size=0.8, leanings=(-0.9, -0.7, 0.5, -0.4)),
    JudgingGroup(name="Evenlight Grief Line", size=0.9, leanings=(-0.3, 1.3, 0.0, 1.2)),
    JudgingGroup(name="Open Door Family Centre", size=1.1, leanings=(0.0, 1.1, 0.3, 0.9)),
    JudgingGroup(name="Spanwright Engineers", size=1.05, leanings=(0.9, -1.0, -0.6, -0.4)),
    JudgingGroup(name="Coldwell Observatory", size=0.75, leanings=(1.1, -0.4, -0.9, 0.1)),
    JudgingGroup(name="Fairgate Legal Aid", size=1.0, leanings=(0.6, -0.3, 1.2, 0.3)),
    JudgingGroup(name="Mortar Lane Pharmacies", size=0.95, leanings=(0.0, 0.0, 1.1, -0.1)),
    JudgingGroup(name="Chestnut Row School", size=1.25, leanings=(0.7, 1.0, -0.2, -0.5)),
    JudgingGroup(name="Red Stove Kitchens", size=1.1, leanings=(-1.2, 0.7, -1.1, -0.7)),
    JudgingGroup(name="Wharfside Debating Club", size=0.9, leanings=(-0.4, -1.1, -0.1, 1.2)),
)


def judging_groups(
    *, seed: int = 0, groups: int = 12, severity: float = 1.0
) -> tuple[JudgingGroup, ...]:
    """The groups that judge, the twelve named ones first.

    Further groups get generated names; each takes after one of the named, drawn by seed. A group
    depends on ``seed``, on its place in the list and on ``severity``, not on how many follow it.

    Args:
        seed: Non-negative seed.
        groups: Number of groups, from 1 to 4096.
        severity: How far groups lie apart, in [0, 10]: a factor on their leanings. At 0 they like
            the same, and only their members differ.

    Raises:
        ValueError: An argument is out of its range.
    """
    if seed < 0:
        raise ValueError(f"seed is {seed}, must be at least 0: pass a non-negative integer")
    if not 1 <= groups <= MOST_GROUPS:
        raise ValueError(
            f"groups is {groups}, must be between 1 and {MOST_GROUPS}: ask for fewer or more"
        )
    if not 0 <= severity <= MOST_SEVERITY:
        raise ValueError(
            f"severity is {severity}, must be between 0 and {MOST_SEVERITY:g}: 1 is usual"
        )
    return tuple(_group(seed, index, severity) for index in range(groups))


def liking(response: Response, leanings: _FloatArray) -> _FloatArray:
    """What a response is worth to persons with these leanings (..., axes), in log-odds (...)."""
    # Sums of four terms in their order: no library for matrices, whose last bits vary.
    style = (leanings * np.array(response.style)).sum(axis=-1)
    worth: _FloatArray = _QUALITY * response.quality + _STYLE * style
    return worth


def chance_of(lead: _FloatArray) -> _FloatArray:
    """The chance of the response that leads by so much, as Bradley and Terry have it."""
    chance: _FloatArray = 0.5 + 0.5 * np.tanh(0.5 * lead)
    return chance


def _group(seed: int, index: int, severity: float) -> JudgingGroup:
    if index < len(_NAMED_GROUPS):
        named = _NAMED_GROUPS[index]
        name, size, leanings = named.name, named.size, np.array(named.leanings)
    else:
        # The last number keeps these draws apart from those of the group's rows.
        rng = np.random.Generator(np.random.PCG64([seed, index, 1]))
        after = _NAMED_GROUPS[int(rng.integers(len(_NAMED_GROUPS)))]
        name, size = generated_name(index - len(_NAMED_GROUPS)), rng.uniform(_SMALLEST, _LARGEST)
        leanings = np.array(after.leanings) + rng.normal(0.0, _GROUP_SPREAD, len(AXES))
    return JudgingGroup(name=name, size=size, leanings=tuple((severity * leanings).tolist()))
