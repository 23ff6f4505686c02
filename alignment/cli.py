"""Commands of the model's user: ``fedaccord predict`` and ``rank``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from alignment.data.conversations import in_json, plain_of
from terminal import Terminal, echo
from texts import UnfitText, json_text, shown, spelled

if TYPE_CHECKING:
    from alignment.data.answers import GroupAnswers
    from alignment.data.records import Question
    from alignment.model.prediction import Distribution
    from alignment.reward.candidates import Ranking

app = typer.Typer(no_args_is_help=True)

_BAR = 20
#: Groups whose rewards have a column of their own; of more only the least is shown.
_COLUMNS = 3


@app.command(
    epilog="Example: fedaccord predict --model runs/demo --context ours.jsonl "
    "--questions asked.jsonl"
)
def predict(
    model: Annotated[Path, typer.Option(help="The --out folder of a finished run.")],
    questions: Annotated[
        Path, typer.Option(help="Rows with question and options: JSON Lines, CSV or Parquet.")
    ],
    context: Annotated[
        Path | None,
        typer.Option(
            help="Answers of the group, in any format of records; or its tally, whose noised "
            "counts are private wherever they go."
        ),
    ] = None,
    group: Annotated[
        str | None, typer.Option(help="Which group of the context file; needed if it has several.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Predict how a group would answer questions, from a few of its answers.

    The answers stay in this process: nothing is trained on them and nothing is sent.
    """
    from alignment.data.answers import NO_ANSWERS
    from alignment.data.loading import load_questions
    from alignment.model.folder import load_predictor
    from alignment.model.prediction import ContextPredictor

    if group is not None and context is None:
        raise ValueError(f"--group {group!r} names a group of --context, which is not given")
    asked = load_questions(questions)
    answers = NO_ANSWERS
    if context is not None:
        groups = _contexts(context, [] if group is None else [group])
        if len(groups) > 1:
            names = ", ".join(each.group for each in groups[:8])
            raise ValueError(f"{context}: {len(groups)} groups; choose one by --group: {names}")
        (answers,) = groups
    predictor = ContextPredictor(*load_predictor(model))
    if context is not None:
        predictor.require_context(answers)
    predicted = predictor(asked, answers)
    console = Terminal()
    for question, distribution in zip(asked, predicted, strict=True):
        if as_json:
            row = {"question": question.text, "options": question.options}
            echo(json_text({**row, "distribution": distribution}))
        else:
            console.print(_prediction_table(question, distribution))
            console.print()


def _prediction_table(question: Question, distribution: Distribution) -> Table:
    table = Table(title=shown(question.text), title_justify="left", show_header=False, box=None)
    for option, share in zip(question.options, distribution, strict=True):
        table.add_row(f"{share:6.1%}", "█" * round(_BAR * share), shown(option))
    return table


