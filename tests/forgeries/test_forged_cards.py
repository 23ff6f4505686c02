"""A privacy card that a publisher has changed, held against the evidence it was made from."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.plan import PrivacyPlan
from privacy.audit.canaries.audit import audit_plan
from privacy.audit.card import build_card
from privacy.audit.checks import Status
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from tests.forgeries.forger import copied, edit
from tests.forgeries.review import Forgery, assert_found, assert_holds, reviewed
from texts import json_text

FOUND = Forgery(check="card", says="the privacy card states")

Card = dict[str, Any]


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("summary epsilon_spent_at_most", 0.125),
        ("summary epsilon_spent_at_most", float("nan")),
        ("summary epsilon_spent_at_most", "9.008813345893865"),
        ("summary groups", 400),
        ("summary groups", 4.0),
        ("summary runs", 10**30),
        ("summary checks open", 0),
        ("simulated", False),
        ("card_version", 1),
        ("groups 0 name", "Gr\u043eup 0"),
        ("groups 0 key_pinned", False),
        ("groups 0 file", "\x1b[8m.jsonl"),
        ("groups 0 counts spends", 1),
        ("groups 0 counts countersigned", 9),
        ("groups 0 datasets 0 units", 600),
        ("groups 0 datasets 0 budget epsilon", 1.0),
        ("groups 0 datasets 0 history 1 round", 9),
        ("groups 0 plans 0 rdp_per_step", 0.1),
        ("groups 0 refusals", [{"seq": 1}]),
        ("runs 0 honest_shares", 4),
        ("runs 0 colluding", 0),
        ("runs 0 survivors", 3),
        ("runs 0 steps", 1),
        ("runs 0 noise_multiplier", 9.0),
        ("runs 0 epsilon_by_accountant dp-accounting PLD", 0.125),
        ("runs 0 charged steps", 4),
        ("runs 0 trust_model", "Nobody needs to be trusted."),
        ("runs 0 round_log 0 dropped", ["Group 5"]),
        ("utility mean", 0.999),
        ("utility groups 0 alignment", 0.999),
        ("utility note", "Measured by the authority."),
        ("hashes config", "ab" * 32),
        ("hashes code", ["ab" * 32]),
        ("server key_pinned", False),
        ("roster pins", 400),
        ("not_covered", []),
        ("not_covered 0", "Nothing."),
        ("rests_on utility", "measured by the authority"),
        ("verification 0 words", "certified by the authority."),
        ("verification 0 rests_on", ["the authority"]),
        ("blanks", []),
        ("forged", "certified by the authority"),
    ],
)
def test_a_forged_field_is_found(real: Any, tmp_path: Path, way: str, value: object) -> None:
    card = tmp_path / "card.json"
    card.write_bytes(real.card.read_bytes())
    assert_holds(real.first, real.roster, card)
    steps = [int(step) if step.isdigit() else step for step in way.split()]
    if "PLD" in steps:
        steps = [*steps[:3], "dp-accounting PLD"]
    edit(card, *steps, to=value)
    assert_found(FOUND, real.first, real.roster, card)


def test_a_blank_that_somebody_has_filled_is_no_blank(real: Any, tmp_path: Path) -> None:
    """A field that is stated and listed as a blank, or neither, contradicts itself."""
    card = tmp_path / "card.json"
    card.write_bytes(real.card.read_bytes())
    edit(card, "about", "purpose", to="research")
    assert_found(FOUND, real.first, real.roster, card)


def test_a_card_that_was_made_with_no_roster_of_the_reviewer(real: Any, tmp_path: Path) -> None:
    """It may not say that it was."""
    card = tmp_path / "card.json"
    _, made = reviewed(real.first, real.first / "ledgers" / "roster.json")
    card.write_text(json_text({**made, "roster": {"given_by_reviewer": False, "pins": 4}}))
    assert_found(FOUND, real.first, real.roster, card)


def with_a_group_that_nobody_knows(card: Card) -> Card:
    group = {**card["groups"][0], "name": "Group 9", "key": "ab" * 32, "file": "Group-9.jsonl"}
    return {**card, "groups": [*card["groups"], group]}


def _summary(card: Card) -> None:
    card["summary"] |= {"epsilon_spent_at_most": 0.125, "epsilon_promised_by_runs": [0.125]}


def _utility(card: Card) -> None:
    card["utility"]["mean"] = 0.999


def _checks(card: Card) -> None:
    card["verification"] = [{**card["verification"][0], "words": "certified by the authority."}]


def _blanks(card: Card) -> None:
    card["blanks"] = []


def _hashes(card: Card) -> None:
    card["hashes"]["models"] = {}


def _charged(card: Card) -> None:
    card["runs"][0]["charged"]["steps"] = 1


def _server(card: Card) -> None:
    card["server"]["key"] = "ab" * 32


def _roster(card: Card) -> None:
    card["roster"]["pins"] = 400


def _nothing_else(card: Card) -> None:
    """The group alone is forgery enough."""


@pytest.mark.parametrize(
    "forge",
    [
        _nothing_else,
        _summary,
        _utility,
        _checks,
        _blanks,
        _hashes,
        _charged,
        _server,
        _roster,
    ],
)
def test_a_group_that_nobody_knows_frees_no_field(
    real: Any, tmp_path: Path, forge: Callable[[Card], None]
) -> None:
    """Was open: with a group that nobody knows a card was compared in parts."""
    card = tmp_path / "card.json"
    card.write_bytes(real.card.read_bytes())
    assert_holds(real.first, real.roster, card)
    forged = with_a_group_that_nobody_knows(json.loads(card.read_text(encoding="utf-8")))
    forge(forged)
    card.write_text(json.dumps(forged), encoding="utf-8")
    found = Forgery(check="card", says="the privacy card")
    assert_found(found, real.first, real.roster, card)


def test_a_roster_of_the_publisher_makes_nobody_known(real: Any, tmp_path: Path) -> None:
    """Was open: a group that a card invents needed no more than a line in the roster beside it."""
    folder, card = copied(real.first, tmp_path / "run"), tmp_path / "card.json"
    edit(folder / "ledgers" / "roster.json", "members", "Group 9", to="ab" * 32)
    evidence = gather([folder])
    made = build_card(evidence, verify(evidence))
    card.write_text(json_text(made), encoding="utf-8")
    assert [c.status for c in verify(gather([folder], card=card)) if c.id == "card"] == ["pass"]
    card.write_text(json.dumps(with_a_group_that_nobody_knows(made)), encoding="utf-8")
    (found,) = (c for c in verify(gather([folder], card=card)) if c.id == "card")
    assert (found.status, "Group 9" in found.finding) == (Status.FAIL, True), found.finding


def _without_a_ledger(folder: Path) -> None:
    (ledger,) = (folder / "ledgers" / "groups").glob("Group-5-*.jsonl")
    ledger.unlink()


def _without_the_result(folder: Path) -> None:
    (folder / "result.json").unlink()


def _without_the_server_ledger(folder: Path) -> None:
    (folder / "ledgers" / "server.jsonl").unlink()


def _without_the_roster_beside(folder: Path) -> None:
    (folder / "ledgers" / "roster.json").unlink()


def _roster_beside(card: Card) -> None:
    card["roster"] = {"given_by_reviewer": False, "pins": 4}


def _spent(card: Card) -> None:
    _roster_beside(card)
    card["groups"][0]["datasets"][0]["epsilon_spent"] = 0.125


def _least(card: Card) -> None:
    """Less than a group has spent whose ledger is there."""
    card["summary"]["epsilon_spent_at_most"] = 0.125


def _without_the_people(folder: Path) -> None:
    for people in (folder / "ledgers" / "groups").glob("*.people"):
        shutil.rmtree(people)


def _nothing_is_charged(card: Card) -> None:
    card["runs"][0]["charged"]["steps"] = 1


def _trusted(card: Card) -> None:
    card["runs"][0]["trust_model"] = "Nobody needs to be trusted."


def _more_rounds(card: Card) -> None:
    card["runs"][0]["rounds_summed"] = 9


def _smaller_plan(card: Card) -> None:
    card["runs"][0]["epsilon"] = 0.125


def _note(card: Card) -> None:
    card["utility"]["note"] = "Measured by the authority."


def _version(card: Card) -> None:
    card["runs"][0]["accountant_version"] = "as the authority has certified"


def _sentence(card: Card) -> None:
    card["verification"][1]["words"] = "certified by the authority."


def _basis(card: Card) -> None:
    for check in card["verification"]:
        check["rests_on"] = ["the authority"]


def _check_of_nobody(card: Card) -> None:
    card["verification"].append({**card["verification"][0], "id": "certified"})


def _claim_of_the_missing_group(card: Card) -> None:
    (group,) = (each for each in card["groups"] if each["name"] == "Group 5")
    group["certified"] = "epsilon = 0.125"


def _claim_of_the_missing_data(card: Card) -> None:
    (group,) = (each for each in card["groups"] if each["name"] == "Group 5")
    group["datasets"][0]["certified"] = "epsilon = 0.125"


def _missing_group_twice(card: Card) -> None:
    (group,) = (each for each in card["groups"] if each["name"] == "Group 5")
    card["groups"].append(group)


def _missing_group_by_another_key(card: Card) -> None:
    (group,) = (each for each in card["groups"] if each["name"] == "Group 5")
    group["key"] = "ab" * 32


def _failed(card: Card) -> None:
    card["summary"]["checks"]["open"] = 0


@pytest.mark.parametrize(
    ("lose", "forge"),
    [
        (_without_a_ledger, _least),
        (_without_a_ledger, _utility),
        (_without_a_ledger, _server),
        (_without_a_ledger, _nothing_is_charged),
        (_without_a_ledger, _trusted),
        (_without_a_ledger, _sentence),
        (_without_a_ledger, _basis),
        (_without_a_ledger, _check_of_nobody),
        (_without_a_ledger, _claim_of_the_missing_group),
        (_without_a_ledger, _claim_of_the_missing_data),
        (_without_a_ledger, _missing_group_twice),
        (_without_a_ledger, _missing_group_by_another_key),
        (_without_a_ledger, _failed),
        (_without_the_result, _summary),
        (_without_the_result, _note),
        (_without_the_result, _version),
        (_without_the_result, _more_rounds),
        (_without_the_server_ledger, _least),
        (_without_the_server_ledger, _utility),
        (_without_the_server_ledger, _nothing_is_charged),
        (_without_the_server_ledger, _trusted),
        (_without_the_server_ledger, _more_rounds),
        (_without_the_server_ledger, _smaller_plan),
        (_without_the_people, _least),
        (_without_the_people, _sentence),
        (_without_the_roster_beside, _spent),
        (_without_the_roster_beside, _least),
    ],
)
def test_a_file_that_is_gone_frees_no_other_field(
    real: Any, tmp_path: Path, lose: Callable[[Path], None], forge: Callable[[Card], None]
) -> None:
    """Was open: a publisher without keys handed in less, and a card that said more."""
    folder, card = copied(real.first, tmp_path / "run"), tmp_path / "card.json"
    made = json.loads(real.card.read_text(encoding="utf-8"))
    if lose is _without_the_roster_beside:
        _, made = reviewed(folder, folder / "ledgers" / "roster.json")
        _roster_beside(made)
    lose(folder)
    forge(made)
    card.write_text(json.dumps(made), encoding="utf-8")
    found = Forgery(check="card", says="the privacy card")
    assert_found(found, folder, real.roster, card)


@pytest.mark.parametrize(
    "lose",
    [
        [_without_a_ledger],
        [_without_the_result],
        [_without_the_server_ledger],
        [_without_the_people],
        [_without_a_ledger, _without_the_server_ledger],
        [_without_a_ledger, _without_the_result, _without_the_server_ledger],
        [_without_a_ledger, _without_the_people],
    ],
    ids=lambda lose: " ".join(each.__name__ for each in lose),
)
@pytest.mark.parametrize("run", ["first", "second"])
def test_an_honest_card_made_from_more_is_left_open(
    real: Any, tmp_path: Path, run: str, lose: list[Callable[[Path], None]]
) -> None:
    """Nothing is forged here: what is missing is named, and no field is taken for a forged one."""
    folder, card = copied(getattr(real, run), tmp_path / "run"), tmp_path / "card.json"
    _, made = reviewed(folder, real.roster)
    card.write_text(json_text(made), encoding="utf-8")
    for each in lose:
        each(folder)
    checks, _ = reviewed(folder, real.roster, card)
    (found,) = (check for check in checks if check.id == "card")
    assert (found.status, "made from more" in found.finding) == (Status.OPEN, True), found.finding
    assert holds(checks)


def test_an_honest_card_without_any_roster_is_left_open(real: Any, tmp_path: Path) -> None:
    """Names are then the card's word; all else is compared."""
    folder, card = copied(real.first, tmp_path / "run"), tmp_path / "card.json"
    evidence = gather([folder])
    made = build_card(evidence, verify(evidence))
    card.write_text(json_text(made), encoding="utf-8")
    (folder / "ledgers" / "roster.json").unlink()
    for forge, status in ((_nothing_else, Status.OPEN), (_least, Status.FAIL)):
        forge(made)
        card.write_text(json.dumps(made), encoding="utf-8")
        checks = verify(gather([folder], card=card))
        assert [check.status for check in checks if check.id == "card"] == [status]


