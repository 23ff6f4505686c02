"""Commands that set a group's client up and run it: ``fedaccord client init|roster|review|...``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from privacy.identity.roles import HELD_OUT, TRAIN, Role
from terminal import Terminal, echo, say
from texts import json_text, shown, visible

if TYPE_CHECKING:
    from clients.data.invited import Weaker
    from clients.training.forecast import Forecast

app = typer.Typer()

HomeFolder = Annotated[Path, typer.Argument(help="Folder of the client.", metavar="HOME")]


def _path(path: Path) -> str:
    return shown(str(path))


@app.command(
    epilog="Example: fedaccord client init north --invitation invitation.json --group North "
    "--data answers.jsonl.gz"
)
def init(
    folder: HomeFolder,
    invitation: Annotated[Path, typer.Option(help="File of the coordinator.")],
    group: Annotated[str, typer.Option(help="Name of your group, as others will see it.")],
    data: Annotated[Path, typer.Option(help="Your records: a file or a folder.")],
    role: Annotated[
        str, typer.Option(help="train, or held_out to be measured on public answers.")
    ] = TRAIN,
    budget: Annotated[
        float, typer.Option(help="Epsilon that these data may ever spend; 0: one run of these.")
    ] = 0.0,
    units: Annotated[
        int,
        typer.Option(
            help="Public bound on the people (units of privacy) that your data will ever hold; "
            "0: a tenth above those there are, rounded up."
        ),
    ] = 0,
    questionnaire: Annotated[
        Path | None,
        typer.Option(
            help="Questions and options that are counted, where runs count answers once; made from "
            "your data without it. It is public."
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="Free port on loopback.")] = 9094,
    accept_weaker: Annotated[
        bool,
        typer.Option("--accept-weaker", help="Agree to less than the built-in defaults unasked."),
    ] = False,
) -> None:
    """Make keys, a policy and a card; nothing is sent, and nothing that exists is overwritten.

    Where the invitation promises less than the built-in defaults, shows a table and asks first.
    """
    from alignment.model.predictor import loadable_fingerprint
    from alignment.tallies.questionnaire import read_questionnaire
    from clients.data.group_policy import GroupPolicyError
    from clients.data.invited import require_known, weaker_than_defaults
    from clients.deployment.enrolment import policy_for, questionnaire_for, set_up
    from privacy.identity.enrolment import Invitation

    invited = Invitation.read(invitation)
    if not data.exists():
        raise GroupPolicyError(f"--data {data}: is not there; name a file or a folder")
    if role not in (TRAIN, HELD_OUT):
        raise GroupPolicyError(f"--role {role!r}: use train or held_out")
    chosen: Role = TRAIN if role == TRAIN else HELD_OUT
    predictor = require_known(invited.settings)["predictor"]
    asked = None
    if chosen == TRAIN:
        given = read_questionnaire(questionnaire) if questionnaire else None
        asked = questionnaire_for(invited, group=group, data=data, given=given)
    policy = policy_for(
        folder,
        invited,
        group=group,
        data=data,
        role=chosen,
        model=loadable_fingerprint(predictor),
        budget_epsilon=budget or None,
        units=units,
        port=port,
        questionnaire=asked,
    )
    # A budget that was given by hand is the group's own choice.
    own = {"privacy.budget_epsilon"} if budget else set()
    weaker = [each for each in weaker_than_defaults(policy) if each.name not in own]
    _agree(invited.fingerprint, weaker, accepted=accept_weaker)
    card = set_up(folder, invited, policy, asked)
    say("Read out over the phone, both ways, before you go on:\n")
    say(f"  {invited.fingerprint}   the invitation")
    say(f"  {card.fingerprint}   your card\n")
    say(f"{_path(folder)} is the client of {shown(policy.group)}.")
    if policy.privacy.units:
        say(f"Others are told of at most {policy.privacy.units:,} units of privacy.")
    if asked is not None:
        say(
            f"\n{_path(folder / 'questionnaire.json')} lists your "
            f"{len(asked.questions):,} questions with their options. It will be "
            "public: read it. Answers to these questions are counted once, and noise is added to "
            "the counts before anything is computed of them; nothing else in your data is used."
        )
    if policy.accept.start:
        say(f"Runs begin from the model {policy.accept.start}, and from no other.")
    say("\nNext:")
    say(f"  1. read and adjust   {_path(folder / 'policy.toml')}")
    say(f"  2. send              {_path(folder / 'card.json')}   to the coordinator")
    say(f"  3. when the roster comes back: fedaccord client roster {_path(folder)} FILE")
    say(f"  4. fedaccord client check {_path(folder)}")
    say(f"  5. fedaccord client join {_path(folder)}")


def _agree(fingerprint: str, weaker: Sequence[Weaker], *, accepted: bool) -> None:
    """Have somebody agree to what an invitation promises less than the built-in defaults.

    Raises:
        GroupPolicyError: Nobody can be asked, and nothing was accepted beforehand.
        typer.Exit: With 1, the answer is no.
    """
    from clients.data.group_policy import GroupPolicyError

    if not weaker:
        return
    if not accepted and not sys.stdin.isatty():
        named = ", ".join(f"{each.name} = {each.value} ({each.default})" for each in weaker)
        raise GroupPolicyError(
            f"the invitation promises less than the built-in defaults: {named}; run this on a "
            "terminal to be asked, or give --accept-weaker"
        )
    say(f"{fingerprint}   the invitation\n")
    say("It promises less than the built-in defaults:", style="bold red")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ("setting", "invitation", "built-in default"):
        table.add_column(column, overflow="fold")
    for each in weaker:
        table.add_row(each.name, shown(each.value), each.default)
    Terminal().print(table)
    if not accepted and not typer.confirm("Does your organisation agree to this?"):
        raise typer.Exit(1)


@app.command(epilog="Example: fedaccord client roster north roster.json")
def roster(
    folder: HomeFolder,
    file: Annotated[Path, typer.Argument(help="Roster that the coordinator has sent.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show how a new roster differs from the pinned one, and pin it.

    The client reads it at the next message: nothing has to be started anew.
    """
    from clients.data.home import Home
    from clients.deployment.enrolment import compare_roster, pin_roster
    from privacy.identity.enrolment import key_fingerprint
    from privacy.identity.key_folder import READERS

    home = Home(folder=folder)
    change = compare_roster(home, file)
    if not (change.added or change.removed or change.changed):
        say("The roster is the pinned one: nothing changes.")
        return
    titles = {"new": change.added, "gone": change.removed, "other key": change.changed}
    for title, parties in titles.items():
        for (section, name), key in parties.items():
            does = "measures only" if section == READERS else "trains"
            say(
                f"  {key_fingerprint(key)}   {title:9}   {does:13}   {shown(name)}",
                style="red" if title == "other key" else "",
            )
    if change.changed:
        say("A member with another key: ask that member, not the coordinator, whether it is so.")
    if not yes and not typer.confirm("Pin these keys?"):
        raise typer.Exit(1)
    pin_roster(home, change)
    say("Pinned.")


