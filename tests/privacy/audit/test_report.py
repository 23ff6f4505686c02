"""The privacy card and its reports: figures that follow from the ledgers, blanks, hostile names."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from math import floor, sqrt
from pathlib import Path
from typing import Any

import pytest
import yaml

from privacy.accounting.accountant import rdp_budget, rdp_per_step
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.audit.card import build_card
from privacy.audit.card_wording import ABOUT_FIELDS, NOT_COVERED
from privacy.audit.checks import failed, left_open, passed
from privacy.audit.evidence import Evidence, gather
from privacy.audit.report import TEMPLATES, render, write_report
from privacy.errors import BudgetExhausted
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.ledger import Ledger
from privacy.ledger.chain import sign_head
from privacy.ledger.facts import Budget
from privacy.ledger.filter import epsilon_spent, filter_bound
from privacy.ledger.paths import group_ledger
from privacy.ledger.server_ledger import ServerLedger
from privacy.secagg.round_terms import Attempt
from tests.hostile import assert_seen

#: As hostile as the name of a group can be, and what may follow it in any other text.
HOSTILE = '<script>alert("1")</script> | `x` *b* # head: [a](https://evil.example) \'"'
HIDDEN = "\n# head \u202e\x1b[2K\u200b"
GROUPS = ("Alder", "Birch", HOSTILE)
ORDER, DELTA, EPSILON, NOISE, RATE = 5, 1e-5, 3.0, 0.9, 0.064
CONTEXT = bytes(32)


@dataclass(frozen=True)
class Federation:
    folder: Path
    evidence: Evidence
    spends: int


@pytest.fixture
def plan(terms: Callable[..., PrivacyTerms]) -> PrivacyPlan:
    """A plan for three groups whose promise is so wide that it verifies."""
    agreed = terms(epsilon=50.0, rounds=30, groups=3, survivors=3, colluding=1)
    return PrivacyPlan(
        **{name: getattr(agreed, name) for name in PrivacyTerms.__dataclass_fields__},
        noise_multiplier=NOISE,
        noise_log2=16,
        sensitivity=floor(2**16 * sqrt(agreed.honest_shares) / NOISE),
        modulus_bits=32,
    )


@pytest.fixture
def federation(tmp_path: Path, plan: PrivacyPlan) -> Federation:
    """Rounds until the budget is gone: two aborted, one unsettled, one lost with a dropout."""
    server, folder = Identity.create(), tmp_path / "run"
    servers = Roster({"server": server.public})
    keys = {name: Identity.create() for name in GROUPS}
    (folder / "ledgers" / "groups").mkdir(parents=True)
    for name, identity in keys.items():
        with Ledger.create(
            group_ledger(folder / "ledgers", name), identity, servers=servers
        ) as ledger:
            people = [(f"{name} {number}", b"answer") for number in range(4)]
            data = ledger.register(people, unit=Unit.RESPONDENT, bound=2000, run="run 1")
            ledger.set_budget(data, epsilon=EPSILON, delta=DELTA, order=ORDER)
            ledger.register_plan("run 1", data, plan, code="c0de" * 16, model="0" * 64)
            spends = 0
            try:
                for spends in range(100):
                    receipt = ledger.reserve("run 1", spends + 1, 0, CONTEXT)
                    if spends < 2:
                        ledger.aborted(receipt, "TooFewMembers")
                    elif spends > 2:
                        ledger.released(receipt, CONTEXT)
            except BudgetExhausted:
                pass
            head = ledger.head
            ledger.countersign("server", head, sign_head(server, head, identity.public))
    with ServerLedger.open(
        folder / "ledgers" / "server.jsonl", server, name="server"
    ) as server_ledger:
        public = {name: identity.public for name, identity in keys.items()}
        told = {"secure": True, "epsilons": {"dp-accounting PLD": 4.0}}
        server_ledger.begin("run 1", plan, groups=public, model="0" * 64, **told)
        words = json.dumps({"members": GROUPS, "survivors": 3, "threshold": 3})
        for number in range(1, 6):
            server_ledger.saw(Attempt(run="run 1", round=number, attempt=0), {})
            asked = {"run": "run 1", "round": number, "attempt": 0, "terms": words}
            if number == 4:
                seen = {**asked, "survivors": list(GROUPS[1:])}
                server_ledger.lost(seen, reason="TooFewMembers: 2 of 3")
            else:
                server_ledger.round({**asked, "survivors": list(GROUPS)}, after="1" * 64)
        server_ledger.published("run 1", model="1" * 64, files={"head.safetensors": "2" * 64})
    roster = rosters_json(Roster({name: key.public for name, key in keys.items()}), servers)
    (folder / "ledgers" / "roster.json").write_text(roster)
    scores = {"mean": 0.75, "groups": {"Cedar": 0.7, HOSTILE: 0.8}}
    result = {"alignment": {"unseen_groups": scores}, "versions": {"dp-accounting": "0.6.0"}}
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.toml").write_text("seed = 1\n")
    return Federation(folder=folder, evidence=gather([folder]), spends=spends)


CHECKS = (
    passed("chain", "Alder", "Every line follows the one before it."),
    failed("heads", HOSTILE, f"{HOSTILE}{HIDDEN} has lost lines."),
    left_open("card", "all", "No card was handed in."),
)


@pytest.fixture
def card(federation: Federation) -> dict[str, Any]:
    return build_card(federation.evidence, CHECKS)


def visible(page: str) -> str:
    """The text of a page, spaces collapsed."""
    found: list[str] = []
    parser = HTMLParser()
    parser.handle_data = found.append
    parser.feed(page)
    return re.sub(r"\s+", " ", " ".join(found))


def test_figures_are_those_that_follow_from_the_spends(
    card: dict[str, Any], federation: Federation
) -> None:
    step = rdp_per_step(noise_multiplier=NOISE, sampling_rate=RATE, order=ORDER)
    bound = filter_bound(epsilon=EPSILON, delta=DELTA, order=ORDER)
    assert federation.spends == int(bound / step) > 4
    assert [group["name"] for group in card["groups"]] == sorted(GROUPS)
    for group in card["groups"]:
        (data,) = group["datasets"]
        used = federation.spends * step
        assert data["used"] == pytest.approx(used, rel=1e-12)
        assert data["left"] == pytest.approx(bound - used, rel=1e-9)
        assert data["used_share"] == pytest.approx(used / bound, rel=1e-12)
        assert data["rounds_left"] == 0
        assert data["budget"]["delta_times_units"] == pytest.approx(2000 * DELTA)
        shares = [entry["left_share"] for entry in data["history"]]
        falling = [1 - count * step / bound for count in range(federation.spends + 1)]
        assert shares == pytest.approx([*falling, falling[-1]])
        assert [entry["type"] for entry in data["history"]][-2:] == ["spend", "refused"]
        assert group["counts"] == {
            "spends": federation.spends,
            "released": federation.spends - 3,
            "aborted": 2,
            "refused": 1,
            "countersigned": 1,
            "open_spends": 1,
        }
        assert group["refused_by_code"] == {"budget": 1}
        assert group["plans"][0]["rdp_per_step"] == step
    assert card["summary"]["checks"] == {"pass": 1, "fail": 1, "open": 1}
    assert card["hashes"]["code"] == ["c0de" * 16]


def test_spent_epsilon_is_what_the_filter_would_need_to_permit_it() -> None:
    budget = Budget.of(epsilon=EPSILON, delta=DELTA, order=ORDER, units=4)
    assert epsilon_spent(budget.bound, delta=budget.delta, order=budget.order) == pytest.approx(
        EPSILON, rel=1e-12
    )
    assert epsilon_spent(0.0, delta=budget.delta, order=budget.order) == 0
    spent = epsilon_spent(budget.bound / 2, delta=budget.delta, order=budget.order)
    certified = rdp_budget(epsilon=spent, delta=DELTA * 0.999, order=ORDER)
    assert certified == pytest.approx(budget.bound / 2, rel=1e-9)


def test_a_run_shows_its_rounds_its_trust_and_its_divergence(card: dict[str, Any]) -> None:
    (run,) = card["runs"]
    assert (run["rounds_summed"], run["rounds_lost"], run["threshold"]) == (4, 1, 3)
    lost = run["round_log"][3]
    assert (lost["outcome"], lost["dropped"]) == ("lost", ["Alder"])
    assert lost["reason"] == "TooFewMembers: 2 of 3"
    assert "Up to 1 of 3 groups" in run["colluding_threshold"]
    assert run["published"]["files"] == {"head.safetensors": "2" * 64}
    curve = {point["order"]: point["rdp"] for point in run["rdp_curve"]}
    step = rdp_per_step(noise_multiplier=NOISE, sampling_rate=RATE, order=8)
    assert curve[8] == pytest.approx(30 * step)
    assert run["accountant_version"] == "0.6.0"
    assert card["not_covered"] == list(NOT_COVERED)


def test_without_a_book_nothing_is_claimed_about_the_server(federation: Federation) -> None:
    card = build_card(replace(federation.evidence, server_ledger=None, result=None), ())
    (run,) = card["runs"]
    assert run["secure_aggregation"] is run["round_log"] is run["protocol"] is None
    assert run["trust_model"].startswith("Not known")
    fields = {blank["field"] for blank in card["blanks"]}
    assert {"server", "utility", "runs.run 1.round_log", "runs.run 1.threshold"} <= fields
    assert "Nothing was checked" in visible(render(card, "privacy-report.html"))


def test_what_nobody_has_stated_is_blank_in_every_file(federation: Federation) -> None:
    about = {"purpose": "To learn what people prefer.", "dpo_opinion": "  "}
    card = build_card(federation.evidence, CHECKS, about=about)
    blanks = {blank["field"]: blank for blank in card["blanks"]}
    assert "purpose" not in blanks
    assert set(ABOUT_FIELDS) - {"purpose"} <= set(blanks)
    assert card["about"]["dpo_opinion"] is card["empirical"] is None
    page = visible(render(card, "privacy-report.html"))
    assert page.count("Blank: to be stated by the controllers") > 10
    for blank in card["blanks"]:
        assert blank["question"] in page
    text = render(card, "privacy-card.md")
    for blank in card["blanks"]:
        assert f"[BLANK: {blank['by']} state" in text
        assert blank["question"] in text
    needed = {
        "dpia.md": ("controllers", "lawful_basis", "necessity", "dpo_opinion", "residual_risk"),
        "annex-iv.md": ("provider", "human_oversight", "standards", "post_market_plan"),
        "opendp-registry.yaml": ("publication_date", "intended_use", "rationale"),
    }
    for name, fields in needed.items():
        text = render(card, name)
        assert "To learn what people prefer." in text
        for field in fields:
            who, question = blanks[field]["by"], ABOUT_FIELDS[field]
            assert re.search(re.escape(f"[BLANK: {who} ") + f"states?: {re.escape(question)}", text)


def test_hostile_names_stay_text_in_every_file(card: dict[str, Any]) -> None:
    page = render(card, "privacy-report.html")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert_seen(page)
    assert not re.search(r"""(?i)(src|href)\s*=\s*["']?\s*(https?:|//)""", page)
    for name in ("privacy-card.md", "dpia.md", "annex-iv.md"):
        text = render(card, name)
        assert "<script" not in text
        assert "https://" not in text
        assert "[a](" not in text
        assert "\n# head" not in text
        assert_seen(text)
        for line in text.splitlines():
            if line.startswith("| &lt;script"):
                assert r"\| \`x\` \*b\* \# head" in line
    entry = yaml.safe_load(render(card, "opendp-registry.yaml"))
    assert list(entry) == ["tier_1", "tier_2", "tier_3"]
    names = [item["group"] for item in entry["tier_2"]["privacy_loss_parameters"]["lifetime"]]
    assert names == sorted(("Alder", "Birch", HOSTILE))


