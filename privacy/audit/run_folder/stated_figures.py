"""The figures beside the ledgers of a run: `result.json`, `privacy.json` and its settings.

They are signed by nobody. What they state of privacy must be all that a run states, and no more,
and must follow from the plan of the very run that they name.
"""

import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence
from privacy.audit.likeness import alike
from privacy.audit.recomputed import PLD, UPPER_BOUND, Epsilons, wrong_epsilon
from privacy.audit.run_folder.stated_settings import wrong_settings
from privacy.audit.run_folder.stated_start import wrong_start_stated
from privacy.audit.run_folder.stated_tallies import (
    of_mechanism,
    run_of_tallies_alone,
    wrong_digests,
    wrong_fields,
    wrong_noise,
    wrong_questionnaires,
)
from privacy.audit.server_ledger.members import seats_of
from privacy.audit.server_ledger.plans import begun, plans_of
from privacy.audit.tallies.history import TallyHistory
from privacy.errors import PrivacyError
from privacy.file_names import CONFIG_FILE, PRIVACY_FILE, RESULT_FILE
from privacy.ledger.chain import Event

_PLAN_FIGURES = "mode unit delta epsilon noise_multiplier honest_shares relation".split()
_OF_RESULT = frozenset(
    (*_PLAN_FIGURES, "accountant", "epsilon_pld", "second_opinion", "plan_digest", "run", "groups")
)
_STEP_FIGURES = "noise_std_per_coordinate sampling_rate clipping_norm steps dimension".split()
_OF_COUNTS = frozenset(
    "mechanism answers_per_respondent largest_weight distributions noise_std_of_a_count "
    "questionnaires".split()
)
"""What a result says of a tally, in the place of figures of steps."""

_OUTSIDE = "outside"
"""What a result says is outside of the promise: sentences, from which nothing is computed."""

_OF_GROUP = frozenset(("units", "epsilon", "left_out"))
_OF_PLAN_FILE = frozenset("run plan plan_digest epsilon_pld epsilon_opacus groups".split())
_OF_GRADIENTS, _OF_TALLY = frozenset(("tensors", "metrics")), frozenset(("questionnaires",))
_START = "start"
"""What the plan of a run states that began from a published model, as its result does."""

_METRICS = ["units", "loss"]
"""What rides in the noised vector behind the gradient, in this order."""

_UNREADABLE = (
    PrivacyError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
)


