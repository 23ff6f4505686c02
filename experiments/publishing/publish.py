"""A trained predictor as a folder to hand on: adapter, head, model card, privacy card.

Only what is listed here is written: no records, no predictions, no ledgers, no place of this
machine. A private run whose ledgers do not hold, or are not there, is not published at all, for
then nobody could say what its epsilon is worth.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alignment.model.encoders.encoder_files import hub_id_of
from alignment.model.file_names import ADAPTER_FOLDER, ADAPTER_SETTINGS, ADAPTER_WEIGHTS, HEAD_FILE
from alignment.model.folder import load_predictor, save_predictor
from experiments.publishing.model_card import model_card
from privacy.accounting.choices import NO_PRIVACY
from privacy.file_names import LEDGERS_FOLDER, LINEAGE_FILE, RESULT_FILE
from privacy.ledger.paths import MODELS
from server.config import ConfigError

CARD_FILE = "card.json"
README_FILE = "README.md"
_ADAPTER_FILES = (ADAPTER_SETTINGS, ADAPTER_WEIGHTS)
#: An SPDX identifier, as hubs list them.
_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}")
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")


@dataclass(frozen=True, kw_only=True)
class Publication:
    """A model to publish, and the names it goes under.

    Attributes:
        model: The ``--out`` folder of a finished run.
        out: The folder to write.
        license: SPDX identifier that the owner has chosen; None leaves it open.
        base_model: What others call the base encoder; needed where the run read it from a folder.
        title: Of the model card.
        ledgers: Folder of ledgers that outlast runs, where the run kept them.
        code: Checkout that the run has used, where that is not the code installed here.
    """

    model: Path
    out: Path
    license: str | None = None
    base_model: str | None = None
    title: str | None = None
    ledgers: Path | None = None
    code: Path | None = None


def publish(publication: Publication, *, overwrite: bool = False) -> tuple[str, ...]:
    """Write a folder that can be handed on; returns its files.

    Args:
        publication: What, and where to.
        overwrite: Replace what a former publication wrote there.

    Raises:
        ValueError: One line: the run is not finished or not there, its ledgers do not hold, the
            folder is taken, or something would name a place of this machine. Nothing is written
            then.
    """
    model, out = publication.model, publication.out
    _check_names(publication)
    _check_place(model, out, overwrite=overwrite)
    result = _result(model)
    card = _privacy_card(publication, result)
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place: it is there completely or not at all.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as made:
        folder = Path(made) / out.name
        folder.mkdir()
        base = _copy_predictor(publication, folder)
        if (model / LINEAGE_FILE).is_file():
            shutil.copyfile(model / LINEAGE_FILE, folder / LINEAGE_FILE)
        if card is not None:
            text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
            (folder / CARD_FILE).write_text(text, encoding="utf-8")
        text = model_card(
            result, card, base_model=base, license=publication.license, title=publication.title
        )
        (folder / README_FILE).write_text(text, encoding="utf-8")
        _check_places(folder, model)
        if out.exists():
            shutil.rmtree(out)
        folder.rename(out)
    files = sorted(path for path in out.rglob("*") if path.is_file())
    return tuple(path.relative_to(out).as_posix() for path in files)


def _check_names(publication: Publication) -> None:
    given, base = publication.license, publication.base_model
    if given is not None and not _LICENSE.fullmatch(given):
        raise ConfigError(f"--license {given!r} is no SPDX identifier; give one, as in apache-2.0")
    if base is not None and not _HUB_ID.fullmatch(base):
        raise ConfigError(f"--base-model {base!r} must be a hub id, as in owner/name")


def _check_place(model: Path, out: Path, *, overwrite: bool) -> None:
    if out.resolve() == model.resolve() or out.resolve() in model.resolve().parents:
        raise ConfigError(f"--out {out}: holds the run itself; name another folder")
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder")
    known = {HEAD_FILE, ADAPTER_FOLDER, README_FILE, CARD_FILE, LINEAGE_FILE}
    foreign = sorted(path.name for path in out.iterdir() if path.name not in known)
    if foreign:
        raise ConfigError(
            f"--out {out}: holds {foreign[0]}, which no publication wrote; name another folder"
        )
    if any(out.iterdir()) and not overwrite:
        raise ConfigError(f"--out {out}: holds a publication; name another folder or --overwrite")


def _result(model: Path) -> dict[str, Any]:
    file = model / RESULT_FILE
    try:
        result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        _ = result["privacy"]["mode"], result["alignment"]["unseen_groups"]["mean"]
    except FileNotFoundError as error:
        raise ConfigError(
            f"--model {model}: no {RESULT_FILE} in it; give the --out folder of a finished run"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{file}: is not the result of a run") from error
    if result.get("own_models"):
        raise ConfigError(
            f"--model {model}: every group of this run keeps a model of its own, in "
            f"{MODELS}/, and there is none to publish for all of them"
        )
    return result


def _privacy_card(publication: Publication, result: Mapping[str, Any]) -> dict[str, Any] | None:
    """The privacy card of a private run, once its ledgers have been verified; else None."""
    if result["privacy"]["mode"] == NO_PRIVACY:
        return None
    from privacy.audit.card import build_card
    from privacy.audit.evidence import gather
    from privacy.audit.verify import holds, verify

    places = [publication.model, *([publication.ledgers] if publication.ledgers else [])]
    if not (publication.model / LEDGERS_FOLDER).is_dir():
        places = places[1:]
    if not places:
        raise ConfigError(
            f"--model {publication.model}: a private run without ledgers in it; name their folder "
            "by --ledgers"
        )
    evidence = gather(places, code=[publication.code] if publication.code else ())
    # A card of a former publication or report is no evidence for this one.
    evidence = replace(evidence, card=None, result=dict(result), published=publication.model)
    checks = verify(evidence)
    if not holds(checks):
        first = next(check for check in checks if check.status == "fail")
        raise ConfigError(
            f"--model {publication.model}: its privacy cannot be vouched for: {first.about}, "
            f"{first.id}: {first.finding} See fedaccord audit verify"
        )
    return build_card(evidence, checks)


def _copy_predictor(publication: Publication, folder: Path) -> str:
    """Copy adapter and head, byte for byte where they name no place; returns the base model."""
    predictor, reading = load_predictor(publication.model)
    encoder = predictor.config.encoder
    base = hub_id_of(encoder)
    if publication.base_model is not None and publication.base_model != base:
        predictor.config = replace(predictor.config, encoder=publication.base_model)
        save_predictor(predictor, folder, reading)
        _name_base(folder / ADAPTER_FOLDER, publication.base_model)
        return publication.base_model
    if Path(encoder).is_absolute() or Path(encoder).exists() or not _HUB_ID.fullmatch(encoder):
        raise ConfigError(
            f"--model {publication.model}: its base encoder was read from a folder; say by "
            "--base-model under which hub id others find it"
        )
    if predictor.config.scores == "reward":
        # Its tokenizer lies in files of many names: all is written again, in the same bytes.
        save_predictor(predictor, folder, reading)
        return base
    shutil.copyfile(publication.model / HEAD_FILE, folder / HEAD_FILE)
    if (publication.model / ADAPTER_FOLDER).is_dir():
        (folder / ADAPTER_FOLDER).mkdir()
        for name in _ADAPTER_FILES:
            shutil.copyfile(
                publication.model / ADAPTER_FOLDER / name, folder / ADAPTER_FOLDER / name
            )
    return base


def _name_base(adapter: Path, base: str) -> None:
    file = adapter / ADAPTER_SETTINGS
    if file.is_file():
        content = json.loads(file.read_text(encoding="utf-8"))
        content["base_model_name_or_path"] = base
        file.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _check_places(folder: Path, model: Path) -> None:
    """Refuse to publish where this machine's folders would be named.

    The last line of defence: what is written comes from a list of fields, none of them a place.
    """
    places = {str(Path.home()), str(model.resolve()), str(Path.cwd()), str(folder)} - {"/"}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        if any(place.encode() in content for place in places):
            raise ConfigError(
                f"{file.relative_to(folder)}: would name a folder of this machine; publish a model "
                "whose settings name none"
            )
