"""Goals that the code is held to: sizes of rooms and functions, no circles, no silent ignores."""

from pathlib import Path

import pytest

from tests.house.figures import House, measure_house

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def house() -> House:
    return measure_house(ROOT)


def test_no_folder_has_more_modules_than_a_reader_takes_in(house: House) -> None:
    assert [folder for room in house.rooms.values() for folder in room.full_folders] == []


def test_no_modules_import_each_other(house: House) -> None:
    assert house.circles == house.circles_at_load == ()


def test_no_function_is_long_but_for_commands(house: House) -> None:
    assert [function for room in house.rooms.values() for function in room.long] == []


def test_every_ignore_gives_its_reason(house: House) -> None:
    assert [line for room in house.rooms.values() for line in room.unexplained] == []
    assert house.unexplained_in_tests == ()


def test_every_public_function_is_documented_and_annotated(house: House) -> None:
    assert [function for room in house.rooms.values() for function in room.bare] == []
