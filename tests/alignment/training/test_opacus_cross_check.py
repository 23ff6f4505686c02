"""The injected cross-check: golden values of Opacus, and agreement with the privacy room."""

import json
from pathlib import Path

import pytest

from alignment.training.opacus_cross_check import opacus_prv_epsilon
from privacy.accounting.accountant import (
    CROSS_CHECK_EXCESS,
    PLD_TOLERANCE,
    SampledGaussian,
    cross_check,
)

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/accounting.json").read_text())["rows"]


@pytest.mark.parametrize("row", GOLDEN, ids=lambda row: f"{row['noise_multiplier']}")
def test_opacus_confirms_the_golden_table(row: dict) -> None:
    """The recorded value to 1e-6, and an upper bound at most 0.0125 above the PLD epsilon."""
    parameters = {name: row[name] for name in ("noise_multiplier", "sampling_rate", "steps")}
    bound = opacus_prv_epsilon(**parameters, delta=row["delta"])
    assert bound == pytest.approx(row["epsilon"]["prv_opacus"], abs=1e-6)
    assert 0 <= bound - row["epsilon"]["pld_dp_accounting"] <= CROSS_CHECK_EXCESS + PLD_TOLERANCE
    if row["noise_multiplier"] == 2.0:
        charged = SampledGaussian(**parameters)
        confirmed = cross_check(charged, delta=row["delta"], accountant=opacus_prv_epsilon)
        assert confirmed == bound
