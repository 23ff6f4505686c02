"""The sample survey is well formed, reproducible, and has the structure that a demo relies on."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from alignment.data.sample_data import MOST_GROUPS, _group, sample_rows, survey_rows
from alignment.data.sample_questions import AXES, QUESTIONS, Question

QUESTION_INDEX = {question.question_id: i for i, question in enumerate(QUESTIONS)}
SIMILAR_GROUPS = (
    ("Harbour Cooperative", "Saltmarsh Fishers"),
    ("Brightwater Labs", "Kestrel Robotics"),
)
MOST_OPTIONS = 5
CONTEXT_QUESTIONS = 16


def distribution_table(rows: Iterable[Mapping[str, object]]) -> tuple[list[str], np.ndarray]:
    """Return the groups and their answers (groups, questions, 5), padded with zeros."""
    groups: dict[str, np.ndarray] = {}
    for row in survey_rows(rows):
        table = groups.setdefault(row["group"], np.zeros((len(QUESTIONS), MOST_OPTIONS)))
        shares = row["distribution"]
        table[QUESTION_INDEX[row["question_id"]], : len(shares)] = shares
    return list(groups), np.stack(list(groups.values()))


def mean_distance(left: np.ndarray, right: np.ndarray) -> float:
    return float(jensenshannon(left, right, base=2, axis=-1).mean())


def pairwise_distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.array([[mean_distance(a, b) for b in right] for a in left])


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return list(sample_rows())


@pytest.fixture(scope="module")
def table(rows: list[dict[str, object]]) -> tuple[list[str], np.ndarray]:
    return distribution_table(rows)


# The questions.


def test_there_are_enough_questions_and_no_two_are_the_same() -> None:
    assert len(QUESTIONS) >= 60
    assert len(QUESTION_INDEX) == len(QUESTIONS)
    assert len({question.text for question in QUESTIONS}) == len(QUESTIONS)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.question_id)
def test_a_question_is_well_formed(question: Question) -> None:
    count = len(question.options)
    assert 2 <= count <= MOST_OPTIONS
    assert len(set(question.options)) == count
    assert all(text == text.strip() and text for text in (question.text, *question.options))
    assert question.text.endswith("?")
    assert len(question.appeal) == count
    assert question.leanings.keys() <= set(AXES)
    for positions in question.leanings.values():
        assert len(positions) == count
        assert max(map(abs, positions)) <= 1
    main = next(iter(question.leanings.values()))
    assert max(main) - min(main) >= 1.5


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_has_many_questions_and_they_run_both_ways(axis: str) -> None:
    mains = [next(iter(question.leanings.items())) for question in QUESTIONS]
    rising = [positions[0] < positions[-1] for main, positions in mains if main == axis]
    assert len(rising) >= 10
    assert 3 <= sum(rising) <= len(rising) - 3


# The rows.


def test_the_default_survey_has_the_stated_size(rows: list[dict[str, object]]) -> None:
    assert 44_000 <= len(rows) <= 52_000
    people = defaultdict(set)
    for row in rows:
        people[row["group"]].add(row["respondent"])
    sizes = [len(members) for members in people.values()]
    assert len(sizes) == 12
    assert 120 <= min(sizes) < 140 < 180 < max(sizes) <= 200
    assert len(set().union(*people.values())) == sum(sizes)


def test_a_row_holds_its_question_and_a_valid_choice(rows: list[dict[str, object]]) -> None:
    for row in rows:
        question = QUESTIONS[QUESTION_INDEX[row["question_id"]]]
        assert list(row) == [
            "group",
            "respondent",
            "question_id",
            "question",
            "options",
            "choice",
        ]
        assert (row["question"], row["options"]) == (question.text, list(question.options))
        assert type(row["choice"]) is int
        assert 0 <= row["choice"] < len(question.options)


def test_people_skip_questions_but_groups_do_not(rows: list[dict[str, object]]) -> None:
    answered = Counter(row["respondent"] for row in rows)
    assert set(answered.values()) == set(range(20, 31))
    pairs = Counter((row["respondent"], row["question_id"]) for row in rows)
    assert max(pairs.values()) == 1
    assert len({(row["group"], row["question_id"]) for row in rows}) == 12 * len(QUESTIONS)


def test_even_a_group_of_one_answers_every_question() -> None:
    rows = list(sample_rows(groups=3, respondents=1))
    assert len({row["respondent"] for row in rows}) == 3
    assert len({(row["group"], row["question_id"]) for row in rows}) == len(rows)
    assert len(rows) == 3 * len(QUESTIONS)


def test_the_seed_decides_the_rows() -> None:
    first, again, other = (
        list(sample_rows(seed=seed, groups=13, respondents=10)) for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


def test_the_answers_to_a_seed_are_pinned() -> None:
    # Published figures name a seed: should this change, they no longer reproduce.
    answers = "\n".join(
        f"{row['respondent']} {row['question_id']} {row['choice']}"
        for row in sample_rows(seed=0, groups=14, respondents=20)
    )
    assert hashlib.sha256(answers.encode()).hexdigest() == (
        "c5b0045758df64e580069a94cdb3d4367359b5d8f4c446cb36d3e6c5fb1a56af"
    )


def test_more_groups_leave_the_earlier_ones_as_they_are() -> None:
    few = list(sample_rows(groups=14, respondents=5))
    assert list(islice(sample_rows(groups=20, respondents=5), len(few))) == few


def test_thousands_of_groups_have_names_of_their_own() -> None:
    rng = np.random.default_rng(0)
    names = [_group(index, rng).name for index in range(MOST_GROUPS)]
    assert len(set(names)) == MOST_GROUPS == 4096
    # Published figures name groups: those that there have been keep their names.
    first = hashlib.sha256("\n".join(names[:512]).encode()).hexdigest()
    assert first == ("dba6c34286d533453300e8055ee3d887b2a2f3df366a95c330287e283aba98a7")
    assert all(not set(one.split()) & set(other.split()) for one, other in pairwise(names[12:]))


def test_generated_groups_hold_values_of_their_own() -> None:
    _, answers = distribution_table(sample_rows(seed=1, groups=20))
    generated = answers[12:]
    distances = pairwise_distances(generated, generated)[np.triu_indices(len(generated), 1)]
    assert 0.2 <= distances.mean() <= 0.4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed is -1, must be at least 0"),
        ({"groups": 0}, "groups is 0, must be between 1 and 4096"),
        ({"groups": 4097}, "groups is 4097, must be between 1 and 4096"),
        ({"respondents": 0}, "respondents is 0, must be at least 1"),
        ({"severity": -0.1}, "severity is -0.1, must be between 0 and 10: 1 is usual"),
        ({"severity": 10.1}, "severity is 10.1, must be between 0 and 10"),
        ({"severity": float("nan")}, "severity is nan, must be between 0 and 10"),
    ],
)
def test_a_bad_argument_is_refused_at_the_call(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_rows(**arguments)


# Severity.


def test_severity_1_is_what_there_has_been() -> None:
    small = {"groups": 13, "respondents": 5}
    assert list(sample_rows(**small, severity=1.0)) == list(sample_rows(**small))


def test_groups_lie_the_further_apart_the_higher_the_severity() -> None:
    """At 0 they still differ by who happened to be asked."""
    between = []
    for severity in (0.0, 0.5, 1.0, 2.0):
        _, answers = distribution_table(sample_rows(groups=6, severity=severity))
        distances = pairwise_distances(answers, answers)
        between.append(float(distances[np.triu_indices(6, 1)].mean()))
    assert between == sorted(between)
    assert between[0] < 0.13 < 0.2 < between[2] < between[3]
    people = [
        dict.fromkeys((row["respondent"], row["question_id"]) for row in sample_rows(severity=each))
        for each in (0.0, 2.0)
    ]
    assert people[0] == people[1]


# From choices to distributions.


def choice_row(
    group: str, choice: int, options: tuple[str, ...] = ("Red", "Green", "Blue")
) -> dict[str, object]:
    return {
        "group": group,
        "respondent": "r",
        "question_id": "colour",
        "question": "Which colour?",
        "options": list(options),
        "choice": choice,
    }


def test_survey_rows_are_exact_shares_by_group() -> None:
    rows = [choice_row("b", 2), choice_row("a", 0), *[choice_row("b", 0)] * 2]
    common = {
        "question_id": "colour",
        "question": "Which colour?",
        "options": ["Red", "Green", "Blue"],
    }
    assert list(survey_rows(rows)) == [
        {"group": "b", **common, "distribution": [2 / 3, 0.0, 1 / 3]},
        {"group": "a", **common, "distribution": [1.0, 0.0, 0.0]},
    ]


@pytest.mark.parametrize("choice", [-1, 3])
def test_a_choice_outside_the_options_is_refused(choice: int) -> None:
    with pytest.raises(ValueError, match=f"choice is {choice} in question 'colour'"):
        list(survey_rows([choice_row("a", choice)]))


def test_options_that_change_within_a_group_are_refused() -> None:
    rows = [choice_row("a", 0), choice_row("a", 0, options=("Red", "Blue"))]
    with pytest.raises(ValueError, match="options of question 'colour' differ"):
        list(survey_rows(rows))


# The structure.


def test_groups_differ_visibly_and_similar_ones_less(
    table: tuple[list[str], np.ndarray],
) -> None:
    groups, answers = table
    distances = pairwise_distances(answers, answers)
    average = distances[np.triu_indices(len(groups), 1)].mean()
    assert 0.2 <= average <= 0.35
    for one, other in SIMILAR_GROUPS:
        assert distances[groups.index(one), groups.index(other)] < 0.6 * average


def test_answers_also_follow_a_common_prior(table: tuple[list[str], np.ndarray]) -> None:
    _, answers = table
    uniform = np.zeros_like(answers)
    for index, question in enumerate(QUESTIONS):
        uniform[:, index, : len(question.options)] = 1 / len(question.options)
    others = (answers.sum(axis=0) - answers) / (len(answers) - 1)
    assert mean_distance(answers, others) < mean_distance(answers, uniform) - 0.03


def test_halves_of_a_group_differ_less_than_groups(rows: list[dict[str, object]]) -> None:
    rng = np.random.default_rng(3)
    people = sorted({row["respondent"] for row in rows})
    in_left = dict(zip(people, rng.random(len(people)) < 0.5, strict=True))
    _, left = distribution_table(row for row in rows if in_left[row["respondent"]])
    _, right = distribution_table(row for row in rows if not in_left[row["respondent"]])
    distances = pairwise_distances(left, right)
    within = np.diag(distances)
    between = distances[~np.eye(len(distances), dtype=bool)]
    assert within.mean() < 0.65 * between.mean()


def predict_held_out(answers: np.ndarray, held_out: int, context: np.ndarray) -> np.ndarray:
    """Return a group's answers by ridge regression on the other groups' context answers."""
    others = np.delete(answers, held_out, axis=0)
    prior = others.mean(axis=0)
    deviations = others - prior
    seen = deviations[:, context].reshape(len(others), -1)
    own = (answers[held_out] - prior)[context].ravel()
    weights = np.linalg.solve(seen @ seen.T + 0.3 * np.eye(len(others)), seen @ own)
    prediction = np.clip(prior + np.tensordot(weights, deviations, axes=1), 0.0, None)
    return prediction / prediction.sum(axis=-1, keepdims=True)


def test_sixteen_answers_of_an_unseen_group_predict_its_others(
    table: tuple[list[str], np.ndarray],
) -> None:
    _, answers = table
    rng = np.random.default_rng(4)
    gains = np.zeros((len(answers), 10))
    for held_out, draw in np.ndindex(gains.shape):
        context, targets = np.split(rng.permutation(len(QUESTIONS)), [CONTEXT_QUESTIONS])
        prior = np.delete(answers, held_out, axis=0).mean(axis=0)
        informed = predict_held_out(answers, held_out, context)
        truth = answers[held_out, targets]
        gains[held_out, draw] = mean_distance(prior[targets], truth) - mean_distance(
            informed[targets], truth
        )
    # The mean distance to the truth falls from about 0.22 to about 0.14.
    assert gains.mean() > 0.06
    assert (gains.mean(axis=1) > 0.02).all()
