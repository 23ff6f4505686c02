"""Commands of the researcher: ``fedaccord demo``, ``simulate`` and ``sample``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from experiments.pairs.run_tables import TITLE, group_rows, headings, summary_rows
from experiments.report.views import CONTEXTS, View, pairs_of
from experiments.report.wording import Json
from experiments.simulation.figures import in_view
from privacy.accounting.choices import NO_PRIVACY, Mechanism, Mode
from privacy.file_names import CONFIG_FILE
from terminal import Terminal, echo
from texts import json_text, shown

if TYPE_CHECKING:
    from server.config import RunConfig

app = typer.Typer(no_args_is_help=True)

_DEMO_OUT, _LM_OUT = Path("runs/demo"), Path("runs/demo-lm")
#: Enough to see what a federation learns, within minutes on two cores.
_DEMO = {
    "data": "sample",
    "federation.warmup_rounds": 36,
    "federation.adapter_rounds": 6,
    "federation.evaluate_every": 6,
}

#: The same under differential privacy: answers are counted once, and the counts noised.
_PRIVATE_DEMO = {**_DEMO, "privacy.mode": "local", "privacy.epsilon": 4.0}

#: Of columns that must not be broken: that of intervals, ``.500 to .700``.
_LEAST_WIDTHS = {"accuracy": 8, "95 % interval": 12, "margin": 6}

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting: key=value, as in training.batch_size=32."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print result.json instead of tables.")]


def _show(result: dict[str, Any], out: Path) -> None:
    console, pairs = Terminal(), pairs_of(result)
    console.print(_scores(result) if pairs is None else _pairs(pairs))
    # What is no alignment has a line of its own.
    for figure in in_view(View.CONSOLE, result):
        if not figure.key.startswith("alignment."):
            text = figure.written(figure.of(result), View.CONSOLE)
            console.print(f"{figure.shown[View.CONSOLE]}: {text}")
    up = result["bytes"]["up_per_client_per_round"] / 1000
    console.print(
        f"{result['data']['train_groups']} groups trained {result['parameters']:,} parameters in "
        f"{result['rounds']} rounds, {result['seconds']['total']:.0f} s, "
        f"{up:.0f} kB up per group and round."
    )
    if result["data"]["skipped"]:
        console.print(f"{result['data']['skipped']} invalid rows were left out.", style="bold")
    _show_privacy(console, result)
    place = shown(str(out))
    console.print(f"Pictures: {place}/plots/", soft_wrap=True)
    console.print(f"Report:   {place}/report.html", soft_wrap=True)


def _scores(result: dict[str, Any]) -> Table:
    """The table of held-out groups, highest first, above all figures of alignment."""
    scores = result["alignment"]
    table = Table(title="Groups never seen in training: alignment of predictions (1 is perfect)")
    table.add_column("group")
    headings = ("with its own answers", "without", "with another group's")
    measured = [context for context in CONTEXTS if scores[context]]
    for _, heading in zip(measured, headings, strict=False):
        table.add_column(heading, justify="right")
    own = scores["unseen_groups"]["groups"]
    names = sorted(own, key=lambda name: -own[name])
    some = names if len(names) <= 24 else [*names[:12], *names[-12:]]
    for name in some:
        of_group = (scores[context]["groups"][name] for context in measured)
        table.add_row(shown(name), *(f"{each:.3f}" for each in of_group))
    table.add_section()
    for figure in in_view(View.CONSOLE):
        if figure.key.startswith("alignment."):
            label = figure.shown[View.CONSOLE]
            if figure.column == "alignment" and len(some) < len(names):
                label = f"{label} of all {len(names)}"
            cells = figure.across(result)[: len(measured)]
            table.add_row(label, *("" if each is None else f"{each:.3f}" for each in cells))
    return table


def _pairs(pairs: Json) -> Table:
    """The table of held-out groups of a run on pairs, highest first, above what is said of all."""
    table = Table(title=f"Groups never seen in training: {TITLE}")
    table.add_column("group")
    for heading in headings(pairs, brief=True):
        table.add_column(heading, justify="right", min_width=_LEAST_WIDTHS.get(heading))
    rows = group_rows(pairs, brief=True)
    for row in rows if len(rows) <= 24 else [*rows[:12], *rows[-12:]]:
        table.add_row(shown(row.name), *row.cells)
    table.add_section()
    for row in summary_rows(pairs, brief=True):
        table.add_row(shown(row.name), *row.cells)
    return table


def _show_privacy(console: Terminal, result: dict[str, Any]) -> None:
    privacy, secure = result["privacy"], result["secure_aggregation"]
    if privacy["mode"] == NO_PRIVACY:
        seen = "each group's update alone" if not secure else "the sum of the groups' updates only"
        warning = (
            "No privacy is guaranteed: without differential privacy the model may reveal single "
            "records."
        )
        console.print(Text(warning, style="bold red") + Text(f" The server saw {seen}."))
        return
    counted = privacy["mechanism"] == Mechanism.TALLY
    where = "whatever is computed of them" if counted else "over the whole run"
    if counted:
        console.print(
            "Answers were counted once, in every group for itself, and the counts noised; every "
            "round trained on those."
        )
    console.print(
        f"Every {privacy['unit']} is protected at epsilon = {privacy['epsilon']:g}, delta = "
        f"{privacy['delta']:g} {where} ({privacy['mode']} noise; a second library says "
        f"{privacy['second_opinion']:.3f}). Figures it does not speak of: privacy.outside in "
        "result.json."
    )
    mechanism = result["mechanism"]
    if mechanism["why"]:
        console.print(f"Mechanism {mechanism['name']}: {mechanism['why']}.", markup=False)
    if mechanism["assumed_respondents"]:
        console.print(
            f"An assumption, and no fact of the data: {mechanism['assumed_respondents']:,} persons "
            "behind every distribution that does not say how many.",
            style="bold",
        )
    if privacy["mode"] == Mode.DISTRIBUTED and not secure:
        console.print(
            "Not against the server: without secure aggregation it saw each group's share of the "
            "noise alone.",
            style="bold red",
        )
    left_out = {name: each["left_out"] for name, each in privacy["groups"].items()}
    if any(left_out.values()):
        counts = ", ".join(f"{name} {count}" for name, count in left_out.items() if count)
        console.print(
            f"Left out of some rounds, for earlier runs have spent their budgets: {counts} "
            f"{privacy['unit']}s.",
            style="bold",
            markup=False,
        )
    if result["aborted_rounds"]:
        console.print(f"{result['aborted_rounds']} rounds were aborted and gave nothing.")
    if result["ended_early"]:
        planned = sum(result["config"]["federation"][f"{k}_rounds"] for k in ("warmup", "adapter"))
        console.print(
            f"The run ended after {result['rounds']} of {planned} rounds, with what it had "
            "learned: too few groups would go on.",
            style="bold",
        )


def _finish(result: dict[str, Any], out: Path, *, as_json: bool) -> None:
    if as_json:
        echo(json_text(result, indent=2))
    else:
        _show(result, out)


@app.command(epilog="Example: fedaccord demo --out runs/demo")
def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results, replaced; runs/demo, or runs/demo-lm."),
    ] = None,
    language_model: Annotated[
        bool,
        typer.Option("--lm", help="Align a small language model instead; takes longer."),
    ] = False,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Train a federation of invented groups on built-in data and look at what it learned.

    Nine groups train together, three more are predicted from a few of their answers. Then the same
    under differential privacy, in a folder `private` of its own: answers are counted once, noised,
    and trained on, with ledgers that are verified. Takes about three minutes.

    With --lm twelve groups that disagree train a reward and align a small language model on pairs
    of their own; both are judged on prompts that nobody trained on.
    """
    if language_model:
        _demonstrate_language_model(out or _LM_OUT, settings or [], as_json=as_json)
        return
    out = out or _DEMO_OUT
    from experiments.counting.choice import choose
    from experiments.simulation.run import run
    from server.settings import assemble

    def demonstrate(defaults: dict[str, Any], folder: Path) -> RunConfig:
        return assemble(
            config=None,
            assignments=settings or [],
            given={"out": str(folder)},
            defaults=defaults,
            choose=choose,
        )

    config = demonstrate(_DEMO, out)
    private = demonstrate(_PRIVATE_DEMO, Path(config.out) / "private")
    result = run(config, overwrite=True)
    protected = run(private, overwrite=True) if not config.privacy.private else None
    _finish(result, Path(config.out), as_json=as_json)
    if protected is not None and not as_json:
        _show_protected(protected, Path(private.out))


