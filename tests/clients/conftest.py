"""A grid of real clients on the tiny federation, and plans to send them."""

import io
import itertools
import json
import tomllib
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tomli_w
from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict

import clients.data.datastore
import clients.data.own_records
import clients.requests
import clients.training.noised_answers
import server.app
from alignment.model.encoders.encoder_files import model_fingerprint
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from alignment.training.private_layout import private_layout
from clients.app import app
from clients.data.datastore import pinned_questionnaire
from clients.data.home import Home
from clients.deployment.bundle import installed_files
from clients.deployment.enrolment import (
    compare_roster,
    pin_roster,
    policy_for,
    questionnaire_for,
    set_up,
)
from clients.deployment.executor import Executor
from clients.sessions.group_ledger import forget_ledgers
from clients.sessions.group_tally import forget_tallies
from clients.task import RoundTask, read_task
from experiments.simulation.local_grid import LocalGrid, run_server_app
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms, terms_of_counts
from privacy.identity.enrolment import Invitation
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.ledger.paths import group_ledger
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import AdvertiseRequest, ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from privacy.secagg.server import ServerRound
from server.aggregation.base import MeanOfUpdates
from server.aggregation.registration import step_shape
from server.aggregation.step_sizes import steps_of
from server.config import RunConfig, read_run_config
from server.rounds.loop import RoundRecord
from server.state.telemetry import ROUNDS_FILE
from strategies.wire.round_plan import PrivateWork, RoundPlan, vector_digest

MakeGrid = Callable[..., LocalGrid]
MakePlan = Callable[..., RoundPlan]
Ask = Callable[..., Message]


@pytest.fixture(scope="session")
def config(tiny_settings: Mapping[str, Any]) -> RunConfig:
    """Vectors in the clear, so that a test sees what training made."""
    return read_run_config({**tiny_settings, "federation.secure_aggregation": False})


@pytest.fixture(scope="session")
def predictor(config: RunConfig) -> Predictor:
    """The predictor of the run's first round; its weights are never changed here."""
    return Predictor(config.predictor, seed=0)


@pytest.fixture(scope="session")
def vector(predictor: Predictor) -> np.ndarray:
    first = to_vector(predictor)
    first.setflags(write=False)
    return first


@pytest.fixture(scope="session")
def make_grid(config: RunConfig) -> MakeGrid:
    def make(nodes: int = 6, **changes: object) -> LocalGrid:
        return LocalGrid(
            client_app=app,
            node_configs=[{"partition-id": i, "num-partitions": nodes} for i in range(nodes)],
            run_config={**config.flat(), **changes},
        )

    return make


@pytest.fixture(scope="session")
def make_plan(config: RunConfig) -> MakePlan:
    """A plan of round 3, which trains adapters and head; dotted keywords change it."""

    def make(**changes: object) -> RoundPlan:
        sections = {key: value for key, value in config.nested().items() if key in _SECTIONS}
        first = RoundPlan(
            run="ab" * 16,
            round=3,
            seed=0,
            train_adapter=True,
            learning_rate_scale=1.0,
            **sections,
        )
        return RoundPlan.from_wire({**first.to_wire(), **changes})

    return make


_SECTIONS = ("predictor", "training", "context")


@pytest.fixture(scope="session")
def make_task(make_plan: MakePlan) -> Callable[..., RoundTask]:
    """The same, as a client has read it."""

    def make(**changes: object) -> RoundTask:
        return read_task(make_plan(**changes))

    return make


@pytest.fixture(scope="session")
def ask(vector: np.ndarray, make_plan: MakePlan) -> Ask:
    """Send one node a message and return its reply; ``plan=None`` sends no plan."""

    def send(
        grid: LocalGrid,
        kind: str,
        place: int,
        plan: RoundPlan | None = None,
        *,
        arrays: Sequence[np.ndarray] | None = None,
    ) -> Message:
        node = list(grid.get_node_ids())[place]
        model = ArrayRecord([vector] if arrays is None else list(arrays))
        record = ConfigRecord(dict((plan or make_plan()).to_wire()))
        content = RecordDict({"model": model, "plan": record})
        if kind == "query.setup":
            content["setup"] = ConfigRecord({"version": 2, "unit": "", "challenge": b""})
        with grid.as_server():
            message = Message(content, node, kind)
            (reply,) = grid.send_and_receive([message])
        return reply

    return send


