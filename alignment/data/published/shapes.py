"""Every published shape that is read, chosen by its columns.

An adapter turns one row of a published table into rows for
:func:`alignment.data.records.parse_record`, which checks them like any other. The columns present
choose it, so a local copy of a published file reads like the original, whatever its name. A row
gives at most one pair, for a row is what the privacy unit ``record`` hides.

A new shape is a function of this folder and its line in :data:`SHAPES`, and nothing elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache, partial

from alignment.data.published.battles import conversation_rows, response_rows
from alignment.data.published.columns import Adapter
from alignment.data.published.pairs import (
    explicit_rows,
    forum_rows,
    implicit_rows,
    numbered_rows,
    preference_rows,
)
from alignment.data.published.rankings import (
    answer_rows,
    completion_rows,
    lone_rows,
    ranked_rows,
    scored_rows,
)
from alignment.data.published.surveys import country_rows

#: Most columns of a row whose shape is remembered.
_MOST_REMEMBERED = 64


@dataclass(frozen=True, kw_only=True)
class PublishedShape:
    """One published shape of preference data.

    Attributes:
        dataset: A data set that has it.
        present: Columns that a row must have.
        absent: Columns that it must not have, for they mark other shapes.
        adapter: Turns a row into rows of the project's schema.
    """

    dataset: str
    present: frozenset[str]
    absent: frozenset[str]
    adapter: Adapter


def _pair_shape(dataset: str, columns: str, adapter: Adapter) -> PublishedShape:
    """A shape that may name group and annotator, unlike a record of the project's own schema."""
    own = frozenset({"chosen", "rejected", "choice", "distribution"})
    return PublishedShape(
        dataset=dataset, present=frozenset(columns.split()), absent=own, adapter=adapter
    )


#: Every shape that is read besides the project's own; the first that fits is taken.
SHAPES = (
    PublishedShape(
        dataset="Anthropic/llm_global_opinions",
        present=frozenset({"selections"}),
        absent=frozenset({"group"}),
        adapter=country_rows,
    ),
    PublishedShape(
        dataset="Anthropic/hh-rlhf",
        present=frozenset({"chosen"}),
        absent=frozenset({"prompt", "annotator"}),
        adapter=implicit_rows,
    ),
    PublishedShape(
        dataset="HuggingFaceH4/ultrafeedback_binarized",
        present=frozenset({"prompt", "chosen", "rejected"}),
        absent=frozenset({"group", "annotator"}),
        adapter=explicit_rows,
    ),
    _pair_shape("openbmb/UltraFeedback", "instruction completions", completion_rows),
    _pair_shape(
        "nvidia/HelpSteer3",
        "context response1 response2 overall_preference",
        partial(
            preference_rows,
            prompt="context",
            responses=("response1", "response2"),
            preference="overall_preference",
        ),
    ),
    _pair_shape(
        "nvidia/HelpSteer2",
        "prompt response_1 response_2 preference_strength",
        partial(
            preference_rows,
            prompt="prompt",
            responses=("response_1", "response_2"),
            preference="preference_strength",
        ),
    ),
    _pair_shape("nvidia/HelpSteer", "prompt response helpfulness", lone_rows),
    _pair_shape("berkeley-nest/Nectar", "prompt answers", answer_rows),
    _pair_shape("stanfordnlp/SHP", "history human_ref_A human_ref_B labels", forum_rows),
    _pair_shape(
        "lmsys/chatbot_arena_conversations",
        "conversation_a conversation_b winner",
        conversation_rows,
    ),
    _pair_shape(
        "lmarena-ai/arena-human-preference-55k",
        "prompt response_a response_b winner_model_a winner_model_b winner_tie",
        response_rows,
    ),
    _pair_shape(
        "PKU-Alignment/PKU-SafeRLHF",
        "prompt response_0 response_1 better_response_id",
        numbered_rows,
    ),
    _pair_shape("scored responses", "prompt responses scores", scored_rows),
    _pair_shape("ranked responses", "prompt responses ranks", ranked_rows),
)


def adapter_for(columns: Collection[str]) -> Adapter | None:
    """Choose the adapter for a row by its columns; None for rows in the project's own schema."""
    # Rows of a table have the same columns; what is remembered of a hostile one stays small.
    choose = _adapter_for if len(columns) <= _MOST_REMEMBERED else _adapter_for.__wrapped__
    return choose(tuple(columns))


@lru_cache(maxsize=64)
def _adapter_for(columns: tuple[str, ...]) -> Adapter | None:
    found = frozenset(columns)
    for shape in SHAPES:
        if shape.present <= found and shape.absent.isdisjoint(found):
            return shape.adapter
    return None
