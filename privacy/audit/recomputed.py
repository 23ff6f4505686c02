"""The epsilon of a plan, computed again by two libraries of different authors."""

from dataclasses import dataclass
from functools import lru_cache

from privacy.accounting.accountant import (
    CROSS_CHECK_EXCESS,
    PLD_TOLERANCE,
    pld_epsilon,
    rdp_epsilon,
)
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.prv_cross_check import prv_epsilon
from privacy.errors import PrivacyError

PLD, PRV, RDP = "dp-accounting PLD", "prv-accountant, at most", "dp-accounting RDP"
"""Names of the epsilons that a review computes."""

UPPER_BOUND = "Opacus PRV"
"""The cross-check of a trainer: an upper bound, which no review computes but each can bracket."""


@dataclass(frozen=True, kw_only=True)
class Epsilons:
    """What the libraries find for one plan, at the delta that is left to accountants.

    Attributes:
        pld: by privacy loss distributions (dp-accounting): the epsilon of the plan.
        lowest: no epsilon below this is true, by prv-accountant.
        highest: the upper bound of prv-accountant.
        rdp: by Renyi divergence (dp-accounting): looser.
    """

    pld: float
    lowest: float
    highest: float
    rdp: float

    def __str__(self) -> str:
        return (
            f"epsilon = {self.pld:.4f} by dp-accounting (PLD), between {self.lowest:.4f} and "
            f"{self.highest:.4f} by prv-accountant"
        )

    @property
    def agree(self) -> bool:
        """Whether the libraries agree within their tolerance."""
        bracketed = self.lowest - PLD_TOLERANCE <= self.pld <= self.highest + PLD_TOLERANCE
        return bracketed and self.pld <= self.rdp + PLD_TOLERANCE

    def by_accountant(self) -> dict[str, float]:
        """Each epsilon by the name of what computed it."""
        return {PLD: self.pld, PRV: self.highest, RDP: self.rdp}

    def differs(self, stated: float) -> bool:
        """Whether a stated PLD epsilon is another; so is what is no number."""
        return not abs(stated - self.pld) <= PLD_TOLERANCE

    def confirms(self, name: str, stated: float) -> bool:
        """Whether an epsilon that somebody states under the name of an accountant can be true."""
        if name == UPPER_BOUND:
            return -PLD_TOLERANCE <= stated - self.pld <= CROSS_CHECK_EXCESS + PLD_TOLERANCE
        return name == PLD and not self.differs(stated)


@lru_cache(maxsize=256)
def recomputed(plan: PrivacyPlan) -> Epsilons:
    """Compute the epsilons of a plan; takes seconds at the first call.

    Raises:
        PrivacyError: if no library covers it.
        ValueError: if its numbers are out of their range.
        OverflowError: likewise.
    """
    accounted = {"delta": plan.accounted_delta}
    lowest, highest = prv_epsilon(plan.mechanism, **accounted)
    return Epsilons(
        pld=pld_epsilon(plan.mechanism, **accounted),
        lowest=lowest,
        highest=highest,
        rdp=rdp_epsilon(plan.mechanism, **accounted),
    )


def wrong_epsilon(plan: PrivacyPlan, **stated: float) -> tuple[str, Epsilons | None]:
    """The first thing wrong with the epsilon of a plan; empty if nothing is.

    Args:
        plan: its promise is compared.
        **stated: whose statement of the PLD epsilon is compared, by what states it.

    Returns:
        What is wrong, and the epsilons where they could be computed.
    """
    try:
        found = recomputed(plan)
    except (PrivacyError, ValueError, OverflowError) as error:
        return f"epsilon could not be recomputed: {error}", None
    if not found.agree:
        return f"the two libraries disagree: {found}", found
    for who, value in stated.items():
        if found.differs(value):
            return f"the {who} states {value:.4f}, but {found}", found
    if found.pld > plan.epsilon:
        return f"the plan claims {plan.epsilon:g}, but {found}", found
    return "", found