def test_the_registry_entry_has_numbers_where_numbers_belong(card: dict[str, Any]) -> None:
    entry = yaml.safe_load(render(card, "opendp-registry.yaml"))
    spent = entry["tier_2"]["privacy_loss_parameters"]["lifetime"][0]
    assert (spent["epsilon_budget"], spent["delta"]) == (EPSILON, DELTA)
    assert spent["epsilon_spent"] == card["groups"][0]["datasets"][0]["epsilon_spent"]
    empty = render(build_card(Evidence(ledgers=()), ()), "opendp-registry.yaml")
    assert yaml.safe_load(empty)["tier_2"]["deployment_model"] == []


def test_a_failed_check_opens_the_page(card: dict[str, Any]) -> None:
    page = render(card, "privacy-report.html")
    text = visible(page)
    assert page.index('id="verdict"') < page.index('id="failed"') < page.index('id="budgets"')
    assert "1 of 2 checks fails" in text
    assert f"of a budget of {EPSILON:g}" in text
    assert "rely on none of these figures" in text


def test_long_runs_stay_short(card: dict[str, Any]) -> None:
    (run,) = card["runs"]
    calm = run["round_log"][0]
    lost = run["round_log"][3]
    run["round_log"] = [{**(lost if n == 77 else calm), "round": n} for n in range(1, 201)]
    text = visible(render(card, "privacy-report.html"))
    assert "1 to 76 summed" in text
    assert "77 lost" in text
    assert "78 to 200 summed" in text


