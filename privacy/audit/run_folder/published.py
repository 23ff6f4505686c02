"""The checks of what a run has published: its files, and the figures beside them."""

from collections.abc import Iterator, Mapping
from typing import Any

from privacy.accounting.plan import PrivacyPlan
from privacy.audit.checks import Check, failed, left_open, passed
from privacy.audit.evidence import Evidence, file_digest
from privacy.audit.likeness import alike
from privacy.audit.recomputed import PLD, UPPER_BOUND, Epsilons, wrong_epsilon
from privacy.audit.server_ledger.events import is_inside
from privacy.audit.server_ledger.members import seats_of
from privacy.audit.server_ledger.plans import plans_of
from privacy.errors import PrivacyError
from privacy.file_names import PRIVACY_FILE, RESULT_FILE
from privacy.ledger.chain import Event

_PLAN_FIGURES = (
    "mode unit delta epsilon noise_multiplier noise_std_per_coordinate sampling_rate clipping_norm "
    "steps dimension honest_shares relation"
).split()


def check_published(evidence: Evidence) -> Iterator[Check]:
    """What lies in the folder of a run is what the server ledger and the plans say."""
    yield _files(evidence)
    yield _figures(evidence)


def _files(evidence: Evidence) -> Check:
    """The files of the model are those that the server ledger names."""
    events = evidence.server_ledger.events if evidence.server_ledger else ()
    last = next((event for event in reversed(events) if event.type == "PUBLISHED"), None)
    if last is None:
        return left_open("published", "server", "the server ledger names no published model.")
    files = last.body.get("files")
    if (
        not isinstance(files, dict)
        or not files
        or not all(isinstance(digest, str) and is_inside(name) for name, digest in files.items())
    ):
        finding = "the server ledger does not name what was published."
        return failed("published", "server", finding)
    folder = evidence.published
    if folder is None:
        return left_open("published", "server", "the files of the model were not handed in.")
    if wrong := [name for name, digest in files.items() if file_digest(folder / name) != digest]:
        finding = f"{', '.join(wrong)}: missing, or not as the server ledger names it."
        return failed("published", "server", finding)
    return passed("published", "server", f"{len(files)} files are those of the server ledger.")


def _figures(evidence: Evidence) -> Check:
    """The figures of privacy in the folder of a run follow from its plan."""
    result, registered = evidence.result, evidence.registered
    private = result.get("privacy") if result is not None else None
    if private is None and registered is None:
        finding = "no figures of privacy were handed in beside the ledgers."
        return left_open("result", "server", finding)
    try:
        wrong = _wrong_figures(evidence, private, registered)
    except (PrivacyError, KeyError, ValueError, TypeError, AttributeError) as error:
        wrong = f"figures beside the ledgers cannot be read ({error})"
    if wrong:
        return failed("result", "server", f"{wrong}.")
    files = [
        name
        for name, content in ((RESULT_FILE, private), (PRIVACY_FILE, registered))
        if content is not None
    ]
    return passed(
        "result",
        "server",
        f"the figures of privacy in {' and '.join(files)} follow from the plan of the run.",
    )


def _wrong_figures(evidence: Evidence, private: Any, registered: Mapping[str, Any] | None) -> str:
    """The first figure that does not follow from the plan of its run; empty if all do."""
    server = evidence.server_ledger
    plans = plans_of(server) if server is not None else {}
    for ledger in evidence.ledgers:
        announced = ledger.state.plans if ledger.state else {}
        plans = {run: each.plan for run, each in announced.items()} | plans
    by_digest = {plan.digest(): (run, plan) for run, plan in plans.items()}
    if private is not None:
        digest = private["plan_digest"]
        if digest not in by_digest:
            return f"{RESULT_FILE}: its plan stands in no ledger"
        run, plan = by_digest[digest]
        seats = seats_of(server).get(run) if server is not None else None
        wrong = _wrong_result(private, plan) or _wrong_groups(private, plan, seats)
        events = server.events if server is not None else ()
        rounds = evidence.result or {}
        wrong = wrong or _wrong_rounds(rounds, [e for e in events if e.body.get("run") == run])
        if wrong:
            return f"{RESULT_FILE}: {wrong}"
    if registered is not None:
        run, plan = registered["run"], PrivacyPlan.from_dict(registered["plan"])
        if run not in plans or plans[run] != plan or registered["plan_digest"] != plan.digest():
            return f"{PRIVACY_FILE}: its plan is not that of the ledgers"
        wrong = _wrong_epsilons(plan, registered["epsilon_pld"], registered["epsilon_opacus"])
        if wrong:
            return f"{PRIVACY_FILE}: {wrong}"
    return ""


def _wrong_result(private: Mapping[str, Any], plan: PrivacyPlan) -> str:
    for name in _PLAN_FIGURES:
        if not alike(private[name], _plain(getattr(plan, name)), name):
            return f"privacy.{name} = {private[name]!r} does not follow from the plan"
    return _wrong_epsilons(plan, private["epsilon_pld"], private["second_opinion"])


def _wrong_groups(
    private: Mapping[str, Any], plan: PrivacyPlan, seats: Mapping[str, tuple[int, str]] | None
) -> str:
    """The first group whose figures are not those of its seat, or of any seat if none are known."""
    for group, figures in private["groups"].items():
        sizes = plan.sizes if seats is None else plan.sizes[seats[group][0] :][:1]
        if figures["units"] not in sizes or not alike(figures["epsilon"], plan.epsilon, "epsilon"):
            return f"the figures of {group} do not follow from the plan"
    return ""


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float) else str(value)


def _wrong_epsilons(plan: PrivacyPlan, pld: float, upper: float) -> str:
    wrong, found = wrong_epsilon(plan)
    stated = {PLD: float(pld), UPPER_BOUND: float(upper)}
    return wrong or next(
        (
            f"epsilon = {value:.4f} by {name} is stated, but {found}"
            for name, value in stated.items()
            if isinstance(found, Epsilons) and not found.confirms(name, value)
        ),
        "",
    )


def _wrong_rounds(result: Mapping[str, Any], events: list[Event]) -> str:
    """Whether the counts of rounds are those of the server ledger, where there is one."""
    used: set[int] = set()
    for event in events:
        if event.type == "ROUND":
            used.add(event.body["round"])
        if event.type == "RESUMED":
            used = {number for number in used if number <= event.body["round"]}
    if events and result["rounds"] - result["aborted_rounds"] != len(used):
        stated = (
            f"{result['rounds']} rounds, {result['aborted_rounds']} of them aborted, are stated"
        )
        return f"{stated}, and {len(used)} were used by the server ledger"
    secure = next((event.body["secure"] for event in events if event.type == "RUN"), None)
    if secure is not None and result["secure_aggregation"] is not secure:
        return (
            f"secure_aggregation = {result['secure_aggregation']!r} is not as in the server ledger"
        )
    return ""