def _demonstrate_language_model(out: Path, settings: list[str], *, as_json: bool) -> None:
    from experiments.aligning.demo import carry_out
    from experiments.aligning.page import CAPTION, sentences, table, write_page
    from experiments.aligning.plot import draw_aligned
    from experiments.studies.console import sayer

    study = carry_out(out, assignments=settings, say=sayer())
    page = write_page(out, study, draw_aligned(out, study))
    if as_json:
        echo(json_text(study, indent=2))
        return
    console = Terminal()
    for text in study["texts"]:
        console.print(Text(f"\n{shown(text['prompt'])}", style="bold"))
        for when in ("before", "after"):
            console.print(Text(f"{when}: ", style="bold") + Text(shown(text[when])))
    heading, rows = table(study)
    shown_table = Table(title=CAPTION)
    for name in heading:
        shown_table.add_column(shown(name), justify="right" if name else "left")
    for row in rows:
        shown_table.add_row(*map(shown, row))
    console.print(shown_table)
    for sentence in sentences(study):
        console.print(sentence, markup=False)
    console.print(f"Page:     {shown(str(page))}", soft_wrap=True)


def _show_protected(result: dict[str, Any], out: Path) -> None:
    """Print what the private run of the demonstration reached, and whether its ledgers verify."""
    from privacy.audit.evidence import gather
    from privacy.audit.verify import holds, verify

    console, checks = Terminal(), verify(gather([out]))
    scores, privacy = result["alignment"], result["privacy"]
    console.print(
        f"\nThe same under differential privacy, epsilon = {privacy['epsilon']:g} for every "
        f"{privacy['unit']}: {scores['unseen_groups']['mean']:.3f} with own answers, "
        f"{scores['without_context']['mean']:.3f} without. Each group's answers were counted once, "
        f"exact noise was added to the counts, and all {result['rounds']} rounds trained on those."
    )
    made = [check for check in checks if check.status != "open"]
    verdict = "hold" if holds(checks) else "do not all hold"
    console.print(
        f"Every group kept a ledger of what it spent: {len(made)} checks of them {verdict}.",
        style="" if holds(checks) else "bold red",
    )
    place = shown(str(out))
    for command in ("audit verify", "client status"):
        console.print(f"Look:     fedaccord {command} {place}", soft_wrap=True)
    console.print(f"Report:   fedaccord audit report {place} --out {place}/review", soft_wrap=True)
    console.print(f"Picture:  {place}/plots/predicted_beside_actual.png", soft_wrap=True)


