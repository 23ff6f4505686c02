"""A review needs files alone: no network, no training library, and no file that is whole."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from math import floor, sqrt
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.accountant import PLD_TOLERANCE, SampledGaussian, pld_epsilon
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.prv_cross_check import prv_epsilon
from privacy.accounting.terms import PrivacyTerms
from privacy.audit.card import build_card
from privacy.audit.checks import Check, Status
from privacy.audit.evidence import LEDGERS_FOLDER, gather
from privacy.audit.recomputed import recomputed
from privacy.audit.verify import holds, verify
from privacy.errors import AlreadyCharged
from privacy.file_names import ROSTER_FILE
from privacy.identity.keys import Identity, Roster
from privacy.ledger import Ledger
from privacy.ledger.chain import NOTHING, Head, sign_head, write_event
from privacy.ledger.paths import SERVER_LEDGER, group_ledger, people_folder
from privacy.ledger.server_ledger import ServerLedger

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden" / "accounting.json").read_text(encoding="utf-8")
)
OWNER, SERVER = Identity.create(), Identity.create()
SERVERS = Roster({"server": SERVER.public})
GROUP = "Group A"
DELTA = 1e-5
UNREADABLE: tuple[Any, ...] = (None, [], {}, "x", "nan", "inf", 0, -1, 2**70, "\x00\n")


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group's ledger with events of all types, a server ledger and a roster; read it only."""
    folder = tmp_path_factory.mktemp("review") / LEDGERS_FOLDER
    path = group_ledger(folder, GROUP)
    path.parent.mkdir(parents=True)
    plan = _plan()
    with Ledger.create(path, OWNER, servers=SERVERS) as ledger:
        data = ledger.register([("person", b"answer")], unit=Unit.RESPONDENT, bound=20, run="run")
        ledger.set_budget(data, epsilon=6.0, delta=DELTA, order=5)
        ledger.register_plan("run", data, plan)
        ledger.released(ledger.reserve("run", 1, 1, bytes(32)), bytes(32))
        ledger.aborted(ledger.reserve("run", 2, 1, bytes(32)), "TooFewMembers")
        ledger.reserve("run", 3, 1, bytes(32))
        ledger.reserve("run", 4, 1, bytes(32))
        with pytest.raises(AlreadyCharged):
            ledger.reserve("run", 5, 1, bytes(32))
    with ServerLedger.open(folder / SERVER_LEDGER, SERVER, name="server") as server_ledger:
        keys = {GROUP: OWNER.public}
        server_ledger.begin("run", plan, groups=keys, model="0" * 64, secure=True, epsilons={})
        server_ledger.published("run", model="0" * 64, files={"head.safetensors": "0" * 64})
    pins = {"members": {GROUP: OWNER.public.hex()}, "servers": {"server": SERVER.public.hex()}}
    (folder / ROSTER_FILE).write_text(json.dumps(pins), encoding="utf-8")
    return folder


def _plan() -> PrivacyPlan:
    agreed = PrivacyTerms(
        epsilon=6.0,
        delta=DELTA,
        groups=2,
        units_per_group=20,
        sampling_rate=1.0,
        rounds=4,
        survivors=2,
        clipping_norm=1.0,
        dimension=100,
    )
    return PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=4.0,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / 4.0),
        modulus_bits=32,
    )


