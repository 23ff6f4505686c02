"""The claims of SECURITY.md's table, each with the test that holds it and an edit that breaks it.

A claim that something stays hidden, or is no more than it is said to be, has a *fault*: the
smallest edit of the product that makes the claim false, under which its test must fail. A claim
that somebody does learn something is a limit: a test shows that it is real, or a reason says why
none can.
"""

from __future__ import annotations

from dataclasses import dataclass

_SECAGG = "tests/privacy/secagg"
_LEDGER = "tests/privacy/ledger"
_RUNS = "tests/experiments/simulation"
_ONCE = "tests/clients/sessions/test_counted_once.py"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An edit of the product that makes a claim false.

    Attributes:
        file: Path from the root of the checkout.
        old: Text that stands once in the file.
        new: What is put in its place.
    """

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A note of the table.

    Attributes:
        note: Its number in the table.
        says: In a few words.
        test: ``path::name``, or ``path::Class::name``, of the test; empty where none is possible.
        fault: Makes the claim false; None of a limit.
        why: Why there is no test, or no fault; empty where there are both.
    """

    note: int
    says: str
    test: str
    fault: Fault | None = None
    why: str = ""


_LIMIT = "a limit: the test shows that it is real"


CLAIMS = (
    Claim(
        note=1,
        says="a group states a public bound on its units, never their number",
        test="tests/clients/test_totality.py::TestNumbersOfUnits"
        "::test_set_up_tells_the_bound_and_not_the_number",
        fault=Fault(
            file="clients/app.py",
            old='answer["units"] = store.units_bound',
            new='answer["units"] = len(store.units())',
        ),
    ),
    Claim(
        note=2,
        says="the server opens the sum of a round, exactly",
        test=f"{_RUNS}/test_secure_run.py::test_the_server_unmasks_exactly_the_sum_in_every_mode",
        why=_LIMIT,
    ),
    Claim(
        note=3,
        says="of an unexpected error it hears the kind alone",
        test="tests/clients/test_refusals.py::TestWordsStayAtTheClient"
        "::test_an_unexpected_error_is_told_by_its_kind_alone",
        fault=Fault(
            file="clients/deployment/executor.py",
            old="    if isinstance(error, told):\n",
            new="    if isinstance(error, Exception):\n",
        ),
    ),
    Claim(
        note=4,
        says="it hears how a model does on answers that a policy calls public",
        test="tests/clients/test_refusals.py::TestGroupsThatOnlyMeasure"
        "::test_a_run_measures_on_them",
        why=_LIMIT,
    ),
    Claim(
        note=5,
        says="no second set of survivors opens a vector, with a third of the members helping",
        test=f"{_SECAGG}/test_malicious_server.py"
        "::test_a_third_of_the_members_cannot_have_two_sets_unmasked",
        fault=Fault(
            file="privacy/secagg/client.py",
            old="        if len(signers) < terms.threshold:\n",
            new="        if len(signers) < 1:\n",
        ),
    ),
    Claim(
        note=6,
        says="no vector goes into a sum with members that the group has not pinned",
        test="tests/clients/test_refusals.py::TestStaleRosters"
        "::test_a_member_whose_key_is_not_pinned_is_refused_by_name",
        fault=Fault(
            file="privacy/secagg/client.py",
            old="        agreement.check_signatures(self.roster)\n",
            new="",
        ),
    ),
    Claim(
        note=7,
        says="no vector leaves a client of an organisation in the clear",
        test="tests/clients/test_refusals.py"
        "::test_a_run_in_the_clear_gets_nothing_from_an_organisation",
        fault=Fault(
            file="clients/app.py",
            old="    if store.secure:\n",
            new="    if not store:\n",
        ),
    ),
    Claim(
        note=8,
        says="no field leaves that is not listed with its reason",
        test="tests/clients/test_replies.py::test_a_field_without_a_reason_does_not_leave",
        fault=Fault(
            file="clients/replies.py",
            old="    if undeclared := set(names_in(content)) - listed:\n",
            new="    if undeclared := set(names_in(content)) - listed - set(names_in(content)):\n",
        ),
    ),
    Claim(
        note=9,
        says="nothing that leaves tells who is in the data or has spent the budget",
        test="tests/clients/sessions/test_group_ledger.py"
        "::test_whoever_has_spent_the_budget_is_left_out_and_nothing_tells",
        fault=Fault(
            file="clients/sessions/group_ledger.py",
            old="        if all(taking_part):\n            return units\n",
            new="        if all(taking_part):\n            return units\n"
            '        raise RefusedByLedger("somebody cannot pay")\n',
        ),
    ),
    Claim(
        note=10,
        says="no row that breaks the bound counts, whatever its floats were",
        test="tests/privacy/kernel/test_clipping.py"
        "::test_a_row_that_fails_the_integer_check_is_zero",
        fault=Fault(
            file="privacy/kernel/clipping.py",
            old="        if not self._within_sensitivity():\n",
            new="        if not self._within_sensitivity() and norm == 0:\n",
        ),
    ),
    Claim(
        note=11,
        says="no plan is followed that does not keep its epsilon",
        test="tests/clients/test_task.py::test_a_plan_that_does_not_keep_its_promise_is_no_task",
        fault=Fault(file="clients/task.py", old="    plan.verify()\n", new=""),
    ),
    Claim(
        note=12,
        says="nobody pays for more than any budget of the data they are in",
        test=f"{_LEDGER}/test_ledger_people.py"
        "::test_nobody_pays_for_more_than_any_budget_at_its_order",
        fault=Fault(
            file="privacy/ledger/filter.py",
            old="            fits = min(fits, max(0, math.floor(left / step)))\n",
            new="            fits = min(fits, max(0, math.floor(left / step) + 1))\n",
        ),
    ),
    Claim(
        note=13,
        says="no round without noise is answered by a group that insists on it",
        test="tests/clients/test_refusals.py"
        "::test_terms_that_fall_short_of_the_policy_are_refused_before_anything_is_charged",
        fault=Fault(
            file="clients/requests.py",
            old="    task = task_in(message, store)\n    _require_guarantee(store, task)\n",
            new="    task = task_in(message, store)\n",
        ),
    ),
    Claim(
        note=14,
        says="all groups get one plan and one vector",
        test="tests/server/rounds/test_loop.py::TestPlans"
        "::test_all_groups_get_the_same_plan_and_the_same_vector",
        why=_LIMIT,
    ),
    Claim(
        note=15,
        says="fewer shares than the threshold tell nothing of a seed",
        test=f"{_SECAGG}/test_shamir.py::test_fewer_shares_fit_every_secret_equally",
        fault=Fault(
            file="privacy/secagg/shamir.py",
            old="    for _ in range(threshold - 1):\n",
            new="    for _ in range(threshold - 2):\n",
        ),
    ),
    Claim(
        note=16,
        says="masked vectors have nothing in common with inputs or each other",
        test=f"{_SECAGG}/test_hiding.py"
        "::test_masked_vectors_are_uncorrelated_with_inputs_and_each_other",
        fault=Fault(
            file="privacy/secagg/client.py",
            old="                keys.append((key, opened.agreement.mask_sign(index, sender)))\n"
            "        pad = pad_of(keys,",
            new="                keys.append((key, opened.agreement.mask_sign(index, sender)))\n"
            "        keys = [(bytes(32), sign) for _, sign in keys]\n"
            "        pad = pad_of(keys,",
        ),
    ),
    Claim(
        note=17,
        says="noise is added to every sum, an empty one too",
        test="tests/privacy/kernel/test_kernel.py::test_an_empty_batch_still_sends_noise",
        fault=Fault(
            file="privacy/kernel/discrete_gaussian.py",
            old="vector=clipped.vector + residues(noise, settings)",
            new="vector=clipped.vector + residues(noise * 0, settings)",
        ),
    ),
    Claim(
        note=18,
        says="no member signs a sum with fewer honest shares of noise than the plan counts on",
        test=f"{_SECAGG}/test_protocol.py::test_a_member_signs_no_set_with_too_little_noise",
        fault=Fault(
            file="privacy/secagg/client.py",
            old="        if count - terms.vector.colluding < terms.vector.honest_shares:\n",
            new="        if count < terms.vector.honest_shares:\n",
        ),
    ),
    Claim(
        note=19,
        says="epsilon counts on survivors less colluding groups",
        test="tests/privacy/accounting/test_plan.py::test_reference_numbers",
        fault=Fault(
            file="privacy/accounting/terms.py",
            old="return 1 if self.mode is Mode.LOCAL else self.survivors - self.colluding",
            new="return 1 if self.mode is Mode.LOCAL else self.survivors",
        ),
    ),
    Claim(
        note=20,
        says="with fewer honest shares epsilon is larger, and by how much can be computed",
        test="tests/experiments/planning/test_plan.py::TestFigures"
        "::test_fewer_honest_shares_cost_what_clients_refuse",
        why=_LIMIT,
    ),
    Claim(
        note=21,
        says="three of seven members single a vector out",
        test=f"{_SECAGG}/test_limits.py::test_more_than_a_third_of_the_members_single_a_vector_out",
        why=_LIMIT,
    ),
    Claim(
        note=22,
        says="a third of the members cannot",
        test=f"{_SECAGG}/test_graph.py::test_two_sets_of_survivors_cannot_both_be_signed",
        fault=Fault(
            file="privacy/secagg/graph.py",
            old="    return 2 * members // 3 + 1\n",
            new="    return members // 2 + 1\n",
        ),
    ),
    Claim(
        note=23,
        says="what has no noise, or was not quantised for a run without, is not masked",
        test="tests/privacy/kernel/test_types.py::test_a_stage_cannot_be_skipped",
        fault=Fault(
            file="privacy/kernel/types.py",
            old="    if not isinstance(stage, Noised | Quantised):\n",
            new="    if not isinstance(stage, Noised | Quantised | Clipped):\n",
        ),
    ),
    Claim(
        note=24,
        says="as many micro-batches are computed whatever the sample",
        test="tests/alignment/training/test_gradients.py"
        "::test_shapes_do_not_depend_on_the_size_of_the_sample",
        fault=Fault(
            file="alignment/training/gradients.py",
            old="for at in range(0, room, size))",
            new="for at in range(0, max(1, len(units)), size))",
        ),
    ),
    Claim(
        note=25,
        says="no server under another authority is spoken to",
        test="tests/clients/deployment/test_connection.py"
        "::test_a_foreign_certificate_is_told_with_both_fingerprints",
        fault=Fault(
            file="clients/deployment/connection.py",
            old="    context.load_verify_locations(cafile=ca)\n",
            new="    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE\n",
        ),
    ),
    Claim(
        note=26,
        says="no server starts without TLS and signed nodes",
        test="tests/server/deployment/test_superlink.py"
        "::test_a_server_without_one_of_its_protections_does_not_start",
        fault=Fault(
            file="server/deployment/superlink.py",
            old="    if flags.insecure:\n",
            new="    if flags.insecure and flags.enable_supernode_auth is None:\n",
        ),
    ),
    Claim(
        note=27,
        says="keys are for their owner alone from their first byte",
        test="tests/server/deployment/test_home.py::TestSetUp"
        "::test_secrets_are_for_their_owner_alone",
        fault=Fault(
            file="atomic.py",
            old="def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:\n",
            new="def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:\n",
        ),
    ),
    Claim(
        note=28,
        says="who has the disk reads it",
        test="",
        why="a thief reads files; nothing of the product takes part in it",
    ),
    Claim(
        note=29,
        says="no seed of a mask is in a message or a printed form",
        test=f"{_SECAGG}/test_hiding.py::test_secrets_are_in_no_message_and_no_repr",
        fault=Fault(
            file="privacy/secagg/client.py",
            old="            self.source.take(32),\n            *head,\n",
            new="            self_seed + bytes(1),\n            *head,\n",
        ),
    ),
    Claim(
        note=30,
        says="no client works for a server whose code is another",
        test="tests/clients/deployment/test_executor.py::TestReviewedCode"
        "::test_a_bundle_of_other_code_is_refused_kept_and_can_be_looked_at",
        fault=Fault(
            file="clients/deployment/executor.py",
            old="    if sent != reviewed:\n",
            new="    if not sent:\n",
        ),
    ),
    Claim(
        note=31,
        says="lists of people are for their owner alone",
        test=f"{_LEDGER}/test_ledger_people.py"
        "::test_the_list_of_people_is_its_owners_alone_and_on_disk_before_the_event",
        fault=Fault(
            file="privacy/ledger/units.py",
            old="write_atomically(self.folder / name, content, durable=True, mode=0o600)",
            new="write_atomically(self.folder / name, content, durable=True, mode=0o644)",
        ),
    ),
    Claim(
        note=32,
        says="shares of a sum are given once, and nothing is kept to give them again",
        test="tests/clients/sessions/test_shares_once.py::test_shares_are_given_once",
        fault=Fault(
            file="clients/sessions/secagg_session.py",
            old='        kept = self._kept("confirmed", Confirmed)\n        self._forget()\n',
            new='        kept = self._kept("confirmed", Confirmed)\n',
        ),
    ),
    Claim(
        note=33,
        says="partners end with one vector",
        test="tests/clients/sessions/test_gossip.py"
        "::test_partners_end_with_equal_vectors_and_are_told_apart_from_others",
        why=_LIMIT,
    ),
    Claim(
        note=34,
        says="no share of noise that protects in a sum alone goes to a partner",
        test="tests/clients/sessions/test_gossip.py::TestRefused"
        "::test_a_round_whose_noise_protects_in_a_sum_alone",
        fault=Fault(
            file="clients/sessions/gossip.py",
            old="    if task.private is None or task.private.plan.mode is not Mode.LOCAL:\n",
            new="    if task.private is None:\n",
        ),
    ),
    Claim(
        note=35,
        says="no model goes to a partner without the policy's yes",
        test="tests/clients/sessions/test_gossip.py::TestRefused"
        "::test_a_group_that_has_not_agreed_to_partners",
        fault=Fault(
            file="clients/sessions/gossip.py",
            old="    if not agreed:\n",
            new="    if agreed is None:\n",
        ),
    ),
    Claim(
        note=36,
        says="what is sealed for one partner is read by nobody else",
        test="tests/privacy/exchange/test_peer.py::TestMeeting"
        "::test_each_reads_what_the_other_has_sealed_and_nobody_else_does",
        fault=Fault(
            file="privacy/exchange/peer.py",
            old="        return nonce + AESGCM(key).encrypt(nonce, data, associated)\n",
            new="        return nonce + data + AESGCM(key).encrypt(nonce, data, associated)\n",
        ),
    ),
    Claim(
        note=37,
        says="every figure that epsilon does not speak of is listed",
        test=f"{_RUNS}/test_figures.py::TestOutside::test_all_that_is_not_protected_is_listed",
        fault=Fault(
            file="experiments/report/views.py",
            old="    keys = {reads: [name for name, each in where if each is reads] "
            "for reads in OUTSIDE}\n",
            new="    keys = {reads: [name for name, each in where if each is reads][1:] "
            "for reads in OUTSIDE}\n",
        ),
    ),
    Claim(
        note=38,
        says="no text of a record is in what a run publishes",
        test="tests/experiments/test_silence.py"
        "::test_the_published_model_and_rounds_hold_no_text_of_a_record",
        fault=Fault(
            file="experiments/simulation/figures.py",
            old="        measure=lambda run: sum(map(len, run.population.records.values())),\n",
            new="        measure=lambda run: "
            "str(next(iter(run.population.records.values()))[0].question),\n",
        ),
    ),
    Claim(
        note=39,
        says="without lists of people no more is claimed than all spends and the budget",
        test=f"{_LEDGER}/test_ledger_people.py"
        "::test_without_the_lists_no_more_is_told_than_all_spends_and_the_budget",
        why=_LIMIT,
    ),
    Claim(
        note=40,
        says="no number of units is in a reply or ledger",
        test="tests/clients/test_totality.py::TestNumbersOfUnits"
        "::test_no_reply_or_ledger_holds_the_number",
        fault=Fault(
            file="clients/sessions/group_ledger.py",
            old="                bound=plan.group_size(group_index),\n",
            new="                bound=len(units),\n",
        ),
    ),
    Claim(
        note=41,
        says="names and contents are in a ledger by hashes that only their group can make",
        test=f"{_LEDGER}/test_ledger.py::test_no_unit_id_content_or_key_is_in_the_file",
        fault=Fault(
            file="privacy/ledger/units.py",
            old='        root=_keyed(key, b"root", run.encode(), merkle_root(leaves)).hex(),\n',
            new='        root=_keyed(b"", b"root", run.encode(), merkle_root(leaves)).hex(),\n',
        ),
    ),
    Claim(
        note=42,
        says="equal data of two runs have different fingerprints",
        test=f"{_LEDGER}/test_ledger_people.py::test_equal_data_of_two_runs_cannot_be_told",
        fault=Fault(
            file="privacy/ledger/units.py",
            old='        root=_keyed(key, b"root", run.encode(), merkle_root(leaves)).hex(),\n',
            new='        root=_keyed(key, b"root", merkle_root(leaves)).hex(),\n',
        ),
    ),
    Claim(
        note=43,
        says="nothing is counted before its spend is on disk",
        test=f"{_ONCE}::test_nothing_is_counted_before_its_spend_is_on_disk",
        fault=Fault(
            file="clients/sessions/group_tally.py",
            old="        receipt = spent or self._pay(ledger, name, plan, units)\n",
            new="        answers_in(units, self.questionnaire)\n"
            "        receipt = spent or self._pay(ledger, name, plan, units)\n",
        ),
    ),
    Claim(
        note=44,
        says="no record is opened once its tally lies there, whatever runs are trained on it",
        test=f"{_ONCE}::test_no_record_is_opened_once_the_tally_lies_there",
        fault=Fault(
            file="clients/sessions/group_tally.py",
            old="            if name not in ledger.tallies(plan.digest()):\n",
            new="            if self.units() and name not in ledger.tallies(plan.digest()):\n",
        ),
    ),
    Claim(
        note=45,
        says="nobody moves the counts by more than the sensitivity, whatever they answered",
        test=f"{_ONCE}::test_nobody_moves_the_counts_by_more_than_the_sensitivity"
        "_whatever_came_before",
        fault=Fault(
            file="privacy/kernel/tally.py",
            old="    length = np.sqrt(np.bincount(person, weights=square))[person]\n",
            new="    length = np.ones(len(person))\n    return (bounds.sensitivity * length"
            ").astype(np.int64), np.zeros(len(person), dtype=np.int64)\n",
        ),
    ),
    Claim(
        note=46,
        says="noise is on every count, and an attack on the counts proves no more than it permits",
        test="tests/privacy/audit/test_canaries.py::test_the_right_count_passes_its_claim",
        fault=Fault(
            file="privacy/accounting/step.py",
            old="    return add_noise(count_answers(answers, bounds, plan.kernel, source), source)"
            "\n",
            new="    add_noise(count_answers(answers, bounds, plan.kernel, source), source)\n"
            "    from privacy.kernel.types import _SEAL\n"
            "    exact = count_answers(answers, bounds, plan.kernel, source)\n"
            "    return Noised(settings=exact.settings, vector=exact.vector, seal=_SEAL)\n",
        ),
    ),
    Claim(
        note=47,
        says="a review finds a tally that was paid for twice, or trained on before its release",
        test="tests/privacy/audit/test_tallies.py::test_what_is_wrong_with_a_tally_is_found",
        fault=Fault(
            file="privacy/audit/tallies/own.py",
            old="        if len(history.spends[run]) > 1:\n",
            new="        if len(history.spends[run]) > 2:\n",
        ),
    ),
)
