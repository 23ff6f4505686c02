"""Runs that count answers once, forged by whoever holds keys, and by who holds none."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.accountant import NeighboringRelation, pld_epsilon
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.tally_file import tally_context
from privacy.accounting.terms import norm_of_counts
from privacy.audit.checks import Status
from privacy.ledger.filter import cost, filter_bound, least_budget
from privacy.ledger.payloads import mechanism_of, stated_plan
from tests.forgeries.forger import SERVER, Forger, Line, copied, copy, edit
from tests.forgeries.review import Catalogue, Forgery, assert_found, assert_holds, reviewed

GROUP, ANOTHER = "Group 0", "Group 1"
OTHER = "ab" * 32

ledgers = Catalogue()


def line(forger: Forger, type: str, number: int = 0) -> Line:
    return forger.of(GROUP, type)[number]


def planned(forger: Forger) -> PrivacyPlan:
    return stated_plan(line(forger, "PLAN").body["plan"])


def replan(forger: Forger, plan: PrivacyPlan) -> None:
    """Another plan of the group's tally, with all in its ledger that follows from it."""
    body, budget, spend = (line(forger, type).body for type in ("PLAN", "BUDGET", "SPEND"))
    delta, mechanism = float(budget["delta"]), mechanism_of(plan)
    epsilon, order = least_budget(mechanism, steps=1, delta=delta)
    bound = filter_bound(epsilon=epsilon, delta=delta, order=order)
    budget |= {"epsilon": epsilon, "order": order, "bound": bound}
    rdp = cost(mechanism, order)
    body |= {"plan": plan.as_dict(), "digest": plan.digest(), "rdp": rdp}
    body["pld_epsilon"] = pld_epsilon(plan.mechanism, delta=plan.accounted_delta)
    spend |= {"z": plan.noise_multiplier, "rdp": rdp}
    spend["ctx"] = tally_context(plan.digest(), spend["run"]).hex()
    data = line(forger, "DATASET").body
    data |= {"units": plan.units, "adjacency": str(plan.relation)}


def counting(forger: Forger, **changes: Any) -> None:
    """Other bounds of the group's counts."""
    plan = planned(forger)
    assert plan.counts is not None
    counts = replace(plan.counts, **changes)
    norm = norm_of_counts(counts.answers_per_respondent, counts.largest_weight)
    replan(forger, replace(plan, counts=counts, clipping_norm=norm))


# The ledger of a group, told anew with every key there is.


@ledgers.add("tally", "pays for a tally a second time")
def a_second_spend(forger: Forger) -> None:
    forger.insert(GROUP, copy(line(forger, "SPEND"), attempt=1), line(forger, "RELEASED"))


@ledgers.add("tally", "releases a tally a second time")
def a_second_release(forger: Forger) -> None:
    again = replace(copy(line(forger, "RELEASED"), vector=OTHER), about=line(forger, "SPEND"))
    forger.insert(GROUP, again, line(forger, "RELEASED"))


@ledgers.add("tally", "not released before")
def a_use_without_a_release(forger: Forger) -> None:
    forger.drop(GROUP, forger.of(GROUP, "RELEASED"))


@ledgers.add("tally", "not released before")
def a_use_of_another_tally(forger: Forger) -> None:
    line(forger, "USED").body["tally"] = OTHER


@ledgers.add("tally", "not released before")
def a_use_before_the_release(forger: Forger) -> None:
    release, use = line(forger, "RELEASED"), line(forger, "USED")
    forger.drop(GROUP, [release])
    forger.insert(GROUP, release, use)


@ledgers.add("tally", "recorded before")
def a_round_trained_twice(forger: Forger) -> None:
    forger.insert(GROUP, copy(line(forger, "USED")), line(forger, "USED"))


@ledgers.add("tally", "for a run that was trained on a tally")
def a_plan_of_the_run_besides(forger: Forger) -> None:
    run, at = line(forger, "USED").body["run"], line(forger, "USED", -1)
    plan = forger.insert(GROUP, copy(line(forger, "PLAN"), run=run), at)
    forger.insert(GROUP, copy(line(forger, "SPEND"), run=run, round=9), plan)