@app.command(
    epilog="Example: fedaccord rank --model runs/demo --context ours.jsonl "
    "--candidates drafts.jsonl --best 1"
)
def rank(
    model: Annotated[
        Path, typer.Option(help="The --out folder of a finished run, or a published one.")
    ],
    context: Annotated[
        Path,
        typer.Option(
            help="Answers of one or several groups, in any format of records; or a group's tally."
        ),
    ],
    candidates: Annotated[
        Path,
        typer.Option(
            help="Rows with prompt and completions (a list), or question and options: JSON Lines, "
            "CSV or Parquet."
        ),
    ],
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group of the context file, may be repeated; all without it."),
    ] = None,
    combine: Annotated[
        str,
        typer.Option(
            help="Several groups: 'mean', 'min' (the least satisfied one) or 'adaptive' (who was "
            "served badly by the choices so far weighs more)."
        ),
    ] = "mean",
    best: Annotated[
        int, typer.Option(help="How many candidates of each prompt to show; 0 shows all.")
    ] = 0,
    export_pairs: Annotated[
        Path | None,
        typer.Option(
            help="Also write a JSON Lines file with the best and the worst candidate of each "
            "prompt as prompt, chosen, rejected and margin: what trl's DPOTrainer reads."
        ),
    ] = None,
    least_margin: Annotated[
        float, typer.Option(help="Leave pairs out of --export-pairs whose rewards are closer.")
    ] = 0.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per prompt.")
    ] = False,
) -> None:
    """Choose the best of several completions for a group, from a few of its answers.

    Rewards compare the candidates of one prompt: their difference is the log-odds of the group's
    choice between two. Options of survey questions are ranked by their log-probability. The answers
    stay in this process: nothing is trained on them and nothing is sent.
    """
    if best < 0:
        raise ValueError(f"--best {best} must be at least 0; 0 shows all")
    if export_pairs is not None and export_pairs.exists():
        raise ValueError(f"--export-pairs {export_pairs}: exists; choose another name")
    from alignment.reward.candidates import load_candidates, preference_pairs, write_pairs
    from alignment.reward.candidates import rank as rank_candidates
    from alignment.reward.combination import combination_named
    from alignment.reward.reward import RewardModel

    choices = load_candidates(candidates)
    contexts = _contexts(context, group or [])
    combination = combination_named(combine, [each.group for each in contexts])
    reward_model = RewardModel.load(model, contexts)
    console, rankings = Terminal(), []
    for each in rank_candidates(reward_model, choices, combination):
        rankings.append(each)
        count = len(each.ranked[: best or None])
        if as_json:
            echo(json_text(_ranking_row(each, count)))
        else:
            console.print(_ranking_table(each, count))
            console.print()
    if export_pairs is not None:
        pairs = preference_pairs(rankings, least_margin=least_margin)
        written = write_pairs(pairs, export_pairs)
        place = shown(str(export_pairs))
        echo(f"wrote {written} pairs from {len(rankings)} prompts: {place}", err=True)


def _contexts(context: Path, groups: Sequence[str]) -> list[GroupAnswers]:
    """Answers of the groups asked for, or of all groups of a file."""
    from alignment.data.answers import tally
    from alignment.data.loading import load_records
    from alignment.tallies.tally_file import is_tally, read_tally

    if is_tally(context):
        shown_tally = read_tally(context)
        known = {shown_tally.group: shown_tally}
    else:
        known = tally(load_records(context).records)
    groups = [_spelled(group) for group in groups]
    for group in groups:
        if group not in known:
            raise ValueError(f"--group {group!r} is not in {context}: {', '.join(list(known)[:8])}")
    return [known[group] for group in dict.fromkeys(groups)] if groups else list(known.values())


def _spelled(group: str) -> str:
    """The name of a group as records have it, however it was typed."""
    try:
        return spelled(group)
    except UnfitText as error:
        raise ValueError(f"--group: the name {error}") from error


def _ranking_row(ranking: Ranking, count: int) -> dict[str, object]:
    return {
        "prompt": in_json(ranking.candidates.prompt),
        "reward": "log-probability" if ranking.candidates.together else "centred score",
        "combination": ranking.combination.state(),
        "ranked": [
            {
                "index": each.index,
                "completion": in_json(each.completion),
                "reward": each.reward,
                "groups": dict(each.rewards),
            }
            for each in ranking.ranked[:count]
        ],
    }


def _ranking_table(ranking: Ranking, count: int) -> Table:
    table = Table(title=shown(plain_of(ranking.candidates.prompt)), title_justify="left", box=None)
    groups = list(ranking.ranked[0].rewards)
    table.add_column("reward", justify="right")
    if 1 < len(groups) <= _COLUMNS:
        for group in groups:
            table.add_column(shown(group), justify="right")
    elif len(groups) > _COLUMNS:
        table.add_column("least", justify="right")
        table.add_column("of", overflow="fold")
    table.add_column("completion", overflow="fold", ratio=1)
    for each in ranking.ranked[:count]:
        cells = [f"{each.reward:+.2f}"]
        if 1 < len(groups) <= _COLUMNS:
            cells += [f"{each.rewards[group]:+.2f}" for group in groups]
        elif len(groups) > _COLUMNS:
            least = min(groups, key=lambda group: each.rewards[group])
            cells += [f"{each.rewards[least]:+.2f}", shown(least)]
        table.add_row(*cells, shown(plain_of(each.completion)))
    return table
