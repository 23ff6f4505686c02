"""The commands ``fedaccord audit`` of the reviewer: they read files alone, and change none."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from terminal import Terminal, echo, say
from texts import json_text, read_text, shown

if TYPE_CHECKING:
    from privacy.accounting.plan import PrivacyPlan
    from privacy.audit.canaries.audit import CanaryAudit
    from privacy.audit.checks import Check

app = typer.Typer(no_args_is_help=True)
audit = typer.Typer(no_args_is_help=True, help="Reviews of what was spent, from files alone.")
app.add_typer(audit, name="audit")

_SIGNS = {"pass": ("ok", "green"), "fail": ("FAILS", "bold red"), "open": ("open", "yellow")}

Paths = Annotated[
    list[Path], typer.Argument(help="Ledgers, a folder of them, or the folder of a run.")
]
Code = Annotated[
    list[Path] | None,
    typer.Option(help="Checkout that a run has used, where it is not the code of this command."),
]
RosterFile = Annotated[
    Path | None,
    typer.Option(help="Keys that you have got from the groups themselves; else the folder's own."),
]


@audit.command(epilog="Example: fedaccord audit verify runs/demo/private --roster keys.json")
def verify(
    paths: Paths,
    roster: RosterFile = None,
    card: Annotated[
        Path | None, typer.Option(help="Privacy card to compare; else the folder's own.")
    ] = None,
    code: Code = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks as JSON.")] = False,
) -> None:
    """Check ledgers, the server ledger and what was published; exit 1 if a check fails.

    Needs no data, no network and no private key. A check that lacks what it needs is left open and
    said to be: hand in the folder of a run, or ledgers together with the server ledger. Each line
    ends with what the check rests on.
    """
    from privacy.audit.evidence import gather
    from privacy.audit.verify import holds
    from privacy.audit.verify import verify as check

    checks = check(gather(paths, roster=roster, card=card, code=code or ()))
    if as_json:
        content = {"holds": holds(checks), "checks": [each.as_dict() for each in checks]}
        echo(json_text(content, indent=2))
    else:
        _show(checks)
    if not holds(checks):
        raise typer.Exit(1)


def _show(checks: Sequence[Check]) -> None:
    console = Terminal(soft_wrap=True)
    for check in checks:
        sign, style = _SIGNS[check.status]
        what = f" {shown(check.about)}, {check.id}: {check.finding}"
        basis = Text(f" [{'; '.join(check.rests_on)}]", style="dim")
        console.print(Text(f"{sign:5}", style=style) + Text(what) + basis)
    holding, failing, unmade = (sum(check.status == name for check in checks) for name in _SIGNS)
    say(f"{holding} checks hold, {failing} fail, {unmade} are open.")
    if failing:
        say("What these files claim cannot be relied on.", style="bold red")


@audit.command(
    epilog="Example: fedaccord audit report runs/demo/private --out review --about about.toml"
)
def report(
    paths: Paths,
    out: Annotated[Path, typer.Option(help="Folder for card, page and exports.")],
    about: Annotated[
        Path | None,
        typer.Option(help="TOML file with what no ledger knows: purpose, controllers, ..."),
    ] = None,
    canaries: Annotated[
        Path | None, typer.Option(help="What `audit canaries --json` has printed.")
    ] = None,
    roster: RosterFile = None,
    code: Code = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the privacy card.")] = False,
) -> None:
    """Write the privacy card, a page to read or print, and exports for three kinds of registers.

    What nobody has stated stays a visible blank. Lists the accepted names of --about if one is
    unknown. Exit 1 if a check fails; everything is written all the same.
    """
    from privacy.audit.card import build_card
    from privacy.audit.evidence import gather
    from privacy.audit.report import write_report
    from privacy.audit.verify import holds
    from privacy.audit.verify import verify as check

    evidence = gather(paths, roster=roster, code=code or ())
    checks = check(evidence)
    stated = _read_toml(about) if about else None
    empirical = _read_canaries(canaries) if canaries else None
    card = build_card(evidence, checks, about=stated, canaries=empirical)
    out.mkdir(parents=True, exist_ok=True)
    written = write_report(card, out)
    if as_json:
        echo(json_text(card, indent=2))
    else:
        for path in written.values():
            echo(f"wrote {shown(str(path))}")
        failing = sum(each.status == "fail" for each in checks)
        echo(f"{failing} checks fail" if failing else "every check that could be made holds")
    if not holds(checks):
        raise typer.Exit(1)


def _read_toml(path: Path) -> dict[str, str]:
    try:
        content = tomllib.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise ValueError(f"--about {path}: cannot be read: {error}") from error
    return {name: str(value) for name, value in content.items()}


def _read_canaries(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = content["epsilon_lower"], content["epsilon_claimed"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"--canaries {path}: is not what `fedaccord audit canaries --json` prints"
        ) from error
    return content


@audit.command(epilog="Example: fedaccord audit canaries --plan runs/demo/private/privacy.json")
def canaries(
    plan: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a run, or its privacy.json: audits under its plan, not one made here."
        ),
    ] = None,
    mechanism: Annotated[
        str, typer.Option(help="'gradients', or 'tally' for answers that are counted once.")
    ] = "gradients",
    epsilon: Annotated[float, typer.Option(help="Claim to be audited; 1 is the sharpest.")] = 1.0,
    delta: Annotated[float, typer.Option(help="Its delta.")] = 1e-5,
    mode: Annotated[str, typer.Option(help="'distributed' or 'local'.")] = "distributed",
    sampling_rate: Annotated[float, typer.Option(help="Chance of a unit in a step.")] = 0.064,
    rounds: Annotated[int, typer.Option(help="Steps of the run.")] = 200,
    number: Annotated[int, typer.Option("--canaries", help="Units that are planted.")] = 5000,
    guesses: Annotated[int, typer.Option(help="How many of them are guessed.")] = 500,
    confidence: Annotated[float, typer.Option(help="Of the bound.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print the audit as JSON.")] = False,
) -> None:
    """Attack the very code that adds noise, and print what the attack proves beside the claim.

    Plants canaries, runs sampling, clipping, noise and summing as a run does, and guesses from what
    is released which canaries were there. Exit 1 if that proves more than the claim, or more than
    a right kernel lets be proved once in a million audits. Takes seconds; more canaries and guesses
    take longer and can prove more.
    """
    from privacy.audit.canaries.audit import audit_plan

    if plan:
        chosen = _plan_of(plan)
    elif mechanism == "tally":
        chosen = _plan_of_counts(epsilon, delta)
    elif mechanism == "gradients":
        chosen = _plan(epsilon, delta, mode, sampling_rate, rounds)
    else:
        raise ValueError(f"--mechanism {mechanism!r} must be 'gradients' or 'tally'")
    with Progress(console=Terminal(stderr=True), transient=True) as progress:
        task = progress.add_task("auditing", total=chosen.steps)
        result = audit_plan(
            chosen,
            canaries=number,
            guesses=guesses,
            confidence=confidence,
            progress=lambda done, _: progress.update(task, completed=done),
        )
    if as_json:
        echo(json_text(result.as_dict(), indent=2))
    else:
        _show_audit(result)
    if not result.passed or result.regressed:
        raise typer.Exit(1)


def _plan(
    epsilon: float, delta: float, mode: str, sampling_rate: float, rounds: int
) -> PrivacyPlan:
    from privacy.accounting.choices import Mode
    from privacy.accounting.plan import PrivacyPlan
    from privacy.accounting.terms import PrivacyTerms

    if mode not in list(Mode):
        raise ValueError(f"--mode {mode!r} must be 'distributed' or 'local'")
    alone = Mode(mode) is Mode.LOCAL
    terms = PrivacyTerms(
        mode=Mode(mode),
        epsilon=epsilon,
        delta=delta,
        groups=10,
        units_per_group=2000,
        sampling_rate=sampling_rate,
        rounds=rounds,
        survivors=1 if alone else 7,
        colluding=0 if alone else 1,
        clipping_norm=1.0,
        dimension=1000,
    )
    return PrivacyPlan.calibrate(terms)


def _plan_of_counts(epsilon: float, delta: float) -> PrivacyPlan:
    from privacy.accounting.choices import Unit
    from privacy.accounting.plan import PrivacyPlan
    from privacy.accounting.terms import terms_of_counts

    terms = terms_of_counts(
        unit=Unit.RESPONDENT,
        epsilon=epsilon,
        delta=delta,
        units_per_group=(2000,),
        options=[[5] * 60],
        questionnaires=["0" * 64],
        distributions=False,
    )
    return PrivacyPlan.calibrate(terms)


def _plan_of(path: Path) -> PrivacyPlan:
    from privacy.accounting.plan import PrivacyPlan
    from privacy.file_names import PRIVACY_FILE

    path = path / PRIVACY_FILE if path.is_dir() else path
    try:
        return PrivacyPlan.from_dict(json.loads(path.read_text(encoding="utf-8"))["plan"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"--plan {path}: give the privacy.json of a run: {error}") from error


def _show_audit(result: CanaryAudit) -> None:
    say(
        f"claimed   epsilon = {result.epsilon_claimed:g} at delta = {result.delta:g} "
        f"({result.mode}, z = {result.noise_multiplier:.4f}, q = {result.sampling_rate:g}, "
        f"{result.steps} steps)"
    )
    say(
        f"proved    epsilon >= {result.epsilon_lower:.3f} with {result.confidence:.0%} confidence: "
        f"{result.correct} of {result.guesses} guesses were right, of {result.canaries} canaries"
    )
    say(
        f"limits    {result.regression_limit:.3f} for a right kernel, {result.ceiling:.3f} for an "
        "attack without a mistake"
    )
    if not result.passed:
        verdict = "The claim is refuted: do not use this kernel."
    elif result.regressed:
        verdict = "More leaks than a right kernel lets through: it is broken."
    elif not result.conclusive:
        verdict = "Nothing speaks against it, but no attack of this size could refute such a claim."
    else:
        verdict = "Nothing speaks against the claim. That is no proof; a breach would be one."
    say(verdict, style="bold red" if not result.passed or result.regressed else "")