@app.command(
    epilog="Example: fedaccord simulate --data answers.jsonl.gz --out runs/first "
    "--set federation.adapter_rounds=20. One that was stopped goes on: fedaccord simulate --resume "
    "--out runs/first"
)
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    data: Annotated[
        str | None,
        typer.Option(
            help="A file, a folder, a hub id, or built-in data: 'sample' or 'sample-pairs', also "
            "as in sample:groups=48,severity=2."
        ),
    ] = None,
    split: Annotated[
        Path | None,
        typer.Option(help="Which groups train and which are held out; drawn by seed without it."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    settings: Settings = None,
    track: Annotated[
        str | None, typer.Option(help="'tensorboard' also writes TensorBoard events.")
    ] = None,
    skip_invalid: Annotated[
        bool | None, typer.Option("--skip-invalid", help="Leave out invalid rows and count them.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the run in --out.")
    ] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out after its last round; settings are its own.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Run a whole federation in this process: train, measure on held-out groups, draw, report.

    Every setting and its default stand in the config.toml that a run leaves in --out.
    """
    from experiments.counting.choice import choose
    from experiments.simulation.run import run
    from server.settings import assemble

    given = {
        "data": data,
        "split": None if split is None else str(split),
        "out": str(out),
        "track": track,
        "skip_invalid": skip_invalid,
    }
    if resume:
        chosen = {"config": config, "set": settings, "overwrite": overwrite or None}
        _refuse_with_resume({**given, **chosen, "out": None})
        config, given = out / CONFIG_FILE, {"out": str(out), "resume": True}
        if not config.is_file():
            raise ValueError(f"--out {out}: holds no {CONFIG_FILE} of a run to go on with")
    assembled = assemble(config=config, assignments=settings or [], given=given, choose=choose)
    _finish(run(assembled, overwrite=overwrite), Path(assembled.out), as_json=as_json)


def _refuse_with_resume(options: Mapping[str, object]) -> None:
    given = [name.replace("_", "-") for name, value in options.items() if value]
    if given:
        raise ValueError(
            f"--{given[0]} with --resume: a run goes on with the settings that it has; leave it out"
        )


@app.command(epilog="Example: fedaccord sample --out sample.jsonl.gz --kind survey")
def sample(
    out: Annotated[Path, typer.Option(help="File to write: .jsonl or .jsonl.gz.")],
    data: Annotated[
        str,
        typer.Option(
            help="'sample', a survey, or 'sample-pairs', preferred responses; parameters may "
            "follow, as in sample-pairs:persons=20,part=all."
        ),
    ] = "sample",
    kind: Annotated[
        str | None, typer.Option(help="Of the survey: 'choice' (a row per answer) or 'survey'.")
    ] = None,
    groups: Annotated[
        int | None, typer.Option(help="Number of groups, up to 4096; 12 by default.")
    ] = None,
    respondents: Annotated[
        int | None,
        typer.Option(help="Of the survey: typical respondents of a group; 160 by default."),
    ] = None,
    severity: Annotated[
        float | None,
        typer.Option(help="How far groups lie apart: 1 is usual, 0 makes them all alike."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Equal seeds give equal files; 0 by default.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out.")] = False,
) -> None:
    """Write built-in data to a file: invented groups that answer, or judge, by their values.

    Commands that take --data also make them on the spot: --data sample:groups=48,severity=2, with
    the options of this command as parameters.
    """
    from alignment.data.loading import write_records
    from alignment.data.records import parse_record
    from alignment.data.sample_source import read_sample, sample_with

    if out.exists() and not overwrite:
        raise ValueError(f"--out {out}: exists; choose another name or --overwrite")
    options = {
        "kind": kind,
        "groups": groups,
        "respondents": respondents,
        "severity": severity,
        "seed": seed,
    }
    given = {name: value for name, value in options.items() if value is not None}
    chosen = sample_with(read_sample(data), given, where=data)
    write_records((parse_record(row) for row in chosen.rows()), out)
    echo(f"wrote {shown(str(out))}")
