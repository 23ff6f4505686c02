"""The server ledger: what it remembers of ledgers, whom it leaves out, and what it signs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.plan import PrivacyPlan
from privacy.errors import (
    LedgerCorrupt,
    LedgerLocked,
    LedgerRefused,
    LedgerRolledBack,
    MalformedMessage,
)
from privacy.identity.keys import Identity, Roster
from privacy.ledger.server_ledger import Countersigned, ServerLedger, read_server_ledger
from privacy.secagg.messages import Advert
from privacy.secagg.round_terms import Attempt

SERVER, NORTH, SOUTH = Identity.create(), Identity.create(), Identity.create()
KEYS = {"North": NORTH.public, "South": SOUTH.public}


def advert(name: str, seq: int, hash: int = 7) -> bytes:
    """An advertisement that names a head; the ledger's caller has checked its signature."""
    some = bytes(32)
    return Advert(name, some, some, some, some, seq, bytes([hash]) * 32, bytes(64)).encode()


def begin(server_ledger: ServerLedger, run: str, plan: PrivacyPlan) -> None:
    server_ledger.begin(run, plan, groups=KEYS, model="00", secure=True, epsilons={})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "server.jsonl"


@pytest.fixture
def server_ledger(path: Path, plan: PrivacyPlan) -> Iterator[ServerLedger]:
    with ServerLedger.open(path, SERVER, name="server") as server_ledger:
        begin(server_ledger, "one", plan)
        yield server_ledger


def test_a_ledger_that_went_back_or_branched_off_is_left_out(server_ledger: ServerLedger) -> None:
    shown = {"North": advert("North", 5), "South": advert("South", 9)}
    assert server_ledger.saw(Attempt(run="one", round=1), shown) == shown
    for worse in (advert("North", 4), advert("North", 0), advert("North", 5, hash=8)):
        again = {"North": worse, "South": advert("South", 9)}
        assert list(server_ledger.saw(Attempt(run="one", round=2), again)) == ["South"]
    better = {"North": advert("North", 6), "South": advert("South", 9)}
    assert server_ledger.saw(Attempt(run="one", round=3), better) == better


def test_who_was_left_out_stays_so_in_later_runs_and_after_a_restart(
    server_ledger: ServerLedger, path: Path, plan: PrivacyPlan
) -> None:
    server_ledger.saw(Attempt(run="one", round=1), {"North": advert("North", 5)})
    server_ledger.saw(Attempt(run="one", round=2), {"North": advert("North", 3)})
    server_ledger.__exit__()
    with ServerLedger.open(path, SERVER, name="server") as again:
        begin(again, "two", plan)
        told = {"North": advert("North", 4), "South": advert("South", 1)}
        assert list(again.saw(Attempt(run="two", round=1), told)) == ["South"]
        known = again.countersigned("North")
        assert known is not None and known.head.seq == 5


def test_heads_are_signed_for_their_own_ledger_alone(server_ledger: ServerLedger) -> None:
    assert server_ledger.countersigned("North") is None
    server_ledger.saw(Attempt(run="one", round=1), {"North": advert("North", 5)})
    told = server_ledger.countersigned("North")
    assert told is not None
    told.check(Roster({"server": SERVER.public}), NORTH.public)
    assert Countersigned.decode(told.encode()) == told
    for keys, owner in (({"server": SERVER.public}, SOUTH), ({"server": SOUTH.public}, NORTH)):
        with pytest.raises(Exception, match="not signed"):
            told.check(Roster(keys), owner.public)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"x" * 9, b'{"hash":"0","seq":"1","server":"s","signature":""}']
)
def test_other_bytes_are_no_signed_head(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Countersigned.decode(data)


def test_the_book_is_locked_and_every_changed_line_is_found(
    server_ledger: ServerLedger, path: Path
) -> None:
    with pytest.raises(LedgerLocked):
        ServerLedger.open(path, SERVER, name="server")
    server_ledger.round({"run": "one", "round": 1, "attempt": 1}, after="11")
    server_ledger.lost({"run": "one", "round": 2, "attempt": 1}, reason="TooFewMembers")
    server_ledger.published("one", model="11", files={"head": "22"})
    data = path.read_bytes()
    kinds = [event.type for event in read_server_ledger(data, SERVER.public)]
    assert kinds == ["RUN", "ROUND", "LOST", "PUBLISHED"]
    for at in range(0, len(data), 97):
        with pytest.raises(LedgerCorrupt):
            read_server_ledger(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], SERVER.public)
    with pytest.raises(LedgerCorrupt):
        read_server_ledger(data, NORTH.public)


