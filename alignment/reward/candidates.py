"""Completions to choose from: reading and ranking them, and pairs for training on preferences."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alignment.data.conversations import (
    Conversation,
    Text,
    in_json,
    parse_response,
    parse_text,
    plain_of,
    turns_of,
)
from alignment.data.fields import InvalidRecordError
from alignment.data.loading import load_rows
from alignment.data.records import (
    Question,
    parse_question,
)
from alignment.reward.combination import Combination, FloatArray
from alignment.reward.reward import Ranked, RewardModel, ranked
from atomic import write_atomically

#: Rows scored at once: enough to fill a batch, few enough to be shown soon.
_ROWS = 16


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Completions of one prompt.

    Attributes:
        prompt: What they answer, a text or a conversation.
        completions: The candidates, at least one; texts or conversations.
        together: They are the options of a survey question and are seen together; otherwise each
            is scored alone.
    """

    prompt: Text
    completions: tuple[Text, ...]
    together: bool = False


def load_candidates(source: str | Path) -> tuple[Candidates, ...]:
    """Read rows with ``prompt`` and ``completions``, or with ``question`` and ``options``.

    Prompts and completions are texts or lists of messages.

    Args:
        source: A file or folder, as for records.

    Raises:
        DataError: One line with file, line, field and remedy.
    """
    return load_rows(
        source, _choice, empty="no rows; write one per line, with prompt and completions"
    )


def _choice(row: Mapping[str, object]) -> Candidates:
    if row.get("prompt") is None and row.get("question") is not None:
        asked = parse_question(row)
        return Candidates(prompt=asked.text, completions=asked.options, together=True)
    given = row.get("completions")
    prompt = parse_text("prompt", row.get("prompt"))
    if not isinstance(given, list | tuple) or not given:
        problem = "is missing or no list"
        raise InvalidRecordError("completions", problem, "give a list of texts or conversations")
    completions = (
        parse_response("completions", each, f"completion {i} ") for i, each in enumerate(given)
    )
    return Candidates(prompt=prompt, completions=tuple(completions))


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Candidates in the order in which groups prefer them.

    Attributes:
        candidates: What was ranked.
        ranked: All candidates, the best first.
        combination: By which their rewards were combined, as it was then.
    """

    candidates: Candidates
    ranked: tuple[Ranked, ...]
    combination: Combination


def rank(
    model: RewardModel, choices: Sequence[Candidates], combination: Combination
) -> Iterator[Ranking]:
    """Rank the candidates of one prompt after the other.

    Completions are rewarded by their score less the mean over the candidates, options of a survey
    question by their log-probability. After each prompt the combination observes what the first of
    the ranking gives every group: one that weighs groups by the past then favours those for whom
    the choices so far were worst. So the order of the prompts matters to it.

    Args:
        model: Whose groups judge.
        choices: What there is to rank.
        combination: Of the model's groups.
    """
    for at in range(0, len(choices), _ROWS):
        part = choices[at : at + _ROWS]
        for each, rewards in zip(part, _rewards(model, part), strict=True):
            order = ranked(each.completions, rewards, combination)
            yield Ranking(candidates=each, ranked=order, combination=combination)
            combination = combination.observe(rewards[:, [order[0].index]])


def _rewards(model: RewardModel, choices: Sequence[Candidates]) -> Iterator[FloatArray]:
    """Rewards of each choice, (groups, candidates); all are scored in one go."""
    alone = [each for each in choices if not each.together]
    texts = [(each.prompt, completion) for each in alone for completion in each.completions]
    scores = model.scores([prompt for prompt, _ in texts], [text for _, text in texts])
    logs = iter(
        model.log_probabilities(
            [
                Question(
                    question_id="",
                    text=plain_of(each.prompt),
                    options=tuple(map(plain_of, each.completions)),
                )
                for each in choices
                if each.together
            ]
        )
    )
    column = 0
    for each in choices:
        if each.together:
            yield next(logs)
        else:
            part = scores[:, column : column + len(each.completions)]
            yield part - part.mean(axis=1, keepdims=True)
            column += len(each.completions)


def preference_pairs(
    rankings: Iterable[Ranking], *, least_margin: float = 0.0
) -> Iterator[dict[str, Any]]:
    """Of each prompt the best candidate against the worst, as trainers on pairs read it.

    Args:
        rankings: Of completions or options.
        least_margin: Pairs whose rewards are closer give no row; equal ones never do.

    Yields:
        ``prompt``, ``chosen``, ``rejected`` and ``margin``, the difference of their rewards. For
        one group that is the log-odds of its choice between the two.
    """
    for each in rankings:
        chosen, rejected = each.ranked[0], each.ranked[-1]
        margin = chosen.reward - rejected.reward
        if chosen.completion != rejected.completion and margin > 0 and margin >= least_margin:
            yield {**_sides(each.candidates.prompt, chosen, rejected), "margin": margin}


def _sides(prompt: Text, chosen: Ranked, rejected: Ranked) -> dict[str, object]:
    """All texts, or all messages where one is a conversation: trainers do not read them mixed."""
    texts: list[Text] = [prompt, chosen.completion, rejected.completion]
    turns = turns_of(*texts)
    if turns is not None:
        texts = [Conversation(each) for each in (turns.prompt, *turns.responses)]
    return dict(zip(("prompt", "chosen", "rejected"), map(in_json, texts), strict=True))


def write_pairs(pairs: Iterable[Mapping[str, Any]], path: Path) -> int:
    """Write pairs as JSON Lines, all or nothing; returns how many.

    Raises:
        ValueError: The file exists.
    """
    if path.exists():
        raise ValueError(f"{path}: exists; choose another name")
    lines = [json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs]
    write_atomically(path, "".join(lines), parents=True)
    return len(lines)
