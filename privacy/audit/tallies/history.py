"""The tallies in a ledger and what became of them, read from the events alone."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from privacy.accounting.plan import PrivacyPlan
from privacy.ledger.chain import Event
from privacy.ledger.payloads import stated_plan


def tallies(number: int) -> str:
    """So many tallies, in words."""
    return f"{number} {'tally' if number == 1 else 'tallies'}"


@dataclass(kw_only=True)
class TallyHistory:
    """All that events say of tallies; what else they say is left out.

    Attributes:
        plans: of the tallies, by their names.
        spends: the events that pay for each.
        released: digests of the file of each.
        uses: the rounds that were trained on tallies.
    """

    plans: dict[str, PrivacyPlan] = field(default_factory=dict)
    spends: dict[str, list[Event]] = field(default_factory=lambda: defaultdict(list))
    released: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    uses: list[Event] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "TallyHistory":
        """Read events, also of a ledger that contradicts itself.

        Raises:
            PrivacyError, KeyError, ValueError, TypeError: for an event of another form.
        """
        history = cls()
        for event in events:
            history.add(event)
        return history

    def add(self, event: Event) -> None:
        """Take in the next event."""
        body = event.body
        if event.type == "PLAN":
            plan = stated_plan(body["plan"])
            if plan.counts is not None:
                self.plans[body["run"]] = plan
        elif event.type == "SPEND" and body["run"] in self.plans:
            self.spends[body["run"]].append(event)
        elif event.type == "RELEASED" and (name := self.paid_by(body["spend"])):
            self.released[name].append(body["vector"])
        elif event.type == "USED":
            self.uses.append(event)

    def __bool__(self) -> bool:
        """Whether there is a tally, or a round that claims one."""
        return bool(self.plans or self.uses)

    def paid_by(self, spend: str) -> str:
        """The tally that a spend pays for; empty where it pays for none."""
        of = (name for name, paid in self.spends.items() for each in paid if each.hash == spend)
        return next(of, "")

    def named(self, digest: str) -> list[str]:
        """The tallies whose file has a digest."""
        return [name for name, digests in self.released.items() if digest in digests]

    def used_by(self, run: str) -> list[str]:
        """The tallies that the rounds of a run were trained on."""
        digests = dict.fromkeys(e.body["tally"] for e in self.uses if e.body["run"] == run)
        return [name for digest in digests for name in self.named(digest)]

    @property
    def runs(self) -> list[str]:
        """The runs that were trained on tallies."""
        return list(dict.fromkeys(event.body["run"] for event in self.uses))