@ledgers.add("tally", "under a name that no tally has")
def counts_under_the_name_of_a_run(forger: Forger) -> None:
    for type in ("DATASET", "PLAN", "SPEND"):
        line(forger, type).body["run"] = OTHER[:32]
    spend = line(forger, "SPEND").body
    spend["ctx"] = tally_context(planned(forger).digest(), spend["run"]).hex()


@ledgers.add("tally", "as for a round")
def a_spend_as_of_a_round(forger: Forger) -> None:
    line(forger, "SPEND").body["round"] = 1


@ledgers.add("tally", "pays for another tally")
def a_spend_for_something_else(forger: Forger) -> None:
    line(forger, "SPEND").body["ctx"] = OTHER


@ledgers.add("tally", "states C = 9")
def a_norm_that_does_not_follow(forger: Forger) -> None:
    replan(forger, replace(planned(forger), clipping_norm=9.0))


@ledgers.add("epsilon", "the plan claims 8")
def less_noise(forger: Forger) -> None:
    plan = planned(forger)
    z, sensitivity = plan.noise_multiplier / 2, plan.sensitivity * 2
    replan(forger, replace(plan, noise_multiplier=z, sensitivity=sensitivity))


@ledgers.add("counted", "another epsilon")
def less_noise_and_more_promised(forger: Forger) -> None:
    plan = planned(forger)
    z, sensitivity = plan.noise_multiplier / 2, plan.sensitivity * 2
    replan(forger, replace(plan, noise_multiplier=z, sensitivity=sensitivity, epsilon=40.0))


@ledgers.add("chain", "no longer reach")
def a_larger_sensitivity_alone(forger: Forger) -> None:
    body = line(forger, "PLAN").body
    body["plan"]["sensitivity"] *= 2


@ledgers.add("stored", "another plan")
def a_larger_cap(forger: Forger) -> None:
    counting(forger, answers_per_respondent=26)


@ledgers.add("stored", "another plan")
def a_cap_of_more_than_all_questions(forger: Forger) -> None:
    counting(forger, answers_per_respondent=13)


@ledgers.add("counted", "another clipping_norm")
def a_larger_weight(forger: Forger) -> None:
    counting(forger, largest_weight=2.0)


@ledgers.add("counted", "another questionnaire")
def another_questionnaire(forger: Forger) -> None:
    counting(forger, questionnaires=(OTHER,))


@ledgers.add("counted", "another questionnaire")
def no_questionnaire(forger: Forger) -> None:
    counting(forger, questionnaires=("",))


@ledgers.add("counted", "another relation")
def the_relation_swapped(forger: Forger) -> None:
    replan(forger, replace(planned(forger), relation=NeighboringRelation.REPLACE_ONE))


@ledgers.add("seat", "registers 60 units")
def units_above_the_bound(forger: Forger) -> None:
    replan(forger, replace(planned(forger), units_per_group=(60,)))


@ledgers.add("budget", "above the budget of 1")
def a_budget_lowered_below_what_is_spent(forger: Forger) -> None:
    budget = line(forger, "BUDGET")
    delta, order = float(budget.body["delta"]), budget.body["order"]
    assert order == 1
    bound = filter_bound(epsilon=1.0, delta=delta, order=order)
    lower = copy(budget, epsilon=1.0, bound=bound)
    forger.insert(GROUP, lower, line(forger, "RELEASED"))


@ledgers.add("chain", "bound = ")
def a_budget_that_pays_for_more_than_it_says(forger: Forger) -> None:
    line(forger, "BUDGET").body["bound"] = 9.0


@ledgers.add("both", "different terms", GROUP, SERVER)
def a_larger_budget(forger: Forger) -> None:
    body = line(forger, "BUDGET").body
    bound = filter_bound(epsilon=40.0, delta=float(body["delta"]), order=body["order"])
    body |= {"epsilon": 40.0, "bound": bound}