@pytest.fixture
def copy(ledgers: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return shutil.copytree(ledgers, tmp_path / LEDGERS_FOLDER)


def review(folder: Path) -> tuple[Check, ...]:
    """The checks; whatever lies there they are words, of one line each."""
    checks = verify(gather([folder]))
    assert checks
    assert all(check.finding and check.finding.isprintable() for check in checks)
    return checks


def test_an_intact_folder_passes(ledgers: Path) -> None:
    checks = review(ledgers)
    assert holds(checks)
    assert {check.id for check in checks if check.status is Status.PASS} >= {
        "key",
        "chain",
        "epsilon",
        "plan",
        "budget",
        "refusals",
        "forks",
        "book",
        "plans",
    }
    whole = (group_ledger(ledgers, GROUP), ledgers / SERVER_LEDGER)
    assert verify(gather([whole[0]])) == verify(gather([ledgers, *whole]))


def damages(data: bytes) -> Iterator[bytes]:
    yield b""
    yield b"\n"
    yield b"\xff\x00" * 99 + b"\n"
    yield b"[" * 100_000 + b"\n"
    yield b"null\n"
    yield data + b"{}\n"
    for position in range(0, len(data), 149):
        yield data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        yield data[position:]


@pytest.mark.parametrize("file", ["ledger", "book"])
def test_a_damaged_file_is_a_finding_and_never_an_error(copy: Path, file: str) -> None:
    path = group_ledger(copy, GROUP) if file == "ledger" else copy / SERVER_LEDGER
    data = path.read_bytes()
    for damaged in damages(data):
        path.write_bytes(damaged)
        assert holds(review(copy)) == (damaged == data)


def test_a_torn_last_line_is_told_and_is_no_finding(copy: Path) -> None:
    path = group_ledger(copy, GROUP)
    path.write_bytes(path.read_bytes() + b'{"body":')
    checks = review(copy)
    assert holds(checks)
    assert any("8 bytes of a last line torn by a crash" in check.finding for check in checks)


def rewritten(events: list[dict[str, Any]]) -> bytes:
    head, out = NOTHING, []
    for event in events:
        named = {name: event[name] for name in ("type", "dataset", "body")}
        written = write_event(OWNER, head, **named)
        head = written.head
        out.append(written.line())
    return b"".join(out)


def test_words_that_the_owner_signed_and_nobody_can_read_are_a_finding(copy: Path) -> None:
    """Every field of an event of every type; only free words may be anything."""
    path = group_ledger(copy, GROUP)
    events = [json.loads(line) for line in path.read_bytes().splitlines()]
    head = Head(seq=events[-1]["seq"], hash=events[-1]["hash"])
    signed = sign_head(SERVER, head, OWNER.public).hex()
    body = {"seq": head.seq, "hash": head.hash, "server": "server", "signature": signed}
    events.append({"type": "HEAD", "dataset": "", "body": body})
    assert {event["type"] for event in events} >= {"REFUSED", "HEAD", "ABORTED"}
    free = {"mechanism", "code", "ctx", "vector", "run", "round", "attempt"}
    for position in {event["type"]: position for position, event in enumerate(events)}.values():
        for name in events[position]["body"]:
            for value in UNREADABLE:
                before = events[position]["body"][name]
                # The same words written otherwise.
                if value == before or (value, before) in (({}, []), (0, "0.0")):
                    continue
                other = json.loads(json.dumps(events))[: position + 1]
                other[position]["body"][name] = value
                path.write_bytes(rewritten(other))
                checks = review(copy)
                assert name in free or not holds(checks), (events[position]["type"], name, value)


def test_files_that_are_no_evidence_are_refused_in_one_line(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ledgers there"):
        gather([tmp_path / "nowhere"])
    (copy / ROSTER_FILE).write_bytes(b"\xff")
    with pytest.raises(ValueError, match="is no roster") as found:
        gather([copy])
    assert str(found.value).isprintable()


def test_reading_changes_no_byte(copy: Path) -> None:
    def everything() -> dict[Path, tuple[bytes, int]]:
        files = (path for path in copy.parent.rglob("*") if path.is_file())
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    path = group_ledger(copy, GROUP)
    path.write_bytes(path.read_bytes() + b"torn")
    before = everything()
    path.chmod(0o400)
    review(copy)
    assert everything() == before


ALONE = """
import importlib.abc, socket, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in ("torch", "flwr", "opacus", "transformers", "peft", "datasets", "ray"):
            raise ImportError(name + " is not there")
sys.meta_path.insert(0, Absent())
def refuse(*_, **__):
    raise OSError("a review needs no network")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from pathlib import Path
from privacy.errors import AlreadyCharged
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
checks = verify(gather([Path(sys.argv[1])]))
assert holds(checks)
assert {"chain", "epsilon", "budget", "plans"} <= {c.id for c in checks if c.status == "pass"}
print(len(checks))
"""


def test_a_review_needs_no_training_library_and_no_network(ledgers: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE, ledgers],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(review(ledgers))


def mechanism(row: dict[str, Any]) -> SampledGaussian:
    names = ("noise_multiplier", "sampling_rate", "steps")
    return SampledGaussian(**{name: row[name] for name in names})


@pytest.mark.parametrize("row", GOLDEN["rows"], ids=lambda row: f"z {row['noise_multiplier']}")
def test_the_second_opinion_brackets_the_table_and_the_first_opinion(row: dict[str, Any]) -> None:
    lowest, highest = prv_epsilon(mechanism(row), delta=row["delta"])
    low, middle, high = row["epsilon"]["prv_microsoft"]
    assert lowest <= middle <= highest
    assert [lowest, highest] == pytest.approx([low, high], abs=0.011)
    assert max(middle - lowest, highest - middle) <= 0.011
    first = pld_epsilon(mechanism(row), delta=row["delta"])
    assert lowest - PLD_TOLERANCE <= first <= highest + PLD_TOLERANCE
    assert pytest.approx(2e-3) == PLD_TOLERANCE


@pytest.mark.parametrize("wrong", [0.98, 1.02], ids=["less", "more"])
def test_libraries_that_disagree_are_a_finding(
    ledgers: Path, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """What a fault of one library would do: either way, about every run."""

    def cross_checked(step: SampledGaussian, *, delta: float) -> tuple[float, float]:
        lowest, highest = prv_epsilon(step, delta=delta)
        return lowest * wrong, highest * wrong

    monkeypatch.setattr("privacy.audit.recomputed.prv_epsilon", cross_checked)
    recomputed.cache_clear()
    checks = review(ledgers)
    recomputed.cache_clear()
    found = [check for check in checks if check.status is Status.FAIL]
    assert [(check.id, check.about) for check in found] == [
        ("epsilon", GROUP),
        ("epsilon", "server"),
    ]
    assert all("the two libraries disagree" in check.finding for check in found)


# People in several data sets.


def _again(folder: Path, *, rounds: int = 1) -> Path:
    """Two more runs on the person of the first and on others, by a budget for 7 rounds in all.

    Returns the folder of the lists of people.
    """
    path = group_ledger(folder, GROUP)
    with Ledger.open(path, OWNER, servers=SERVERS) as ledger:
        for run in ("second", "third"):
            people = [("person", b"answer"), (run, b"answer")]
            data = ledger.register(people, unit=Unit.RESPONDENT, bound=20, run=run)
            ledger.set_budget(data, epsilon=3.4, delta=DELTA, order=5)
            ledger.register_plan(run, data, _plan())
            for number in range(rounds):
                ledger.released(ledger.reserve(run, number, 1, bytes(32)), bytes(32))
    return people_folder(path)


def of_people(checks: tuple[Check, ...]) -> dict[str, Check]:
    return {check.id: check for check in checks if check.id in ("restarts", "budget")}


def test_one_data_set_needs_no_list_of_its_people(copy: Path) -> None:
    shutil.rmtree(people_folder(group_ledger(copy, GROUP)))
    found = of_people(review(copy))
    assert {check.status for check in found.values()} == {Status.PASS}
    assert "registered twice" in found["restarts"].finding


def test_what_rests_on_the_lists_of_people_is_open_without_them(copy: Path) -> None:
    """Was open: that no restart had reset a budget was said whatever the ledger named."""
    lists = _again(copy, rounds=4)
    assert {check.status for check in of_people(review(copy)).values()} == {Status.PASS}
    shutil.rmtree(lists)
    found = of_people(review(copy))
    assert {check.status for check in found.values()} == {Status.OPEN}
    for check in found.values():
        assert "rests on the group's own client" in check.finding
        assert "people files beside the ledger" in check.finding


def test_spends_that_are_within_every_budget_together_need_no_list(copy: Path) -> None:
    shutil.rmtree(_again(copy, rounds=0))
    found = of_people(review(copy))
    assert found["budget"].status is Status.PASS
    assert "all spends together" in found["budget"].finding
    assert found["restarts"].status is Status.OPEN


def test_a_list_that_is_handed_in_and_is_not_the_one_named_fails(copy: Path) -> None:
    lists = _again(copy)
    path = next(lists.iterdir())
    path.write_bytes(path.read_bytes() + bytes(8))
    (found,) = (check for check in review(copy) if check.status is Status.FAIL)
    assert found.id == "chain" and "missing or altered" in found.finding


def test_somebody_who_has_paid_beyond_a_budget_is_found_by_the_lists(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By an accountant of other authors, whatever the filter has let through."""
    monkeypatch.setattr("privacy.ledger.state.State._bounds", lambda *_: iter(((5, 1e6),)))
    lists = _again(copy, rounds=4)
    found = of_people(review(copy))["budget"]
    assert found.status is Status.FAIL and "above the budget of 3.4" in found.finding
    shutil.rmtree(lists)
    assert of_people(review(copy))["budget"].status is Status.OPEN


def test_a_card_is_the_same_with_the_lists_and_without(copy: Path) -> None:
    """What a card shows follows from what everybody has; nobody is counted in it."""
    lists = _again(copy, rounds=3)
    whole = build_card(gather([copy]), ())
    shutil.rmtree(lists)
    assert build_card(gather([copy]), ()) == whole
    (group,) = whole["groups"]
    assert [data["units"] for data in group["datasets"]] == [20] * 3
    assert all(data["used"] <= data["budget"]["bound"] for data in group["datasets"])
    assert [data["used_share"] == 1.0 for data in group["datasets"]] == [False, True, True]
