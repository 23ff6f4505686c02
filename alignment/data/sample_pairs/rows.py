"""The rows of the built-in sample pairs: who preferred which of two responses.

Every person judges a few prompts, each once, on two of its responses. Groups, persons and prompts
are invented: the data exist to show and to test the framework, not to study people.
"""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np

from alignment.data.sample_pairs.groups import JudgingGroup, chance_of, judging_groups, liking
from alignment.data.sample_pairs.prompt import Prompt
from alignment.data.sample_pairs.prompts import held_out_prompts, prompts_of

_Drawn = TypeVar("_Drawn")


def pair_rows(
    *,
    seed: int = 0,
    groups: int = 12,
    persons: int = 60,
    pairs: int = 6,
    severity: float = 1.0,
    part: str = "train",
) -> Iterator[dict[str, object]]:
    """Yield the preferences of the sample pairs, group by group, person by person.

    A group's rows depend on ``seed``, on its place in the list and on the other parameters, not on
    how many groups follow it. With the defaults there are about 4,300 rows of 720 persons.

    Args:
        seed: Non-negative seed; equal arguments give equal rows.
        groups: Number of groups, from 1 to 4096.
        persons: Typical number of persons of a group, at least 1; the groups have 0.75 to 1.25
            times as many.
        pairs: Pairs that each person judges, from 1 to 24, each of another prompt.
        severity: How far groups lie apart, in [0, 10], as in ``judging_groups``. Persons, what
            they are asked, and chance stay as they are.
        part: Prompts that pairs are about: ``train``, ``held-out`` or ``all``. The persons are the
            same for each.

    Returns:
        An iterator over rows with the keys ``group``, ``annotator``, ``prompt``, ``chosen`` and
        ``rejected``.

    Raises:
        ValueError: If an argument is out of its range; raised at once, not at the first row.
    """
    most = len(held_out_prompts())
    if persons < 1:
        raise ValueError(f"persons is {persons}, must be at least 1: ask for more per group")
    if not 1 <= pairs <= most:
        raise ValueError(f"pairs is {pairs}, must be between 1 and {most}: each has its own prompt")
    prompts = prompts_of(part)
    judging = judging_groups(seed=seed, groups=groups, severity=severity)
    return _all_rows(judging, prompts, seed, persons, pairs)


def _all_rows(
    groups: tuple[JudgingGroup, ...],
    prompts: tuple[Prompt, ...],
    seed: int,
    persons: int,
    pairs: int,
) -> Iterator[dict[str, object]]:
    for index, group in enumerate(groups):
        # The bit generator is named because NumPy promises to keep its stream, not the default.
        rng = np.random.Generator(np.random.PCG64([seed, index]))
        leanings = group.draw_persons(max(1, round(persons * group.size)), rng)
        slug = group.name.lower().replace(" ", "-")
        for number, own in enumerate(leanings, start=1):
            for prompt in _drawn(prompts, pairs, rng):
                first, second = _drawn(prompt.responses, 2, rng)
                lead = liking(first, own) - liking(second, own)
                likes_first = rng.random() < chance_of(lead)
                chosen, rejected = (first, second) if likes_first else (second, first)
                yield {
                    "group": group.name,
                    "annotator": f"{slug}-{number:04d}",
                    "prompt": prompt.text,
                    "chosen": chosen.text,
                    "rejected": rejected.text,
                }


def _drawn(things: tuple[_Drawn, ...], count: int, rng: np.random.Generator) -> list[_Drawn]:
    return [things[i] for i in rng.permutation(len(things))[:count]]