@ledgers.add("plans", "lacks run abababababab")
def a_use_by_a_run_that_the_server_lacks(forger: Forger) -> None:
    use = line(forger, "USED", -1)
    forger.insert(GROUP, copy(use, run=OTHER[:32]), use)


@ledgers.add("both", "another vector")
def another_vector_of_a_round(forger: Forger) -> None:
    line(forger, "USED").body["vector"] = OTHER


@ledgers.add("both", "different terms", SERVER)
def other_terms_of_a_round(forger: Forger) -> None:
    forger.terms(forger.of(SERVER, "ROUND")[0], task=OTHER)


@ledgers.add("both", "trained on no tally")
def a_round_left_out(forger: Forger) -> None:
    forger.drop(GROUP, [line(forger, "USED")])


@ledgers.add("both", "different terms", GROUP, SERVER)
def other_counts_signed_anew(forger: Forger) -> None:
    (file,) = tallies(forger.folder)
    stated = json.loads(file.read_bytes())
    stated["cells"][0] += 10**6
    content = json.dumps(stated, sort_keys=True, separators=(",", ":")).encode()
    file.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    line(forger, "RELEASED").body["vector"] = digest
    for use in forger.of(GROUP, "USED"):
        use.body["tally"] = digest


@ledgers.add("counted", "another epsilon", SERVER)
def another_plan_of_the_run(forger: Forger) -> None:
    run = forger.of(SERVER, "RUN")[0].body
    plan = replace(stated_plan(run["plan"]), epsilon=9.0)
    run |= {"plan": plan.as_dict(), "digest": plan.digest()}
    for each in (*forger.of(SERVER, "ROUND"), *forger.of(SERVER, "LOST")):
        forger.terms(each, vector={"plan": plan.digest()})


@pytest.mark.parametrize("forgery", ledgers.params)
def test_a_forged_ledger_is_found(counted: Any, tmp_path: Path, forgery: Forgery) -> None:
    folder = copied(counted.first, tmp_path / "run")
    forger = Forger(folder, counted.keys)
    forgery.forge(forger)
    forger.tell(*forgery.held)
    assert_found(forgery, folder, counted.roster)


# What lies beside the ledgers, forged by who holds no key.


def tallies(folder: Path, group: str = GROUP) -> list[Path]:
    (found,) = (folder / "ledgers" / "groups").glob(f"{group.replace(' ', '-')}-*.tallies")
    return sorted(found.iterdir())


def _forge(check: str, says: str, forge: Callable[[Path], Any]) -> Any:
    return pytest.param(Forgery(check=check, says=says), forge, id=forge.__name__)


def a_count(folder: Path) -> None:
    (file,) = tallies(folder)
    stated = json.loads(file.read_bytes())
    edit(file, "cells", 0, to=stated["cells"][0] + 1)


def the_tally_of_another_group(folder: Path) -> None:
    shutil.copy(tallies(folder, ANOTHER)[0], tallies(folder)[0])


def a_tally_that_nobody_paid_for(folder: Path) -> None:
    (file,) = tallies(folder)
    shutil.copy(file, file.with_name(f"tally-{OTHER[:32]}.json"))


def no_tally_at_all(folder: Path) -> None:
    tallies(folder)[0].write_bytes(b"{}")


def another_questionnaire_beside(folder: Path) -> None:
    edit(folder / "privacy.json", "questionnaires", GROUP, "digest", to=OTHER)


def a_questionnaire_less(folder: Path) -> None:
    stated = json.loads((folder / "privacy.json").read_bytes())["questionnaires"]
    edit(folder / "privacy.json", "questionnaires", to={GROUP: stated[GROUP]})


def more_options_than_counts(folder: Path) -> None:
    edit(folder / "privacy.json", "questionnaires", GROUP, "options", to=999)


def distributions_instead(folder: Path) -> None:
    edit(folder / "privacy.json", "questionnaires", GROUP, "distributions", to=True)


