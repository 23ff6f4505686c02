"""Ledgers that were put back: who notices, and what becomes of the round."""

import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clients.sessions.group_ledger import GroupLedger, RefusedByLedger, forget_ledgers
from experiments.simulation.run import run
from experiments.simulation.simulate import SimulationError
from privacy.errors import BadSignature, LedgerLocked, LedgerRolledBack, PolicyRefused
from privacy.identity.key_folder import SERVER, SERVERS, KeyFolder
from privacy.ledger.paths import group_ledger
from privacy.ledger.server_ledger import Countersigned, ServerLedger
from server.config import ConfigError, RunConfig, read_run_config

PRIVATE = {
    "privacy.mode": "distributed",
    "privacy.delta": 1e-3,
    "privacy.micro_batch": 4,
    "privacy.budget_epsilon": 40.0,
    "federation.adapter_rounds": 0,
}


@pytest.fixture
def configured(tiny_settings: Mapping[str, Any], tmp_path: Path) -> Any:
    def configure(name: str, **changes: Any) -> RunConfig:
        places = {"out": str(tmp_path / name), "privacy.ledgers": str(tmp_path / "books")}
        return read_run_config({**tiny_settings, **PRIVATE, **places, **changes})

    return configure


@pytest.fixture
def ledgers(tmp_path: Path) -> Path:
    return tmp_path / "books"


def test_a_ledger_that_was_put_back_keeps_its_group_out(
    configured: Any, ledgers: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(configured("one"))
    ledger, old = group_ledger(ledgers, "Group 1"), tmp_path / "old"
    shutil.copy(ledger, old)
    run(configured("two"))
    shutil.copy(old, ledger)
    # All groups are needed, so that the run ends where one stays away.
    with pytest.raises(SimulationError, match="LedgerRolledBack"):
        run(configured("three"))
    assert "refused by the ledger: LedgerRolledBack" in caplog.text


def test_a_ledger_that_was_removed_keeps_its_group_out(configured: Any, ledgers: Path) -> None:
    run(configured("one"))
    group_ledger(ledgers, "Group 1").unlink()
    with pytest.raises(SimulationError, match="LedgerRolledBack"):
        run(configured("two"))


def test_who_cannot_go_on_still_gives_the_shares_of_the_round_that_ends(
    configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of four ledgers are in use when the next round is advertised: the sum stands."""
    head, shown = GroupLedger.head, Counter[bytes]()

    def in_use(self: GroupLedger, known: bytes | None = None) -> Any:
        owner = self._identity.public
        shown[owner] += 1
        if shown[owner] == 2 and owner in sorted(shown)[:2]:
            raise LedgerLocked("open elsewhere")
        return head(self, known)

    monkeypatch.setattr(GroupLedger, "head", in_use)
    result = run(configured("one"))
    assert result["aborted_rounds"] == 0 and not result["ended_early"]
    # All are asked once more, for the second attempt at the second round.
    assert set(shown.values()) == {4}


@pytest.mark.parametrize("inside", ["run", "run/ledgers"])
def test_lasting_ledgers_may_not_lie_where_a_run_clears_up(
    configured: Any, tmp_path: Path, inside: str
) -> None:
    config = configured("run", **{"privacy.ledgers": str(tmp_path / inside)})
    with pytest.raises(ConfigError, match="would be forgotten"):
        run(config)


def test_only_a_pinned_server_can_speak_of_a_head(configured: Any, ledgers: Path) -> None:
    run(configured("one"))
    keys = KeyFolder(ledgers / "identities")
    server = keys.own(SERVER, role=SERVERS)
    with ServerLedger.open(ledgers / "server.jsonl", server, name=SERVER) as server_ledger:
        told, foreign = (
            server_ledger.countersigned("Group 0"),
            server_ledger.countersigned("Group 1"),
        )
    assert told is not None and foreign is not None
    roster = keys.roster(role=SERVERS)
    path = group_ledger(ledgers, "Group 0")
    own = GroupLedger(path, keys.own("Group 0"), roster, budget_epsilon=0.0, budget_delta=1e-3)
    assert own.head(told.encode()).seq == told.head.seq + 1
    with pytest.raises(BadSignature):
        own.head(foreign.encode())
    stranger = Countersigned(server="other", head=told.head, signature=told.signature)
    with pytest.raises(PolicyRefused):
        own.head(stranger.encode())
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:4]))
    with pytest.raises(LedgerRolledBack):
        own.head(told.encode())
    forget_ledgers()
    fresh = GroupLedger(path, keys.own("Group 0"), roster, budget_epsilon=0.0, budget_delta=1e-3)
    with pytest.raises(LedgerRolledBack):
        fresh.head(told.encode())


def test_what_the_ledger_says_stays_at_the_client() -> None:
    from clients.sessions.group_ledger import redact_ledger_errors

    with pytest.raises(RefusedByLedger) as told, redact_ledger_errors():
        raise LedgerRolledBack("event 7 of 0123abcd is gone")
    assert "0123abcd" not in str(told.value) and "LedgerRolledBack" in str(told.value)
    assert told.value.__suppress_context__
