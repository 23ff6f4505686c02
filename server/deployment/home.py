"""The folder of a federation's server: what lies where, who is admitted, which programs run.

Flower's SuperLink keeps messages and nodes; its SuperExec starts the ServerApp of a run in a
process of its own, so that either may be killed and started anew while a run goes on.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import tomli_w

from atomic import write_atomically, write_new
from privacy.accounting.choices import NO_PRIVACY
from privacy.file_names import (
    CONFIG_FILE,
    IDENTITIES_FOLDER,
    INVITATION_FILE,
    LEDGERS_FOLDER,
    ROSTER_FILE,
)
from privacy.identity.enrolment import Card, Invitation
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Roster, rosters_json
from privacy.identity.roles import HELD_OUT, TRAIN
from server.config import ConfigError, RunConfig, read_run_config
from server.deployment.certificates import CA_CERTIFICATE, SERVER_CERTIFICATE, SERVER_KEY, create
from server.settings import given_settings
from server.state.start import read_start, told
from strategies.wire.round_plan import Scalar, unflatten
from texts import UnfitText, name_of, read_text, spelled

SERVER_FILE = "server.toml"
SETTINGS_FILE = "federation.toml"
SECRET_FILE = "executor.secret"  # noqa: S105 - the name of a file
TLS_FOLDER = "tls"
CARDS_FOLDER = "admitted"
RUNS_FOLDER = "runs"
RUNS_FILE = "runs.json"
NODES_FILE = "nodes.json"
DATABASE_FILE = "superlink.db"
CONNECTION = "fedaccord"

_PLACE = re.compile(r"[A-Za-z0-9._:\[\]-]+")

#: Settings that make sense only where the server sees the data, or that the folder decides.
_DECIDED_HERE = (
    "data", "split", "skip_invalid", "out", "resume", "privacy.ledgers", "privacy.budget_epsilon",
    "federation.roster",
)  # fmt: skip


class DeploymentError(ValueError):
    """A folder is no server's, or something in it does not fit."""


