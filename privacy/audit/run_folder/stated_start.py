"""What the files of a run state of the model that it began from, against the server ledger."""

from collections.abc import Mapping
from typing import Any

from privacy.file_names import PRIVACY_FILE
from privacy.ledger.chain import Event
from privacy.lineage import wrong_start


def wrong_start_stated(
    result: Mapping[str, Any], registered: Mapping[str, Any] | None, events: tuple[Event, ...]
) -> str:
    """The first thing wrong with the start that a result states; empty if nothing is.

    Args:
        result: of the run.
        registered: `privacy.json` of it, where there is one.
        events: of the run, in the server ledger.

    Raises:
        KeyError, AttributeError: if there are no settings.
    """
    start = result.get("start")
    if wrong := wrong_start(start):
        return f"start: {wrong}"
    if registered is not None and registered.get("start") != start:
        return f"start is not as in {PRIVACY_FILE}"
    # Runs of earlier versions had no such setting, and no start.
    if bool(result["config"].get("training", {}).get("start")) is not (start is not None):
        return "start is not as config.training.start has it"
    model = next((event.body["model"] for event in events if event.type == "RUN"), None)
    if start is not None and model not in (None, start["model"]):
        return "start is another model than the run began from by the server ledger"
    return ""