def tensors_of_no_gradient(folder: Path) -> None:
    edit(folder / "privacy.json", "tensors", to=["head"])


def another_mechanism(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "mechanism", to="gradients")


def fewer_answers(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "answers_per_respondent", to=5)


def a_smaller_weight(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "largest_weight", to=0.5)


def more_noise_than_there_is(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "noise_std_of_a_count", to={GROUP: 99.0})


def distributions_in_the_result(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "distributions", to=True)


def another_questionnaire_in_the_result(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "questionnaires", GROUP, to=OTHER)


def another_questionnaire_in_the_result_alone(folder: Path) -> None:
    another_questionnaire_in_the_result(folder)
    (folder / "privacy.json").unlink()


def no_word_of_the_cap(folder: Path) -> None:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    del result["privacy"]["answers_per_respondent"]
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def figures_of_steps(folder: Path) -> None:
    edit(folder / "result.json", "privacy", "clipping_norm", to=1.0)


def more_rounds_than_settings(folder: Path) -> None:
    edit(folder / "result.json", "rounds", to=9)


def another_weight_in_the_settings(folder: Path) -> None:
    edit(folder / "result.json", "config", "privacy", "largest_weight", to=2.0)


BESIDE = [
    _forge("stored", "not the tally that was recorded", a_count),
    _forge("stored", "not the tally that was recorded", the_tally_of_another_group),
    _forge("stored", "has not paid for", a_tally_that_nobody_paid_for),
    _forge("stored", "no tally", no_tally_at_all),
    _forge("result", "not that of its seat", another_questionnaire_beside),
    _forge("result", "is missing", a_questionnaire_less),
    _forge("result", "more options", more_options_than_counts),
    _forge("result", "another kind of answers", distributions_instead),
    _forge("result", "states 'tensors'", tensors_of_no_gradient),
    _forge("result", "privacy.mechanism", another_mechanism),
    _forge("result", "privacy.answers_per_respondent", fewer_answers),
    _forge("result", "privacy.largest_weight", a_smaller_weight),
    _forge("result", "noise_std_of_a_count", more_noise_than_there_is),
    _forge("result", "privacy.distributions", distributions_in_the_result),
    _forge("result", "privacy.questionnaires", another_questionnaire_in_the_result),
    _forge("result", "is of no seat", another_questionnaire_in_the_result_alone),
    _forge("result", "lacks 'answers_per_respondent'", no_word_of_the_cap),
    _forge("result", "states 'clipping_norm'", figures_of_steps),
    _forge("result", "9 rounds", more_rounds_than_settings),
    _forge("result", "largest_weight", another_weight_in_the_settings),
]


@pytest.mark.parametrize(("forgery", "forge"), BESIDE)
def test_a_forged_file_is_found(
    counted: Any, tmp_path: Path, forgery: Forgery, forge: Callable[[Path], Any]
) -> None:
    folder = copied(counted.first, tmp_path / "run")
    forge(folder)
    assert_found(forgery, folder, counted.roster)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("groups 0 tallies", []),
        ("groups 0 tallies 0 digest", OTHER),
        ("groups 0 tallies 0 plan_digest", OTHER),
        ("groups 0 tallies 0 spends", 0),
        ("groups 0 tallies 0 rounds_by_run", {}),
        ("groups 0 plans 0 tally answers_per_respondent", 1),
        ("groups 0 datasets 0 rounds_left", 4),
        ("runs 0 tally answers_per_respondent", 1),
        ("runs 0 tally largest_weight", 0.5),
        ("runs 0 tally questionnaires Group_0", OTHER),
        ("runs 0 tally noise_std_of_a_count", 99.0),
        ("runs 0 tally neighbours", "Nobody is a neighbour."),
        ("runs 0 tally public", "Nothing is public."),
        ("runs 0 tally post_processing", "All is free."),
        ("runs 0 contribution_cap", "One answer."),
        ("runs 0 mechanism", "Laplace"),
        ("runs 0 sampling_rate", 0.01),
        ("runs 0 clipping_norm", 0.1),
        ("runs 0 rounds", 1),
        ("runs 0 charged steps", 1),
        ("not_covered 11", "Nothing."),
        ("rests_on runs.tally", "the authority"),
    ],
)
def test_a_forged_field_of_the_card_is_found(
    counted: Any, tmp_path: Path, way: str, value: object
) -> None:
    card = tmp_path / "card.json"
    card.write_bytes(counted.card.read_bytes())
    steps = [int(each) if each.isdigit() else each.replace("_0", " 0") for each in way.split()]
    edit(card, *steps, to=value)
    found = Forgery(check="card", says="the privacy card states")
    assert_found(found, counted.first, counted.roster, card)