def test_the_same_evidence_gives_the_same_files(federation: Federation, tmp_path: Path) -> None:
    canaries = {"epsilon_lower": 0.4, "confidence": 0.95}
    cards = [build_card(federation.evidence, CHECKS, canaries=canaries) for _ in range(2)]
    again = build_card(gather([federation.folder]), CHECKS, canaries=canaries)
    assert cards[0] == cards[1] == again
    written = write_report(cards[0], tmp_path / "new" / "folder")
    assert sorted(written) == sorted(["privacy-card.json", *TEMPLATES])
    assert json.loads(written["privacy-card.json"].read_text()) == cards[0]
    first = {name: path.read_bytes() for name, path in written.items()}
    assert first == {
        name: path.read_bytes() for name, path in write_report(again, tmp_path / "b").items()
    }
    assert sorted(os.listdir(tmp_path / "b")) == sorted(written)


def test_a_file_that_cannot_be_replaced_leaves_the_old_one(
    card: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {name: path.read_bytes() for name, path in write_report(card, tmp_path / "r").items()}

    def refuse(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="no space"):
        write_report({**card, "not_covered": ["other"]}, tmp_path / "r")
    assert old == {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}


def test_an_unknown_field_names_the_closest(federation: Federation) -> None:
    with pytest.raises(ValueError, match="closest is 'lawful_basis'") as refused:
        build_card(federation.evidence, (), about={"lawfull_basis": "consent"})
    assert "\n" not in str(refused.value)


def test_a_damaged_ledger_is_shown_as_far_as_it_can_be_trusted(federation: Federation) -> None:
    path = group_ledger(federation.folder / "ledgers", "Alder")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[7] = lines[7].replace(b"SPEND", b"SPENT")
    path.write_bytes(b"".join(lines))
    card = build_card(gather([federation.folder]), ())
    (alder,) = (group for group in card["groups"] if group["name"] == "Alder")
    assert (alder["name"], alder["complete"], alder["events"]) == ("Alder", False, 7)
    assert "line 8" in alder["error"]
    assert card["summary"]["groups_without_figures"] == ["Alder"]
    text = visible(render(card, "privacy-report.html"))
    assert "does not show a complete account: Alder" in text
    assert "line 8 of the ledger" in text
