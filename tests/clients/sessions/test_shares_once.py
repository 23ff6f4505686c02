"""A client gives its shares of a sum once, and keeps nothing to give them again."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.clients.sessions.test_opened_sums import ALL, NOISELESS, Summing


def test_shares_are_given_once(
    deploy: Callable[..., Any], asking: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for shares once more, for the same survivors, every member refuses."""
    asked = asking(deploy(groups=4, **NOISELESS))
    deployed, requests = asked.deployed, dict[str, Mapping[str, bytes]]()
    stage = deployed.stage

    def kept(name: str, kind: str, request: Mapping[str, bytes], *given: Any) -> Any:
        if kind == "query.unmask":
            requests[name] = request
        return stage(name, kind, request, *given)

    monkeypatch.setattr(deployed, "stage", kept)
    assert Summing(asked).refusals(1, ALL) == {}
    assert set(requests) == set(ALL)
    for name, request in requests.items():
        again = stage(name, "query.unmask", request)
        assert isinstance(again, str) and "Replayed" in again