# What holds.


def test_a_second_run_finds_the_counts_and_spends_nothing(counted: Any, tmp_path: Path) -> None:
    forger = Forger(copied(counted.second, tmp_path / "run"), counted.keys)
    assert_holds(counted.second, counted.roster)
    runs = [event.body["run"] for event in forger.of(SERVER, "RUN")]
    for group in forger.groups:
        assert len(forger.of(group, "SPEND")) == len(forger.of(group, "RELEASED")) == 1
        assert [use.body["run"] for use in forger.of(group, "USED")] == [
            *runs[:1] * 4,
            *runs[1:] * 4,
        ]
    assert_holds(counted.first, counted.roster, counted.card)
    _, card = reviewed(counted.second, counted.roster)
    assert [run["run"] for run in card["runs"]] == runs
    uses = card["groups"][0]["tallies"][0]["rounds_by_run"]
    assert uses == dict.fromkeys(runs, 4)


@pytest.mark.parametrize("held", [(SERVER,), (SERVER, GROUP), ()], ids=str)
def test_ledgers_that_are_signed_anew_and_say_the_same_hold(
    counted: Any, tmp_path: Path, held: tuple[str, ...]
) -> None:
    """What fails above fails for what it says; the spend that a file names has another hash."""
    folder = copied(counted.first, tmp_path / "run")
    forger = Forger(folder, counted.keys)
    forger.tell(*held)
    assert_holds(folder, counted.roster)


def test_what_the_server_never_had_is_open_and_said_to_cost_nothing(
    counted: Any, tmp_path: Path
) -> None:
    folder = copied(counted.first, tmp_path / "run")
    forger = Forger(folder, counted.keys)
    use = line(forger, "USED", -1)
    forger.insert(GROUP, copy(use, round=4, attempt=7, vector=OTHER), forger.told[GROUP][-1])
    forger.tell(GROUP)
    checks, _ = reviewed(folder, counted.roster)
    (denied,) = (each for each in checks if each.id == "denied")
    assert denied.status is Status.OPEN
    assert "1 released vectors" in denied.finding and "made from tallies is not" in denied.finding


@pytest.mark.parametrize("gone", ["tallies", "people", "tallies people", "server", "all"])
def test_a_card_is_compared_with_what_is_there(counted: Any, tmp_path: Path, gone: str) -> None:
    folder = copied(counted.first, tmp_path / "run")
    names = "tallies people server" if gone == "all" else gone
    for kind in names.split():
        for path in (folder / "ledgers" / "groups").glob(f"*.{kind}"):
            shutil.rmtree(path)
    if "server" in names:
        (folder / "ledgers" / "server.jsonl").unlink()
    checks, _ = reviewed(folder, counted.roster, counted.card)
    assert [each.finding for each in checks if each.status is Status.FAIL] == []
    (card,) = (each for each in checks if each.id == "card")
    assert card.status is Status.OPEN
    for kind, words in (
        ("tallies", "the files of tallies"),
        ("people", "the people files"),
        ("server", "the server ledger"),
    ):
        assert (words in card.finding) is (kind in names)


def test_a_card_of_gradients_has_no_field_of_tallies(real: Any) -> None:
    card = json.loads(real.card.read_bytes())
    assert "tally" not in json.dumps(card)
