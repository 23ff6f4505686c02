"""Every rule on what goes with what: a combination it refuses, and one next to it that goes."""

import itertools

import pytest

from alignment.config import TrainingConfig
from strategies.checks.combinations import Hiding, StrategyRefused, refusal, require
from strategies.registry import known, make

PLAIN = Hiding(secure=True, mode="none")


@pytest.mark.parametrize(
    ("name", "settings", "hiding", "told", "goes"),
    [
        (
            "fedmedian",
            {},
            Hiding(secure=True, mode="none"),
            "needs every group's own update, which secure aggregation hides",
            Hiding(secure=False, mode="none"),
        ),
        (
            "krum",
            {},
            Hiding(secure=False, mode="distributed"),
            "only the sum of all shares of noise is private",
            Hiding(secure=False, mode="local"),
        ),
        (
            "fedtrimmedavg",
            {},
            Hiding(secure=False, mode="none", fairness=1.0),
            "counts groups by their updates and training.fairness = 1 by their losses",
            Hiding(secure=False, mode="none"),
        ),
        (
            "diloco",
            {},
            Hiding(secure=True, mode="distributed"),
            "a round is one step of all groups",
            Hiding(secure=True, mode="local"),
        ),
        (
            "diloco",
            {"local_steps": 5},
            Hiding(secure=True, mode="local"),
            "sets training.local_steps, which private steps do without",
            Hiding(secure=True, mode="none"),
        ),
        (
            "fedprox",
            {},
            Hiding(secure=True, mode="local"),
            "sets training.proximal, which private steps do without",
            Hiding(secure=True, mode="none"),
        ),
        (
            "qfair",
            {},
            Hiding(secure=True, mode="distributed", fairness=0.5),
            "sets training.fairness itself, and it is given as 0.5",
            Hiding(secure=True, mode="distributed"),
        ),
        (
            "gossip",
            {},
            Hiding(secure=False, mode="none"),
            "with privacy.mode = none that vector is not private by itself: use privacy.mode",
            Hiding(secure=False, mode="local"),
        ),
        (
            "gossip",
            {},
            Hiding(secure=False, mode="distributed"),
            "with privacy.mode = distributed that vector is not private by itself",
            Hiding(secure=False, mode="local", fairness=1.0),
        ),
        (
            "gossip",
            {},
            Hiding(secure=True, mode="local"),
            "adds nothing up, so there is no sum to hide",
            Hiding(secure=False, mode="local"),
        ),
        (
            "gossip",
            {},
            Hiding(secure=False, mode="local", groups_per_round=1),
            "groups_per_round = 1 leaves nobody to meet",
            Hiding(secure=False, mode="local", groups_per_round=2),
        ),
        (
            "gossip",
            {},
            Hiding(secure=False, mode="local", resume=True),
            "cannot resume: begin another run",
            Hiding(secure=False, mode="local"),
        ),
    ],
)
def test_each_rule_refuses_by_name_and_says_why(
    name: str, settings: dict[str, object], hiding: Hiding, told: str, goes: Hiding
) -> None:
    strategy = make(name, settings)
    with pytest.raises(StrategyRefused) as refused:
        require(strategy, hiding)
    message = str(refused.value)
    assert message.startswith(f"strategy {name} ")
    assert told in message
    assert ": " in message and "\n" not in message
    require(strategy, goes)


def test_what_sees_sums_and_asks_nothing_of_groups_goes_with_everything() -> None:
    for name in ("fedavg", "fedavgm", "fedadam", "fedyogi"):
        for secure, mode in itertools.product((True, False), ("none", "distributed", "local")):
            assert refusal(make(name, {}), Hiding(secure=secure, mode=mode)) == ""


def test_what_strategies_ask_of_groups_are_settings_of_training() -> None:
    """A word that nobody reads would be a task that nobody does."""
    asked = dict(make("diloco", {"local_steps": 3}).tasks())
    for name in known():
        asked |= make(name, {}).tasks()
    assert {*asked} == {"fairness", "local_steps", "proximal"}
    TrainingConfig(**asked)