@dataclass(frozen=True, kw_only=True)
class ServerHome:
    """A server's folder.

    Attributes:
        folder: Where it lies.
        federation: Its name.
        host: Name or address that organisations reach it by; in its certificate.
        port: The one port of all interfaces.
        bind: Address that it listens on.
    """

    folder: Path
    federation: str
    host: str
    port: int
    bind: str

    @classmethod
    def read(cls, folder: Path) -> ServerHome:
        """Read a folder that ``set_up`` has made.

        Raises:
            DeploymentError: It is none.
        """
        path = folder / SERVER_FILE
        try:
            content = tomllib.loads(read_text(path))
            return cls(
                folder=folder.resolve(),
                federation=name_of(str(content["federation"])),
                host=str(content["host"]),
                port=int(content["port"]),
                bind=str(content["bind"]),
            )
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise DeploymentError(
                f"{path}: is no server's folder ({type(error).__name__}): fedaccord server init "
                f"{folder} --host NAME makes one"
            ) from error

    @property
    def address(self) -> str:
        """``host:port`` for organisations."""
        return f"{self.host}:{self.port}"

    @property
    def loopback(self) -> str:
        """``host:port`` for programs on this machine."""
        return f"127.0.0.1:{self.port}"

    def file(self, *names: str) -> Path:
        """A file of the folder."""
        return self.folder.joinpath(*names)

    @property
    def keys(self) -> KeyFolder:
        """The server's own key; those of groups are not here."""
        return KeyFolder(self.file(LEDGERS_FOLDER, IDENTITIES_FOLDER))

    def settings(self) -> dict[str, object]:
        """Settings of runs, with dotted keys; private where they do not say otherwise."""
        given = given_settings(config=self.file(SETTINGS_FILE), assignments=())
        return {"privacy.mode": "local", **given}

    def run_config(self, name: str, given: Mapping[str, object], *, resume: bool) -> RunConfig:
        """The checked settings of a run.

        Args:
            name: Of the run; its results lie in a folder of that name.
            given: Settings beyond those of the folder.
            resume: Whether it goes on.

        Raises:
            ConfigError: A setting is wrong, or one that this folder decides.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
            raise ConfigError(f"--name {name!r}: use letters, digits, '-' and '_'")
        settings = self.settings()
        _require_open(given, settings)
        private = {**settings, **given}["privacy.mode"] != NO_PRIVACY
        start = str({**settings, **given}.get("training.start", ""))
        config = read_run_config(
            {
                **settings,
                **given,
                "out": str(self.file(RUNS_FOLDER, name)),
                "resume": resume,
                # Programs of the server run in folders of their own.
                "training.start": str(Path(start).resolve()) if start else "",
                "federation.roster": str(self.file(ROSTER_FILE)),
                "privacy.ledgers": str(self.file(LEDGERS_FOLDER)) if private else "",
            }
        )
        config.simulation.require_real_groups()
        return config


def set_up(
    home: ServerHome, settings: Mapping[str, object], *, also: Sequence[str] = ()
) -> ServerHome:
    """Make a server's folder: certificates, keys, settings, an invitation. Nothing is overwritten.

    Args:
        home: Where to make it, and how it is reached.
        settings: Of runs, with dotted keys; a run is private unless they say otherwise.
        also: Other names in the certificate; loopback is always there.

    Raises:
        DeploymentError: The folder is a server's already.
        ConfigError: A setting is wrong.
    """
    folder = home.folder
    if home.file(SERVER_FILE).exists():
        raise DeploymentError(f"{folder}: is a server's folder already; choose another")
    for made in (SECRET_FILE, SETTINGS_FILE, ROSTER_FILE, INVITATION_FILE):
        if home.file(made).exists():
            raise DeploymentError(f"{home.file(made)}: is there already; choose another folder")
    if not 1 <= home.port <= 65535:
        raise DeploymentError(f"port = {home.port} must lie in [1, 65535]: 9443 is usual")
    for what, place in (("--host", home.host), ("--bind", home.bind)):
        if not _PLACE.fullmatch(place):
            raise DeploymentError(f"{what} {place!r}: give a name or an address in plain letters")
    try:
        home = replace(home, federation=name_of(home.federation))
    except UnfitText as error:
        raise DeploymentError(f"--name {home.federation[:40]!r}: {error}") from error
    _require_open(settings)
    if start := settings.get("training.start"):
        settings = {**settings, "training.start": str(Path(str(start)).resolve())}
    config = read_run_config({"privacy.mode": "local", **settings})
    # Nothing is made for runs that could not begin.
    read_start(config)
    chosen = _settings(config)
    home = replace(home, folder=folder.resolve())
    folder.mkdir(parents=True, exist_ok=True)
    create(home.file(TLS_FOLDER), list(dict.fromkeys([home.host, *also])))
    write_new(home.file(SECRET_FILE), secrets.token_bytes(32))
    write_atomically(home.file(SETTINGS_FILE), tomli_w.dumps(unflatten(chosen)))
    _write_roster(home, {})
    invite(home)
    content = {name: value for name, value in vars(home).items() if name != "folder"}
    write_atomically(home.file(SERVER_FILE), tomli_w.dumps(content))
    return home


def _require_open(*given: Mapping[str, object]) -> None:
    """Refuse a setting that the folder decides."""
    for key in chain(*given):
        if key in _DECIDED_HERE:
            raise ConfigError(f"{key} is decided by the server's folder: leave it out")


def _settings(config: RunConfig) -> dict[str, Scalar]:
    """All settings of a run that the folder does not decide, with dotted keys."""
    return {key: value for key, value in config.flat().items() if key not in _DECIDED_HERE}


def invite(home: ServerHome) -> Invitation:
    """Write the invitation anew, with the settings as they stand."""
    server = home.keys.own(SERVER, role=SERVERS).public
    config = home.run_config("check", {}, resume=False)
    # Members agree to the model that runs begin from, and not to a place of this machine.
    settings = _settings(told(config, read_start(config)))
    invitation = Invitation(
        federation=home.federation,
        address=home.address,
        ca=home.file(TLS_FOLDER, CA_CERTIFICATE).read_text(encoding="utf-8"),
        server=server.hex(),
        settings=settings,
    )
    invitation.write(home.file(INVITATION_FILE))
    return invitation


def admitted(home: ServerHome) -> dict[str, Card]:
    """The cards of all who may take part, by group."""
    folder = home.file(CARDS_FOLDER)
    cards = [Card.read(path) for path in sorted(folder.glob("*.json"))]
    return {card.group: card for card in cards}


def admit(home: ServerHome, card: Card) -> bool:
    """Take a group into the roster; False where it is there already, with this very card.

    Raises:
        DeploymentError: Its name or one of its keys belongs to somebody else.
    """
    if card.group == SERVER:
        raise DeploymentError(f"{SERVER!r} is the server's own name: the group must take another")
    known = admitted(home)
    if known.get(card.group) == card:
        return False
    for other in known.values():
        if other.group == card.group:
            raise DeploymentError(
                f"{other.fingerprint} is the key with which {card.group!r} is admitted: "
                f"fedaccord server admit --remove first if it has a new one"
            )
        if other.identity == card.identity or other.node == card.node:
            raise DeploymentError(f"{card.group!r} shows a key of {other.group!r}: ask again")
    folder = home.file(CARDS_FOLDER)
    folder.mkdir(exist_ok=True)
    card.write(folder / f"{card.identity[:32]}.json")
    _write_roster(home, admitted(home))
    return True


def remove(home: ServerHome, group: str) -> Card:
    """Take a group out of the roster.

    Raises:
        DeploymentError: It is not in it.
    """
    try:
        name = spelled(group)
    except UnfitText as error:
        raise DeploymentError(f"the group to remove {error}") from error
    for path in home.file(CARDS_FOLDER).glob("*.json"):
        card = Card.read(path)
        if card.group == name:
            path.unlink()
            _write_roster(home, admitted(home))
            return card
    raise DeploymentError(f"{group[:100]!r} is not admitted: fedaccord server status lists who is")


def note(home: ServerHome, file: str, name: str, number: int) -> None:
    """Remember Flower's number of a run or a node, in ``RUNS_FILE`` or ``NODES_FILE``."""
    content = {**noted(home, file), name: number}
    write_atomically(home.file(file), json.dumps(content, indent=2) + "\n")