@app.command(epilog="Example: fedaccord client check north")
def check(
    folder: HomeFolder,
    offline: Annotated[bool, typer.Option("--offline", help="Leave the server alone.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Forecast nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print findings as JSON.")] = False,
) -> None:
    """Look at keys, code, roster, data and server, and forecast what a run will cost.

    Exit 1 if the client cannot join.
    """
    from clients.data.home import Home
    from clients.deployment.checkup import Finding, findings
    from clients.deployment.enrolment import settings_of
    from clients.training.forecast import forecast
    from privacy.errors import PrivacyError

    home = Home(folder=folder)
    found: list[Finding] = []

    def add(finding: Finding) -> None:
        found.append(finding)
        if not as_json:
            mark, style = ("holds", "") if finding.holds else ("FAILS", "red")
            say(f"  {mark}  {finding.name:11}{visible(finding.text)}", style=style)

    for each in findings(home, offline=offline):
        add(each)
    holds, expected = all(each.holds for each in found), None
    if holds and not quick and home.group_policy.role == TRAIN and settings_of(home):
        try:
            expected = forecast(home, settings_of(home))
            holds = expected.affordable
        except (ValueError, PrivacyError) as error:
            holds = False
            add(Finding(name="forecast", holds=False, text=str(error)))
    if as_json:
        cost = None if expected is None else vars(expected)
        rows = [vars(each) for each in found]
        echo(json_text({"holds": holds, "findings": rows, "forecast": cost}, indent=2))
    elif expected is not None:
        _show(expected)
    if not holds:
        raise typer.Exit(1)


