"""A review computes again what files claim, and says whose word the rest is.

The federation here is made without training: three groups and a server, with the keys of all at
hand, so that whoever could write a file can be imitated.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from clients.deployment.bundle import code_digest
from privacy.accounting.accountant import pld_epsilon
from privacy.accounting.choices import Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import PrivacyTerms
from privacy.audit.canaries.audit import audit_plan
from privacy.audit.card import build_card
from privacy.audit.checks import Check, Status
from privacy.audit.evidence import CARD_FILE, Evidence, gather
from privacy.audit.report import render
from privacy.audit.verify import holds, verify
from privacy.file_names import CONFIG_FILE, LEDGERS_FOLDER, PRIVACY_FILE, RESULT_FILE, ROSTER_FILE
from privacy.identity.keys import Identity, Roster, rosters_json
from privacy.ledger import Ledger
from privacy.ledger.chain import NOTHING, write_event
from privacy.ledger.paths import SERVER_LEDGER, group_ledger
from privacy.ledger.server_ledger import ServerLedger

GROUPS = ("Alder", "Birch", "Cedar")
RUN, MODEL = "run", "head.safetensors"
#: Units that each group has, and the bounds of their seats.
UNITS, SEATS = 5, (24, 24, 30)
Body = dict[str, Any]
Line = dict[str, Any]


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass(frozen=True)
class Federation:
    """The folder of a run and everybody's keys."""

    folder: Path
    keys: Mapping[str, Identity]
    plan: PrivacyPlan

    @property
    def ledgers(self) -> Path:
        return self.folder / LEDGERS_FOLDER

    def evidence(self, *, roster: Path | None = None) -> Evidence:
        return gather([self.folder], roster=roster)

    def checks(self, *, roster: Path | None = None) -> tuple[Check, ...]:
        return verify(self.evidence(roster=roster))

    def roster(self, *names: str) -> Path:
        """The reviewer's own, with the keys of some groups, and that of the server."""
        members = Roster({name: self.keys[name].public for name in names})
        path = self.folder.parent / "mine.json"
        path.write_text(rosters_json(members, Roster({"server": self.keys["server"].public})))
        return path

    def rewrite(self, who: str, change: Callable[[list[Line]], object]) -> None:
        """Change the ledger of a group or of the server, as its owner can: signed anew."""
        path = self.ledgers / SERVER_LEDGER if who == "server" else group_ledger(self.ledgers, who)
        lines = [json.loads(line) for line in path.read_bytes().splitlines()]
        change(lines)
        head, written, hashes = NOTHING, [], {}
        for line in lines:
            if "spend" in line["body"]:
                line["body"]["spend"] = hashes.get(line["body"]["spend"], line["body"]["spend"])
            named = {name: line[name] for name in ("type", "dataset", "body")}
            event = write_event(self.keys[who], head, **named)
            head = event.head
            hashes[line.get("hash")] = event.hash
            written.append(event.line())
        path.write_bytes(b"".join(written))

    def card(self, **about: str) -> dict[str, Any]:
        evidence = replace(self.evidence(), card=None)
        return build_card(evidence, verify(evidence), about=about)

    def hand_in(self, card: Mapping[str, Any]) -> None:
        (self.folder / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")


def in_body(type: str, **changes: Any) -> Callable[[list[Line]], object]:
    """Change fields of the first event of a type."""
    return lambda lines: body_of(lines, type).update(changes)


def body_of(lines: list[Line], type: str) -> Body:
    body: Body = next(line["body"] for line in lines if line["type"] == type)
    return body


def failing(checks: tuple[Check, ...]) -> set[tuple[str, str]]:
    return {(check.id, check.about) for check in checks if check.status is Status.FAIL}


def finding(checks: tuple[Check, ...], id: str, status: Status = Status.FAIL) -> str:
    return next(check.finding for check in checks if (check.id, check.status) == (id, status))


@pytest.fixture(scope="module")
def plans() -> Mapping[Mode, PrivacyPlan]:
    """A plan of each mode, for three groups of at most 24 units."""
    return {
        mode: PrivacyPlan.calibrate(
            PrivacyTerms(
                mode=mode,
                epsilon=6.0,
                delta=1e-5,
                groups=3,
                units_per_group=SEATS,
                sampling_rate=1.0,
                rounds=4,
                survivors=3 if mode is Mode.DISTRIBUTED else 1,
                colluding=1 if mode is Mode.DISTRIBUTED else 0,
                clipping_norm=1.0,
                dimension=100,
            )
        )
        for mode in Mode
    }


Make = Callable[..., Federation]


@pytest.fixture
def make(plans: Mapping[Mode, PrivacyPlan], tmp_path: Path) -> Make:
    def made(
        *, mode: Mode = Mode.LOCAL, bound: int = 0, code: str | None = None, model: str = ""
    ) -> Federation:
        keys = {name: Identity.create() for name in (*GROUPS, "server")}
        federation = Federation(folder=tmp_path / "run", keys=keys, plan=plans[mode])
        _write(federation, bound=bound, code=code_digest() if code is None else code, model=model)
        return federation

    return made


def _write(federation: Federation, *, bound: int, code: str, model: str) -> None:
    keys, plan, ledgers = federation.keys, federation.plan, federation.ledgers
    (ledgers / "groups").mkdir(parents=True)
    for name, seat in zip(GROUPS, SEATS, strict=True):
        with Ledger.create(group_ledger(ledgers, name), keys[name]) as ledger:
            people = [(f"{name} {number}", b"answer") for number in range(UNITS)]
            data = ledger.register(people, unit=Unit.RESPONDENT, bound=bound or seat, run=RUN)
            ledger.set_budget(data, epsilon=8.0, delta=1e-5, order=5)
            start = model or digest("model 0").hex()
            ledger.register_plan(RUN, data, plan, code=code, model=start)
            for number in (1, 2):
                receipt = ledger.reserve(RUN, number, 1, digest(f"context {number}"))
                ledger.released(receipt, digest(f"{name} {number}"))
    (federation.folder / MODEL).write_bytes(b"weights")
    epsilon = plan.verify()
    with ServerLedger.open(ledgers / SERVER_LEDGER, keys["server"], name="server") as server:
        server.begin(
            RUN,
            plan,
            groups={name: keys[name].public for name in GROUPS},
            model=digest("model 0").hex(),
            secure=False,
            epsilons={"dp-accounting PLD": epsilon, "Opacus PRV": epsilon + 0.01},
        )
        for number in (1, 2):
            vectors = {name: digest(f"{name} {number}").hex() for name in GROUPS}
            asked = {"run": RUN, "round": number, "attempt": 1, "vectors": vectors}
            asked |= {"ctx": digest(f"context {number}").hex(), "survivors": list(GROUPS)}
            before = digest(f"model {number - 1}").hex()
            server.round({**asked, "model": before}, after=digest(f"model {number}").hex())
        files = {MODEL: hashlib.sha256(b"weights").hexdigest()}
        server.published(RUN, model=digest("model 2").hex(), files=files)
    pins = Roster({name: keys[name].public for name in GROUPS})
    servers = Roster({"server": keys["server"].public})
    (ledgers / ROSTER_FILE).write_text(rosters_json(pins, servers))
    _write_figures(federation, epsilon)


def _settings(plan: PrivacyPlan) -> dict[str, Any]:
    names = "epsilon delta sampling_rate clipping_norm local_steps colluding".split()
    kinds = {name: str(getattr(plan, name)) for name in ("mode", "unit")}
    return kinds | {name: getattr(plan, name) for name in names}


def _write_figures(federation: Federation, epsilon: float) -> None:
    plan = federation.plan
    names = "delta epsilon noise_multiplier noise_std_per_coordinate sampling_rate clipping_norm "
    names += "steps dimension honest_shares"
    private = {name: getattr(plan, name) for name in names.split()}
    private |= {name: str(getattr(plan, name)) for name in ("mode", "unit", "relation")}
    private |= {"epsilon_pld": epsilon, "second_opinion": epsilon + 0.01}
    private["plan_digest"] = plan.digest()
    sizes = zip(GROUPS, plan.sizes, strict=True)
    private |= {"run": RUN, "accountant": "dp-accounting PLD", "outside": []}
    private["groups"] = {
        name: {"units": size, "epsilon": plan.epsilon, "left_out": 0} for name, size in sizes
    }
    config: dict[str, Any] = {"privacy": _settings(plan)}
    config["federation"] = {"warmup_rounds": 4, "adapter_rounds": 0, "secure_aggregation": False}
    (federation.folder / CONFIG_FILE).write_text(tomli_w.dumps(config), encoding="utf-8")
    result = {"privacy": private, "rounds": 2, "aborted_rounds": 0, "secure_aggregation": False}
    result |= {"ended_early": True, "config": config}
    scores = {"mean": 0.75, "worst_group": 0.75, "cov": 0.0, "groups": {"Douglas": 0.75}}
    result |= {"alignment": {"unseen_groups": scores}, "versions": {"dp-accounting": "0.6.0"}}
    registered = {"run": RUN, "plan": plan.as_dict(), "plan_digest": plan.digest()}
    registered |= {"epsilon_pld": epsilon, "epsilon_opacus": epsilon + 0.01}
    registered |= {"groups": list(GROUPS), "tensors": ["head"], "metrics": ["units", "loss"]}
    for name, content in ((RESULT_FILE, result), (PRIVACY_FILE, registered)):
        (federation.folder / name).write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def federation(make: Make) -> Federation:
    return make()


def test_an_honest_federation_passes(federation: Federation) -> None:
    federation.hand_in(federation.card(purpose="to try it"))
    for roster in (None, federation.roster(*GROUPS)):
        checks = federation.checks(roster=roster)
        assert failing(checks) == set()
        assert {check.id for check in checks if check.status is Status.OPEN} == {"heads", "witness"}


# Who takes part.


class TestParties:
    def test_members_whom_the_reviewer_has_not_pinned_fail(self, federation: Federation) -> None:
        """Was open: with two keys of the reviewer's own, a run of strangers passed every check."""
        strangers = {f"Stranger {number}": Identity.create() for number in range(2)}

        def replace_all(lines: list[Line]) -> None:
            body = body_of(lines, "RUN")
            body["groups"] = ["Alder", *strangers]
            keys = {name: key.public.hex() for name, key in strangers.items()}
            body["keys"] = {"Alder": body["keys"]["Alder"], **keys}
            for line in lines:
                if line["type"] == "ROUND":
                    vectors = line["body"]["vectors"]
                    other = dict(zip(body["groups"], vectors.values(), strict=True))
                    line["body"] |= {"vectors": other, "survivors": list(other)}

        federation.rewrite("server", replace_all)
        for name in ("Birch", "Cedar"):
            group_ledger(federation.ledgers, name).unlink()
        checks = federation.checks(roster=federation.roster("Alder", "Birch"))
        assert ("pins", "server") in failing(checks)
        assert "Stranger 0 is a group of a run" in finding(checks, "pins")
        assert "the reviewer's roster gives to nobody" in finding(checks, "pins")

    @pytest.mark.parametrize("given", [True, False], ids=["the reviewer's", "the folder's"])
    def test_the_finding_says_whose_roster_it_was(
        self, federation: Federation, given: bool
    ) -> None:
        roster = federation.roster("Alder", "Birch")
        if not given:
            roster.replace(federation.ledgers / ROSTER_FILE)
        checks = federation.checks(roster=roster if given else None)
        (pins,) = (check for check in checks if check.id == "pins")
        whose = "the reviewer's roster" if given else "the roster beside the ledgers"
        assert (pins.status, pins.rests_on) == (Status.FAIL, (whose,))
        assert whose in pins.finding

    def test_a_group_that_joins_is_pinned_too(self, federation: Federation) -> None:
        def join(lines: list[Line]) -> None:
            body = body_of(lines, "RUN")
            body["groups"] = ["Alder", "Birch", ""]
            body["keys"].pop("Cedar")
            told = {"run": RUN, "round": 1, "group": "Cedar", "seat": 2}
            told["key"] = Identity.create().public.hex()
            lines.insert(1, {"type": "JOINED", "dataset": "", "body": told})

        federation.rewrite("server", join)
        assert ("pins", "server") in failing(federation.checks(roster=federation.roster(*GROUPS)))

    def test_one_group_under_two_names_counts_once(self, federation: Federation) -> None:
        """Was open: one key in two seats passed as two groups."""

        def double(lines: list[Line]) -> None:
            keys = body_of(lines, "RUN")["keys"]
            keys["Birch"] = keys["Alder"]

        federation.rewrite("server", double)
        assert "one group under two names" in finding(federation.checks(), "members")

    def test_more_units_than_the_seat_has_fail(self, make: Make) -> None:
        """Was open: 806 units passed in a seat whose plan counts on 24."""
        checks = make(bound=30).checks()
        # The third seat is for 30.
        assert failing(checks) == {("seat", "Alder"), ("seat", "Birch")}
        assert "registers 30 units, and the plan counts on at most 24 in seat 0" in finding(
            checks, "seat"
        )

    def test_a_plan_announced_without_a_seat_fails(self, federation: Federation) -> None:
        def leave_out(lines: list[Line]) -> None:
            body = body_of(lines, "RUN")
            body["groups"] = ["Alder", "Birch", ""]
            body["keys"].pop("Cedar")
            for line in lines:
                if line["type"] == "ROUND":
                    line["body"]["vectors"].pop("Cedar")
                    line["body"]["survivors"].remove("Cedar")

        federation.rewrite("server", leave_out)
        assert failing(federation.checks()) == {("seat", "Cedar"), ("result", "server")}


# Numbers.


class TestEpsilons:
    @pytest.mark.parametrize("name", ["dp-accounting PLD", "Opacus PRV", "another"])
    def test_an_epsilon_that_the_server_states_is_computed_again(
        self, federation: Federation, name: str
    ) -> None:
        """Was open: what the server wrote stood on the reviewer's own card."""

        def understate(lines: list[Line]) -> None:
            body_of(lines, "RUN")["epsilons"][name] = "0.1"

        federation.rewrite("server", understate)
        checks = federation.checks()
        assert failing(checks) == {("epsilon", "server")}
        assert f"the server states 0.1000 by {name}" in finding(checks, "epsilon")
        (run,) = build_card(federation.evidence(), checks)["runs"]
        plan = federation.plan
        ours = pld_epsilon(plan.mechanism, delta=plan.accounted_delta)
        assert run["epsilon_by_accountant"]["dp-accounting PLD"] == ours
        assert 0.1 not in run["epsilon_by_accountant"].values()

    def test_a_run_that_no_group_has_handed_in_is_computed_too(
        self, federation: Federation
    ) -> None:
        """Was open: the plan of a run that stood in the server ledger alone was believed."""
        for name in GROUPS:
            federation.rewrite(name, lambda lines: lines.__delitem__(slice(2, None)))
        weak = replace(federation.plan, epsilon=0.5)
        federation.rewrite(
            "server", in_body("RUN", plan=weak.as_dict(), digest=weak.digest(), epsilons={})
        )
        assert "the plan claims 0.5" in finding(federation.checks(), "epsilon")

    @pytest.mark.parametrize("file", [RESULT_FILE, PRIVACY_FILE])
    def test_every_figure_of_privacy_beside_the_ledgers_follows_from_the_plan(
        self, federation: Federation, file: str
    ) -> None:
        """Was open: result.json and privacy.json could state anything."""
        path = federation.folder / file
        honest = json.loads(path.read_text())
        changes = {
            name: change
            for name, change in altered(honest)
            if not name.startswith(("versions", "alignment", "tensors"))
        }
        assert len(changes) > 20
        for name, change in changes.items():
            other = json.loads(json.dumps(honest))
            change(other)
            path.write_text(json.dumps(other))
            assert ("result", "server") in failing(federation.checks()), name

    def test_invented_code_fails_and_a_checkout_settles_it(
        self, make: Make, tmp_path: Path
    ) -> None:
        """Was open: nobody compared the code that a ledger names with any code."""
        checks = make(code="c0de" * 16).checks()
        assert failing(checks) == {("code", name) for name in GROUPS}
        assert "give the checkout that was run by --code" in finding(checks, "code")

    def test_code_that_a_group_does_not_name_stands_open(self, make: Make) -> None:
        assert "names no code" in finding(make(code="").checks(), "code", Status.OPEN)

    def test_a_model_that_no_round_began_from_fails(self, make: Make) -> None:
        """Was open: the model that a group was announced could be any."""
        checks = make(model="ab" * 32).checks()
        assert failing(checks) == {("plans", "Alder")}


def test_a_checkout_that_the_reviewer_gives_is_code_at_hand(make: Make, tmp_path: Path) -> None:
    from privacy.identity.code import ROOMS, tree_digest

    tree = tmp_path / "checkout"
    for room in ROOMS:
        (tree / room).mkdir(parents=True)
        (tree / room / "__init__.py").write_text("")
    project = '[project]\nname = "fedaccord"\n[tool.setuptools]\npy-modules = ["atomic"]\n'
    (tree / "pyproject.toml").write_text(project)
    federation = make(code=tree_digest(tree))
    assert ("code", "Alder") in failing(federation.checks())
    assert holds(verify(gather([federation.folder], code=[tree])))
    with pytest.raises(ValueError, match="name a checkout of it"):
        gather([federation.folder], code=[tmp_path / "nowhere"])


def altered(value: Any) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Each leaf of JSON with a change of it; of a list its first entry alone, and its length."""
    entries = enumerate(value[:1]) if isinstance(value, list) else dict(value).items()
    for key, each in entries:
        if isinstance(each, dict | list) and each:
            for name, change in altered(each):
                yield f"{key}.{name}", (lambda v, k=key, c=change: c(v[k]) if k in _keys(v) else 0)
            if isinstance(each, list):
                yield f"{key}.-", (lambda v, k=key: v[k].pop() if k in _keys(v) else 0)
        else:
            other = _other(each)
            yield str(key), (lambda v, k=key, o=other: _set(v, k, o))


def _keys(value: Any) -> Any:
    return range(len(value)) if isinstance(value, list) else value


def _set(value: Any, key: Any, other: Any) -> None:
    if key in _keys(value):
        value[key] = other


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value / 2 if value else 1
    return f"{value}x" if isinstance(value, str) else "x"


# The card.


class TestCard:
    def test_no_field_of_a_card_can_be_changed_unseen(self, federation: Federation) -> None:
        """Was open: an epsilon of .01 and an empty list of what is not covered passed."""
        honest = federation.card(purpose="to try it")
        checked = 0
        evidence = federation.evidence()
        for name, change in altered(honest):
            other = json.loads(json.dumps(honest))
            change(other)
            (check,) = (c for c in verify(replace(evidence, card=other)) if c.id == "card")
            free = name == "about.purpose"
            assert (check.status is Status.FAIL) != free, name
            checked += not free
        assert checked > 150

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            (lambda card: card.update(not_covered=[]), "not_covered.0"),
            (lambda card: card["runs"][0].update(epsilon=0.01), "runs.0.epsilon"),
            (lambda card: card.update(certified="by the state"), "certified"),
            (lambda card: card["groups"].pop(), "groups.2"),
            (lambda card: card.pop("verification"), "verification"),
            (lambda card: card.update(empirical=["none"]), "empirical"),
            (lambda card: card["about"].update(audited="yes"), "'audited' is no field"),
        ],
    )
    def test_the_first_field_that_differs_is_named(
        self, federation: Federation, change: Callable[[Any], object], field: str
    ) -> None:
        card = federation.card()
        change(card)
        federation.hand_in(card)
        checks = federation.checks()
        assert failing(checks) == {("card", "server")}
        assert field in finding(checks, "card")

    def test_a_canary_audit_is_taken_as_stated_and_shown_so(self, federation: Federation) -> None:
        evidence = federation.evidence()
        canaries = audit_plan(federation.plan, canaries=300, guesses=30).as_dict()
        card = build_card(evidence, verify(evidence), canaries=canaries)
        federation.hand_in(card)
        assert failing(federation.checks()) == set()
        for name in ("privacy-report.html", "privacy-card.md", "dpia.md"):
            assert "tated, not checked" in render(card, name)

    def test_a_card_is_compared_as_whoever_made_it_could_make_it(
        self, federation: Federation
    ) -> None:
        """By the reviewer's roster other names and checks follow than by that of the folder."""
        federation.hand_in(federation.card())
        roster = federation.roster("Alder", "Birch")
        checks = federation.checks(roster=roster)
        assert ("pins", "server") in failing(checks)
        assert ("card", "server") not in failing(checks)
        other = federation.card()
        other["summary"]["epsilon_spent_at_most"] = 0.01
        federation.hand_in(other)
        assert ("card", "server") in failing(federation.checks(roster=roster))

    def test_a_card_made_from_more_is_compared_as_far_as_files_go(
        self, federation: Federation
    ) -> None:
        card = federation.card()
        federation.hand_in(card)
        group_ledger(federation.ledgers, "Birch").unlink()
        checks = federation.checks()
        assert "the ledger of Birch" in finding(checks, "card", Status.OPEN)
        for change in (
            lambda card: card.update(not_covered=[]),
            lambda card: card["runs"][0].update(epsilon=0.01),
            lambda card: card["groups"][0]["datasets"][0].update(epsilon_spent=0.01),
        ):
            other = json.loads(json.dumps(card))
            change(other)
            federation.hand_in(other)
            assert failing(federation.checks()) == {("card", "server")}

    def test_groups_without_ledgers_have_no_complete_account(self, federation: Federation) -> None:
        """Was open: a group whose ledger was withheld was missing from the page altogether."""
        group_ledger(federation.ledgers, "Birch").unlink()
        assert federation.card()["summary"]["groups_without_figures"] == ["Birch"]

    def test_who_dropped_out_is_said_only_where_it_shows_who_was_asked(
        self, federation: Federation
    ) -> None:
        """Was open: whoever was not drawn for a round stood there as having dropped out."""

        def fewer(lines: list[Line]) -> None:
            body = body_of(lines, "ROUND")
            body["survivors"].remove("Birch")
            body["vectors"].pop("Birch")

        federation.rewrite("server", fewer)
        (run,) = federation.card()["runs"]
        assert [row["dropped"] for row in run["round_log"]] == [None, None]

    def test_a_round_that_a_restart_gave_up_is_none_of_the_sums(
        self, federation: Federation
    ) -> None:
        """Was open: a sum that never reached the model was counted on card and page."""

        def restart(lines: list[Line]) -> None:
            body = {"run": RUN, "round": 1, "model": digest("model 1").hex()}
            lines.insert(3, {"type": "RESUMED", "dataset": "", "body": body})
            body_of(lines, "PUBLISHED")["model"] = digest("model 1").hex()

        federation.rewrite("server", restart)
        assert failing(federation.checks()) == {("result", "server")}
        (run,) = federation.card()["runs"]
        assert (run["rounds_summed"], run["rounds_lost"]) == (1, 1)
        assert run["round_log"][1]["reason"].startswith("Given up")


# What a server can write.


EVENTS: Mapping[str, Callable[[list[Line]], object]] = {
    "a field more": in_body("PUBLISHED", certified="by the state"),
    "a field less": lambda lines: body_of(lines, "RUN").pop("epsilons"),
    "a field of another kind": in_body("ROUND", terms="{}"),
    "a false pairs": in_body("RUN", pairs=False),
    "secure as a text": in_body("RUN", secure="false"),
    "a digest that is none": in_body("RUN", model="x"),
    "an epsilon that is none": in_body("RUN", epsilons={"dp-accounting PLD": "nan"}),
    "data": lambda lines: lines[0].update(dataset="ab"),
    "a run that never began": lambda lines: lines.append(
        {"type": "LOST", "dataset": "", "body": {"run": "x", "round": 1, "reason": "x"}}
    ),
    "a round after the end": lambda lines: lines.append(
        {"type": "LOST", "dataset": "", "body": {"run": RUN, "round": 3, "reason": "x"}}
    ),
    "a round that the plan does not have": lambda lines: lines.insert(
        3, {"type": "LOST", "dataset": "", "body": {"run": RUN, "round": 5, "reason": "x"}}
    ),
    "a round of no number": in_body("ROUND", round="1"),
    "an attempt of no number": in_body("ROUND", attempt=True),
    "a survivor twice": in_body("ROUND", survivors=[*GROUPS, GROUPS[0]]),
    "a group kept out that showed nothing": lambda lines: lines.insert(
        1,
        {
            "type": "HEADS",
            "dataset": "",
            "body": {"run": RUN, "round": 1, "attempt": 1, "adverts": {}, "refused": {"Elm": "x"}},
        },
    ),
    "a file outside": in_body("PUBLISHED", files={"../run/head.safetensors": "ab" * 32}),
    "a lost round with half of its fields": lambda lines: lines.insert(
        3,
        {
            "type": "LOST",
            "dataset": "",
            "body": {"run": RUN, "round": 3, "attempt": 1, "reason": "x", "ctx": "ab" * 32},
        },
    ),
}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_of_the_server_without_a_meaning_fails(federation: Federation, name: str) -> None:
    """Was open: what no check knew was skipped."""
    federation.rewrite("server", EVENTS[name])
    assert ("events", "server") in failing(federation.checks())


def test_lost_rounds_have_the_terms_of_their_plan(federation: Federation) -> None:
    """Was open: the terms of a round that gave nothing could be any, and stood on the card."""

    def lose(lines: list[Line]) -> None:
        body = {"run": RUN, "round": 3, "attempt": 1, "reason": "x", "vectors": {}, "sharers": []}
        body |= {"ctx": "ab" * 32, "model": digest("model 2").hex(), "terms": '{"threshold":1}'}
        lines.insert(3, {"type": "LOST", "dataset": "", "body": body})

    federation.rewrite("server", lose)
    assert ("survivors", "server") in failing(federation.checks())


@pytest.mark.parametrize("files", [{}, {"/etc/hostname": "ab" * 32}], ids=["none", "outside"])
def test_published_files_lie_in_the_folder(
    federation: Federation, files: Mapping[str, str]
) -> None:
    """Was open: a server ledger that names no file passed, and one outside was read."""
    federation.rewrite("server", in_body("PUBLISHED", files=files))
    assert ("published", "server") in failing(federation.checks())


def test_shares_of_noise_in_plain_sums_fail(make: Make) -> None:
    """Was open: the server saw vectors with a third of the noise, and all checks passed."""
    checks = make(mode=Mode.DISTRIBUTED).checks()
    assert failing(checks) == {("secure", "server")}
    assert "against the server the epsilon does not hold" in finding(checks, "secure")


# What a check may say.


class TestBasis:
    def test_every_check_says_what_it_rests_on_in_every_form(
        self, federation: Federation, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Was open: what was computed and what somebody states looked alike."""
        from privacy.cli import verify as command

        checks = federation.checks()
        assert all(check.rests_on for check in checks)
        command([federation.folder], as_json=True)
        stated = json.loads(capsys.readouterr().out)["checks"]
        assert [each["rests_on"] for each in stated] == [list(each.rests_on) for each in checks]
        command([federation.folder])
        assert "[recomputed by two libraries]" in capsys.readouterr().out
        card = federation.card()
        for name in ("privacy-report.html", "privacy-card.md"):
            page = render(card, name)
            assert "recomputed by two libraries" in page
            assert "the server&#39;s word" in page or "the server's word" in page

    def test_figures_that_nobody_computes_are_said_to_be_stated(
        self, federation: Federation
    ) -> None:
        card = federation.card()
        assert "signed by nobody" in card["rests_on"]["utility"]
        assert set(card) - {"rests_on"} >= {name.split(".")[0] for name in card["rests_on"]}
        assert "a review measures nothing" in card["utility"]["note"]

    def test_no_sentence_speaks_of_terms_that_nobody_agreed_to(
        self, federation: Federation
    ) -> None:
        """Was open: sums in the clear were said to be over never fewer groups than agreed."""
        said = " ".join(check.finding for check in federation.checks())
        assert "agreed" not in said
        assert "each other" not in said
        assert "2 round(s) gave a sum of vectors that the server saw one by one" in said
