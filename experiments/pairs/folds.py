"""Folds over prompts for pairs: data and splits on which simulations run as they are.

The pairs of a fold leave their group and become a held-out group of their own, which is asked
without any context. Over all folds every pair is predicted exactly once, by a predictor that has
seen neither it nor any other pair of its dialogue.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alignment.data.conversations import Conversation, Text
from alignment.data.records import PairRecord, PreferenceRecord
from alignment.data.split import FEWEST_GROUPS, Draw, Split

#: Opens a transcript, as in Anthropic/hh-rlhf, and ends the first thing that was said in it.
_TRANSCRIPT = re.compile(r"\s*Human:")
_REPLY = "\n\nAssistant:"
HELD_OUT = "held out"


@dataclass(frozen=True, kw_only=True)
class PairFold:
    """The records of one fold, and the split that says so.

    Attributes:
        records: All records in their order; those of the fold name ``GROUP / held out`` as their
            group.
        split: All groups train, without any question of the fold; each held-out group has one
            draw, without context, of all its questions.
    """

    records: tuple[PairRecord, ...]
    split: Split


def pairs_of(records: Sequence[PreferenceRecord]) -> tuple[PairRecord, ...]:
    """The records, all of which must be pairs.

    Raises:
        ValueError: There is another kind of record.
    """
    pairs = tuple(record for record in records if isinstance(record, PairRecord))
    if len(pairs) < len(records):
        raise ValueError(
            "the data are no pairs of responses: give rows with prompt, chosen and rejected"
        )
    return pairs


def dialogue_of(prompt: Text) -> str:
    """Name what a prompt belongs to, alike for all prompts that must stay in one fold.

    Of a transcript or a conversation that is what the person said first: the same dialogue stands
    in such data several times, cut off at different turns. Of any other prompt it is the whole.
    Neither case of letters nor white space counts. Different dialogues that begin alike share a
    name, which costs nothing but freedom in dealing.
    """
    if isinstance(prompt, Conversation):
        return dialogue_of(_opening(prompt))
    said = prompt.partition(_REPLY)[0] if _TRANSCRIPT.match(prompt) else prompt
    return " ".join(said.casefold().split())


def _opening(prompt: Conversation) -> str:
    """What users say before anybody answers; the whole where none of them does."""
    said: list[str] = []
    for message in prompt.messages:
        if message.role == "assistant" and said:
            break
        if message.role == "user":
            said.append(message.content)
    return "\n".join(said) or prompt.plain


def deal_groups(records: Sequence[PairRecord], *, groups: int) -> tuple[PairRecord, ...]:
    """Deal pairs out to simulated groups, ``simulated 1`` and so on, where there are too few.

    Secure aggregation takes at least 3 groups: data with so many keep theirs. All pairs of a
    dialogue go to one group. Equal pairs give equal groups, whatever the order of the records.

    Args:
        records: The pairs.
        groups: How many to deal out to.

    Raises:
        ValueError: Fewer than 3 groups, or fewer dialogues than groups.
    """
    if len({record.group for record in records}) >= FEWEST_GROUPS:
        return tuple(records)
    if groups < FEWEST_GROUPS:
        raise ValueError(
            f"--groups {groups} must be at least {FEWEST_GROUPS}: a sum of two groups would tell "
            "each of them what the other sent"
        )
    dealt = _deal(records, hands=groups, option="--groups", stream=0)
    return tuple(
        replace(record, group=f"simulated {dealt[dialogue_of(record.prompt)] + 1}")
        for record in records
    )


def make_folds(records: Sequence[PairRecord], *, folds: int) -> tuple[PairFold, ...]:
    """Part pairs into folds of about equal size; all pairs of a dialogue share one.

    Equal pairs give equal folds, whatever the order of the records.

    Args:
        records: The pairs, of at least 3 groups.
        folds: How many.

    Raises:
        ValueError: Fewer than 2 folds, fewer dialogues than folds, or a group all of whose pairs
            lie in one fold, so that it could not train there.
    """
    if folds < 2:
        raise ValueError(f"--folds {folds} must be at least 2: one is predicted by the others")
    # A stream of its own: the same cut as that of the groups would make a group of every fold.
    dealt = _deal(records, hands=folds, option="--folds", stream=1)
    return tuple(
        _fold(records, frozenset(name for name, hand in dealt.items() if hand == number))
        for number in range(folds)
    )


def _deal(
    records: Sequence[PairRecord], *, hands: int, option: str, stream: int
) -> Mapping[str, int]:
    """Deal dialogues out, one after the other in an order drawn by the stream, to who has least.

    Those of the same groups follow each other, so that every hand gets its part of each group.
    """
    sizes: dict[str, int] = {}
    groups: dict[str, set[str]] = {}
    for record in records:
        name = dialogue_of(record.prompt)
        sizes[name] = sizes.get(name, 0) + 1
        groups.setdefault(name, set()).add(record.group)
    if len(sizes) < hands:
        raise ValueError(
            f"{option} {hands} but the data hold {len(sizes)} prompt(s) that differ: lower it"
        )
    names = sorted(sizes)
    drawn = [names[i] for i in np.random.default_rng([0, stream]).permutation(len(names))]
    held = [0] * hands
    dealt = {}
    for name in sorted(drawn, key=lambda each: sorted(groups[each])):
        least = held.index(min(held))
        dealt[name] = least
        held[least] += sizes[name]
    return dealt


def _fold(records: Sequence[PairRecord], dialogues: frozenset[str]) -> PairFold:
    """The fold that holds out some dialogues."""
    held_out: dict[str, dict[str, None]] = {}
    moved, train = [], set()
    for record in records:
        if dialogue_of(record.prompt) not in dialogues:
            train.add(record.group)
            moved.append(record)
            continue
        name = f"{record.group} / {HELD_OUT}"
        held_out.setdefault(name, {})[record.question.question_id] = None
        moved.append(replace(record, group=name))
    groups = {record.group for record in records}
    for name in sorted(groups):
        if name not in train:
            raise ValueError(f"group {name!r} has all its prompts in one fold: leave it out")
        if f"{name} / {HELD_OUT}" in groups:
            raise ValueError(f"group '{name} / {HELD_OUT}' would stand for two: rename it")
    draws = {name: (Draw(context=(), target=tuple(ids)),) for name, ids in held_out.items()}
    return PairFold(
        records=tuple(moved),
        split=Split(
            train_groups=tuple(sorted(train)),
            draws=dict(sorted(draws.items())),
            unseen_questions=frozenset(id for ids in held_out.values() for id in ids),
        ),
    )


def digest_of(records: Sequence[PairRecord]) -> str:
    """Name records by what they say, in their order: 12 hexadecimal digits of SHA-256."""
    said = hashlib.sha256()
    for record in records:
        said.update(repr(record).encode("utf-8", "backslashreplace"))
    return said.hexdigest()[:12]
