"""Records of a local grid: traffic, seconds, and the failures of handlers."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Messages and bytes between the server and a node; adds up with `+`.

    Bytes are those of the serialised objects that the receiver has to fetch, an object that occurs
    twice in a message counted once, as it is stored and sent once. Request framing is not in them.
    They stay 0 on a grid that does not serialise.
    """

    messages_down: int = 0
    messages_up: int = 0
    bytes_down: int = 0
    bytes_up: int = 0

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(
            messages_down=self.messages_down + other.messages_down,
            messages_up=self.messages_up + other.messages_up,
            bytes_down=self.bytes_down + other.bytes_down,
            bytes_up=self.bytes_up + other.bytes_up,
        )


@dataclass(frozen=True, kw_only=True)
class GridSeconds:
    """Wall-clock seconds spent in serialising and inflating, and inside the ClientApp."""

    serialization: float = 0.0
    handlers: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HandlerFailure:
    """A message that a node could not answer, with what no server ever sees.

    Attributes:
        node_id: The node.
        message_type: Of the message.
        error: What the handler raised. It and its causes hold no frames, hence no local variables
            of the handler.
        traceback: Of the error and its causes.
    """

    node_id: int
    message_type: str
    error: Exception = field(repr=False)
    traceback: str = field(repr=False)

    @classmethod
    def of(cls, error: Exception, *, node_id: int, message_type: str) -> HandlerFailure:
        """Keep an error that was just caught, and let go of its frames."""
        trace = "".join(traceback.format_exception(error))
        _drop_frames(error)
        return cls(node_id=node_id, message_type=message_type, error=error, traceback=trace)

    @property
    def first_cause(self) -> BaseException:
        """The error that was raised first, where others were raised from it."""
        cause: BaseException = self.error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return cause


def _drop_frames(error: BaseException | None) -> None:
    """Let go of the frames of an error, its causes and contexts: they hold records and models."""
    if error is not None and error.__traceback__ is not None:
        error.__traceback__ = None
        _drop_frames(error.__cause__)
        _drop_frames(error.__context__)
