"""The benchmark of a round against the number of groups."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import clients.training.trainer
from experiments.benchmarks import scale
from experiments.benchmarks.harness import BENCHMARKS, Figure, find, find_picture
from experiments.benchmarks.plots.scale import draw
from server.config import RunConfig, read_run_config

Series = dict[tuple[str, float, float], float]


def series(figures: list[Figure]) -> Series:
    return {
        (figure.key, figure.at["groups"], figure.at.get("adapters", -1.0)): figure.value
        for figure in figures
        if figure.key
    }


@pytest.mark.parametrize(
    ("given", "sizes"),
    [("", (10, 30, 100)), ("30, 10,30", (10, 30)), ("1000", (1000,)), ("3", (3,))],
)
def test_the_sizes_are_chosen_from_outside(
    given: str, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(scale.SIZES, given)
    assert scale._sizes() == sizes


@pytest.mark.parametrize("given", ["2", "4001", "ten", "10,,20", "-5"])
def test_sizes_that_no_federation_has_are_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(scale.SIZES, given)
    with pytest.raises(ValueError, match="give numbers in"):
        scale._sizes()


def test_rounds_of_real_federations_are_taken_apart(
    tiny_settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, train = scale._settings, clients.training.trainer.train_locally

    def tiny(size: int, folder: Path) -> RunConfig:
        given = settings(size, folder).flat()
        shape = {key: value for key, value in tiny_settings.items() if key.startswith("predictor")}
        return read_run_config({**given, **shape})

    monkeypatch.setattr(scale, "_settings", tiny)
    monkeypatch.setenv(scale.SIZES, "3,5")
    figures = scale.measure()
    measured = series(figures)
    for size in (3.0, 5.0):
        for adapters in (0.0, 1.0):
            assert measured[scale.SECONDS, size, adapters] > 0
            # All that is not training takes some time too.
            assert measured[scale.OVERHEAD, size, adapters] > 0
        assert 0.01 < measured[scale.MEMORY, size, -1.0] < 100
    goals = [figure for figure in figures if figure.goal is not None]
    assert [(figure.at, figure.goal.bound) for figure in goals if figure.goal] == [
        ({"groups": 5.0, "adapters": 1.0}, 20.0)
    ]
    assert clients.training.trainer.train_locally is train


def test_it_is_known_with_its_picture(tmp_path: Path) -> None:
    assert "scale" in BENCHMARKS
    assert find("scale") is scale.measure
    picture = find_picture("scale")
    assert picture is not None
    figures = [
        Figure.of("x", [value], "s", key=key, at={"groups": groups, "adapters": adapters})
        for key, value in ((scale.SECONDS, 0.5), (scale.OVERHEAD, 12.0))
        for groups in (10.0, 100.0, 1000.0)
        for adapters in (0.0, 1.0)
    ]
    figures += [
        Figure.of("m", [groups], "GB", key=scale.MEMORY, at={"groups": groups})
        for groups in (10.0, 100.0, 1000.0)
    ]
    picture(figures, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").read_bytes().startswith(b"\x89PNG")


def test_figures_of_something_else_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hold no series of scale"):
        draw([Figure.of("other", [1.0], "s")], tmp_path / "scale.png")