def bundle_of(files: Mapping[str, bytes]) -> bytes:
    """A bundle as a server sends it."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


@pytest.fixture(scope="session")
def bundle() -> bytes:
    """A bundle of what is installed here."""
    return bundle_of(installed_files())


@pytest.fixture(scope="session", name="bundle_of")
def bundle_of_fixture() -> Callable[[Mapping[str, bytes]], bytes]:
    """Pack files into a bundle: ``bundle_of({name: content})``."""
    return bundle_of


@dataclass
class Deployed:
    """Organisations with folders of their own, and a server that may ask them for anything.

    Every message goes through the executor of its organisation, so that the server gets what it
    would get from it over a network.

    Attributes:
        folder: Everything lies in it.
        config: What the server wants of a run.
        homes: Folders of the organisations.
        bundle: What the server sends as its code.
        data: Files of records, by group.
        grid: The way to the organisations; `restart` makes another.
        reasons: Why messages were refused, as the server was told.
        replies: Every reply, as its bytes.
    """

    folder: Path
    config: RunConfig
    homes: dict[str, Path]
    bundle: bytes
    data: dict[str, Path]
    grid: LocalGrid = field(init=False)
    reasons: list[str] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)
    server_says: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start all clients anew: what they keep between messages is lost, their folders stay."""
        forget_ledgers()
        forget_tallies()
        for module in (
            clients.data.datastore,
            clients.data.own_records,
            clients.training.noised_answers,
        ):
            for cached in vars(module).values():
                if hasattr(cached, "cache_clear"):
                    cached.cache_clear()
        clients.requests._fingerprint.cache_clear()
        self.grid = LocalGrid(
            client_app=self._answer,
            node_configs=[{"home": str(home)} for home in self.homes.values()],
            run_config=self.server_says,
        )

    def _answer(self, message: Message, context: Context) -> Message:
        home = Home(folder=Path(str(context.node_config["home"])))
        sent: list[Message] = []
        task = SimpleNamespace(
            input=lambda: (message, context, self.bundle),
            reply=lambda reply, _, failure: sent.append(reply),
        )
        Executor(home, None)._carry_out(task)
        (reply,) = sent
        if reply.has_error():
            self.reasons.append(reply.error.reason)
        return reply

    def ask(self, group: str, kind: str, content: RecordDict) -> RecordDict | str:
        """What a group answers: its content, or the reason for which there is none."""
        node = dict(zip(self.homes, self.grid.get_node_ids(), strict=True))[group]
        with self.grid.as_server():
            (reply,) = self.grid.send_and_receive([Message(content, node, kind)])
        return reply.error.reason if reply.has_error() else reply.content

    def stage(
        self,
        group: str,
        kind: str,
        parts: Mapping[str, bytes],
        plan: RoundPlan | None = None,
        vector: np.ndarray | None = None,
    ) -> RecordDict | str:
        """One stage of secure aggregation."""
        content = RecordDict({"secagg": ConfigRecord(dict(parts))})
        if plan is not None:
            content["plan"] = ConfigRecord(dict(plan.to_wire()))
        if vector is not None:
            content["model"] = ArrayRecord([vector])
        return self.ask(group, kind, content)

    def change(self, group: str, **dotted: Any) -> None:
        """Change lines of a group's policy: ``accept__members=4``."""
        path = self.homes[group] / "policy.toml"
        policy = tomllib.loads(path.read_text(encoding="utf-8"))
        for name, value in dotted.items():
            *sections, key = name.split("__")
            place = policy
            for section in sections:
                place = place[section]
            place[key] = value
        path.write_text(tomli_w.dumps(policy), encoding="utf-8")

    def ledger(self, group: str) -> list[dict[str, Any]]:
        """The events of a group's ledger; none where it has not begun one."""
        path = group_ledger(self.homes[group] / "ledgers", group)
        return (
            [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        )

    def spends(self, group: str) -> int:
        """How often a group was charged."""
        return sum(event["type"] == "SPEND" for event in self.ledger(group))

    def pin(self, members: Mapping[str, bytes] | None = None) -> None:
        """Have all pin all."""
        roster = self.folder / "roster.json"
        keys = {
            group: Identity.read(home / "identity.pem").public
            for group, home in self.homes.items()
            if Home(folder=home).group_policy.role == "train"
        }
        server = Roster.read(next(iter(self.homes.values())) / "roster.json", SERVERS)
        roster.write_text(rosters_json(Roster({**keys, **(members or {})}), server))
        for home in self.homes.values():
            pin_roster(Home(folder=home), compare_roster(Home(folder=home), roster))

    def run(self) -> list[RoundRecord]:
        """Run the server to its end; its rounds."""
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            run_server_app(server.app.app, self.grid, run_config=self.config.flat())
        lines = (Path(self.config.out) / ROUNDS_FILE).read_text(encoding="utf-8").splitlines()
        return [RoundRecord(**json.loads(line)) for line in lines]


Deploy = Callable[..., Deployed]


@pytest.fixture(scope="session")
def deploy(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_settings: Mapping[str, Any],
    tiny_rows: Sequence[Mapping[str, Any]],
    write_rows: Callable[..., Path],
    bundle: bytes,
) -> Deploy:
    """Set organisations up: ``deploy(groups=3, **settings)``, all of them pinned by all."""
    places = tmp_path_factory.mktemp("deployed")
    numbers = itertools.count()

    def make(
        *,
        groups: int = 3,
        held_out: int = 0,
        rows: Sequence[Mapping[str, Any]] = tiny_rows,
        budget_epsilon: float | None = None,
        model: str | None = None,
        units: int = 6,
        **settings: Any,
    ) -> Deployed:
        folder = places / str(next(numbers))
        folder.mkdir()
        keys = KeyFolder(folder / "server" / "ledgers" / "identities")
        chosen = {
            **{key: value for key, value in tiny_settings.items() if key != "data"},
            "privacy.mode": "distributed",
            "privacy.delta": 1e-3,
            "privacy.micro_batch": 8,
            "strategy.name": "fedavg",
            "federation.warmup_rounds": 2,
            "federation.adapter_rounds": 0,
            "federation.evaluate_every": 0,
            "federation.minimum_groups": min(3, groups),
            "out": str(folder / "server" / "run"),
            **settings,
        }
        if chosen["privacy.mode"] != "none":
            chosen["privacy.ledgers"] = str(folder / "server" / "ledgers")
        config = read_run_config(chosen)
        invitation = Invitation(
            federation="lab",
            address="127.0.0.1:9",
            ca="-----BEGIN CERTIFICATE-----",
            server=keys.own(SERVER, role=SERVERS).public.hex(),
            settings=config.flat(),
        )
        homes, data = {}, {}
        for number in range(groups + held_out):
            group = f"Group {number}"
            own = [row for row in rows if row["group"] == group]
            data[group] = write_rows(folder / f"{number}.jsonl", own)
            homes[group] = folder / f"client {number}"
            questionnaire = None
            # As the command does: a group that only measures counts nothing.
            if number < groups:
                questionnaire = questionnaire_for(invitation, group=group, data=data[group])
            policy = policy_for(
                homes[group],
                invitation,
                group=group,
                data=data[group],
                role="train" if number < groups else "held_out",
                model=model_fingerprint(config.predictor) if model is None else model,
                budget_epsilon=budget_epsilon,
                units=units,
                questionnaire=questionnaire,
            )
            set_up(homes[group], invitation, policy, questionnaire)
        deployed = Deployed(folder=folder, config=config, homes=homes, bundle=bundle, data=data)
        if groups < 3:
            # Fewer than anybody should agree to, and enough for what a test needs.
            for group in homes:
                deployed.change(group, accept__members=groups)
        deployed.pin()
        return deployed

    return make


@dataclass
class Asked:
    """A server that asks for one round, in the terms that it should, or in others.

    Attributes:
        deployed: Whom it asks.
        plan: The privacy plan, calibrated for them; None where nothing is private.
        vector: The model.
        run: Name of the run.
    """

    deployed: Deployed
    plan: PrivacyPlan | None
    vector: np.ndarray
    run: str

    def advertise(self, number: int = 1, attempt: int = 1) -> dict[str, RecordDict | str]:
        """Stage 0 of all."""
        request = AdvertiseRequest(Attempt(run=self.run, round=number, attempt=attempt)).encode()
        return {
            group: self.deployed.stage(group, "query.advertise", {"advertise": request})
            for group in self.deployed.homes
        }

    def round_plan(self, number: int = 1, **changes: Any) -> RoundPlan:
        """What a client is told; ``plan__NAME`` changes the privacy plan in it."""
        config = self.deployed.config
        sections = {name: config.nested()[name] for name in ("predictor", "training", "context")}
        whole = RoundPlan(
            run=self.run,
            round=number,
            seed=0,
            train_adapter=False,
            learning_rate_scale=1.0,
            privacy=self._work({k[6:]: v for k, v in changes.items() if k.startswith("plan__")}),
            **sections,
        )
        others = {k: v for k, v in changes.items() if not k.startswith("plan__")}
        return RoundPlan.from_wire({**whole.to_wire(), **others})

    def _work(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        if self.plan is None:
            return {}
        privacy = self.deployed.config.privacy
        return asdict(
            PrivateWork(
                plan=json.dumps({**self.plan.as_dict(), **changes}, sort_keys=True),
                group_index=0,
                freeze_a=privacy.freeze_a,
                local_learning_rate=privacy.local_learning_rate,
            )
        )

    def terms(self, number: int = 1, attempt: int = 1, **changes: Any) -> RoundTerms:
        """The terms of a round; ``vector__NAME`` changes what they say of its vectors."""
        members = tuple(self.deployed.homes)
        if self.plan is None or self.plan.counts is not None:
            config = self.deployed.config
            steps = steps_of(Predictor(config.predictor), config.training)
            vector = MeanOfUpdates(steps).vector_terms(
                self.round_plan(number), self.vector.size, members=len(members)
            )
            if self.plan is not None:
                vector = replace(vector, plan=self.plan.digest())
        else:
            vector = VectorTerms.of_plan(self.plan)
        of_vector = {k[8:]: v for k, v in changes.items() if k.startswith("vector__")}
        others = {k: v for k, v in changes.items() if not k.startswith("vector__")}
        values = {
            "attempt": Attempt(run=self.run, round=number, attempt=attempt),
            "members": members,
            "threshold": consistency_threshold(len(members)),
            "survivors": len(members),
            "vector": replace(vector, **of_vector),
            "task": self.round_plan(number).digest(),
            "model": vector_digest(self.vector),
        }
        return RoundTerms(**{**values, **others})

    def share(
        self,
        group: str,
        adverts: Mapping[str, Any],
        terms: RoundTerms,
        plan: RoundPlan | None = None,
    ) -> RecordDict | str:
        """Stage 1 of one group."""
        encoded = tuple(adverts[name]["secagg"]["advertise"] for name in terms.members)
        request = ShareRequest(terms.encode(), encoded).encode()
        plan = plan or self.round_plan(terms.attempt.round)
        return self.deployed.stage(group, "query.share", {"share": request}, plan)

    def up_to_mask(self, number: int = 1, attempt: int = 1) -> dict[str, RecordDict | str]:
        """A whole round up to the masked vectors of all."""
        adverts = self.advertise(number, attempt)
        refused = {group: reply for group, reply in adverts.items() if isinstance(reply, str)}
        if refused:
            return refused
        terms, deployed = self.terms(number, attempt), self.deployed
        encoded = {g: reply["secagg"]["advertise"] for g, reply in adverts.items()}
        keys = {g: Identity.read(h / "identity.pem").public for g, h in deployed.homes.items()}
        prepared = ServerRound(terms, encoded, Roster(keys))
        plan = self.round_plan(number)
        for group in deployed.homes:
            shared = deployed.stage(group, "query.share", {"share": prepared.share_request}, plan)
            if isinstance(shared, str):
                return {group: shared}
            prepared.take_shares(group, shared["secagg"]["share"])
        prepared.close_sharing()
        return {
            group: deployed.stage(
                group, "train.masked", {"mask": prepared.mask_request(group)}, plan, self.vector
            )
            for group in deployed.homes
        }


def counts_asked(deployed: Deployed, **changes: Any) -> dict[str, Any]:
    """What a server has to say of the counts of its groups."""
    privacy = deployed.config.privacy
    homes = [Home(folder=folder) for folder in deployed.homes.values()]
    asked = [pinned_questionnaire(home) for home in homes]
    return {
        "unit": Unit(privacy.unit),
        "epsilon": privacy.epsilon,
        "delta": privacy.delta,
        "units_per_group": [home.group_policy.privacy.units for home in homes],
        "options": [each.options for each in asked],
        "questionnaires": [each.digest for each in asked],
        "distributions": asked[0].distributions,
        "answers_per_respondent": privacy.answers_per_respondent,
        "largest_weight": privacy.largest_weight,
        **changes,
    }


@pytest.fixture(scope="session", name="counts_asked")
def counts_asked_fixture() -> Callable[..., dict[str, Any]]:
    """The terms of counts: ``terms_of_counts(**counts_asked(deployed, epsilon=1.0))``."""
    return counts_asked


@pytest.fixture(scope="session")
def asking() -> Callable[..., Asked]:
    """A server's side of its own making: ``asking(deployed)``."""
    plans: dict[str, PrivacyPlan] = {}

    def make(deployed: Deployed, run: str = "ab" * 16) -> Asked:
        config = deployed.config
        predictor = Predictor(config.predictor, seed=0)
        privacy = config.privacy
        key = f"{privacy} {len(deployed.homes)} {config.federation.rounds}"
        if privacy.counted:
            plans[key] = PrivacyPlan.calibrate(terms_of_counts(**counts_asked(deployed)))
        elif privacy.private and key not in plans:
            plans[key] = PrivacyPlan.calibrate(
                PrivacyTerms(
                    unit=Unit(privacy.unit),
                    mode=Mode(privacy.mode),
                    epsilon=privacy.epsilon,
                    delta=privacy.delta,
                    groups=len(deployed.homes),
                    units_per_group=6,
                    sampling_rate=privacy.sampling_rate,
                    rounds=config.federation.rounds,
                    survivors=len(deployed.homes),
                    colluding=privacy.colluding,
                    clipping_norm=privacy.clipping_norm,
                    dimension=private_layout(predictor, adapters=False).dimension,
                    shape=step_shape(config),
                )
            )
        return Asked(deployed=deployed, plan=plans.get(key), vector=to_vector(predictor), run=run)

    return make
