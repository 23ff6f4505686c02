"""The rules that refuse a strategy under secure aggregation or differential privacy.

Every rule stands here once: it refuses settings, and it makes the table of the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass

from privacy.accounting.choices import NO_PRIVACY, Mode
from strategies.base import Strategy, Visibility

#: Settings of ``training`` that private steps read; all others they do without.
_READ_IN_PRIVATE = frozenset({"fairness"})


class StrategyRefused(ValueError):
    """A strategy does not go with what a run hides."""


@dataclass(frozen=True, kw_only=True)
class Hiding:
    """The properties of a run that a strategy may not go with.

    Attributes:
        secure: Whether the server sees the sum of all groups alone.
        mode: ``none``, ``distributed`` or ``local``, of differential privacy.
        counted: Whether answers are counted once: training then reads noised counts as it reads
            answers without privacy, and every vector is private by itself.
        fairness: ``training.fairness`` as it is set for the run.
        groups_per_round: Groups drawn for a round; 0 for all.
        resume: Whether the run goes on from a checkpoint of the server.
    """

    secure: bool
    mode: str
    counted: bool = False
    fairness: float = 0.0
    groups_per_round: int = 0
    resume: bool = False


def refusal(strategy: Strategy, hiding: Hiding) -> str:
    """The reason, in one line, why a strategy does not go with a run; empty where it does."""
    name, tasks = strategy.name, strategy.tasks()
    individual = strategy.visibility is Visibility.INDIVIDUAL
    nothing = strategy.visibility is Visibility.NOTHING
    if nothing and hiding.mode != Mode.LOCAL:
        return (
            f"strategy {name} hands every group's vector to another group, and with privacy.mode = "
            f"{hiding.mode} that vector is not private by itself: use privacy.mode = local"
        )
    if nothing and hiding.secure:
        return (
            f"strategy {name} adds nothing up, so there is no sum to hide (vectors travel "
            "encrypted for one partner): use federation.secure_aggregation = false"
        )
    if nothing and hiding.groups_per_round == 1:
        return (
            f"strategy {name} has groups meet, and federation.groups_per_round = 1 leaves nobody "
            "to meet: use 2 or more, or 0 for all"
        )
    if nothing and hiding.resume:
        return (
            f"strategy {name} leaves all models with the groups, which no checkpoint of the server "
            "follows, so that it cannot resume: begin another run"
        )
    if individual and hiding.secure:
        return (
            f"strategy {name} needs every group's own update, which secure aggregation hides: "
            "choose another, or give up hiding with federation.secure_aggregation = false"
        )
    if individual and hiding.mode == Mode.DISTRIBUTED:
        return (
            f"strategy {name} needs every group's own update, and with privacy.mode = distributed "
            "only the sum of all shares of noise is private: use mode = local, or another strategy"
        )
    if individual and hiding.fairness > 0:
        return (
            f"strategy {name} counts groups by their updates and training.fairness = "
            f"{hiding.fairness:g} by their losses: use one of them"
        )
    if strategy.local_training and hiding.mode == Mode.DISTRIBUTED:
        return (
            f"strategy {name} lives by the steps that a group takes on its own in a round, and "
            "with privacy.mode = distributed a round is one step of all groups: use fedavgm or "
            "fedadam, or mode = local"
        )
    steps_are_private = hiding.mode != NO_PRIVACY and not hiding.counted
    if steps_are_private and (unread := sorted(set(tasks) - _READ_IN_PRIVATE)):
        return (
            f"strategy {name} sets training.{unread[0]}, which private steps do without: use "
            "privacy.mode = none, or another strategy"
        )
    if "fairness" in tasks and hiding.fairness > 0:
        return (
            f"strategy {name} sets training.fairness itself, and it is given as "
            f"{hiding.fairness:g}: give it once"
        )
    return ""


def require(strategy: Strategy, hiding: Hiding) -> None:
    """Refuse a strategy that does not go with what a run hides.

    Raises:
        StrategyRefused: One line that names rule and remedy.
    """
    if reason := refusal(strategy, hiding):
        raise StrategyRefused(reason)