def check_figures(evidence: Evidence) -> Iterator[Check]:
    """The figures of privacy in the folder of a run follow from its plan and its ledgers."""
    result, registered = evidence.result, evidence.registered
    private = result.get("privacy") if result is not None else None
    if private is None and registered is None and evidence.published is None:
        finding = "no figures of privacy were handed in beside the ledgers."
        yield left_open("result", "server", finding)
        return
    if (run := run_of_tallies_alone(evidence)) is not None:
        finding = f"run {run[:12]} was trained on tallies, and the server ledger has its plan."
        yield left_open("result", "server", f"{finding} Without it no figure can be compared.")
        return
    try:
        wrong = _wrong_files(evidence)
        unchecked = [] if wrong else _unchecked(evidence)
    except _UNREADABLE as error:
        wrong, unchecked = f"figures beside the ledgers cannot be read ({error})", []
    if wrong:
        yield failed("result", "server", f"{wrong}.")
        return
    files = [
        name
        for name, content in ((RESULT_FILE, private), (PRIVACY_FILE, registered))
        if content is not None
    ]
    yield passed(
        "result",
        "server",
        f"the figures of privacy in {' and '.join(files)} follow from the plan of the run.",
    )
    if unchecked:
        yield left_open("result", "server", f"not compared: {'; '.join(unchecked)}.")


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the ledgers show of the run that the files name.

    Attributes:
        name: of the run.
        plan: of it.
        begun: group and seat of all who were there when it began; None without a server ledger.
        seats: the same of those who joined, too.
        events: of the run, in the server ledger.
    """

    name: str
    plan: PrivacyPlan
    begun: Mapping[str, int] | None
    seats: Mapping[str, int] | None
    events: tuple[Event, ...]

    @classmethod
    def find(cls, name: object, evidence: Evidence) -> "_Run | None":
        """The run of a name; None where no ledger has it."""
        server = evidence.server_ledger
        plans = plans_of(server) if server is not None else {}
        for ledger in evidence.ledgers:
            announced = ledger.state.plans if ledger.state else {}
            plans = {run: each.plan for run, each in announced.items()} | plans
        if not isinstance(name, str) or name not in plans:
            return None
        first = seats = None
        if server is not None and name in begun(server):
            seats = {group: seat for group, (seat, _) in seats_of(server)[name].items()}
            named = {group for group in begun(server)[name]["groups"] if group}
            first = {group: seat for group, seat in seats.items() if group in named}
        events = tuple(server.events) if server is not None else ()
        own = tuple(event for event in events if event.body.get("run") == name)
        return cls(name=name, plan=plans[name], begun=first, seats=seats, events=own)


def _wrong_files(evidence: Evidence) -> str:
    """The first thing wrong with the files; empty if nothing is."""
    result, registered = evidence.result, evidence.registered
    for name in (RESULT_FILE, PRIVACY_FILE):
        if fault := evidence.faults.get(name):
            return f"{name}: {fault}"
    private = result.get("privacy") if result is not None else None
    if result is not None and not isinstance(private, dict):
        return f"{RESULT_FILE}: states no privacy, and is of a run that has ledgers"
    if registered is not None and private is not None and private.get("run") != registered["run"]:
        return f"{RESULT_FILE} is of another run than {PRIVACY_FILE}"
    if registered is not None:
        run = _Run.find(registered["run"], evidence)
        if run is None or PrivacyPlan.from_dict(registered["plan"]) != run.plan:
            return f"{PRIVACY_FILE}: its plan is not that of the ledgers"
        if wrong := _wrong_plan_file(registered, run):
            return f"{PRIVACY_FILE}: {wrong}"
    if private is not None and result is not None:
        run = _Run.find(private["run"], evidence)
        if run is None:
            return f"{RESULT_FILE}: its run stands in no ledger"
        named = registered["groups"] if registered is not None else None
        wrong = (
            _wrong_result(private, run.plan)
            or _wrong_groups(private["groups"], run, named, evidence)
            or wrong_digests(private, registered, run.plan)
            or wrong_noise(private, evidence)
            or _wrong_rounds(result, run)
            or _wrong_utility(result)
            or wrong_settings(result, run.plan, evidence.settings)
            or wrong_start_stated(result, registered, run.events)
        )
        if wrong:
            return f"{RESULT_FILE}: {wrong}"
    return ""


def _wrong_plan_file(registered: Mapping[str, Any], run: _Run) -> str:
    of_kind = _OF_GRADIENTS if run.plan.counts is None else _OF_TALLY
    stated = {name: value for name, value in registered.items() if name != _START}
    if wrong := wrong_fields(stated, _OF_PLAN_FILE | of_kind):
        return wrong
    if not _same(registered["plan"], run.plan.as_dict()):
        return "its plan is not that of the ledgers"
    if registered["plan_digest"] != run.plan.digest():
        return "plan_digest is not that of its plan"
    if run.plan.counts is None:
        if registered["metrics"] != _METRICS:
            return f"metrics = {registered['metrics']!r} are not those of a private vector"
        tensors = registered["tensors"]
        if not all(isinstance(name, str) for name in tensors) or len(set(tensors)) < len(tensors):
            return "tensors are no names"
    elif wrong := wrong_questionnaires(
        registered["questionnaires"], registered["groups"], run.plan
    ):
        return f"questionnaires: {wrong}"
    groups = registered["groups"]
    if not isinstance(groups, list) or len(groups) != run.plan.groups:
        return "groups are not as many as the plan has"
    if run.begun is not None and run.seats is not None:
        seated = {seat: group for group, seat in run.seats.items()}
        for seat, group in enumerate(groups):
            # Who has joined later may not be written down yet.
            late = group == "" and seated.get(seat) not in run.begun
            if group != seated.get(seat, "") and not late:
                return f"groups: seat {seat} is not that of {group!r} in the server ledger"
    return _wrong_epsilons(run.plan, registered["epsilon_pld"], registered["epsilon_opacus"])


def _same(one: Any, other: Any) -> bool:
    """Whether two values are the same, to the type and the last bit."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _wrong_result(private: Mapping[str, Any], plan: PrivacyPlan) -> str:
    figures = [*_PLAN_FIGURES, *(_STEP_FIGURES if plan.counts is None else ())]
    # Results of gradients name their mechanism since there is another.
    besides = {_OUTSIDE, *(("mechanism",) if plan.counts is None else ())}
    stated = {name: value for name, value in private.items() if name not in besides}
    own = frozenset(_STEP_FIGURES) if plan.counts is None else _OF_COUNTS
    if wrong := wrong_fields(stated, _OF_RESULT | own):
        return f"privacy {wrong}"
    outside = private.get(_OUTSIDE)
    if not isinstance(outside, list) or not all(isinstance(each, str) for each in outside):
        return "privacy.outside is no list of sentences"
    for name in figures:
        if not alike(private[name], _plain(getattr(plan, name)), name):
            return f"privacy.{name} = {private[name]!r} does not follow from the plan"
    for name, value in of_mechanism(plan).items():
        if name in private and not alike(private[name], value, name):
            return f"privacy.{name} = {private[name]!r} does not follow from the plan"
    if private["plan_digest"] != plan.digest():
        return "privacy.plan_digest is not that of the plan of its run"
    if private["accountant"] != PLD:
        return f"privacy.accountant = {private['accountant']!r}, and epsilon is by {PLD}"
    return _wrong_epsilons(plan, private["epsilon_pld"], private["second_opinion"])


