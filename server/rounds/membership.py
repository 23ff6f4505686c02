"""Membership of a run: groups are let in at its start, come and go between rounds.

Between two rounds a :class:`Membership` looks at the list of nodes, asks those that are new who
they are, and changes the :class:`server.rounds.cohort.Cohort` that all others read.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from operator import attrgetter

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from privacy.identity.possession import CHALLENGE_BYTES
from privacy.identity.roles import HELD_OUT, TRAIN
from privacy.secagg.round_terms import FEWEST_MEMBERS
from server.rounds.admission import (
    ANOTHERS_KEY,
    IDLE,
    MembershipTerms,
    Setup,
    SetupRefused,
    TakenSeats,
    agreeing,
    holders,
    in_words,
    overstated,
    read_setup,
    strangers,
)
from server.rounds.admission_file import AdmissionFile
from server.rounds.cohort import Cohort, CohortError
from server.rounds.delivery import Pause, exchange, listed_nodes

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
_by_name = attrgetter("group")


class Membership:
    """Lets groups in, at the start and between rounds.

    Args:
        grid: The way to the nodes.
        terms: Whom to let in.
        taken: Seats of a run that goes on.

    Attributes:
        cohort: Who takes part.

    Raises:
        CohortError: The roster cannot be read.
    """

    def __init__(
        self, grid: Grid, terms: MembershipTerms, *, taken: TakenSeats | None = None
    ) -> None:
        try:
            self._admitted = AdmissionFile(terms.roster)
        except (ValueError, OSError) as error:
            raise CohortError(
                f"federation.roster = {terms.roster!r} cannot be read: {error}"
            ) from error
        self._grid = grid
        self._terms = terms
        self._taken = taken or TakenSeats()
        self._identified = terms.secure or bool(terms.unit) or self._admitted.identified
        # None: any number.
        self._seats: int | None = len(self._taken.groups) or terms.seats or None
        self.cohort = Cohort(train={}, held_out={})
        self._answers: dict[int, Setup] = {}
        self._known: dict[str, Setup] = {}
        # In the order of the grid.
        self._listed: dict[int, None] = {}
        self._said: set[tuple[int, str]] = set()
        self._refreshes = 0
        # Of nodes that did not answer: how often, and the refresh that asks them again.
        self._later: dict[int, tuple[int, int]] = {}

    def gather(self) -> Cohort:
        """Ask every node which group it is, what it is for, and how many units it declares.

        A node that cannot be let in is left out with a warning, whatever it says.

        Raises:
            CohortError: Fewer train groups than needed answered in time, were admitted and pin each
                other.
        """
        failed = self._ask_everybody()
        claims = self._claims()
        refused = {each.node: self._claim_refusal(each) for each in claims}
        present, rivals = holders([each for each in claims if not refused[each.node]])
        refused |= rivals
        train = [each for each in present if each.role == TRAIN]
        if self._taken.groups:
            train = [each for each in train if self._taken.fits(each)]
        if self._terms.unit:
            refused |= overstated(train, delta=self._terms.delta)
            train = [each for each in train if not refused[each.node]]
        chosen = agreeing(train) if self._terms.secure else train
        for each in train:
            if each not in chosen:
                refused[each.node] = in_words(each.group, *strangers(each, chosen))
        for node, reason in refused.items():
            self._leave_out(node, reason)
        self._require_enough(chosen, failed, [reason for reason in refused.values() if reason])
        for each in sorted(chosen, key=_by_name):
            self._let_in(each)
        self._known |= {each.group: each for each in present if each.role == HELD_OUT}
        if self._seats is not None or self._terms.unit:
            self._seats = max(self._seats or 0, len(chosen))
        self._show()
        cohort = self.cohort
        logger.info("%d groups train, %d are held out", len(cohort.train), len(cohort.held_out))
        return cohort

    def _ask_everybody(self) -> int:
        """Wait for the first nodes and ask all that are there; how many failed to answer."""
        timeout = self._terms.timeout_seconds
        deadline = time.monotonic() + timeout
        while not (nodes := listed_nodes(self._grid, timeout_seconds=timeout)):
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL_SECONDS)
        self._listed = dict.fromkeys(nodes)
        return self._ask(nodes, max(1.0, deadline - time.monotonic()))

    def _require_enough(self, chosen: Sequence[Setup], failed: int, reasons: Sequence[str]) -> None:
        # One that goes on waits for others between rounds.
        hidden = FEWEST_MEMBERS if self._terms.secure and not self._taken.groups else 0
        fewest = max(self._terms.minimum_groups, hidden)
        if len(chosen) < fewest:
            what = "were let in" if reasons else "answered"
            why = "; ".join(reasons) or "look at the clients' logs"
            raise CohortError(
                f"{len(chosen)} train group(s) {what} and {failed} failed; "
                f"at least {fewest} needed: {why}"
            )

    def refresh(self, *, fewest: int = 0, patience_seconds: float = 0.0) -> tuple[str, ...]:
        """Take up between two rounds who has come and who has gone.

        Where no node is new and nobody waits, this costs one look at the list of nodes.

        Args:
            fewest: With fewer train groups than these a round would be lost.
            patience_seconds: How long to wait for so many.

        Returns:
            Train groups that were never let in before, in the order of their group indices.
        """
        self._refreshes += 1
        pause = Pause(time.monotonic() + patience_seconds)
        newcomers: list[str] = []
        asked: set[int] = set()
        while True:
            newcomers += self._look(asked)
            if len(self.cohort.train) >= fewest or pause.over:
                return tuple(newcomers)
            pause.wait()

    def _look(self, asked: set[int]) -> list[str]:
        """One look; every node is asked at most once in all of those that share ``asked``."""
        nodes = listed_nodes(self._grid, timeout_seconds=self._terms.timeout_seconds)
        self._listed = dict.fromkeys(nodes)
        self._admitted.read_again()
        kept = {each.node for each in self._known.values()} | self._listed.keys()
        self._answers = {node: each for node, each in self._answers.items() if node in kept}
        # Whoever waits may have pinned the others since.
        inside = self._inside()
        waiting = {each.node for each in self._entering() if self._strangers(each, inside)[0]}
        asking = [node for node in nodes if node in waiting or node not in self._answers]
        self._ask_once([node for node in asking if self._due(node)], asked)
        # And so may those it waits for.
        inside = self._inside()
        names = {name for each in self._entering() for name in self._strangers(each, inside)[1]}
        asking = [self._known[name].node for name in sorted(names)]
        self._ask_once([node for node in asking if self._due(node)], asked)
        return self._enter()

    def _ask_once(self, nodes: Iterable[int], asked: set[int]) -> None:
        new = [node for node in nodes if node not in asked]
        asked |= set(new)
        if new:
            terms = self._terms
            self._ask(new, min(terms.timeout_seconds, terms.refresh_timeout_seconds))

    def _due(self, node: int) -> bool:
        """Whether a node that is to be asked has not been silent of late."""
        return self._refreshes >= self._later.get(node, (0, 0))[1]

    def _strangers(self, one: Setup, others: Iterable[Setup]) -> tuple[list[str], list[str]]:
        """Only members of a secure sum pin keys; see :func:`server.rounds.admission.strangers`."""
        return strangers(one, others) if self._terms.secure else ([], [])

    def _ask(self, nodes: Sequence[int], timeout_seconds: float) -> int:
        """Ask nodes who they are; how many failed to say so.

        All wait for a node that does not answer at all, so it is asked ever less often.
        """
        terms, failed = self._terms, 0
        # One for each node: none can know, nor answer, the message that another gets.
        size = CHALLENGE_BYTES if self._identified else 0
        challenges = {node: secrets.token_bytes(size) for node in nodes}
        messages = [
            Message(_asked(terms, challenge), node, "query.setup")
            for node, challenge in challenges.items()
        ]
        silent = dict.fromkeys(nodes)
        for reply in exchange(
            self._grid, messages, timeout_seconds=timeout_seconds, log_as="setup"
        ):
            node = reply.metadata.src_node_id
            silent.pop(node)
            self._later.pop(node, None)
            if reply.has_error():
                failed += 1
                continue
            try:
                self._answers[node] = read_setup(
                    reply, unit=terms.unit, challenge=challenges[node], counts=terms.counts
                )
            except SetupRefused as error:
                failed += 1
                # Not asked again before it is registered anew: what it says will be the same.
                self._answers[node] = Setup(node=node, group="", role=IDLE)
                logger.warning("left out: %s", error)
        for node in silent:
            times = self._later.get(node, (0, 0))[0]
            self._later[node] = (times + 1, self._refreshes + 2**times)
        return failed

    def _inside(self) -> list[Setup]:
        """Train groups that take part and are still there."""
        return [each for each in self._there() if each.group in self.cohort.train]

    def _there(self) -> list[Setup]:
        """Train groups that were ever let in and can be asked."""
        there = []
        for known in self._known.values():
            now = self._answers.get(known.node)
            if now is None or known.node not in self._listed or known.role != TRAIN:
                continue
            same = (now.group, now.role, now.identity) == (known.group, known.role, known.identity)
            if same and not self._admitted.refusal(now):
                there.append(now)
        return there

    def _claims(self) -> list[Setup]:
        """Answers of the nodes that are there and say they have a group, in the grid's order."""
        answers = [self._answers[node] for node in self._listed if node in self._answers]
        return [each for each in answers if each.role != IDLE]

    def _believed(self) -> tuple[list[Setup], dict[int, str]]:
        """Those of the claims that could be let in, whatever others pin; why not, by node."""
        claims = self._claims()
        refused = {each.node: self._refusal(each) for each in claims}
        believed, rivals = holders([each for each in claims if not refused[each.node]])
        return believed, refused | rivals

    def _entering(self) -> list[Setup]:
        """Train groups that are not inside, and could be if rosters agreed; those known first."""
        inside = {(each.group, each.node) for each in self._inside()}
        entering = [
            each
            for each in self._believed()[0]
            if each.role == TRAIN and (each.group, each.node) not in inside
        ]
        return sorted(entering, key=lambda e: (e.group not in self.cohort.group_indices, e.group))

    def _enter(self) -> list[str]:
        """Let in whoever may; the train groups that were never in before."""
        inside, newcomers = self._inside(), list[str]()
        believed, refused = self._believed()
        for node, reason in refused.items():
            self._leave_out(node, reason)
        self._known |= {each.group: each for each in believed if each.role == HELD_OUT}
        entering = self._entering()
        inside = self._standing(inside, entering)
        for each in entering:
            reason = self._refusal(each)  # Who came in just before may have changed it.
            unknown, unknown_to = self._strangers(each, inside)
            if not reason and (unknown or unknown_to):
                reason = in_words(each.group, unknown, unknown_to)
            if reason:
                self._leave_out(each.node, reason)
                continue
            if each.group not in (*self.cohort.group_indices, *self._taken.groups):
                newcomers.append(each.group)
            self._let_in(each)
            inside.append(each)
        self._show(inside)
        return newcomers

    def _standing(self, inside: list[Setup], entering: Iterable[Setup]) -> list[Setup]:
        """Those inside that stay when groups come back: none shuts out whom the rest knows.

        Newcomers wait until all inside have pinned them; who was let in before need not.
        """
        returning = [each for each in entering if each.group in self.cohort.group_indices]
        if not (self._terms.secure and returning):
            return inside
        agreed = agreeing([*inside, *returning])
        for each in inside:
            if each not in agreed:
                self._leave_out(each.node, in_words(each.group, *strangers(each, agreed)))
        return [each for each in inside if each in agreed]

    def _refusal(self, setup: Setup) -> str:
        """The reason that a group cannot be let in, whatever others pin; empty if it can."""
        return self._claim_refusal(setup) or self._seat_refusal(setup)

    def _claim_refusal(self, setup: Setup) -> str:
        """The reason that a node is not believed to be its group; empty if it is."""
        if reason := self._admitted.refusal(setup):
            return reason
        another = f"the name {setup.group!r} is that of a group with another key or role"
        known = self._known.get(setup.group)
        if known is not None and (known.identity or not setup.identity):
            if (known.role, known.identity) != (setup.role, setup.identity):
                return another
            if known.node != setup.node and known.node in self._listed:
                return f"group {setup.group!r} has a node already: it is let in once that has gone"
            return ""
        if setup.identity and setup.identity in (each.identity for each in self._known.values()):
            return ANOTHERS_KEY.format(setup.group)
        if setup.group in self._taken.groups and (
            setup.role != TRAIN or not self._taken.fits(setup)
        ):
            return another
        return ""

    def _seat_refusal(self, setup: Setup) -> str:
        """The reason that there is no seat for a group; empty if there is, or it needs none."""
        if setup.role != TRAIN or setup.group in (*self.cohort.group_indices, *self._taken.groups):
            return ""
        if self._seats is not None and len(self._indices) >= self._seats:
            return (
                f"group {setup.group!r} finds no free seat of {self._seats}: "
                "raise federation.seats for the next run"
            )
        terms = self._terms
        if terms.unit and not 1 <= setup.units <= terms.units_per_seat:
            return (
                f"group {setup.group!r} declares {setup.units} units, not within [1, "
                f"{terms.units_per_seat}]: raise privacy.units_per_seat for the next run"
            )
        return ""

    @property
    def _indices(self) -> set[int]:
        """Group indices that somebody has, or had before the run was stopped."""
        return {*self.cohort.group_indices.values(), *self._taken.indices.values()}

    def _let_in(self, setup: Setup) -> None:
        cohort, name = self.cohort, setup.group
        if name not in cohort.group_indices:
            taken = self._indices
            free = next(index for index in range(len(taken) + 1) if index not in taken)
            own = self._taken.indices.get(name, free)
            cohort.group_indices = {**cohort.group_indices, name: own}
        if self._terms.unit and name not in cohort.units:
            cohort.units = dict(sorted({**cohort.units, name: setup.units}.items()))
        if setup.asked is not None and name not in cohort.questionnaires:
            cohort.questionnaires = {**cohort.questionnaires, name: setup.asked}
        if self._identified:
            cohort.identities = dict(sorted({**cohort.identities, name: setup.identity}.items()))
        cohort.code = dict(sorted({**cohort.code, name: setup.code}.items()))
        self._known[name] = setup

    def _show(self, inside: Iterable[Setup] | None = None) -> None:
        """Put into the cohort who is there."""
        there = self._there() if inside is None else inside
        self.cohort.train = {each.group: each.node for each in sorted(there, key=_by_name)}
        held_out = [each for each in self._known.values() if each.role == HELD_OUT]
        self.cohort.held_out = {
            each.group: each.node
            for each in sorted(held_out, key=_by_name)
            if each.node in self._listed
        }

    def _leave_out(self, node: int, reason: str) -> None:
        """Say once why somebody is left out."""
        if reason and (node, reason) not in self._said:
            self._said.add((node, reason))
            logger.warning("left out: %s", reason)


def _asked(terms: MembershipTerms, challenge: bytes) -> RecordDict:
    setup = ConfigRecord({"version": 2, "unit": terms.unit, "challenge": challenge})
    setup["counts"] = terms.counts
    return RecordDict({"setup": setup})