def _show(expected: Forecast) -> None:
    minutes = (expected.seconds_before + expected.rounds * expected.seconds_per_round) / 60
    say("\nA run as announced:")
    say(
        f"  time     {expected.rounds} rounds of about {expected.seconds_per_round:.1f} s "
        f"after {expected.seconds_before:.0f} s for encoding: about {minutes:.0f} minutes in all"
    )
    if expected.counted:
        say("  data     counted once, at the first round; every round trains on the noised counts")
    say(
        f"  bytes    {expected.bytes_up_per_round:,} up and "
        f"{expected.bytes_down_per_round:,} down in a round"
    )
    if expected.epsilon is not None:
        say(
            f"  epsilon  {expected.epsilon:g} of the run; it takes {expected.budget_epsilon:.3f} "
            f"of the {expected.budget:.3f} that anybody's data may ever spend"
        )
    if expected.payers:
        say(f"  people   {_payers(expected)}; nobody else learns that")
    if expected.left_out:
        say(
            f"  records  {expected.left_out:,} of yours exceed the bounds of a step and count as "
            "absent; nobody else learns that"
        )
    if not expected.affordable:
        say(
            "The budget does not pay for the whole run: raise it or take part in less.", style="red"
        )


def _payers(expected: Forecast) -> str:
    """How many people can pay for how many rounds, in words."""
    if set(expected.payers) == {expected.rounds}:
        return "all can pay for all rounds"
    parts = (f"{people:,} for {rounds:,} rounds" for rounds, people in expected.payers.items())
    return (
        f"by what they have spent before, there can pay {', '.join(parts)} of {expected.rounds:,}"
    )


@app.command(epilog="Example: fedaccord client join north")
def join(
    folder: HomeFolder,
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Start also while the server cannot be reached.")
    ] = False,
) -> None:
    """Connect and take part until Ctrl-C: run it under systemd or in a container.

    Two programs are kept alive: Flower's node, and the one that trains. Logs lie in HOME/logs.
    """
    import supervision
    from clients.data.home import Home
    from clients.deployment.checkup import findings
    from clients.deployment.join import programs

    home = Home(folder=folder)
    for each in findings(home, offline=unchecked):
        if not each.holds:
            echo(f"error: {each.name}: {visible(each.text)}", err=True)
            raise typer.Exit(1)
    policy = home.group_policy
    configuration = supervision.write_configuration(folder, programs(home, policy))
    say(f"{shown(policy.group)} joins {shown(policy.server.address)}; Ctrl-C leaves.")
    supervision.supervise(configuration)


@app.command(epilog="Example: fedaccord client review north refused/1f2e3d4c.fab --diff")
def review(
    folder: HomeFolder,
    bundle: Annotated[Path | None, typer.Argument(help="A bundle, as the server sends it.")] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Show every changed line.")] = False,
    accept: Annotated[
        bool, typer.Option("--accept", help="Name the installed code as reviewed in the policy.")
    ] = False,
) -> None:
    """Show which code runs at this client, and how a server's bundle differs from it.

    A bundle is never run or unpacked: the client runs what is installed here, and works only for a
    server that sends the same. Exit 1 if something differs from what the policy names as reviewed.
    """
    from clients.data.group_policy import GroupPolicyError
    from clients.data.home import REFUSED_FOLDER, Home
    from clients.deployment.bundle import (
        bundled_files,
        code_digest,
        differences,
        digest_of,
        installed_files,
    )
    from clients.deployment.enrolment import accept_code

    home = Home(folder=folder)
    reviewed = home.group_policy.accept.code
    files = installed_files()
    lines = sum(data.count(b"\n") for data in files.values())
    say(f"installed   {code_digest()}   {len(files)} files, {lines:,} lines")
    say(f"reviewed    {reviewed}")
    differs = False
    if bundle is not None:
        path = bundle if bundle.exists() else home.file(str(bundle))
        try:
            contents = bundled_files(path.read_bytes())
        except OSError as error:
            raise GroupPolicyError(f"{bundle}: cannot be read: {error}") from error
        say(f"bundle      {digest_of(contents)}")
        for each in differences(contents):
            differs = True
            say(f"  {each.change:8} {shown(each.name)}")
            if diff:
                for line in each.diff:
                    say(f"    {shown(line)}")
    elif home.file(REFUSED_FOLDER).is_dir():
        for path in sorted(home.file(REFUSED_FOLDER).glob("*.fab")):
            say(f"refused     {_path(path.relative_to(home.folder))}")
    if accept:
        if differs:
            raise GroupPolicyError(
                "the bundle is not what is installed here: install that code first"
            )
        accept_code(home)
        say("The installed code is now the reviewed one.")
        return
    if differs or code_digest() != reviewed:
        raise typer.Exit(1)
