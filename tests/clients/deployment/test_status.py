"""What an engineer sees of her client's budget, before and after the first run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from clients.data.datastore import open_home
from clients.data.home import IDENTITY_FILE, Home
from privacy.accounting.choices import Unit
from privacy.identity.keys import Identity, Roster
from privacy.ledger import Ledger

ONE = "Group 0"


def test_before_the_first_run_nothing_is_spent(
    deploy: Callable[..., Any], command: Callable[..., Any]
) -> None:
    folder = deploy(groups=2).homes[ONE]
    done = command("client", "status", folder)
    assert done.code == 0
    assert done.out.strip().replace("\n", "") == f"{folder}: no private run yet; nothing is spent"
    assert json.loads(command("client", "status", folder, "--json").out) == []


def test_a_ledger_goes_by_the_name_in_the_roster(
    deploy: Callable[..., Any], command: Callable[..., Any]
) -> None:
    home = Home(folder=deploy(groups=2).homes[ONE])
    path = open_home(home).ledger
    path.parent.mkdir(parents=True)
    ledger = Ledger.create(path, Identity.read(home.file(IDENTITY_FILE)), servers=Roster({}))
    ledger.register([("person", b"said")], unit=Unit.RESPONDENT, bound=9, run="run")
    ledger.close()
    (row,) = json.loads(command("client", "status", home.folder, "--json").out)
    assert (row["group"], row["units"]) == (ONE, 9)
    shown = command("client", "status", home.folder).out
    assert ONE in shown and "no budget" in shown
