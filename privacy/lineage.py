"""The lineage of a model: the privacy under which it was trained, and all that it began from.

A run leaves it beside its model, a publication carries it on, and a run that begins from either
states it in turn. So what people have paid for is not forgotten where a model is trained further:
whoever is in the data of two runs pays for both, and the epsilons add up.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from privacy.accounting.choices import NO_PRIVACY, Mode, Unit
from privacy.canonical import canonical_json, strict_json
from privacy.file_names import LINEAGE_FILE
from privacy.ledger.payloads import DIGEST_BYTES, hexadecimal, text
from texts import shown

Json = Mapping[str, Any]

_MOST_STARTS = 64
_MOST_GROUPS = 12
_START = frozenset("name model files privacy start".split())
_LINEAGE = frozenset("model privacy start".split())
_PRIVATE = frozenset("mode unit epsilon delta run groups".split())
_digest = hexadecimal(DIGEST_BYTES)


def lineage_of(model: str, privacy: Json, start: Json | None) -> dict[str, Any]:
    """The lineage of a model that a run has made.

    Args:
        model: Digest of its vector.
        privacy: `mode` and, where that is not ``none``, `unit`, `epsilon`, `delta`, `run` and
            `groups`, a list of names.
        start: What the run began from, see `start_of`; None where its values were drawn.
    """
    return {"model": model, "privacy": dict(privacy), "start": start}


def start_of(lineage: Json | None, *, name: str, model: str, files: str) -> dict[str, Any]:
    """What a run states of the model that it begins from.

    Args:
        lineage: That lies beside the model; None where there is none.
        name: By which the model goes: that of its folder, and no place.
        model: Digest of its vector.
        files: Digest of its files, see `files_digest`.
    """
    stated = lineage or {"privacy": None, "start": None}
    return {
        "name": name,
        "model": model,
        "files": files,
        "privacy": stated["privacy"],
        "start": stated["start"],
    }


def files_digest(folder: Path, names: Sequence[str]) -> str:
    """SHA-256 over names and contents of files, in hexadecimal.

    Raises:
        OSError: One cannot be read.
    """
    digests = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sorted(names)
    }
    return hashlib.sha256(canonical_json(digests)).hexdigest()


def read_lineage(folder: Path) -> dict[str, Any] | None:
    """The lineage that lies in a folder beside its model; None where there is none.

    Raises:
        ValueError: It is none; one line.
    """
    path = folder / LINEAGE_FILE
    if not path.exists():
        return None
    lineage = _read(path)
    if set(lineage) != _LINEAGE or not _holds(_digest, lineage["model"]):
        raise ValueError(f"{LINEAGE_FILE} states no model, privacy and start; copy it as it was")
    if wrong := _wrong_privacy(lineage["privacy"]) or wrong_start(lineage["start"]):
        raise ValueError(f"{LINEAGE_FILE}: {wrong}; copy it as it was written")
    return lineage


def read_start(path: Path) -> dict[str, Any]:
    """What a run has written down of the model that it began from.

    Raises:
        ValueError: It is not that; one line.
    """
    start = _read(path)
    if wrong := wrong_start(start):
        raise ValueError(f"{path.name}: {wrong}; put it back as it was written")
    return start


def _read(path: Path) -> dict[str, Any]:
    try:
        content = strict_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path.name} is no JSON object; put it back as it was written")
    return content


def wrong_start(start: object) -> str:
    """The first thing wrong with what is stated of a start, and of its own; empty if nothing is."""
    for _ in range(_MOST_STARTS):
        if start is None:
            return ""
        if not isinstance(start, dict) or set(start) != _START:
            return f"a start has the fields {', '.join(sorted(_START))}"
        if not _holds(text, start["name"]):
            return "a start has no name"
        if not all(_holds(_digest, start[name]) for name in ("model", "files")):
            return "a start is named by no digest"
        if start["privacy"] is not None and (wrong := _wrong_privacy(start["privacy"])):
            return wrong
        start = start["start"]
    return f"more than {_MOST_STARTS} starts follow from each other"


def _wrong_privacy(privacy: object) -> str:
    if privacy == {"mode": NO_PRIVACY}:
        return ""
    if not isinstance(privacy, dict) or set(privacy) != _PRIVATE:
        return f"privacy is neither mode = {NO_PRIVACY} nor {', '.join(sorted(_PRIVATE))}"
    groups = privacy["groups"]
    fits = (
        privacy["mode"] in list(Mode)
        and privacy["unit"] in list(Unit)
        and all(_positive(privacy[name]) for name in ("epsilon", "delta"))
        and _holds(text, privacy["run"])
        and isinstance(groups, list)
        and all(_holds(text, group) for group in groups)
    )
    return "" if fits else "privacy states what cannot be read there"


def _positive(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value) and value > 0  # type: ignore[arg-type,operator]  # its type is looked at first


def _holds(rule: Callable[[Any], bool], value: object) -> bool:
    try:
        return rule(value)
    except (ValueError, TypeError):
        return False


def start_in_words(start: Json | None, *, private: bool) -> list[str]:
    """What a reader must know of the models that a run began from, a sentence for each.

    Args:
        start: As a run states it; None where its values were drawn, of which nothing is said.
        private: Whether the run itself is.
    """
    sentences = []
    subject = "The run"
    while start is not None:
        name = f"{shown(start['name'], most=100)} (model {start['model'][:16]})"
        privacy = _privacy_in_words(start["privacy"], private=private)
        sentences.append(f"{subject} starts from {name}, {privacy}")
        subject, start = "That model in turn", start["start"]
    return sentences


def _privacy_in_words(privacy: Json | None, *, private: bool) -> str:
    if privacy is None:
        return (
            "beside which nothing states how it was trained: no guarantee here speaks of the "
            "people in its data."
        )
    if privacy["mode"] == NO_PRIVACY:
        return (
            "which was trained without differential privacy on data that count as public: no "
            "guarantee here speaks of the people in them."
        )
    groups = [shown(group, most=100) for group in privacy["groups"]]
    more = f" and {len(groups) - _MOST_GROUPS} more" if len(groups) > _MOST_GROUPS else ""
    both = "people in both pay both, the epsilons add up." if private else ""
    return (
        f"which was itself trained under epsilon = {privacy['epsilon']:g}, delta = "
        f"{privacy['delta']:g} for every {privacy['unit']} of {', '.join(groups[:_MOST_GROUPS])}"
        f"{more} (run {shown(privacy['run'], most=12)}): "
        f"{both or 'that promise does not speak of what this run has added.'}"
    )
