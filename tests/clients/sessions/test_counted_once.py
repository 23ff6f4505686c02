"""Answers are counted once: after their spend, within the cap, under noise, and never again."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from alignment.data.records import Question
from alignment.data.units import UnitRecords
from alignment.tallies.questionnaire import Questionnaire
from clients.sessions import group_tally
from clients.sessions.group_ledger import GroupLedger
from clients.sessions.group_tally import GroupTallies, forget_tallies
from privacy.accounting.choices import Unit
from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.terms import terms_of_counts
from privacy.identity.keys import Identity, Roster
from privacy.kernel import tally
from privacy.kernel.randomness import SystemRandomStream
from privacy.kernel.tally import Answers, count_answers
from privacy.kernel.types import centred

QUESTIONS = tuple(
    Question(question_id=f"q{number}", text=f"do you like {number} ?", options=("yes", "no"))
    for number in range(5)
)


class Group:
    """A group of three persons, whose records can be opened so and so often."""

    def __init__(self, folder: Path) -> None:
        self.opened = 0
        self.questionnaire = Questionnaire(questions=QUESTIONS)
        self.ledger = GroupLedger(
            folder / "group.jsonl",
            Identity.create(),
            Roster({}),
            budget_epsilon=8.0,
            budget_delta=1e-5,
        )
        self.tallies = GroupTallies(
            group="Group",
            group_ledger=self.ledger,
            folder=folder / "group.tallies",
            questionnaire=self.questionnaire,
            wave="",
            units=self.units,
        )

    def units(self) -> Sequence[UnitRecords]:
        self.opened += 1
        said = tuple((1.0, 0.0) for _ in QUESTIONS)
        return [UnitRecords(unit=name, questions=QUESTIONS, targets=said) for name in "abc"]

    @property
    def types(self) -> list[str]:
        with self.ledger.reopened() as ledger:
            return [event.type for event in ledger.events()]


def plan_of(group: Group, *, answers: int = 0) -> PrivacyPlan:
    terms = terms_of_counts(
        unit=Unit.RESPONDENT,
        epsilon=4.0,
        delta=1e-5,
        units_per_group=(9,),
        options=[group.questionnaire.options],
        questionnaires=[group.questionnaire.digest],
        distributions=False,
        answers_per_respondent=answers,
    )
    own = group.questionnaire
    return PrivacyPlan.calibrate(terms).of_group(0, own.options, questionnaire=own.digest, units=9)


@pytest.fixture
def group(tmp_path: Path) -> Group:
    forget_tallies()
    return Group(tmp_path)


def test_nothing_is_counted_before_its_spend_is_on_disk(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, counted = group_tally.answers_in, []

    def watch(*given):
        counted.append((group.tallies.group_ledger._ledger.events()[-1].type, group_file(group)))
        return read(*given)

    monkeypatch.setattr(group_tally, "answers_in", watch)
    group.tallies.obtain(plan_of(group))
    assert counted == [("SPEND", False)]
    assert group.types == ["DATASET", "BUDGET", "PLAN", "SPEND", "RELEASED"]


def group_file(group: Group) -> bool:
    """Whether there is a file of a tally."""
    return group.tallies.folder.exists() and any(group.tallies.folder.iterdir())


def test_no_record_is_opened_once_the_tally_lies_there(group: Group) -> None:
    plan = plan_of(group)
    (first,) = group.tallies.obtain(plan)
    assert group.opened == 1
    for _ in range(3):
        forget_tallies()
        (again,) = group.tallies.obtain(plan)
        assert (again.digest, group.opened) == (first.digest, 1)
    assert group.types.count("SPEND") == group.types.count("RELEASED") == 1


def test_noise_is_on_every_count(group: Group) -> None:
    """Ten cells, each of them without noise once in a million."""
    (stored,) = group.tallies.obtain(plan_of(group))
    said = np.tile([3, 0], 5) * stored.tally.bounds.step
    assert np.all(stored.tally.cells != said)


def test_nobody_moves_the_counts_by_more_than_the_sensitivity_whatever_came_before(
    group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last check is in integers, person by person, and rests on no cap before it."""
    plan = plan_of(group, answers=2)
    bounds = plan.count_bounds(group.questionnaire.options)
    answers = Answers(
        persons=np.array([0, 0, 0, 0, 0, 1]),
        questions=np.array([0, 1, 2, 3, 4, 0]),
        options=np.zeros(6, dtype=np.int64),
        weights=np.array([1e9] * 5 + [1.0]),
    )
    source = SystemRandomStream()

    def squared() -> int:
        """How far the first person moves the counts."""
        other = Answers(**{name: each[5:] for name, each in vars(answers).items()})
        moved = [count_answers(each, bounds, plan.kernel, source) for each in (answers, other)]
        difference = centred(moved[0].vector) - centred(moved[1].vector)
        return sum(int(cell) ** 2 for cell in difference)

    assert 0 < squared() <= bounds.sensitivity**2
    # Without the cap, too: a ballot is of one size, whatever is in it.
    monkeypatch.setattr(tally, "_counted", lambda each, *_: np.arange(len(each.persons)))
    assert 0 < squared() <= bounds.sensitivity**2
    # And where floats are wrong about its size, it counts as absent.
    monkeypatch.setattr(tally, "_KEPT", Fraction(0))
    assert squared() == 0
