"""The command ``fedaccord plan``: promise and cost of a privacy plan, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from experiments.report.wording import plural
from terminal import Terminal, echo
from texts import json_text, shown

if TYPE_CHECKING:
    from experiments.planning.forecast import Forecast, Say
    from experiments.planning.outlook import Outlook
    from experiments.planning.tally_view import Block
    from privacy.accounting.plan import PrivacyPlan

app = typer.Typer(no_args_is_help=True)

PICTURE = "plan.png"

_NEXT = (
    "Train with it: fedaccord simulate --set privacy.mode=distributed (or local, with --set "
    "privacy.mechanism=gradients)."
)


@app.command(
    epilog="Example: fedaccord plan --epsilon 4 --delta 1e-5 --groups 9 --units 160 "
    "--questions 72 --answers 25 --out runs/plan. Example with gradients: fedaccord plan "
    "--epsilon 4 --delta 1e-5 --groups 10 --units 2000 --sampling-rate 0.064 --rounds 200 "
    "--survivors 7 --colluding 1"
)
def plan(
    epsilon: Annotated[float, typer.Option(help="Privacy loss promised for the whole run.")],
    delta: Annotated[float, typer.Option(help="Slack; below one over the units of all groups.")],
    groups: Annotated[int, typer.Option(help="Groups that take part.")],
    units: Annotated[int, typer.Option(help="Most respondents (or records) of a group; public.")],
    mechanism: Annotated[
        str,
        typer.Option(
            help="'tally': answers to public questions are counted once; 'gradients': every step "
            "is noised; 'auto': both, and which of them is better."
        ),
    ] = "auto",
    kind: Annotated[
        str,
        typer.Option(
            help="Records: 'choice' (answers of persons), 'survey' (distributions of many), "
            "'pair' (private texts)."
        ),
    ] = "choice",
    questions: Annotated[
        int | None, typer.Option(help="Tally: questions that a group asks; public.")
    ] = None,
    options: Annotated[
        str, typer.Option(help="Tally: options of a question, their average or a list 4,4,2.")
    ] = "4",
    answers: Annotated[
        float | None, typer.Option(help="Tally: answers that a person gives; all questions.")
    ] = None,
    largest_weight: Annotated[
        float, typer.Option(help="Tally: the most that one answer counts.")
    ] = 1.0,
    sampling_rate: Annotated[
        float | None,
        typer.Option(help="Gradients: probability that a unit takes part in a step."),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Gradients: rounds of the run.")] = None,
    survivors: Annotated[
        int | None, typer.Option(help="Gradients: fewest groups whose sum is ever opened.")
    ] = None,
    colluding: Annotated[
        int | None,
        typer.Option(help="Gradients: groups that may work against the others, noise in hand."),
    ] = None,
    unit: Annotated[str, typer.Option(help="Who is hidden: 'respondent' or 'record'.")] = (
        "respondent"
    ),
    mode: Annotated[
        str | None,
        typer.Option(
            help="Who adds noise: all together ('distributed', as gradients are planned where "
            "nothing is said) or each ('local', as tallies are)."
        ),
    ] = None,
    local_steps: Annotated[
        int, typer.Option(help="Gradients: steps of a round; 1 unless local.")
    ] = 1,
    dimension: Annotated[
        int | None,
        typer.Option(help="Coordinates of a gradient; those of the default predictor."),
    ] = None,
    clipping_norm: Annotated[
        float, typer.Option(help="Gradients: most that one unit contributes.")
    ] = 1.0,
    alternatives: Annotated[
        bool,
        typer.Option(
            "--alternatives",
            help="Gradients: other epsilons and rounds as well, for half a minute.",
        ),
    ] = False,
    unconfirmed: Annotated[
        bool,
        typer.Option(
            "--unconfirmed",
            help="Gradients: do not ask the second library, which takes half of the time; the "
            "run itself always does.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for the picture, plan.png.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", hidden=True, help="What is so without --alternatives.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
) -> None:
    """Forecast a privacy plan: what it promises, and what noise, bytes and alignment it takes.

    Reads no data and trains nothing. With --questions it forecasts a tally, with --sampling-rate,
    --rounds, --survivors and --colluding noised gradients. Takes seconds.
    """
    if out is not None and out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give a folder")
    steps = {
        "sampling_rate": sampling_rate,
        "rounds": rounds,
        "survivors": survivors,
        "colluding": colluding,
    }
    from experiments.planning.outlook import Asked

    asked = Asked(
        mechanism=mechanism,
        kind=kind,
        unit=unit,
        mode=mode,
        epsilon=epsilon,
        delta=delta,
        groups=groups,
        units=units,
        questions=questions,
        options=options,
        answers=answers,
        largest_weight=largest_weight,
        steps=steps,
    )
    with Terminal(stderr=True).status("planning") as status:
        outlook = asked.outlook()
        made = None
        if asked.shows_gradients:
            made = _forecast(
                given={
                    "epsilon": epsilon,
                    "delta": delta,
                    "groups": groups,
                    "units_per_group": units,
                    **steps,
                    "unit": unit,
                    "mode": mode or "distributed",
                    "local_steps": local_steps,
                    "clipping_norm": clipping_norm,
                },
                dimension=dimension,
                alternatives=alternatives and not quick,
                confirm=not unconfirmed,
                say=status.update,
            )
    figures = {**(made.as_dict() if made else asked.as_dict()), **outlook.as_dict()}
    if out is not None:
        from experiments.planning.picture import draw_plan

        out.mkdir(parents=True, exist_ok=True)
        draw_plan(out / PICTURE, figures)
    if as_json:
        echo(json_text(figures, indent=2))
        return
    console = Terminal()
    _show_outlook(outlook, console)
    if made is not None:
        _show(made, console)
    console.print(_next(outlook), style="dim")
    if out is not None:
        echo(f"Picture: {shown(str(out / PICTURE))}")


def _forecast(
    *, given: Mapping[str, Any], dimension: int | None, alternatives: bool, confirm: bool, say: Say
) -> Forecast:
    """Forecast the plan of these terms, refusing bad ones before anything slow is done."""
    from privacy.accounting.terms import PrivacyTerms

    terms = PrivacyTerms(**given, dimension=1 if dimension is None else dimension)
    # Brings the library that confirms the plan, for more than a second.
    from experiments.planning.forecast import default_dimension, forecast

    source = "--dimension"
    if dimension is None:
        source = "trainable parameters of the default predictor, counted"
        terms = PrivacyTerms(**given, dimension=default_dimension())
    return forecast(
        terms, dimension_from=source, alternatives=alternatives, confirm=confirm, say=say
    )


def _show_outlook(outlook: Outlook, console: Terminal) -> None:
    """Print which mechanism is better and why, and the tables of a tally."""
    from experiments.planning.tally_view import blocks, losses, tally_promise

    if outlook.recommended:
        say = f" {outlook.recommended}. {outlook.reason[:1].upper()}{outlook.reason[1:]}."
        console.print(Text("Mechanism.", style="bold") + Text(say + "\n"))
    for hint in outlook.hints:
        console.print(Text(hint + "\n", style="dim"))
    if outlook.tally is not None:
        text = f" {tally_promise(outlook.tally)}\n"
        console.print(Text("What a tally promises.", style="bold") + Text(text))
        _print(blocks(outlook.tally, outlook.gradients, shown=outlook.shown), console)
    else:
        _print([losses(None, outlook.gradients, shown=outlook.shown)], console)


def _next(outlook: Outlook) -> str:
    """How to train with what is better."""
    if outlook.recommended != "tally":
        return _NEXT
    capped = ""
    if outlook.tally and len(outlook.tally.caps) > 1:
        capped = f" --set privacy.answers_per_respondent={outlook.tally.best_cap}"
    return (
        "Train with it: fedaccord simulate --set privacy.mode=local --set "
        f"privacy.mechanism=tally{capped}."
    )


def promise(plan: PrivacyPlan) -> list[tuple[str, str]]:
    """The promise of a plan in plain words: a heading and a paragraph for each part."""
    who = str(plan.unit)
    return [
        (
            "What is promised",
            f"The promise is made to every {who} in the data, at most {plan.units:,} in "
            f"{plural(plan.groups, 'group')}. Whether that one {who} was in the data changes the "
            "chance of anything an observer may see or conclude at most by a factor of about "
            f"{math.exp(plan.epsilon):.3g} (e to the epsilon of {plan.epsilon:g}), plus at most "
            f"{plan.delta:g} (delta). It holds for the whole run of {plan.rounds:,} rounds, also "
            "where the run is stopped early.",
        ),
        ("Against whom", _against(plan)),
        ("Under which assumptions", _assumptions(plan)),
        ("What is not covered", _not_covered(plan)),
    ]


def _against(plan: PrivacyPlan) -> str:
    from privacy.accounting.choices import Mode

    outsiders = "the coordinator and everybody who is given the trained model"
    if plan.mode is Mode.LOCAL:
        return (
            f"Against {outsiders}, and against all other groups, even together: every group adds "
            f"the whole noise itself. Not against the group that holds the {plan.unit}."
        )
    if plan.colluding == 0:
        return (
            f"Against {outsiders}, as long as no group helps them. Not against a group that takes "
            "part: it knows its own share of the noise and so counts as colluding; plan with "
            "--colluding 1 or more to include it."
        )
    return (
        f"Against {outsiders}, together with up to {plural(plan.colluding, 'group')} telling "
        "all they know, their own noise included. Not against the group that holds the "
        f"{plan.unit}."
    )


def _assumptions(plan: PrivacyPlan) -> str:
    from privacy.accounting.choices import Mode

    who = str(plan.unit)
    common = (
        f"draws each {who} into a step by secret chance ({plan.sampling_rate:.3g}), limits its "
        f"contribution to a norm of {plan.clipping_norm:g}, and adds noise. No group holds more "
        f"than the {max(plan.sizes):,} {who}s announced, and a {who} is in one group only."
    )
    if plan.mode is Mode.LOCAL:
        return f"The group that holds the {who} runs this software unchanged: it {common}"
    return (
        f"Every group but the colluding ones runs this software unchanged: it {common} Secure "
        "aggregation hides each group's vector, and a sum is opened only with at least "
        f"{plural(plan.survivors, 'group')} in it, {plan.honest_shares:,} of them honest; the "
        "clients check this themselves and refuse otherwise."
    )


def _not_covered(plan: PrivacyPlan) -> str:
    from privacy.accounting.choices import Unit

    several = (
        "A person in several groups, whose epsilons add up."
        if plan.unit is Unit.RESPONDENT
        else "A person with several records, whose epsilons add up: --unit respondent covers them."
    )
    return (
        f"What the organisation that holds the data does with it. {several} Other runs on the same "
        "data: their epsilons add up too. What is true of a group or of people at large, and would "
        "be learned without any one of them. Answers shown to the trained model later. Who takes "
        "part and when, and all figures of this plan: they are public. Groups that send false "
        "numbers: they can spoil the model."
    )


def _show(made: Forecast, console: Terminal) -> None:
    """Print the promise in words, then the figures."""
    from experiments.planning.forecast_view import blocks_of

    for heading, text in promise(made.plan):
        console.print(Text(f"{heading}.", style="bold") + Text(f" {text}\n"))
    _print(blocks_of(made), console)


def _print(blocks: Iterable[Block], console: Terminal) -> None:
    for title, table, note in blocks:
        console.print(title, style="bold")
        console.print(table)
        console.print(f"{note}\n")