def _wrong_groups(
    groups: Mapping[str, Any], run: _Run, named: list[str] | None, evidence: Evidence
) -> str:
    """The first group whose figures are not those of its seat and of its ledger."""
    for group, figures in groups.items():
        if wrong := wrong_fields(figures, _OF_GROUP):
            return f"privacy.groups: {group} {wrong}"
        seat = run.seats.get(group, -1) if run.seats is not None else None
        if seat is not None and seat < 0:
            return f"privacy.groups: {group} has no seat in the run"
        sizes = run.plan.sizes if seat is None else run.plan.sizes[seat : seat + 1]
        units, epsilon = figures["units"], figures["epsilon"]
        if type(units) is not int or units not in sizes or not alike(epsilon, run.plan.epsilon, ""):
            return f"privacy.groups: the figures of {group} do not follow from the plan"
        absent, known = figures["left_out"], _left_out(group, run.name, evidence)
        if type(absent) is not int or absent < 0 or (known is not None and absent != known):
            return f"privacy.groups: left_out = {absent!r} of {group} is not as in its ledger"
    expected = {name for name in named if name} if named is not None else set(run.begun or groups)
    if lacking := sorted(expected - set(groups)):
        return f"privacy.groups lacks {lacking[0]}"
    if named is not None and (more := sorted(set(groups) - expected)):
        return f"privacy.groups states {more[0]}, which is in no seat of {PRIVACY_FILE}"
    return "" if groups else "privacy.groups is empty"


def _left_out(group: str, run: str, evidence: Evidence) -> int | None:
    """The people that a run has left out of some round; None where no ledger at hand shows it."""
    ledger = next((each for each in evidence.ledgers if each.name == group), None)
    if ledger is None or ledger.state is None or not ledger.state.knows_people:
        return None
    # Where answers were counted once, who took no part in that takes part in no round.
    counted = TallyHistory.of(ledger.events).used_by(run)[-1:]
    spends = ledger.state.left_out.get(counted[0] if counted else run, ())
    return max((absent for absent, _ in spends), default=0)


