"""Commands of a federation's coordinator: ``fedaccord server``."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from terminal import Terminal, echo, say
from texts import json_text, shown

if TYPE_CHECKING:
    from privacy.identity.enrolment import Card
    from server.config import RunConfig
    from server.deployment.control import Control
    from server.deployment.home import ServerHome

app = typer.Typer(no_args_is_help=True)
server = typer.Typer(no_args_is_help=True, help="Run a federation over a network.")
app.add_typer(server, name="server")

HomeFolder = Annotated[Path, typer.Argument(help="Folder of the server.", metavar="HOME")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of runs, key=value; may be repeated.")
]

#: States of nodes that need not be registered.
_LET_IN = frozenset({"registered", "online", "offline"})
_STARTING_SECONDS = 120.0
_RESTART_SECONDS = 60.0
_LOOK_SECONDS = 1.0
_ASK_SECONDS = 10.0


def _path(path: Path) -> str:
    return shown(str(path))


def _control(home: ServerHome) -> Control:
    import supervision
    from server.deployment.control import Control

    return Control(home, supervision.environment(home.folder))


@server.command(
    epilog="Example: fedaccord server init lab --host fed.example.org --set privacy.epsilon=4"
)
def init(
    folder: HomeFolder,
    host: Annotated[str, typer.Option(help="Name or address organisations reach you by.")] = "",
    port: Annotated[int, typer.Option(help="The one port that must be open to them.")] = 9443,
    bind: Annotated[str, typer.Option(help="Address to listen on.")] = "0.0.0.0",  # noqa: S104 - organisations come from anywhere
    name: Annotated[str, typer.Option(help="Name of the federation; by default the host.")] = "",
    also: Annotated[
        list[str] | None, typer.Option(help="Another name in the certificate; may be repeated.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings of runs.")] = None,
    assignments: Assignments = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Only renew the certificate of a folder.")
    ] = False,
) -> None:
    """Make certificates, keys, settings and an invitation; nothing that exists is overwritten.

    Runs are private unless a setting says otherwise. With --renew the certificate is made anew
    under the same authority: organisations notice nothing.
    """
    from privacy.file_names import INVITATION_FILE
    from server.deployment import certificates
    from server.deployment.home import (
        SETTINGS_FILE,
        TLS_FOLDER,
        DeploymentError,
        ServerHome,
        invite,
        set_up,
    )
    from server.settings import given_settings

    if renew:
        home = ServerHome.read(folder)
        certificates.renew(home.file(TLS_FOLDER), also or ())
        left = certificates.check(home.file(TLS_FOLDER), name=home.host)
        say(
            f"The certificate holds for {left} days; "
            f"fedaccord server start {_path(folder)} takes it."
        )
        return
    if not host:
        raise DeploymentError("--host is missing: the name or address organisations reach you by")
    home = ServerHome(folder=folder, federation=name or host, host=host, port=port, bind=bind)
    settings = given_settings(config=config, assignments=assignments or ())
    home = set_up(home, settings, also=also or ())
    say("The invitation, to be read out over the phone:\n")
    say(f"  {invite(home).fingerprint}\n")
    say(f"{_path(folder)} is the server of {shown(home.federation)}.\n")
    say("Next:")
    say(f"  1. adjust   {_path(folder / SETTINGS_FILE)}   and fedaccord server invite")
    say(f"  2. fedaccord server start {_path(folder)}")
    say(f"  3. send     {_path(folder / INVITATION_FILE)}   to every organisation")
    say("  4. fedaccord server admit the cards they send back; send all the roster")
    say(f"  5. fedaccord server run {_path(folder)}")


@server.command(epilog="Example: fedaccord server invite lab")
def invite(folder: HomeFolder) -> None:
    """Write the invitation anew, after settings were changed."""
    from privacy.file_names import INVITATION_FILE
    from server.deployment.home import ServerHome
    from server.deployment.home import invite as write_invitation

    home = ServerHome.read(folder)
    invitation = write_invitation(home)
    say(f"{invitation.fingerprint}   {_path(home.file(INVITATION_FILE))}")


@server.command(epilog="Example: fedaccord server admit lab north.json south.json")
def admit(
    folder: HomeFolder,
    cards: Annotated[list[Path] | None, typer.Argument(help="Cards of organisations.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", help="A group that takes part no longer.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take groups into the roster and let their nodes in; a run that goes on takes them up too.

    Send the roster to all organisations afterwards: each pins it on its own.
    """
    from privacy.file_names import ROSTER_FILE
    from privacy.identity.enrolment import Card
    from server.deployment.home import DeploymentError, ServerHome
    from server.deployment.home import admit as take_in
    from server.deployment.home import remove as take_out

    home = ServerHome.read(folder)
    if not cards and not remove:
        raise DeploymentError("no card given: name the files that organisations have sent")
    read = [Card.read(path) for path in cards or ()]
    for card in read:
        say(f"  {card.fingerprint}   {card.role:8}   {shown(card.group)}")
    if read and not yes and not typer.confirm("Do these match what you were told by phone?"):
        raise typer.Exit(1)
    gone = [take_out(home, group) for group in remove or ()]
    for card in read:
        take_in(home, card)
    say(f"Send {_path(home.file(ROSTER_FILE))} to all organisations.")
    _let_in(home, gone)


