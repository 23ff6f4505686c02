"""The pages about security name tests that are there, and every claim has what holds it."""

import re
from pathlib import Path

import pytest

from tests.house.claims import CLAIMS, Claim, Fault
from tests.house.faults import PAGE, ROOT, cells, notes, plant_all, planted, test_exists

PITFALLS = ROOT / "docs" / "pitfalls.md"
NOTES = {claim.note: claim for claim in CLAIMS}
GRADES, STATES = ("severe", "serious", "mild"), ("closed", "held", "limit")
FAULTY = [claim for claim in CLAIMS if claim.fault is not None]


class TestTable:
    """The table of SECURITY.md."""

    CELLS = cells(PAGE.read_text(encoding="utf-8"))

    def test_every_cell_has_a_fault(self) -> None:
        assert len(self.CELLS) == 2 * len({cell.row for cell in self.CELLS}) >= 14
        for cell in self.CELLS:
            faults = [note for note in cell.notes if NOTES[note].fault is not None]
            assert faults, f"{cell.row}: {cell.column}"

    def test_every_note_is_in_it_and_nothing_else(self) -> None:
        assert {note for cell in self.CELLS for note in cell.notes} == set(NOTES)
        assert [claim.note for claim in CLAIMS] == list(range(1, len(CLAIMS) + 1))

    def test_what_it_denies_has_a_fault_and_what_it_grants_a_test_or_a_reason(self) -> None:
        denied = {note for cell in self.CELLS if "cannot" in cell.column for note in cell.notes}
        for claim in CLAIMS:
            if claim.note in denied:
                assert claim.fault is not None, claim.note
            assert bool(claim.why) != (claim.fault is not None and bool(claim.test)), claim.note

    def test_the_list_below_it_is_that_of_the_code(self) -> None:
        """Written by ``python -m tests.house.faults --notes``."""
        assert notes() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("claim", FAULTY, ids=lambda claim: claim.note)
def test_a_fault_can_be_planted(claim: Claim) -> None:
    assert claim.fault is not None
    file = ROOT / claim.fault.file
    assert not claim.fault.file.startswith("tests/")
    assert planted(file.read_text(encoding="utf-8"), claim.fault)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(file="f.py", old="b = 2\n", new="b = 3\n"),
        Fault(file="f.py", old="a = 1\n", new="a = 2\n"),
        Fault(file="f.py", old="c = 1\n", new="c = 1\n"),
    ],
)
def test_a_fault_that_is_none_is_refused(fault: Fault) -> None:
    with pytest.raises(ValueError, match=r"f\.py"):
        planted("a = 1\na = 1\nc = 1\n", fault)


@pytest.mark.parametrize("page", [PAGE, PITFALLS], ids=lambda page: page.name)
def test_every_test_that_a_page_names_is_there(page: Path) -> None:
    named = re.findall(r"`([\w/.-]+\.py::[\w:]+)`", page.read_text(encoding="utf-8"))
    assert len(named) > 30
    assert [node for node in named if not test_exists(node)] == []


@pytest.mark.parametrize(
    "node",
    [
        "tests/house/test_faults.py",
        "tests/house/test_faults.py::TestTable",
        "tests/house/test_faults.py::test_nothing",
        "tests/house/test_faults.py::TestTable::test_a_fault_can_be_planted",
        "tests/house/test_nothing.py::test_a_fault_can_be_planted",
        "privacy/errors.py::PrivacyError",
    ],
)
def test_what_is_no_test_is_told(node: str) -> None:
    assert test_exists("tests/house/test_faults.py::test_a_fault_can_be_planted")
    assert test_exists("tests/house/test_faults.py::TestTable::test_every_cell_has_a_fault")
    assert not test_exists(node)


class TestPitfalls:
    """The page of pitfalls: its table is that of its entries."""

    TEXT = PITFALLS.read_text(encoding="utf-8")
    ROWS = re.findall(r"^\| \[(.+)\]\(#(.+)\) \| (\w+) \| (\w+) \|$", TEXT, re.MULTILINE)
    ENTRIES = re.findall(r"^### (.+)\n\n(\w+), (\w+)\n\n((?:(?!^#).*\n)*)", TEXT, re.MULTILINE)

    def test_the_table_is_that_of_the_entries(self) -> None:
        assert [(title, grade, state) for title, _, grade, state in self.ROWS] == [
            (title, grade, state) for title, grade, state, _ in self.ENTRIES
        ]
        assert len({title for title, *_ in self.ENTRIES}) == len(self.ENTRIES) > 60

    def test_a_row_leads_to_its_entry(self) -> None:
        for title, anchor, *_ in self.ROWS:
            assert anchor == re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")

    def test_every_entry_has_a_grade_a_state_and_a_test_or_says_why_not(self) -> None:
        for title, grade, state, text in self.ENTRIES:
            assert grade in GRADES and state in STATES, title
            tests = re.findall(r"^- `(.+)`$", text, re.MULTILINE)
            assert bool(tests) != ("\nNo test: " in text), title
            assert tests or state == "limit", title


@pytest.mark.slow
def test_every_planted_fault_is_found() -> None:
    """Minutes: each is planted in a copy of the checkout, two at a time."""
    outcomes = list(plant_all(CLAIMS, workers=2))
    assert len(outcomes) == len(FAULTY)
    missed = [f"{each.claim.note}:\n{each.tail}" for each in outcomes if not each.red]
    assert not missed, "\n".join(missed)