def _unchecked(evidence: Evidence) -> list[str]:
    """What nothing at hand shows, in words."""
    if evidence.result is None:
        return []
    private = evidence.result["privacy"]
    hidden = [
        group for group in private["groups"] if _left_out(group, private["run"], evidence) is None
    ]
    notes = [f"how many people were left out of {', '.join(hidden)}"] if hidden else []
    return notes + ([] if evidence.settings is not None else [f"{CONFIG_FILE}, not handed in"])


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)


def _wrong_epsilons(plan: PrivacyPlan, pld: Any, upper: Any) -> str:
    wrong, found = wrong_epsilon(plan)
    stated = {PLD: pld, UPPER_BOUND: upper}
    if not all(isinstance(value, float) for value in stated.values()):
        return "an epsilon is stated that is no number"
    return wrong or next(
        (
            f"epsilon = {value:.4f} by {name} is stated, but {found}"
            for name, value in stated.items()
            if isinstance(found, Epsilons) and not found.confirms(name, value)
        ),
        "",
    )


def _wrong_rounds(result: Mapping[str, Any], run: _Run) -> str:
    """Whether the counts of rounds are those of the plan and of the server ledger."""
    done, aborted, planned = result["rounds"], result["aborted_rounds"], run.plan.rounds
    if run.plan.counts is not None:
        # Rounds on counts cost nothing: how many there are is a setting, and in no plan.
        federation = result["config"]["federation"]
        planned = federation["warmup_rounds"] + federation["adapter_rounds"]
    if type(done) is not int or type(aborted) is not int or not 0 <= aborted <= done <= planned:
        return f"{done!r} rounds, {aborted!r} of them aborted, are none of a plan of {planned}"
    used, last = set[int](), 0
    for event in run.events:
        number = event.body.get("round", 0)
        if event.type == "ROUND":
            used.add(number)
        if event.type in ("ROUND", "LOST"):
            last = max(last, number)
        if event.type == "RESUMED":
            used = {each for each in used if each <= number}
    stated = f"{done} rounds, {aborted} of them aborted, are stated"
    if run.events and done - aborted != len(used):
        return f"{stated}, and {len(used)} were used by the server ledger"
    if run.events and done < last:
        return f"{stated}, and the server ledger has {last}"
    if result["ended_early"] is not (done < planned):
        return f"ended_early = {result['ended_early']!r}, after {done} of {planned} rounds"
    secure = next((event.body["secure"] for event in run.events if event.type == "RUN"), None)
    if secure is not None and result["secure_aggregation"] is not secure:
        return (
            f"secure_aggregation = {result['secure_aggregation']!r} is not as in the server ledger"
        )
    return ""


def _wrong_utility(result: Mapping[str, Any]) -> str:
    """Whether what is said of all held-out groups can be so by what is said of each."""
    unseen = result["alignment"]["unseen_groups"]
    groups = list(unseen["groups"].values())
    numbers = (*groups, *(unseen[name] for name in ("mean", "worst_group", "cov")))
    if not groups or not all(isinstance(each, float) and math.isfinite(each) for each in numbers):
        return "alignment.unseen_groups states what is no number"
    spread = statistics.pstdev(groups) / statistics.fmean(groups)
    exact = math.isclose(unseen["cov"], spread, rel_tol=1e-6, abs_tol=1e-12)
    if unseen["worst_group"] != min(groups) or not exact:
        return "alignment.unseen_groups: worst_group and cov are not those of its groups"
    # A mean of all targets lies among the means of the groups, but for the last bit.
    if not min(groups) - 1e-9 <= unseen["mean"] <= max(groups) + 1e-9:
        return f"alignment.unseen_groups: the mean {unseen['mean']!r} is beyond all of its groups"
    return ""
