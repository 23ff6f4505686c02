"""What people choose of a guarantee is declared once, for settings and for plans."""

from typing import get_args

import pytest

from privacy.accounting.choices import NO_PRIVACY, Mode, ModeSetting, Unit, UnitSetting
from privacy.accounting.terms import PrivacyTerms
from privacy.errors import PlanRefused


def test_settings_offer_what_plans_have_and_no_privacy() -> None:
    assert get_args(UnitSetting) == tuple(str(unit) for unit in Unit)
    assert get_args(ModeSetting) == (NO_PRIVACY, *(str(mode) for mode in Mode))


def test_no_plan_is_without_privacy() -> None:
    with pytest.raises(PlanRefused, match="mode = 'none' is not offered"):
        PrivacyTerms(
            mode=NO_PRIVACY,  # type: ignore[arg-type] - refused while running as well
            epsilon=8.0,
            delta=1e-5,
            groups=3,
            units_per_group=10,
            sampling_rate=1.0,
            rounds=1,
            survivors=3,
            clipping_norm=0.1,
            dimension=5,
        )
