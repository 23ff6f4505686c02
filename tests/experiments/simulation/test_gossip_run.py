"""A whole federation that meets in pairs: what it leaves, what passes by, what it costs."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from alignment.data.population import load_population
from alignment.model.folder import load_predictor
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.app import app as client_app
from clients.sessions.own_model import Kept, OwnModel
from experiments.publishing.publish import Publication, publish
from experiments.simulation.local_grid import LocalGrid, run_server_app
from experiments.simulation.run import run
from experiments.simulation.simulate import simulate
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.ledger.chain import NOTHING, SERVER_TYPES, read_events, write_event
from privacy.ledger.paths import SERVER_LEDGER, group_model
from server.app import app as server_app
from server.config import ConfigError, RunConfig
from server.rounds.loop import RoundRecord

LOCAL = {
    "privacy.mode": "local",
    "privacy.mechanism": "gradients",
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 8,
    "federation.warmup_rounds": 4,
    "federation.adapter_rounds": 0,
    "federation.evaluate_every": 2,
}
GOSSIP = {**LOCAL, "strategy.name": "gossip", "federation.secure_aggregation": False}
TRAIN = ("Group 0", "Group 1", "Group 4", "Group 5")

MakeConfig = Callable[..., RunConfig]


def rounds_of(out: Path) -> list[dict[str, Any]]:
    lines = (out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def events_of(out: Path, type: str) -> list[dict[str, Any]]:
    """Bodies of all events of a type, of all groups, in order of groups."""
    found = []
    for path in sorted((out / "ledgers" / "groups").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            if event["type"] == type:
                found.append(event["body"])
    return found


def model(out: Path, group: str) -> np.ndarray:
    predictor, _ = load_predictor(group_model(out, group))
    return to_vector(predictor)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Path:
    """A whole run: read its folder, never write there."""
    out = tmp_path_factory.mktemp("gossip") / "out"
    run(make_config(out, {**GOSSIP, "federation.adapter_rounds": 1}))
    return out


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Path:
    """A run whose keys are still there: read its folder, never write there."""
    config = make_config(tmp_path_factory.mktemp("told") / "out", GOSSIP)
    population = load_population(config.data, split="", seed=0, skip_invalid=False)
    simulate(config, population)
    return Path(config.out)


class TestWhatItLeaves:
    def result(self, out: Path) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
        return found

    def test_figures_are_finite_and_say_whose_they_are(self, out: Path) -> None:
        result = self.result(out)
        own = result["own_models"]
        assert set(own["models"]) == set(TRAIN) and own["measured"] in TRAIN
        measured = own["models"][own["measured"]]
        assert measured["alignment"] == result["alignment"]["unseen_groups"]["mean"]
        figures = [own["distance"], own["norm"], *measured.values()]
        assert np.isfinite(figures).all() and own["distance"] > 0
        assert (result["rounds"], result["aborted_rounds"]) == (5, 0)
        assert result["privacy"]["epsilon"] == 8.0

    def test_every_group_has_a_model_of_its_own_and_the_server_has_none(
        self, out: Path, make_config: MakeConfig
    ) -> None:
        models = {group: model(out, group) for group in TRAIN}
        config = make_config(out / "unused", GOSSIP)
        start = to_vector(Predictor(config.predictor, seed=config.seed))
        for vector in models.values():
            assert np.isfinite(vector).all()
            assert (vector != start).any()
        assert len({vector.tobytes() for vector in models.values()}) > 1
        assert not (out / "head.safetensors").exists()
        assert not (out / "adapter").exists()
        assert not list(out.rglob("*.part")) and not list(out.rglob("vector.safetensors"))

    def test_rounds_tell_how_far_partners_were_apart(self, out: Path) -> None:
        rounds = rounds_of(out)
        assert rounds[0]["distance"] is None
        assert all(each["distance"] > 0 for each in rounds[1:])
        assert [each["alignment"] is not None for each in rounds] == [1, 0, 1, 0, 1, 1]
        assert all(each["loss"] is None for each in rounds)

    def test_the_report_says_that_there_is_no_common_model(self, out: Path) -> None:
        page = (out / "report.html").read_text(encoding="utf-8")
        assert "There is no common model" in page
        assert self.result(out)["own_models"]["measured"] in page

    def test_nothing_is_published_for_all(self, out: Path, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="keeps a model of its own, in models/"):
            publish(Publication(model=out, out=tmp_path / "published"))

    def test_a_review_holds(self, out: Path) -> None:
        checks = verify(gather([out]))
        assert holds(checks)
        words = {check.id: check.finding for check in checks if check.about == "server"}
        assert (
            "groups met in pairs, at least 4 of them, and nothing was summed"
            in (words["survivors"])
        )
        (both,) = (check.finding for check in checks if check.id == "both")
        assert both.startswith(f"{5 * len(TRAIN)} vectors that the server took were paid for")


def test_the_ledger_charges_as_in_local_mode(tmp_path: Path, make_config: MakeConfig) -> None:
    spends, plans = [], []
    for name, settings in (("gossip", GOSSIP), ("fedavg", {**LOCAL, "strategy.name": "fedavg"})):
        config = make_config(tmp_path / name, {**settings, "privacy.local_steps": 2})
        population = load_population(config.data, split="", seed=0, skip_invalid=False)
        simulate(config, population)
        of_run = {"run", "ctx", "plan"}
        out = Path(config.out)
        spends.append(
            [{k: v for k, v in body.items() if k not in of_run} for body in events_of(out, "SPEND")]
        )
        privacy = json.loads((out / "privacy.json").read_text(encoding="utf-8"))
        plans.append(privacy["plan"])
        assert len(events_of(out, "RELEASED")) == len(spends[-1]) == 4 * len(TRAIN)
    assert plans[0] == plans[1]
    assert spends[0] == spends[1]


@dataclass
class Relayed:
    """A federation whose every byte that passes the server is kept.

    Attributes:
        config: The run.
        unreachable: Kind of message, round and group that does not get through.
        seen: All bytes of all messages, in order.
        kept: All that groups have kept: vectors that nobody else may read.
    """

    config: RunConfig
    unreachable: frozenset[tuple[str, str, str]] = frozenset()
    seen: list[bytes] = field(default_factory=list)
    kept: list[np.ndarray] = field(default_factory=list)

    def run(self, monkeypatch: pytest.MonkeyPatch) -> list[RoundRecord]:
        out = Path(self.config.out)
        population = load_population(self.config.data, split="", seed=0, skip_invalid=False)
        count = len(population.groups)
        grid = LocalGrid(
            client_app=client_app,
            node_configs=[{"partition-id": i, "num-partitions": count} for i in range(count)],
            run_config=self.config.flat(),
            before_delivery=self._deliver,
        )
        self._names = dict(zip(grid.get_node_ids(), population.groups, strict=True))
        pack, keep = LocalGrid._pack, OwnModel.keep

        def packed(grid: LocalGrid, messages: Any, *, is_reply: bool) -> Any:
            parcels = pack(grid, messages, is_reply=is_reply)
            self.seen += [data for parcel in parcels for data in parcel.contents.values()]
            return parcels

        def kept(model: OwnModel, one: Kept) -> None:
            self.kept += [one.vector, one.strategy.published(one.vector)]
            keep(model, one)

        monkeypatch.setattr(LocalGrid, "_pack", packed)
        monkeypatch.setattr(OwnModel, "keep", kept)
        run_server_app(server_app, grid, run_config=self.config.flat())
        return [RoundRecord(**line) for line in rounds_of(out)]

    def _deliver(self, message: Message) -> bool:
        told = message.metadata
        group = self._names[told.dst_node_id]
        return (told.message_type, told.group_id, group) not in self.unreachable


def windows(vector: np.ndarray, start: np.ndarray) -> Iterator[bytes]:
    """Pieces of four numbers that are of this vector and not of the public first one."""
    changed = np.flatnonzero(vector != start)
    for at in changed[:: max(1, len(changed) // 40)]:
        piece = slice(at, at + 4)
        if at + 4 <= len(vector) and (vector[piece] != start[piece]).all():
            yield vector[piece].tobytes()


def test_nothing_that_passes_the_server_holds_a_group_s_numbers(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what the server leaves on disk; the public first vector passes as it is."""
    config = make_config(tmp_path / "out", {**GOSSIP, "federation.evaluate_every": 1})
    relayed = Relayed(config)
    relayed.run(monkeypatch)
    start = to_vector(Predictor(config.predictor, seed=config.seed))
    passed = b"\0".join(relayed.seen)
    assert start[:4].tobytes() in passed
    pieces = [piece for vector in relayed.kept for piece in windows(vector, start)]
    assert len(relayed.kept) == 2 * 2 * 4 * len(TRAIN) and len(pieces) > 1000
    assert not any(piece in passed for piece in pieces)
    left = [
        path
        for path in Path(config.out).rglob("*")
        if path.is_file() and "models" not in path.relative_to(config.out).parts
    ]
    assert left
    for path in left:
        data = path.read_bytes()
        assert not any(piece in data for piece in pieces), path


