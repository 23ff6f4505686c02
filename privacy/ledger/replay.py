"""The replay of a ledger, line by line, as its owner and a reviewer both make it."""

from privacy.errors import BadSignature, PolicyRefused
from privacy.identity.keys import Roster
from privacy.ledger.chain import (
    NOTHING,
    Event,
    Head,
    check_countersigned,
    corrupt,
    each_event,
)
from privacy.ledger.state import State
from privacy.ledger.units import People


class Replay:
    """The events of a ledger so far, and what they add up to.

    Args:
        owner: public key of the group that wrote it, 32 bytes.
        servers: pinned keys of the servers whose countersignatures are checked.
        people: the files that say whose data are in it; None for who has none, to whom the state
            tells what follows from the ledger alone.
    """

    def __init__(self, owner: bytes, servers: Roster | None, people: People | None = None) -> None:
        self._owner = owner
        self._servers = servers
        self._known = bytearray()
        self.events: list[Event] = []
        self.state = State(people=people)

    @property
    def head(self) -> Head:
        """The last event."""
        return self.events[-1].head if self.events else NOTHING

    def begins(self, data: bytes) -> bool:
        """Whether these bytes begin with those replayed so far."""
        return data.startswith(self._known)

    def extend(self, data: bytes) -> None:
        """Check and add the lines that follow those replayed so far.

        Args:
            data: whole lines, those replayed before included.

        Raises:
            LedgerCorrupt: for the first line that is not what the owner wrote there, or that
                contradicts the lines before it.
        """
        rest = data[len(self._known) :]
        for event in each_event(rest, self._owner, after=self.head):
            self.apply(event, event.line())

    def apply(self, event: Event, line: bytes) -> None:
        """Add the next event, of which that is the line.

        Raises:
            LedgerCorrupt: if it contradicts those before it.
        """
        try:
            self.state.apply(event)
            if event.type == "HEAD" and self._servers is not None:
                check_countersigned(self._servers, event)
        except KeyError as error:
            corrupt(event.seq, f"lacks a field or names something unknown: {error}")
        except (ValueError, TypeError, AttributeError, ArithmeticError) as error:
            corrupt(event.seq, f"contradicts the lines before it: {error}")
        except (BadSignature, PolicyRefused):
            corrupt(event.seq, "is not countersigned by a pinned server")
        self.events.append(event)
        self._known += line