@pytest.mark.parametrize(
    "audit", [{"certified": "epsilon = 0.125"}, {"epsilon_lower": 0.0, "epsilon_claimed": 0.125}]
)
def test_an_audit_that_is_none_is_found(
    real: Any, tmp_path: Path, audit: Mapping[str, object]
) -> None:
    """Was open: any object was taken for a canary audit."""
    card = tmp_path / "card.json"
    evidence = gather([real.first], roster=real.roster)
    made = build_card(evidence, verify(evidence), canaries=audit)
    card.write_text(json_text(made), encoding="utf-8")
    found = Forgery(check="card", says="empirical")
    assert_found(found, real.first, real.roster, card)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epsilon_lower", 0.0),
        ("ceiling", 0.125),
        ("regression_limit", 9.0),
        ("epsilon_claimed", 0.125),
        ("epsilon_claimed", 100),
        ("correct", 1),
        ("passed", False),
        ("conclusive", "yes"),
        ("mode", "certified"),
        ("steps", True),
        ("noise_multiplier", 9.0),
        ("certified", "epsilon = 0.125"),
    ],
)
def test_an_audit_whose_figures_do_not_follow_is_found(
    real: Any, tmp_path: Path, name: str, value: object
) -> None:
    """Was open: any object was taken for a canary audit."""
    card = tmp_path / "card.json"
    evidence = gather([real.first], roster=real.roster)
    registered = json.loads((real.first / "privacy.json").read_text(encoding="utf-8"))
    audit = audit_plan(PrivacyPlan.from_dict(registered["plan"]), canaries=300, guesses=30)
    made = build_card(evidence, verify(evidence), canaries=audit.as_dict())
    card.write_text(json_text(made), encoding="utf-8")
    assert_holds(real.first, real.roster, card)
    edit(card, "empirical", name, to=value)
    found = Forgery(check="card", says="empirical")
    assert_found(found, real.first, real.roster, card)


def test_a_name_that_stands_twice_is_found(real: Any, tmp_path: Path) -> None:
    """Was open: the last of equal names was compared."""
    card = tmp_path / "card.json"
    text = real.card.read_text(encoding="utf-8")
    card.write_text(text.replace('"summary": {', '"summary": {"epsilon_spent_at_most": 0.125,', 1))
    assert_found(Forgery(check="card", says="twice"), real.first, real.roster, card)


def test_a_smaller_delta_is_found(faint: Path, tmp_path: Path) -> None:
    """Was open: numbers closer than a thousand millionth were alike."""
    roster, card = faint / "ledgers" / "roster.json", tmp_path / "card.json"
    _, made = reviewed(faint, roster)
    card.write_text(json_text(made), encoding="utf-8")
    assert_holds(faint, roster, card)
    edit(card, "summary", "delta_most", to=1e-30)
    edit(card, "runs", 0, "delta", to=1e-30)
    assert_found(FOUND, faint, roster, card)
