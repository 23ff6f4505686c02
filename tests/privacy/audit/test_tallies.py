"""The checks of tallies, on ledgers made by hand: bounds, events, plans, and budgets at order 1."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import norm

from privacy.accounting.accountant import NeighboringRelation
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.tally_file import tally_context, tally_name
from privacy.accounting.terms import terms_of_counts
from privacy.audit.checks import Status
from privacy.audit.evidence import LedgerEvidence
from privacy.audit.tallies.bounds import wrong_bounds, wrong_step
from privacy.audit.tallies.of_run import wrong_plan
from privacy.audit.tallies.own import check_tallies
from privacy.audit.verify import _epsilon_of
from privacy.errors import PlanRefused
from privacy.identity.keys import Identity
from privacy.ledger import Ledger
from privacy.ledger.chain import NOTHING, Event, write_event
from privacy.ledger.filter import Mechanism, Steps
from privacy.ledger.state import State

Json = dict[str, Any]
OPTIONS, ASKED = (5, 3, 2, 2), "ab" * 32


def run_plan(*, distributions: bool = False, **changes: Any) -> PrivacyPlan:
    """The plan of a run of a group, and a seat that is free."""
    given = {"answers_per_respondent": 3, "largest_weight": 1.5, **changes}
    terms = terms_of_counts(
        unit=Unit.RESPONDENT,
        epsilon=4.0,
        delta=1e-5,
        units_per_group=(40, 60),
        options=[OPTIONS],
        questionnaires=[ASKED],
        distributions=distributions,
        **given,
    )
    return PrivacyPlan.calibrate(terms)


def own_plan(run: PrivacyPlan) -> PrivacyPlan:
    return run.of_group(0, OPTIONS, questionnaire=ASKED, units=40)


class TestBounds:
    """What one person can move, computed again."""

    @pytest.mark.parametrize("distributions", [False, True])
    @pytest.mark.parametrize("weight", [1.0, 1.3, 7.0])
    @pytest.mark.parametrize("answers", [1, 3, 4])
    def test_the_step_of_a_plan_is_right_and_a_larger_one_is_not(
        self, distributions: bool, weight: float, answers: int
    ) -> None:
        plan = own_plan(
            run_plan(
                distributions=distributions, largest_weight=weight, answers_per_respondent=answers
            )
        )
        step = plan.count_bounds(OPTIONS).step
        assert wrong_bounds(plan) == "" == wrong_step(plan, OPTIONS, step)
        assert "by more than S" in wrong_step(plan, OPTIONS, step + 1)
        if not distributions:
            widest = sorted(OPTIONS, reverse=True)[:answers]
            full = sum(1 - Fraction(3, 4 * each) for each in widest)
            assert full * (step * Fraction(weight)) ** 2 <= plan.sensitivity**2

    def test_what_does_not_follow_is_named(self) -> None:
        plan = own_plan(run_plan())
        assert "states C = 9" in wrong_bounds(replace(plan, clipping_norm=9.0))
        assert "counts for 2 groups" in wrong_bounds(run_plan())
        assert "has a step of 0" in wrong_step(plan, OPTIONS, 0)
        assert "has 12 cells for 13 options" in wrong_step(plan, (*OPTIONS[:3], 3), 1)
        assert "3 answers of a person to 1 questions" in wrong_step(plan, (12,), 1)


class TestPlanOfARun:
    """A group's plan follows from that of its run, field by field."""

    @pytest.mark.parametrize("distributions", [False, True])
    def test_that_of_a_seat_follows(self, distributions: bool) -> None:
        run = run_plan(distributions=distributions)
        assert wrong_plan(own_plan(run), run, seat=0) == ""
        late = run.of_group(1, (2, 2), questionnaire="cd" * 32, units=7)
        assert wrong_plan(late, run, seat=1) == ""
        assert "another questionnaire" in wrong_plan(late, run, seat=0)

    @pytest.mark.parametrize(
        "changes",
        [
            {"epsilon": 5.0},
            {"delta": 1e-6},
            {"unit": Unit.RECORD},
            {"relation": NeighboringRelation.REPLACE_ONE},
            {"noise_multiplier": 1.0},
            {"sensitivity": 900_000},
            {"noise_log2": 21},
            {"modulus_bits": 64},
            {"colluding": 1, "survivors": 1},
        ],
        ids=lambda changes: next(iter(changes)),
    )
    def test_another_field_is_named(self, changes: dict[str, Any]) -> None:
        run = run_plan()
        wrong = wrong_plan(replace(own_plan(run), **changes), run, seat=0)
        assert wrong.startswith(f"another {next(iter(changes))}")


@pytest.fixture
def events(tmp_path: Path) -> list[Json]:
    """The events of a ledger with one tally, and two rounds of a run that were trained on it."""
    plan = own_plan(run_plan())
    name = tally_name(plan.digest(), "")
    with Ledger.create(tmp_path / "ledger.jsonl", Identity.create()) as ledger:
        data = ledger.register([("a", b"1")], unit=plan.unit, bound=40, run=name)
        ledger.set_budget(data, epsilon=4.5, delta=1e-5, order=1)
        ledger.register_plan(name, data, plan)
        receipt = ledger.reserve(name, 0, 0, tally_context(plan.digest(), name))
        ledger.released(receipt, bytes(32))
        for number in (1, 2):
            ledger.used(
                "run", number, 1, context=bytes(32), tally=bytes(32).hex(), vector=bytes(32)
            )
        return [
            {"type": e.type, "dataset": e.dataset, "body": dict(e.body)} for e in ledger.events()
        ]