class TestJoined:
    EAST = Identity.create()

    @pytest.fixture
    def open_run(self, path: Path, plan: PrivacyPlan) -> Iterator[ServerLedger]:
        """A run whose plan has ten seats, of which two are taken."""
        with ServerLedger.open(path, SERVER, name="server") as server_ledger:
            begin(server_ledger, "one", plan)
            yield server_ledger

    def test_a_group_that_joined_is_one_of_the_run_also_after_a_restart(
        self, open_run: ServerLedger, path: Path
    ) -> None:
        assert open_run.history("one").seats == ("North", "South", *[""] * 8)
        open_run.joined("one", round=3, group="East", key=self.EAST.public, seat=2)
        told = {"East": advert("East", 4)}
        assert open_run.saw(Attempt(run="one", round=3), told) == told
        open_run.__exit__()
        with ServerLedger.open(path, SERVER, name="server") as again:
            assert again.history("one").seats == ("North", "South", "East", *[""] * 7)
            assert again.history("one").keys == {**KEYS, "East": self.EAST.public}
            assert again.history("one").last == 3
            signed = again.countersigned("East")
        assert signed is not None and signed.head.seq == 4
        signed.check(Roster({"server": SERVER.public}), self.EAST.public)

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"key": b"short"}, "5 bytes"),
            ({"group": "North"}, "has a seat"),
            ({"group": ""}, "has a seat"),
            ({"seat": 0}, "is taken"),
            ({"seat": 10}, "none of the plan's 10"),
            ({"seat": -1}, "none of the plan's 10"),
            ({"run": "two"}, "has no run"),
        ],
        ids=str,
    )
    def test_whoever_cannot_join_leaves_no_line(
        self, open_run: ServerLedger, path: Path, wrong: dict[str, Any], words: str
    ) -> None:
        before = path.read_bytes()
        told = {"run": "one", "round": 2, "group": "East", "key": bytes(32), "seat": 2, **wrong}
        with pytest.raises(LedgerRefused, match=words) as refused:
            open_run.joined(told.pop("run"), **told)
        assert "\n" not in str(refused.value)
        assert path.read_bytes() == before


class TestResumed:
    def test_a_run_goes_on_with_its_own_keys_after_another_has_begun(
        self, server_ledger: ServerLedger, plan: PrivacyPlan
    ) -> None:
        server_ledger.saw(Attempt(run="one", round=1), {"North": advert("North", 5)})
        other = Identity.create()
        told: dict[str, Any] = {"model": "00", "secure": True, "epsilons": {}}
        server_ledger.begin(
            "two", plan, groups={"North": other.public, "West": SOUTH.public}, **told
        )
        assert server_ledger.countersigned("North") is None
        server_ledger.resumed("one", round=0, model="00")
        signed = server_ledger.countersigned("North")
        assert signed is not None and signed.head.seq == 5
        assert (server_ledger.history("one").last, server_ledger.history("two").last) == (1, 0)

    def test_a_book_that_lacks_what_was_seen_in_it_is_an_older_copy(
        self, server_ledger: ServerLedger, path: Path
    ) -> None:
        early = server_ledger.head
        server_ledger.lost({"run": "one", "round": 1}, reason="TooFewMembers")
        late = server_ledger.head
        server_ledger.require(early)
        server_ledger.require(late)
        server_ledger.__exit__()
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
        with ServerLedger.open(path, SERVER, name="server") as older:
            older.require(early)
            with pytest.raises(LedgerRolledBack):
                older.require(late)
            older.lost({"run": "one", "round": 2}, reason="TooFewMembers")
            with pytest.raises(LedgerRolledBack):
                older.require(late)

    def test_an_unknown_run_does_not_go_on(self, server_ledger: ServerLedger) -> None:
        with pytest.raises(LedgerRefused, match="has no run"):
            server_ledger.resumed("two", round=0, model="00")
