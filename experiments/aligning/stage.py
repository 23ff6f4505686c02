"""Data of the demonstration: pairs to train on, and pairs about other prompts to be judged by.

Every group trains, and what it prefers on prompts that nobody trains on is predicted for it. So in
the split a group stands twice: once as a train group, and once, with ``/ held out`` behind its
name, as a held-out one whose context are some of the pairs it trains on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alignment.data.answers import GroupAnswers, tally
from alignment.data.loading import load_records, write_records
from alignment.data.records import PairRecord, Question
from alignment.data.sample_pairs.groups import JudgingGroup, judging_groups
from alignment.data.sample_pairs.prompt import Prompt
from alignment.data.sample_pairs.prompts import held_out_prompts
from alignment.data.split import Draw, Split
from atomic import write_atomically
from experiments.pairs.folds import HELD_OUT, pairs_of

RECORDS_FILE, SPLIT_FILE = "pairs.jsonl.gz", "split.json"
#: Pairs of its own that tell a predictor where a group stands.
_CONTEXT = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Stage:
    """What the demonstration trains on and is judged by.

    Attributes:
        records: File of all pairs.
        split: File of the split.
        groups: Whose truth is known, for they are invented.
        contexts: By group, the pairs of its own that are shown.
        held_out: By group, its answers about prompts that nobody trains on.
        prompts: These prompts with all responses that were written for them.
    """

    records: Path
    split: Path
    groups: tuple[JudgingGroup, ...]
    contexts: Mapping[str, GroupAnswers]
    held_out: Mapping[str, GroupAnswers]
    prompts: tuple[Prompt, ...]

    def offered(self) -> tuple[Question, ...]:
        """Every prompt with all its responses."""
        return tuple(
            Question(
                question_id=prompt.prompt_id,
                text=prompt.text,
                options=tuple(response.text for response in prompt.responses),
                together=False,
            )
            for prompt in self.prompts
        )


def set_stage(out: Path, *, persons: int, pairs: int) -> Stage:
    """Write records and split of the demonstration; equal arguments give equal files.

    Args:
        out: Where to.
        persons: Typical persons of a group.
        pairs: Pairs that each of them judges, in either part.
    """
    made = f"sample-pairs:persons={persons},pairs={pairs}"
    train = pairs_of(load_records(made).records)
    others = pairs_of(load_records(f"{made},part=held-out").records)
    answers, unseen = tally(train), tally(others)
    contexts = {name: each.select(_drawn(each)) for name, each in answers.items()}
    records = [*train, *_beside(train, contexts), *(_renamed(each) for each in others)]
    split = Split(
        train_groups=tuple(answers),
        draws={
            _held_out(name): (
                Draw(
                    context=tuple(q.question_id for q in contexts[name].questions),
                    target=tuple(q.question_id for q in unseen[name].questions),
                ),
            )
            for name in answers
        },
    )
    out.mkdir(parents=True, exist_ok=True)
    write_records(records, out / RECORDS_FILE)
    write_atomically(out / SPLIT_FILE, split.to_json())
    return Stage(
        records=out / RECORDS_FILE,
        split=out / SPLIT_FILE,
        groups=judging_groups(),
        contexts=contexts,
        held_out=unseen,
        prompts=held_out_prompts(),
    )


def _drawn(answers: GroupAnswers) -> list[str]:
    """Questions of a group's context, drawn."""
    ids = [question.question_id for question in answers.questions]
    order = np.random.default_rng(0).permutation(len(ids))[:_CONTEXT]
    return [ids[place] for place in sorted(order.tolist())]


def _beside(
    records: Sequence[PairRecord], contexts: Mapping[str, GroupAnswers]
) -> list[PairRecord]:
    """The pairs of all contexts once more, as those of the held-out groups."""
    shown = {name: {q.question_id for q in each.questions} for name, each in contexts.items()}
    return [_renamed(r) for r in records if r.question.question_id in shown[r.group]]


def _renamed(record: PairRecord) -> PairRecord:
    return replace(record, group=_held_out(record.group))


def _held_out(group: str) -> str:
    return f"{group} / {HELD_OUT}"