class TestDropouts:
    def dropped(
        self, config: RunConfig, monkeypatch: pytest.MonkeyPatch, *which: tuple[str, str, str]
    ) -> list[RoundRecord]:
        return Relayed(config, unreachable=frozenset(which)).run(monkeypatch)

    def test_whose_partner_is_gone_goes_on_by_itself(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = make_config(tmp_path / "out", GOSSIP)
        rounds = self.dropped(config, monkeypatch, ("train.meet", "2", "Group 0"))
        assert [each.groups for each in rounds] == [0, 4, 3, 4, 4]
        assert [*rounds[2].dropped] == ["Group 0"]
        assert not any(each.aborted for each in rounds)
        assert all(np.isfinite(model(tmp_path / "out", group)).all() for group in TRAIN)
        assert holds(verify(gather([tmp_path / "out"])))

    def test_who_is_not_there_when_pairs_are_drawn_leaves_one_alone(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = make_config(tmp_path / "out", GOSSIP)
        rounds = self.dropped(config, monkeypatch, ("query.offer", "1", "Group 1"))
        assert [each.groups for each in rounds] == [0, 3, 4, 4, 4]
        checks = verify(gather([tmp_path / "out"]))
        assert holds(checks)
        assert sum(body["round"] == 1 for body in events_of(tmp_path / "out", "SPEND")) == 3

    def test_a_round_with_too_few_is_aborted_and_measures_nothing(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        changes = {**GOSSIP, "federation.minimum_groups": 4}
        config = make_config(tmp_path / "out", changes)
        rounds = self.dropped(config, monkeypatch, ("train.meet", "2", "Group 0"))
        assert rounds[2].aborted.startswith("3 of 4 groups trained, 4 needed")
        # The server's vector is the first one: to measure it would tell of no group's model.
        assert rounds[2].alignment is None
        assert holds(verify(gather([tmp_path / "out"])))

    def test_drawn_groups_alone_step_and_pay(
        self, tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = make_config(tmp_path / "out", {**GOSSIP, "federation.groups_per_round": 2})
        rounds = self.dropped(config, monkeypatch)
        assert [each.groups for each in rounds] == [0, 2, 2, 2, 2]
        assert len(events_of(tmp_path / "out", "SPEND")) == 2 * 4
        assert holds(verify(gather([tmp_path / "out"])))


class TestForgedBooks:
    """A server that rewrites its book: it can sign anything, and is held against the ledgers."""

    def forged(
        self, told: Path, out: Path, change: Callable[[str, dict[str, Any]], None]
    ) -> list[str]:
        shutil.copytree(told, out)
        identity = KeyFolder(out / "identities").own(SERVER, role=SERVERS)
        path = out / "ledgers" / SERVER_LEDGER
        events = read_events(path.read_bytes(), identity.public, types=SERVER_TYPES)
        head, lines = NOTHING, []
        for event in events:
            body = json.loads(json.dumps(dict(event.body)))
            change(event.type, body)
            written = write_event(identity, head, type=event.type, dataset="", body=body)
            head = written.head
            lines.append(written.line())
        path.write_bytes(b"".join(lines))
        return [check.id for check in verify(gather([out])) if check.status == "fail"]

    def test_rewritten_as_it_was_it_holds(self, told: Path, tmp_path: Path) -> None:
        assert not self.forged(told, tmp_path / "out", lambda *_: None)

    @pytest.mark.parametrize(
        ("name", "failing"),
        [
            ("vector", "both"),
            ("context", "survivors"),
            ("pairs", "survivors"),
            ("task", "survivors"),
            ("after", "survivors"),
            ("sum", "survivors"),
            ("twice", "survivors"),
            ("advert", "survivors"),
        ],
    )
    def test_what_it_relayed_cannot_be_told_otherwise(
        self, told: Path, tmp_path: Path, name: str, failing: str
    ) -> None:
        def change(type: str, body: dict[str, Any]) -> None:
            if type == "RUN" and name == "sum":
                del body["pairs"]
            if type == "HEADS" and body["round"] == 2 and name == "advert":
                one, two = sorted(body["adverts"])[:2]
                body["adverts"][one] = body["adverts"][two]
            if type != "ROUND" or body["round"] != 2:
                return
            names = body["survivors"]
            if name == "vector":
                body["vectors"][names[0]] = hashlib.sha256(b"another").hexdigest()
            elif name == "context":
                body["contexts"][names[0]] = "00" * 32
            elif name == "pairs":
                (a, b), (c, d) = body["pairs"]
                body["pairs"] = [sorted((a, c)), sorted((b, d))]
            elif name == "task":
                body["task"] = "11" * 32
            elif name == "after":
                body["after"] = "22" * 32
            elif name == "twice":
                body["pairs"] = [body["pairs"][0], body["pairs"][0]]

        assert failing in self.forged(told, tmp_path / "out", change)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resume": True}, "cannot resume: begin another run"),
        ({"federation.groups_per_round": 1}, "groups_per_round = 1 leaves nobody to meet"),
        ({"federation.secure_aggregation": True}, "there is no sum to hide"),
        ({"privacy.mode": "none"}, "not private by itself: use privacy.mode = local"),
        ({"privacy.mode": "distributed"}, "not private by itself: use privacy.mode = local"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_one_line(
    tmp_path: Path, make_config: MakeConfig, changes: Mapping[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match="strategy gossip") as refused:
        make_config(tmp_path / "out", {**GOSSIP, **changes})
    assert words in str(refused.value) and "\n" not in str(refused.value)