def noted(home: ServerHome, file: str) -> dict[str, int]:
    """Flower's numbers of runs by name, or of nodes by public key."""
    path = home.file(file)
    if not path.exists():
        return {}
    return {str(name): int(number) for name, number in json.loads(path.read_text("utf-8")).items()}


def settings_of_run(home: ServerHome, name: str) -> RunConfig:
    """The settings of a run that is to go on.

    Raises:
        DeploymentError: There is no such run.
        ConfigError: Its settings cannot be read.
    """
    path = home.file(RUNS_FOLDER, name, CONFIG_FILE)
    if not path.exists():
        known = ", ".join(noted(home, RUNS_FILE)) or "there is none"
        raise DeploymentError(f"run {name!r} has left nothing to go on from; runs: {known}")
    return read_run_config({**given_settings(config=path, assignments=()), "resume": True})


def is_started(home: ServerHome) -> bool:
    """Whether the server's programs are kept alive at this moment, whatever state they are in."""
    try:
        os.kill(int(home.file("supervisord.pid").read_text(encoding="utf-8")), 0)
    except PermissionError:
        return True  # Somebody else's, and there.
    except (OSError, ValueError):
        return False
    return True


def programs(home: ServerHome) -> dict[str, list[str]]:
    """The command lines of the server's processes, by name."""
    tls, secret = home.file(TLS_FOLDER), str(home.file(SECRET_FILE))
    superlink = [
        *(sys.executable, "-m", "server.deployment.superlink"),
        *("--host", home.bind, "--port", str(home.port)),
        *("--ssl-ca-certfile", str(tls / CA_CERTIFICATE)),
        *("--ssl-certfile", str(tls / SERVER_CERTIFICATE)),
        *("--ssl-keyfile", str(tls / SERVER_KEY)),
        *("--enable-supernode-auth", "--database", str(home.file(DATABASE_FILE))),
        *("--isolation", "process", "--superexec-auth-secret-file", secret),
    ]
    superexec = [
        str(Path(sys.executable).with_name("flower-superexec")),
        *("--runtime-api-address", home.loopback),
        *("--root-certificates", str(tls / CA_CERTIFICATE)),
        *("--superexec-auth-secret-file", secret),
        # supervisord takes the place of this very process.
        *("--parent-pid", str(os.getpid())),
    ]
    return {"superlink": superlink, "superexec": superexec}


def _write_roster(home: ServerHome, cards: Mapping[str, Card]) -> None:
    keys: dict[str, dict[str, bytes]] = {TRAIN: {}, HELD_OUT: {}}
    for name, card in cards.items():
        keys[card.role][name] = bytes.fromhex(card.identity)
    server = Roster({SERVER: home.keys.own(SERVER, role=SERVERS).public})
    # Those that only measure are in no sum; pinned too, so that a group can show them its model.
    text = rosters_json(Roster(keys[TRAIN]), server, Roster(keys[HELD_OUT]))
    write_atomically(home.file(ROSTER_FILE), text + "\n")
