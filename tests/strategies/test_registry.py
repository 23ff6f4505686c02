"""Strategies are found by name, and their settings read."""

from pathlib import Path

import pytest

from strategies import registry
from strategies.diloco import DiLoCo
from strategies.fedavg import FedAvg

OWN = """
from dataclasses import dataclass
from typing import ClassVar

from strategies.base import Strategy
from strategies.fedavg import FedAvg


@dataclass(kw_only=True)
class Halfway(Strategy):
    name: ClassVar[str] = "halfway"
    share: float = 0.5

    def move(self, current, mean_update):
        return current + self.share * mean_update
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(OWN, encoding="utf-8")
    return path


def test_all_of_the_folder_are_known_by_their_names() -> None:
    expected = "diloco fedadam fedavg fedavgm fedmedian fedprox fedtrimmedavg fedyogi krum qfair"
    assert set(expected.split()) <= set(registry.known())
    for name, strategy in registry.known().items():
        assert registry.find(name) is strategy
        assert strategy.name == name
        assert strategy.__doc__


def test_texts_are_read_as_what_they_stand_for() -> None:
    made = registry.make("diloco", {"momentum": "0.5", "local_steps": "12"})
    assert made == DiLoCo(momentum=0.5, local_steps=12)
    assert registry.make("fedavg", {}) == FedAvg()


@pytest.mark.parametrize(
    ("name", "settings", "told"),
    [
        ("dilocco", {}, r"^name = 'dilocco' is no strategy: did you mean 'diloco'\?$"),
        ("zzz", {}, r"^name = 'zzz' is no strategy: known are diloco, fedadam, "),
        ("diloco", {"moment": 1}, r"^moment is no setting of diloco: did you mean 'momentum'\?$"),
        ("diloco", {"local_steps": "1.5"}, r"^local_steps = '1.5': Input should be a valid int"),
        ("diloco", {"momentum": 2}, r"^momentum = 2.0 must lie in \[0, 1\): lower it$"),
        ("diloco", {"memory": {}}, r"^memory is no setting of diloco"),
        ("nowhere.py:Mine", {}, r"nowhere.py is no file; write path/to/file.py:ClassName$"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    name: str, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        registry.make(name, settings)


def test_a_strategy_of_ones_own_is_found_in_its_file(own: Path) -> None:
    made = registry.make(f"{own}:Halfway", {"share": "0.25"})
    assert type(made).__name__ == "Halfway"
    assert registry.settings_of(made) == {"averaging": 0.0, "share": 0.25}


@pytest.mark.parametrize("wanted", ["FedAvg", "Strategy", "Nobody", ""])
def test_only_what_a_file_defines_itself_counts(own: Path, wanted: str) -> None:
    with pytest.raises(ValueError, match=f"defines no strategy '?{wanted}"):
        registry.find(f"{own}:{wanted}")


def test_two_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DiLoCo, "name", "fedavg")
    registry.known.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"are both named 'fedavg': rename one"):
            registry.known()
    finally:
        registry.known.cache_clear()