def _let_in(home: ServerHome, gone: Sequence[Card] = ()) -> None:
    """Let the nodes of all who are admitted in, and those of others no longer."""
    from server.deployment.home import is_started

    control, left = _control(home), list(gone)
    end = time.monotonic() + _RESTART_SECONDS
    while not _let_in_now(home, control, left):
        # A SuperLink that is being started anew is worth a wait; one that was never started is not.
        if not is_started(home) or time.monotonic() > end:
            say("No SuperLink answers here: nodes are let in and out before the next run.")
            return
        time.sleep(_LOOK_SECONDS)


def _let_in_now(home: ServerHome, control: Control, gone: list[Card]) -> bool:
    """Once; False where no SuperLink answers. Those who were let out are taken off the list."""
    from server.deployment.control import ControlError
    from server.deployment.home import NODES_FILE, admitted, note, noted

    try:
        states = control.nodes()
        there = {number for number, state in states.items() if state in _LET_IN}
        known = noted(home, NODES_FILE)
        for name, card in admitted(home).items():
            # One look at all of them is quicker than asking for each.
            if known.get(card.node) in there:
                continue
            number = control.register(card.node, name)
            if number is not None:
                note(home, NODES_FILE, card.node, number)
        while gone:
            if (number := noted(home, NODES_FILE).get(gone[-1].node)) is not None:
                control.unregister(number)
            gone.pop()
    except ControlError:
        return False
    return True


@server.command(epilog="Example: fedaccord server start lab")
def start(folder: HomeFolder) -> None:
    """Listen for organisations until Ctrl-C: run it under systemd or in a container.

    Two programs are kept alive: Flower's SuperLink, and the one that starts the server's side of a
    run. Logs lie in HOME/logs. All but what organisations need answers on loopback only.
    """
    import supervision
    from server.deployment import certificates
    from server.deployment.home import TLS_FOLDER, ServerHome, programs

    home = ServerHome.read(folder)
    left = certificates.check(home.file(TLS_FOLDER), name=home.host)
    if left < certificates.WARN_BELOW_DAYS:
        say(f"The certificate holds for {left} days: fedaccord server init --renew {_path(folder)}")
    configuration = supervision.write_configuration(home.folder, programs(home))
    say(
        f"Listening on {shown(home.bind)}:{home.port}; organisations come to {shown(home.address)}."
    )
    supervision.supervise(configuration)


@server.command(epilog="Example: fedaccord server run lab --name autumn")
def run(
    folder: HomeFolder,
    name: Annotated[str, typer.Option(help="Of the run: its results lie in HOME/runs/NAME.")] = "",
    config: Annotated[Path | None, typer.Option(help="TOML file with other settings.")] = None,
    assignments: Assignments = None,
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
) -> None:
    """Train one model with all groups that are there; Ctrl-C stops watching, not the run."""
    from server.config import ConfigError
    from server.deployment.home import RUNS_FOLDER, ServerHome
    from server.settings import given_settings

    home = ServerHome.read(folder)
    name = name or time.strftime("%Y%m%d-%H%M%S")
    given = given_settings(config=config, assignments=assignments or ())
    settings = home.run_config(name, given, resume=False)
    if home.file(RUNS_FOLDER, name).exists():
        raise ConfigError(f"--name {name}: is a run already; choose another, or resume it")
    _begin(home, name, settings, detach=detach)


@server.command(epilog="Example: fedaccord server resume lab autumn")
def resume(
    folder: HomeFolder,
    name: Annotated[str, typer.Argument(help="Of the run.")],
    detach: Annotated[bool, typer.Option("--detach", help="Do not wait for its end.")] = False,
) -> None:
    """Go on with a run whose process ended, after its last checkpoint and with its settings.

    Nothing is paid for twice: a round that had begun counts as lost.
    """
    from server.deployment.home import ServerHome, settings_of_run

    home = ServerHome.read(folder)
    settings = settings_of_run(home, name)
    _begin(home, name, settings, detach=detach)


