"""The settings of a run, as `config.toml` and `result.json` state them, against its plan."""

import tomllib
from collections.abc import Mapping
from typing import Any

from privacy.accounting.choices import AUTO, Mode, Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.file_names import CONFIG_FILE


def wrong_settings(result: Mapping[str, Any], plan: PrivacyPlan, settings: str | None) -> str:
    """The first setting that is not that of the plan, or another in each file; empty if none is.

    Args:
        result: of the run; `config` holds its settings.
        plan: of the run.
        settings: the text of `config.toml`; None where it is not at hand.

    Raises:
        KeyError, TypeError: if there are no such settings.
    """
    config = result["config"]
    if settings is not None:
        try:
            other = tomllib.loads(settings)
        except (tomllib.TOMLDecodeError, RecursionError):
            return f"{CONFIG_FILE} beside it cannot be read"
        if wrong := _difference(config, other):
            return f"config.{wrong} is another in {CONFIG_FILE}"
    private, federation = config["privacy"], config["federation"]
    names = ["epsilon", "delta"]
    names += ["sampling_rate", "clipping_norm", "local_steps"] if plan.counts is None else []
    expected = {
        "mode": str(plan.mode),
        "unit": str(plan.unit),
        **{name: getattr(plan, name) for name in names},
    }
    if plan.counts is not None:
        expected["largest_weight"] = plan.counts.largest_weight
        # 0 leaves it to the plan; a record is one answer, whatever is set.
        if private["answers_per_respondent"] and plan.unit is Unit.RESPONDENT:
            expected["answers_per_respondent"] = plan.counts.answers_per_respondent
    if plan.mode is Mode.DISTRIBUTED:
        expected["colluding"] = plan.colluding
    if plan.shape is not None:
        expected |= {name: getattr(plan.shape, name) for name in ("micro_batch", "max_options")}
    for name, value in expected.items():
        if private[name] != value:
            return f"config.privacy.{name} = {private[name]!r} is not that of the plan"
    if private.get("mechanism", AUTO) not in (AUTO, str(plan.release)):
        return f"config.privacy.mechanism = {private['mechanism']!r} is not that of the plan"
    # Rounds on counts cost nothing, and so stand in no plan.
    rounds = federation["warmup_rounds"] + federation["adapter_rounds"]
    if plan.counts is None and rounds != plan.rounds:
        return f"config.federation: its rounds are not the {plan.rounds} of the plan"
    if federation["secure_aggregation"] is not result["secure_aggregation"]:
        return "config.federation.secure_aggregation is not that of the run"
    return ""


def _difference(one: Any, other: Any) -> str:
    """The first name under which two settings differ; empty if none does."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return "" if type(one) is type(other) and one == other else "?"
    for name in sorted(map(str, one.keys() | other.keys())):
        if name not in one or name not in other:
            return name
        if wrong := _difference(one[name], other[name]):
            return name if wrong == "?" else f"{name}.{wrong}"
    return ""
