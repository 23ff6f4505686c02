"""What leaves a client is listed field by field, with its reason, and nothing else leaves."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict

import clients.app
import clients.sessions.gossip
from clients.replies import FIELDS, REPLIES, UndeclaredReply, markdown, names_in, reply_to
from experiments.simulation.local_grid import LocalGrid

ROOT = Path(clients.app.__file__).parents[1]


@pytest.mark.parametrize("message", FIELDS, ids=lambda message: message.__name__)
def test_every_field_of_a_message_of_a_protocol_has_a_reason(message: type) -> None:
    assert {each.name for each in fields(message)} == set(FIELDS[message])
    assert all(reason.endswith(".") for reason in FIELDS[message].values())


def test_every_part_has_a_reason_and_its_message_is_listed() -> None:
    for parts in REPLIES.values():
        for part in parts:
            assert part.reason
            assert part.message is None or part.message in FIELDS
    used = {part.message for parts in REPLIES.values() for part in parts}
    assert set(FIELDS) <= used


def test_every_handler_has_its_replies_listed() -> None:
    handlers = clients.app.app._registered_funcs
    assert {kind.removesuffix(".default") for kind in handlers} == set(REPLIES)


@pytest.mark.parametrize(
    "content",
    [
        {"secagg": ConfigRecord({"advertise": b"", "units": 72})},
        {"metrics": ConfigRecord({"loss": 1.0})},
        {"update": ArrayRecord()},
    ],
    ids=lambda content: next(iter(content)),
)
def test_a_field_without_a_reason_does_not_leave(
    make_grid: Callable[..., LocalGrid], content: Mapping[str, Any]
) -> None:
    with make_grid(6).as_server():
        asked = Message(RecordDict(), 1, "query.advertise")
    reply_to(asked, {"secagg": ConfigRecord({"advertise": b""})})
    with pytest.raises(UndeclaredReply, match="has no reason to leave"):
        reply_to(asked, content)


def test_no_handler_makes_a_reply_by_itself() -> None:
    for room in ("clients", "privacy", "alignment", "strategies"):
        for path in (ROOT / room).rglob("*.py"):
            made = path.read_text(encoding="utf-8").count("reply_to=")
            allowed = {"replies.py": 1, "executor.py": 1}  # The latter refuses.
            assert made == allowed.get(path.name, 0), path


def test_the_page_of_the_documentation_is_that_of_the_code() -> None:
    """Write it by `python -m clients.replies docs/replies.md`."""
    assert (ROOT / "docs" / "replies.md").read_text(encoding="utf-8") == markdown()


GOSSIP = {
    "strategy.name": "gossip",
    "privacy.mode": "local",
    "privacy.mechanism": "gradients",
    "federation.secure_aggregation": False,
}


COUNTS = {"privacy.mode": "local", "privacy.mechanism": "tally"}
OF_PAIRS = {"metrics.accuracy", "metrics.margin", "metrics.answers"}
OF_COUNTS = {"setup.questionnaire", "setup.options", "setup.distributions"}


@pytest.mark.parametrize("settings", [{}, GOSSIP, COUNTS], ids=["sums", "pairs", "counts"])
def test_what_a_private_run_sends_is_what_is_listed(
    deploy: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    """All of it, and each part that is said to be a message is one."""
    seen: dict[str, set[str]] = defaultdict(set)

    def note(message: Message, content: Mapping[str, Any]) -> Message:
        kind = message.metadata.message_type
        seen[kind] |= set(names_in(content))
        for part in REPLIES[kind]:
            if part.message is None or part.record not in content:
                continue
            record = content[part.record]
            if isinstance(record, ArrayRecord):
                parts = [each.tobytes() for each in record.to_numpy_ndarrays()]
            else:
                parts = [record[part.key]] if part.key in record else []
            for data in parts:
                assert part.message.decode(data)
        return reply_to(message, content)

    monkeypatch.setattr(clients.app, "reply_to", note)
    monkeypatch.setattr(clients.sessions.gossip, "reply_to", note)
    deployed = deploy(groups=3, held_out=1, **{"federation.evaluate_every": 1, **settings})
    for group in list(deployed.homes)[:3]:
        deployed.change(group, accept__partners=settings is GOSSIP)
    deployed.run()
    for kind, names in seen.items():
        listed = {part.name for part in REPLIES[kind]}
        listed -= OF_PAIRS if settings is COUNTS else OF_PAIRS | OF_COUNTS
        # In stage 4 what is asked for.
        assert names == listed, kind
    assert {"query.setup", "evaluate"} < set(seen)
    assert ("train.meet" if settings is GOSSIP else "train.masked") in seen