def _begin(home: ServerHome, name: str, settings: RunConfig, *, detach: bool) -> None:
    from server.deployment.home import RUNS_FILE, note

    _let_in(home)
    control = _control(home)
    number = control.start(settings.flat())
    note(home, RUNS_FILE, name, number)
    say(f"Run {shown(name)} begins; results come to {shown(settings.out)}.")
    if not detach:
        _watch(control, number, settings)


def _watch(control: Control, number: int, settings: RunConfig) -> None:
    """Show rounds as they end; a run that does not begin is stopped."""
    from server.deployment.control import ControlError
    from server.state.telemetry import ROUNDS_FILE, progress_bar

    rounds, status = Path(settings.out) / ROUNDS_FILE, "pending"
    begun, asked, last = time.monotonic(), 0.0, -1
    with progress_bar(settings.federation.rounds) as observe:
        while not status.startswith("finished"):
            time.sleep(_LOOK_SECONDS)
            # What is asked of Flower takes a process of its own; a file is cheap to look at.
            if time.monotonic() - asked > _ASK_SECONDS:
                # A SuperLink that is being started anew ends no run.
                with suppress(ControlError):
                    status = control.status(number)
                asked = time.monotonic()
            for record in _records(rounds):
                if record.round > last:
                    observe(record)
                    last = record.round
            waiting = status in ("pending", "starting")
            if waiting and time.monotonic() - begun > _STARTING_SECONDS:
                control.stop(number)
                raise RuntimeError(
                    f"the run did not begin in {_STARTING_SECONDS:g} s and was stopped: look at "
                    "HOME/logs/superexec.log"
                )
    if status != "finished:completed":
        raise RuntimeError(f"the run ended as {status}: look at HOME/logs/superexec.log")
    say(f"The model lies in {shown(settings.out)}.")


def _records(path: Path) -> list[Any]:
    """Rounds that have ended; a line that is being written is left for the next look."""
    from server.rounds.loop import RoundRecord

    if not path.exists():
        return []
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(True) if line[-1] == "\n"]
    return [RoundRecord(**json.loads(line)) for line in lines]


@server.command(epilog="Example: fedaccord server status lab")
def status(
    folder: HomeFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show who is admitted and online, and how runs stand."""
    from server.deployment import certificates
    from server.deployment.control import ControlError
    from server.deployment.home import (
        NODES_FILE,
        RUNS_FILE,
        TLS_FOLDER,
        ServerHome,
        admitted,
        noted,
    )

    home = ServerHome.read(folder)
    control, known = _control(home), noted(home, NODES_FILE)
    try:
        nodes: dict[int, str] | None = control.nodes()
    except ControlError:
        nodes = None
    groups = [
        {
            "group": card.group,
            "role": card.role,
            "node": (
                "unknown" if nodes is None else nodes.get(known.get(card.node, 0), "not let in")
            ),
        }
        for card in admitted(home).values()
    ]
    numbers = noted(home, RUNS_FILE)
    runs = [_run_row(home, control, name, number) for name, number in numbers.items()]
    left = certificates.check(home.file(TLS_FOLDER), name=home.host)
    if as_json:
        figures = {"address": home.address, "running": nodes is not None, "certificate_days": left}
        echo(json_text({**figures, "groups": groups, "runs": runs}, indent=2))
        return
    state = "running" if nodes is not None else "not running"
    say(f"{shown(home.federation)} at {shown(home.address)}: {state}; certificate: {left} days")
    _show(("group", "role", "node"), groups)
    _show(("run", "status", "round", "in the last sum", "alignment"), runs)


def _run_row(home: ServerHome, control: Control, name: str, number: int) -> dict[str, Any]:
    from server.deployment.control import ControlError
    from server.deployment.home import RUNS_FOLDER
    from server.state.telemetry import ROUNDS_FILE

    try:
        status = control.status(number)
    except ControlError:
        status = "no SuperLink"
    records = _records(home.file(RUNS_FOLDER, name, ROUNDS_FILE))
    measured = [record.alignment for record in records if record.alignment is not None]
    last = records[-1] if records else None
    return {
        "run": name,
        "status": status,
        "round": f"{last.round}/{last.rounds}" if last else "-",
        "in the last sum": last.groups if last else 0,
        "alignment": round(measured[-1], 4) if measured else None,
    }


def _show(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    if not rows:
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*("" if row[name] is None else shown(str(row[name])) for name in columns))
    Terminal().print(table)