def evidence(events: Iterable[Json]) -> LedgerEvidence:
    """The events, numbered and signed; what names a spend names the last before it."""
    key, head, written = Identity.create(), NOTHING, list[Event]()
    for event in events:
        body = dict(event["body"])
        if "spend" in body:
            body["spend"] = next(each.hash for each in reversed(written) if each.type == "SPEND")
        written.append(
            write_event(key, head, type=event["type"], dataset=event["dataset"], body=body)
        )
        head = written[-1].head
    return LedgerEvidence(
        name="Group",
        file=Path(),
        owner=key.public,
        pinned=False,
        events=tuple(written),
        state=State(),
        torn=0,
        error=None,
    )


def at(events: list[Json], type: str) -> int:
    return next(place for place, event in enumerate(events) if event["type"] == type)


def again(events: list[Json], type: str, **changes: Any) -> None:
    """The first event of a type once more, right after itself."""
    place = at(events, type)
    other = json.loads(json.dumps(events[place]))
    other["body"].update(changes)
    events.insert(place + 1, other)


def test_a_tally_that_was_counted_once_passes(events: list[Json]) -> None:
    (check,) = check_tallies(evidence(events))
    assert check.status is Status.PASS
    assert check.finding.startswith("1 tally: answers were counted once")
    assert "2 round(s) of 1 run(s)" in check.finding


def test_of_a_ledger_without_tallies_nothing_is_said(events: list[Json]) -> None:
    assert list(check_tallies(evidence(events[:2]))) == []


@pytest.mark.parametrize(
    ("says", "change"),
    [
        ("pays for a tally a second time", lambda e: again(e, "SPEND", attempt=1)),
        ("releases a tally a second time", lambda e: again(e, "RELEASED")),
        ("not released before", lambda e: e.pop(at(e, "RELEASED"))),
        ("not released before", lambda e: e.append(e.pop(at(e, "RELEASED")))),
        ("not released before", lambda e: e[-1]["body"].update(tally="ab" * 32)),
        ("not released before", lambda e: e[-1].update(dataset="ab" * 32)),
        ("recorded before", lambda e: again(e, "USED")),
        ("as for a round", lambda e: e[at(e, "SPEND")]["body"].update(round=1)),
        ("another tally", lambda e: e[at(e, "SPEND")]["body"].update(ctx="ab" * 32)),
        ("under a name", lambda e: e[at(e, "PLAN")]["body"].update(run="run 2")),
        (
            "announces a plan for a run",
            lambda e: e.append({**e[2], "body": {**e[2]["body"], "run": "run"}}),
        ),
        ("spends for a run", lambda e: e.append({**e[3], "body": {**e[3]["body"], "run": "run"}})),
    ],
)
def test_what_is_wrong_with_a_tally_is_found(
    events: list[Json], says: str, change: Callable[[list[Json]], object]
) -> None:
    """Also where it has not broken the ledger, which its owner's own filter would refuse."""
    change(events)
    (check,) = check_tallies(evidence(events))
    assert check.status is Status.FAIL
    assert says in check.finding


@pytest.mark.parametrize("delta", [1e-5, 1e-9])
@pytest.mark.parametrize(
    "steps",
    [
        {(1.0, 1.0): 1},
        {(3.0, 1.0): 4, (0.9, 1.0): 1},
        # A sampled step counts as one of everybody.
        {(5.0, 0.1): 9},
        {(40.0, 1.0): 1},
    ],
    ids=str,
)
def test_a_budget_at_order_1_is_that_of_one_gaussian(
    steps: dict[tuple[float, float], int], delta: float
) -> None:
    """Against the closed form: delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)."""
    spent = Steps(
        {Mechanism(noise_multiplier=z, sampling_rate=q): n for (z, q), n in steps.items()}
    )
    epsilon = _epsilon_of(spent, order=1, delta=delta)
    mu = sum(n / z**2 for (z, _), n in steps.items()) ** 0.5
    exact = norm.cdf(mu / 2 - epsilon / mu) - norm_exp(epsilon, -mu / 2 - epsilon / mu)
    assert exact == pytest.approx(delta, rel=2e-3)
    assert _epsilon_of(Steps(), order=1, delta=delta) == 0


def norm_exp(epsilon: float, at: float) -> float:
    """E^eps Phi(at)."""
    return math.exp(epsilon + norm.logcdf(at))


def test_a_weight_below_1_is_none_of_distributions() -> None:
    """Somebody weighs the mean: a bound below it would let them move more than S."""
    with pytest.raises(PlanRefused, match=r"largest_weight = 0.5 over the mean weight is below 1"):
        run_plan(distributions=True, largest_weight=0.5)
