"""The model card of a published predictor, as hubs and people read it.

Every figure is one of ``result.json`` or of the privacy card. Figures measured on the train groups'
own records stay out: in a private run no epsilon speaks of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from alignment.data.sample_source import is_sample
from experiments.pairs.run_tables import group_rows, headings, summary_rows
from experiments.report.views import Figure, Reads, View, pairs_of
from experiments.report.wording import Json, is_number, plural, score_text
from experiments.simulation.figures import in_view
from privacy.lineage import start_in_words
from texts import visible, visible_lines

TAGS = ("fedaccord", "federated-learning", "preference-model", "reward-model", "lora")
NO_GUARANTEE = (
    "**No privacy is guaranteed: the model was trained without differential privacy, and may "
    "reveal single records it was trained on.**"
)
#: More groups than this have no row of their own.
_MOST_GROUPS = 24


def model_card(
    result: Json,
    card: Json | None,
    *,
    base_model: str,
    license: str | None,
    title: str | None,
) -> str:
    """The text of ``README.md``: metadata for hubs, then what a reader must know.

    Args:
        result: Contents of the run's ``result.json``.
        card: The privacy card of a private run; None says that nothing is guaranteed.
        base_model: Hub id of the base encoder.
        license: SPDX identifier; None leaves a visible blank.
        title: Of the card.
    """
    pairs = pairs_of(result)
    parts = [
        _metadata(base_model, license),
        f"# {_plain(title or 'A preference predictor trained by FedAccord')}",
        _summary(result, base_model),
        "## How well it predicts",
        *(_alignment(result, private=card is not None) if pairs is None else _accuracy(pairs)),
        "## Privacy",
        *(_privacy(card, result) if card is not None else [NO_GUARANTEE, _seen(result)]),
        *map(_plain, start_in_words(result.get("start"), private=card is not None)),
        "## Loading it",
        _loading(base_model, lora=_has_adapter(result)),
        "## Limits",
        _limits(result),
        "## Licence",
        f"{license}." if license else "Not stated: the owner of the model has yet to choose one.",
    ]
    return visible_lines("\n\n".join(parts)) + "\n"


def _metadata(base_model: str, license: str | None) -> str:
    # JSON strings are YAML strings, whatever stands in them.
    lines = [
        f"base_model: {json.dumps(base_model)}",
        "base_model_relation: adapter",
        "library_name: peft",
    ]
    if license:
        lines.append(f"license: {json.dumps(license.lower())}")
    lines += ["tags:", *(f"- {tag}" for tag in TAGS)]
    return "\n".join(["---", *lines, "---"])


def _plain(text: str) -> str:
    """A text from people, on one line and without meaning for Markdown, tables or HTML."""
    escaped = "".join(
        f"\\{c}" if c in "\\`*_{}[]<>#|!" else c for c in visible(" ".join(text.split()))
    )
    return escaped.replace("&", "&amp;")


def _summary(result: Json, base_model: str) -> str:
    data = result["data"]
    what = "LoRA adapters and a small head" if _has_adapter(result) else "A small head"
    return (
        "Predicts how a group of people would answer a question, or which of several completions "
        f"it would prefer, from a few of the group's own answers. {what} on `{base_model}`, "
        f"{result['parameters']:,} trained parameters, trained by "
        f"{plural(data['train_groups'], 'group')} together in {plural(result['rounds'], 'round')} "
        "of a simulation, in which one process held the records of all."
    )


def _accuracy(pairs: Json) -> Iterator[str]:
    """How well a predictor trained on pairs tells which response is preferred."""
    yield (
        "Accuracy on groups that never took part in training: the share of their answers on the "
        "side of the more probable response; guessing reaches .500. *Margin*: mean log-odds of the "
        "preferred response, in nats. *Longer wins*: accuracy of taking the longer response."
    )
    rows = group_rows(pairs)
    rows = rows if _may_be_named([row.name for row in rows]) else []
    yield _table(
        ["", *headings(pairs)],
        [
            *([row.name, *row.cells] for row in summary_rows(pairs)),
            *([_plain(row.name), *row.cells] for row in rows),
        ],
    )
    own = pairs["unseen_groups"]
    yield (
        f"Calibration error {score_text(own['calibration_error'])}; on so many answers "
        f"{score_text(own['calibration_error_by_chance'])} is to be expected by chance. Brier "
        f"score {score_text(own['brier'])}, .250 for guessing. One run, without repetition."
    )


def _may_be_named(names: Sequence[str]) -> bool:
    """Whether groups have rows of their own: few, and no single persons held out as groups."""
    return len(names) <= _MOST_GROUPS and not any(" / " in name for name in names)


def _alignment(result: Json, *, private: bool) -> Iterator[str]:
    scores = result["alignment"]
    own, none, even = (scores[k] for k in ("unseen_groups", "without_context", "uniform"))
    yield (
        "Alignment with groups that never took part in training: 1 minus the Jensen-Shannon "
        "distance between predicted and actual answers; 1 is perfect, .17 the worst there is. "
        "*Own answers*: the predictor was shown some other answers of the group. *Without*: none. "
        f"Guessing evenly reaches {score_text(even['mean'])}."
    )
    rows = [_row(figure, result, View.CARD) for figure in in_view(View.CARD)]
    names = sorted(own["groups"], key=lambda name: (-own["groups"][name], name))
    if _may_be_named(names):
        each = ((name, own["groups"][name], none["groups"].get(name)) for name in names)
        rows += [[_plain(name), score_text(a), score_text(b)] for name, a, b in each]
    rows += [
        _row(figure, result, View.CARD_QUESTIONS)
        for figure in in_view(View.CARD_QUESTIONS)
        if is_number(figure.of(result)) and not (private and figure.reads is Reads.TRAIN)
    ]
    yield _table(["", "own answers", "without"], rows)
    swapped = scores.get("swapped_context")
    if swapped:
        yield (
            f"Shown another group's answers in place of its own it reaches "
            f"{score_text(swapped['mean'])}. One run, without repetition: differences of less than "
            ".01 may be chance."
        )


def _row(figure: Figure, result: Json, view: View) -> list[str]:
    values = figure.across(result)[:2]
    return [figure.shown[view], *(figure.written(value, view) for value in values)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(each) + " |" for each in [head, align, *rows])


def _privacy(card: Json, result: Json) -> Iterator[str]:
    privacy, summary = result["privacy"], card["summary"]
    yield (
        f"Every {privacy['unit']} of a train group is protected by differential privacy over the "
        "whole run. `card.json` is the complete privacy card, with what verifying the ledgers has "
        "found."
    )
    second = _number(privacy.get("second_opinion"))
    spent = _number(summary["epsilon_spent_at_most"])
    rows = [
        ["unit of privacy", str(privacy["unit"])],
        ["epsilon of the run", _number(privacy["epsilon"])],
        ["delta", _number(privacy["delta"])],
        ["epsilon spent in all runs on the data, of any group at most", spent],
        ["noise", f"{privacy['mode']}, multiplier {_number(privacy.get('noise_multiplier'))}"],
        ["neighbouring relation", str(privacy.get("relation"))],
        ["accountant", f"{privacy['accountant']}; a second one says {second}"],
        ["checks of the ledgers", _checks(summary["checks"])],
        ["blanks in the privacy card", str(len(card["blanks"]))],
    ]
    yield _table(["", "value"], rows)
    yield _seen(result)
    yield "Not covered:\n\n" + "\n".join(f"- {_plain(line)}" for line in card["not_covered"])


def _number(value: object) -> str:
    return f"{value:.4g}" if is_number(value) else "\N{EN DASH}"


def _checks(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts.items())


def _seen(result: Json) -> str:
    if result["secure_aggregation"]:
        return "The server saw the sum of the groups' updates only (secure aggregation)."
    return "**The server saw each group's update alone: there was no secure aggregation.**"


def _has_adapter(result: Json) -> bool:
    shape = result["config"]["predictor"]
    return bool(shape["lora_rank"] > 0 and shape["lora_layers"] > 0)


def _loading(base_model: str, *, lora: bool) -> str:
    text = """Whole, with FedAccord installed:

```python
from pathlib import Path

from alignment.data.answers import tally
from alignment.data.loading import load_records
from alignment.reward.reward import RewardModel, best_of_n

ours = tally(load_records("ours.jsonl").records)  # some answers of your group
model = RewardModel.load(Path("FOLDER"), ours.values())
print(best_of_n(model, "A prompt", ["One completion", "Another"]))
```

or `fedaccord rank --model FOLDER --context ours.jsonl --candidates drafts.jsonl`. The answers that
are shown stay in that process."""
    if lora:
        text += f"""

The adapter alone, without head and context:

```python
from peft import PeftModel
from transformers import AutoModel

model = PeftModel.from_pretrained(AutoModel.from_pretrained("{base_model}"), "FOLDER/adapter")
```"""
    return text


def _limits(result: Json) -> str:
    limits = [
        "It says what a group would answer on the whole, nothing of any person in it.",
        "Its predictions are guesses from few answers, least reliable for groups unlike those that "
        "trained. Do not put them in the place of asking people.",
        "As a reward it orders completions of one prompt; scores of different prompts cannot be "
        "compared. A model trained hard against it will find texts that it overrates: look at what "
        "people say of the outcome.",
        f"Texts beyond {result['config']['predictor']['max_tokens']} tokens are cut.",
        "What the base encoder has learned from its own training data, biases included, is in it.",
    ]
    if is_sample(result["data"]["source"]):
        limits.insert(0, "**It was trained on built-in sample data, invented: it knows nobody.**")
    return "\n".join(f"- {each}" for each in limits)
