"""Ledgers that are told anew by who holds the keys: the server, a group, or all together."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from privacy.accounting.plan import PrivacyPlan
from privacy.identity.keys import Identity
from privacy.ledger.filter import filter_bound
from privacy.ledger.payloads import stated_plan
from tests.forgeries.forger import SERVER, Forger, Line, copied, copy, edit
from tests.forgeries.review import Catalogue, Forgery, assert_found, assert_holds

GROUP = "Group 0"
OTHER = "ab" * 32
CLAIM = "epsilon = 0.125, as the authority has certified"

ledgers = Catalogue()


def run_line(forger: Forger) -> Line:
    return forger.of(SERVER, "RUN")[0]


def rounds(forger: Forger) -> list[Line]:
    return forger.of(SERVER, "ROUND")


def plan_line(forger: Forger) -> Line:
    return forger.of(GROUP, "PLAN")[0]


def published(forger: Forger) -> Line:
    return forger.of(SERVER, "PUBLISHED")[0]


def seat(forger: Forger, name: str, key: str, *, late: int = 0) -> None:
    """Give the last seat to another, from the start or by a later JOINED."""
    body = run_line(forger).body
    body["keys"].pop("Group 5")
    body["groups"][3] = "" if late else name
    if not late:
        body["keys"][name] = key
        return
    joined = {"run": body["run"], "round": late, "group": name, "key": key, "seat": 3}
    after = rounds(forger)[late - 2] if late > 1 else run_line(forger)
    forger.insert(SERVER, Line(type="JOINED", dataset="", body=joined), after)


# The server alone.


@ledgers.add("events", "has other fields", SERVER, never=CLAIM)
def a_claim_beside_a_round(forger: Forger) -> None:
    rounds(forger)[0].body["note"] = CLAIM


@ledgers.add("events", "names data", SERVER, never=CLAIM)
def a_claim_in_place_of_data(forger: Forger) -> None:
    rounds(forger)[0].dataset = CLAIM


@ledgers.add("book", "not what its owner wrote", SERVER)
def an_event_of_no_known_type(forger: Forger) -> None:
    line = Line(type="CERTIFIED", dataset="", body={"run": run_line(forger).body["run"]})
    forger.insert(SERVER, line, published(forger))


@ledgers.add("models", "was published is not what the rounds made", SERVER)
def a_round_that_was_summed_is_left_out(forger: Forger) -> None:
    forger.drop(SERVER, rounds(forger)[-1:])


@ledgers.add("models", "another model than the one before left", SERVER)
def a_round_that_was_summed_is_called_lost(forger: Forger) -> None:
    line = rounds(forger)[1]
    line.type = "LOST"
    for name in ("after", "survivors"):
        del line.body[name]
    line.body["reason"] = "timeout"
    edit(forger.folder / "result.json", "aborted_rounds", to=1)


@ledgers.add("survivors", "fewer than the 3 shares of noise", SERVER)
def a_sum_over_fewer(forger: Forger) -> None:
    line = rounds(forger)[1]
    line.body["survivors"].remove("Group 5")
    del line.body["vectors"]["Group 5"]


@ledgers.add("both", "the server took another vector than the group released", SERVER)
def a_vector_that_no_group_sent(forger: Forger) -> None:
    rounds(forger)[1].body["vectors"]["Group 5"] = OTHER


@ledgers.add("both", "the server took another vector", SERVER)
def vectors_of_two_groups_are_exchanged(forger: Forger) -> None:
    vectors = rounds(forger)[1].body["vectors"]
    vectors[GROUP], vectors["Group 1"] = vectors["Group 1"], vectors[GROUP]


@ledgers.add("pins", "Group 9 is a group of a run", SERVER)
def a_member_whom_nobody_knows(forger: Forger) -> None:
    seat(forger, "Group 9", Identity.create().public.hex())


@ledgers.add("pins", "gives another key", SERVER)
def a_member_with_the_key_of_the_server(forger: Forger) -> None:
    seat(forger, "Group 5", Identity.create().public.hex(), late=1)


@ledgers.add("members", "took part and has no seat", SERVER)
def a_member_who_joined_later_than_it_took_part(forger: Forger) -> None:
    seat(forger, "Group 5", forger.identities["Group 5"].public.hex(), late=4)


@ledgers.add("members", "two seats", SERVER)
def one_member_on_two_seats(forger: Forger) -> None:
    run_line(forger).body["groups"][3] = GROUP


@ledgers.add("secure", "no secure sum hides its vector", SERVER)
def noise_is_shared_in_the_clear(forger: Forger) -> None:
    run_line(forger).body["secure"] = False
    edit(forger.folder / "result.json", "secure_aggregation", to=False)


@ledgers.add("epsilon", "the server states 0.1250 by", SERVER, never="0.125")
def a_smaller_epsilon_beside_the_plan(forger: Forger) -> None:
    run_line(forger).body["epsilons"] = {"dp-accounting PLD": "0.125", "the authority": "0.125"}


@ledgers.add("events", "states in 'epsilons' what cannot be read", SERVER)
def an_epsilon_that_is_no_number(forger: Forger) -> None:
    run_line(forger).body["epsilons"] = {"dp-accounting PLD": "nan"}


@ledgers.add("plans", "another digest", SERVER)
def a_plan_under_another_digest(forger: Forger) -> None:
    run_line(forger).body["digest"] = OTHER


@ledgers.add("plans", "begins a run twice", SERVER)
def a_run_that_begins_twice(forger: Forger) -> None:
    line = run_line(forger)
    forger.insert(SERVER, copy(line), line)


@ledgers.add("both", "has not paid for", SERVER)
def a_run_that_is_not_there(forger: Forger) -> None:
    run, last = "ff" * 16, forger.told[SERVER][-1]
    begun = forger.insert(SERVER, copy(run_line(forger), run=run), last)
    forger.insert(SERVER, copy(rounds(forger)[0], run=run), begun)


@ledgers.add("models", "resumed from a model that round 2 did not leave", SERVER)
def a_restart_from_a_model_of_the_server(forger: Forger) -> None:
    line = rounds(forger)[1]
    body = {"run": line.body["run"], "round": 2, "model": OTHER}
    forger.insert(SERVER, Line(type="RESUMED", dataset="", body=body), line)


@ledgers.add("models", "has ended twice, or was lost when the run was resumed", SERVER)
def a_restart_that_gives_rounds_back(forger: Forger) -> None:
    line = rounds(forger)[1]
    body = {"run": line.body["run"], "round": 2, "model": line.body["after"]}
    forger.insert(SERVER, Line(type="RESUMED", dataset="", body=body), line)


@ledgers.add("models", "what was published is not what the rounds made", SERVER)
def a_model_that_no_round_made(forger: Forger) -> None:
    published(forger).body["model"] = OTHER


@ledgers.add("events", "states in 'files' what cannot be read", SERVER)
def a_published_file_outside_of_the_folder(forger: Forger) -> None:
    published(forger).body["files"]["../run/head.safetensors"] = OTHER


@ledgers.add("events", "follows the end of its run", SERVER)
def a_model_that_is_published_again(forger: Forger) -> None:
    forger.insert(SERVER, copy(published(forger), files={"x": OTHER}), published(forger))


@ledgers.add("witness", "kept out", SERVER)
def a_group_that_took_part_is_kept_out(forger: Forger) -> None:
    forger.of(SERVER, "HEADS")[3].body["refused"] = {"Group 5": "\x1b[2K <script>"}


@ledgers.add("witness", "its ledger does not show that head", SERVER)
def heads_that_were_shown_are_left_out(forger: Forger) -> None:
    forger.drop(SERVER, forger.of(SERVER, "HEADS")[-1:])


@ledgers.add("witness", "not signed by its key", SERVER)
def an_advertisement_of_another_round(forger: Forger) -> None:
    _, before, now, *_ = forger.of(SERVER, "HEADS")
    now.body["adverts"][GROUP] = before.body["adverts"][GROUP]


@ledgers.add("survivors", "one attempt gave two sums", SERVER)
def a_round_that_is_summed_twice(forger: Forger) -> None:
    line = rounds(forger)[3]
    forger.insert(SERVER, copy(line), line)


@ledgers.add("events", "is about round 5 of a run of 4", SERVER)
def more_rounds_than_the_plan_has(forger: Forger) -> None:
    line = rounds(forger)[3]
    forger.insert(SERVER, copy(line, round=5, model=line.body["after"], after=OTHER), line)
    published(forger).body["model"] = OTHER


@ledgers.add("survivors", "other noise than the plan", SERVER)
def fewer_honest_shares_in_the_terms(forger: Forger) -> None:
    forger.terms(rounds(forger)[1], vector={"honest_shares": 2})


@ledgers.add("survivors", "other noise than the plan", SERVER)
def no_colluders_in_the_terms(forger: Forger) -> None:
    forger.terms(rounds(forger)[1], vector={"colluding": 0})


@ledgers.add("both", "different terms", SERVER)
def a_higher_threshold_in_the_terms(forger: Forger) -> None:
    forger.terms(rounds(forger)[1], threshold=4)


@ledgers.add("survivors", "had not shared", SERVER)
def sharers_whom_nobody_knows(forger: Forger) -> None:
    rounds(forger)[1].body["sharers"].append("Group 9")


@ledgers.add("book", "a key that the roster does not name", SERVER)
def a_history_under_another_key(forger: Forger) -> None:
    forger.identities[SERVER] = Identity.create()


@pytest.mark.parametrize(
    ("field", "value"),
    [("round", "4"), ("round", True), ("round", -1), ("attempt", "1"), ("attempt", 1.0)],
)
def test_a_number_of_the_server_that_is_none(
    real: Any, tmp_path: Path, field: str, value: object
) -> None:
    forger = Forger(copied(real.first, tmp_path / "run"), real.keys)
    assert_holds(forger.folder, real.roster)
    rounds(forger)[0].body[field] = value
    forger.tell(SERVER)
    found = Forgery(check="events", says=f"states in '{field}' what cannot be read")
    assert_found(found, forger.folder, real.roster)


# A group alone, against what others have signed.


@ledgers.add("witness", "the ledger ends at event 12", GROUP)
def a_round_that_was_not_charged(forger: Forger) -> None:
    forger.drop(GROUP, forger.told[GROUP][-3:])


@ledgers.add("both", "the server took a vector that the group has not paid for", GROUP)
def a_round_that_was_refused_instead(forger: Forger) -> None:
    spend = forger.of(GROUP, "SPEND")[-1]
    forger.drop(GROUP, forger.told[GROUP][-3:])
    body = {name: spend.body[name] for name in ("run", "round", "attempt")}
    line = Line(type="REFUSED", dataset=spend.dataset, body={**body, "code": "budget"})
    forger.insert(GROUP, line, forger.told[GROUP][-1])


@ledgers.add("both", "another vector than the group released", SERVER, GROUP)
def a_release_that_is_called_aborted(forger: Forger) -> None:
    line = forger.of(GROUP, "RELEASED")[-1]
    line.type = "ABORTED"
    line.body = {"spend": line.body["spend"], "code": "\x1b[8m<script>"}


@ledgers.add("chain", "line 15", GROUP)
def a_spend_that_pays_twice(forger: Forger) -> None:
    line = forger.of(GROUP, "RELEASED")[-1]
    forger.insert(GROUP, copy(line), line)


@ledgers.add("chain", "a budget was raised", GROUP)
def a_budget_that_is_raised(forger: Forger) -> None:
    line = forger.of(GROUP, "BUDGET")[0]
    epsilon, delta = float(line.body["epsilon"]) + 1, float(line.body["delta"])
    bound = filter_bound(epsilon=epsilon, delta=delta, order=line.body["order"])
    raised = copy(line, epsilon=repr(epsilon), bound=repr(bound))
    forger.insert(GROUP, raised, forger.told[GROUP][-1])


@ledgers.add("chain", "follows from the rest", GROUP)
def a_budget_with_a_larger_bound(forger: Forger) -> None:
    forger.of(GROUP, "BUDGET")[0].body["bound"] = "9.0"


@ledgers.add("chain", "countersigned by a pinned server", GROUP)
def a_countersignature_of_nobody(forger: Forger) -> None:
    line = forger.of(GROUP, "HEAD")[-1]
    line.about = None
    line.body["signature"] = "ab" * 64


@ledgers.add("both", "different terms", SERVER, GROUP)
def server_and_one_group_against_the_others(forger: Forger) -> None:
    forger.drop(GROUP, forger.of(GROUP, "HEAD"))


# All together: nobody's signature is missing, so what is stated must be computed.


@ledgers.add("epsilon", "the plan claims 1, but epsilon = 8.0", never='"epsilon_pld": 1.0')
def all_claim_a_smaller_epsilon(forger: Forger) -> None:
    plan = forger.plan(epsilon=1.0)
    _publish(forger, plan, epsilon=1.0)


@ledgers.add("plan", "took 4 of 3 steps")
def all_claim_fewer_steps(forger: Forger) -> None:
    plan = forger.plan(rounds=3)
    _publish(forger, plan, steps=3)


@ledgers.add("epsilon", "epsilon = 9.3")
def all_claim_a_smaller_delta(forger: Forger) -> None:
    plan = forger.plan(delta=1e-4)
    _publish(forger, plan, delta=1e-4)


@ledgers.add("chain", "the data have more units than their bound")
def all_claim_fewer_people(forger: Forger) -> None:
    for name in forger.groups:
        forger.of(name, "DATASET")[0].body["units"] = 1
    _publish(forger, forger.plan(units_per_group=(1, 1, 1, 1)))


@ledgers.add("chain", "protects another unit")
def all_claim_another_unit(forger: Forger) -> None:
    _publish(forger, forger.plan(unit="record"), unit="record")


@ledgers.add("epsilon", "the ledger states 1.0000, but epsilon = 8.0000")
def a_group_states_another_epsilon_of_its_plan(forger: Forger) -> None:
    plan_line(forger).body["pld_epsilon"] = "1.0"


@ledgers.add("code", "none at hand")
def a_group_ran_other_code(forger: Forger) -> None:
    plan_line(forger).body["code"] = OTHER


@ledgers.add("plans", "a model that no round of the server ledger began from")
def a_group_was_announced_another_model(forger: Forger) -> None:
    plan_line(forger).body["model"] = OTHER


@ledgers.add("chain", "follows from the rest")
def a_spend_that_cost_less(forger: Forger) -> None:
    forger.of(GROUP, "SPEND")[0].body["rdp"] = "0.1"


@ledgers.add("budget", "above the budget of 5")
def a_budget_that_is_lowered_when_all_is_spent(forger: Forger) -> None:
    from privacy.ledger.facts import Budget

    line = forger.of(GROUP, "BUDGET")[0]
    lower = Budget.of(epsilon=5.0, delta=0.001, order=line.body["order"], units=6)
    lowered = copy(line, epsilon="5.0", bound=repr(lower.bound))
    forger.insert(GROUP, lowered, forger.told[GROUP][-1])


@ledgers.add("seat", "registers 50 units")
def more_people_than_the_seat_has(forger: Forger) -> None:
    tags = b"".join(number.to_bytes(8, "big") for number in range(50))
    body = {"units": 50, "unit": "respondent", "adjacency": "add_or_remove_one", "parents": []}
    forger.of(GROUP, "DATASET")[0].body = {**body, "tags": base64.b64encode(tags).decode()}


def _publish(forger: Forger, plan: PrivacyPlan, **figures: object) -> None:
    """Say the same of a plan in the files beside the ledgers."""
    for name, value in {**figures, "plan_digest": plan.digest()}.items():
        edit(forger.folder / "result.json", "privacy", name, to=value)
    edit(forger.folder / "privacy.json", "plan", to=plan.as_dict())
    edit(forger.folder / "privacy.json", "plan_digest", to=plan.digest())


@ledgers.add("chain", "fields", never=CLAIM)
def a_claim_beside_a_plan_of_a_group(forger: Forger) -> None:
    plan_line(forger).body["note"] = CLAIM


@ledgers.add("chain", "fields", never=CLAIM)
def a_claim_beside_a_spend(forger: Forger) -> None:
    forger.of(GROUP, "SPEND")[0].body["note"] = CLAIM


@ledgers.add("chain", "mechanism")
def a_plan_of_another_mechanism(forger: Forger) -> None:
    plan_line(forger).body["mechanism"] = CLAIM


@ledgers.add("chain", "round")
def a_spend_for_a_round_in_other_digits(forger: Forger) -> None:
    forger.of(GROUP, "SPEND")[0].body["round"] = "\u0661"


@ledgers.add("chain", "steps")
def a_spend_of_true_steps(forger: Forger) -> None:
    forger.of(GROUP, "SPEND")[0].body["steps"] = True


@ledgers.add("chain", "epsilon")
def a_budget_in_another_spelling(forger: Forger) -> None:
    line = forger.of(GROUP, "BUDGET")[0]
    line.body["epsilon"] = f" {line.body['epsilon']}_0 "


@ledgers.add("refusals", "round", GROUP)
def a_refusal_of_a_round_that_no_plan_has(forger: Forger) -> None:
    spend = forger.of(GROUP, "SPEND")[-1]
    body = {"run": spend.body["run"], "round": -3, "attempt": 1, "code": "budget"}
    line = Line(type="REFUSED", dataset=spend.dataset, body=body)
    forger.insert(GROUP, line, forger.told[GROUP][-1])


@ledgers.add("published", "adapter", SERVER)
def a_file_of_the_model_that_is_not_named(forger: Forger) -> None:
    del published(forger).body["files"]["adapter/adapter_model.safetensors"]
    (forger.folder / "adapter" / "adapter_model.safetensors").write_bytes(b"another model")


# Other fields, spellings and reasons of the same kinds.


@ledgers.add("chain", "fields", never=CLAIM)
def a_claim_beside_the_data_of_a_group(forger: Forger) -> None:
    forger.of(GROUP, "DATASET")[0].body["note"] = CLAIM


@ledgers.add("chain", "fields", never=CLAIM)
def a_claim_beside_a_countersignature(forger: Forger) -> None:
    forger.of(GROUP, "HEAD")[0].body["note"] = CLAIM


@ledgers.add("chain", "code", never=CLAIM)
def a_claim_in_place_of_code(forger: Forger) -> None:
    plan_line(forger).body["code"] = CLAIM


@ledgers.add("chain", "model", never=CLAIM)
def a_claim_in_place_of_a_model(forger: Forger) -> None:
    plan_line(forger).body["model"] = CLAIM


@ledgers.add("chain", "spelled", GROUP)
def a_plan_in_another_spelling(forger: Forger) -> None:
    plan_line(forger).body["plan"]["epsilon"] = " 8.0"


@ledgers.add("chain", "names data", GROUP)
def a_countersignature_of_data(forger: Forger) -> None:
    forger.of(GROUP, "HEAD")[-1].dataset = OTHER


@ledgers.add("events", "epsilons", SERVER)
def an_epsilon_of_the_server_in_other_digits(forger: Forger) -> None:
    epsilons = run_line(forger).body["epsilons"]
    epsilons |= {name: f"{value}0" for name, value in epsilons.items()}


@ledgers.add("refusals", "had steps left", GROUP)
def a_refusal_for_a_plan_with_steps_left(forger: Forger) -> None:
    spend = forger.of(GROUP, "SPEND")[0]
    body = {"run": spend.body["run"], "round": 1, "attempt": 9, "code": "plan"}
    line = Line(type="REFUSED", dataset=spend.dataset, body=body)
    forger.insert(GROUP, line, plan_line(forger))


@ledgers.add("refusals", "paid for it", GROUP)
def a_refusal_for_a_budget_that_pays(forger: Forger) -> None:
    spend = forger.of(GROUP, "SPEND")[0]
    body = {"run": spend.body["run"], "round": 1, "attempt": 9, "code": "budget"}
    line = Line(type="REFUSED", dataset=spend.dataset, body=body)
    forger.insert(GROUP, line, plan_line(forger))


@ledgers.add("chain", "other data", GROUP)
def a_refusal_on_other_data(forger: Forger) -> None:
    spend = forger.of(GROUP, "SPEND")[-1]
    body = {"run": spend.body["run"], "round": 4, "attempt": 9, "code": "plan"}
    line = Line(type="REFUSED", dataset=OTHER, body=body)
    forger.insert(GROUP, line, forger.told[GROUP][-1])


@pytest.mark.parametrize("forgery", ledgers.params)
def test_a_forged_ledger_is_found(real: Any, tmp_path: Path, forgery: Forgery) -> None:
    """Was open: events of groups had no fixed fields, and refusals needed no reason."""
    folder = copied(getattr(real, forgery.of), tmp_path / "run")
    assert_holds(folder, real.roster)
    forger = Forger(folder, real.keys)
    forgery.forge(forger)
    forger.tell(*forgery.held)
    assert_found(forgery, folder, real.roster)


@pytest.mark.parametrize("held", [(SERVER,), (SERVER, GROUP), ()], ids=str)
@pytest.mark.parametrize("run", ["first", "second"])
def test_ledgers_that_are_signed_anew_and_say_the_same_hold(
    real: Any, tmp_path: Path, run: str, held: tuple[str, ...]
) -> None:
    """The forger's own signatures are right: what fails above fails for what it says."""
    forger = Forger(copied(getattr(real, run), tmp_path / "run"), real.keys)
    before = json.loads(forger.files[SERVER].read_bytes().splitlines()[-1])["body"]
    forger.tell(*held)
    assert json.loads(forger.files[SERVER].read_bytes().splitlines()[-1])["body"] == before
    assert stated_plan(run_line(forger).body["plan"]).digest() == run_line(forger).body["digest"]
    assert_holds(forger.folder, real.roster)
