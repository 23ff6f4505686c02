r"""Published pairs: two responses to a prompt, and which of them is preferred."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

from alignment.data.fields import InvalidRecordError
from alignment.data.published.columns import TIE, LeftOut, Part, number_in, owner_of

_ASSISTANT_TURN = "\n\nAssistant:"
#: Ends the domain of SHP, which names the part of the data set it is from.
_PARTS = ("_train", "_validation", "_test")


def explicit_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """Take a row of a trl preference data set as it is: ``prompt``, ``chosen``, ``rejected``.

    Of ``HuggingFaceH4/ultrafeedback_binarized`` too, where equal scores are a tie.

    Raises:
        LeftOut: Both responses have one score.
        InvalidRecordError: A score is no number.
    """
    scores = ("score_chosen", "score_rejected")
    if all(row.get(each) is not None for each in scores):
        chosen, rejected = (number_in(row, each) for each in scores)
        if chosen == rejected:
            raise LeftOut(TIE)
    yield "", {field: row.get(field) for field in ("prompt", "chosen", "rejected")}


def implicit_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """Take two conversations without a prompt, or split two transcripts (``Anthropic/hh-rlhf``).

    Raises:
        InvalidRecordError: As :func:`transcript_rows`.
    """
    sides = {field: row.get(field) for field in ("chosen", "rejected")}
    if any(isinstance(each, list | tuple) for each in sides.values()):
        yield "", {**owner_of(row), **sides}
    else:
        yield from transcript_rows(row)


def transcript_rows(row: Mapping[str, object]) -> Iterator[Part]:
    r"""Split a row of ``Anthropic/hh-rlhf``, two transcripts, into a prompt and two responses.

    The prompt is what both share up to and including the last common ``"\n\nAssistant:"``;
    prompt and response together are the transcript again, letter by letter. Such rows name no
    group: the caller does.

    Raises:
        InvalidRecordError: A transcript is missing, or the two share no prompt.
    """
    transcripts = [row.get("chosen"), row.get("rejected")]
    for field, transcript in zip(("chosen", "rejected"), transcripts, strict=True):
        if not isinstance(transcript, str):
            raise InvalidRecordError(field, "is missing or not a text", "give a transcript")
    chosen, rejected = (str(transcript) for transcript in transcripts)
    shared = os.path.commonprefix([chosen, rejected])  # noqa: RUF071 letter by letter is the point
    turn = shared.rfind(_ASSISTANT_TURN)
    if turn < 0:
        remedy = f"start both transcripts alike, up to a turn {_ASSISTANT_TURN!r}"
        raise InvalidRecordError("rejected", "shares no prompt with chosen", remedy)
    cut = turn + len(_ASSISTANT_TURN)
    answer: dict[str, object] = {"chosen": chosen[cut:], "rejected": rejected[cut:]}
    own = {"group": row["group"]} if row.get("group") is not None else {}
    yield "", {**own, "prompt": chosen[:cut], **answer}


def preference_rows(
    row: Mapping[str, object], *, prompt: str, responses: Sequence[str], preference: str
) -> Iterator[Part]:
    """Two responses and by how much the second is better, below 0 where the first is.

    ``nvidia/HelpSteer3``, and the preferences of ``nvidia/HelpSteer2``.

    Raises:
        LeftOut: Neither is better.
        InvalidRecordError: The preference is no number from -3 to 3.
    """
    strength = number_in(row, preference)
    if not -3 <= strength <= 3:
        raise InvalidRecordError(preference, "is outside -3 to 3", "leave the row out")
    if strength == 0:
        raise LeftOut(TIE)
    first, second = responses
    yield _pair(row, prompt, *((first, second) if strength < 0 else (second, first)))


def numbered_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """The better response of ``PKU-Alignment/PKU-SafeRLHF``, by ``better_response_id``.

    Raises:
        InvalidRecordError: It is neither 0 nor 1.
    """
    better = number_in(row, "better_response_id")
    if better not in (0, 1):
        raise InvalidRecordError("better_response_id", "is neither 0 nor 1", "name a response")
    responses = ("response_0", "response_1")
    yield _pair(row, "prompt", *(responses if better == 0 else responses[::-1]))


def forum_rows(row: Mapping[str, object]) -> Iterator[Part]:
    """The preferred comment of ``stanfordnlp/SHP``: ``labels`` is 1 where it is A.

    The group is the domain, unless a column names one.

    Raises:
        InvalidRecordError: The label is neither 0 nor 1.
    """
    label = number_in(row, "labels")
    if label not in (0, 1):
        raise InvalidRecordError("labels", "is neither 0 nor 1", "give 1 where A is preferred")
    comments = ("human_ref_A", "human_ref_B")
    place, pair = _pair(row, "history", *(comments if label == 1 else comments[::-1]))
    domain = row.get("domain")
    if isinstance(domain, str) and "group" not in pair:
        part = next((each for each in _PARTS if domain.endswith(each)), "")
        pair["group"] = domain.removesuffix(part)
    yield place, pair


def _pair(row: Mapping[str, object], prompt: str, chosen: str, rejected: str) -> Part:
    """The pair of which these columns hold the prompt and both responses."""
    sides = {"prompt": row.get(prompt), "chosen": row.get(chosen), "rejected": row.get(rejected)}
    return "", {**owner_of(row), **sides}
