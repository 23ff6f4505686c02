"""The sample pairs are well formed, reproducible, and as hard to predict as their docs say."""

import hashlib
from collections import Counter
from itertools import combinations, islice
from typing import Any

import numpy as np
import pytest

from alignment.data.answers import tally
from alignment.data.loading import load_records
from alignment.data.records import PairRecord, parse_record
from alignment.data.sample_pairs.groups import JudgingGroup, judging_groups
from alignment.data.sample_pairs.prompt import AXES, Prompt, Response
from alignment.data.sample_pairs.prompts import (
    PARTS,
    PROMPTS,
    held_out_prompts,
    prompts_of,
    response_of,
)
from alignment.data.sample_pairs.rows import pair_rows
from alignment.data.sample_source import SamplePairsSource, read_sample
from alignment.data.sources import DataError
from alignment.data.split import draw_split

RESPONSES = [response for prompt in PROMPTS for response in prompt.responses]
CLOSE = (
    ("Evenlight Grief Line", "Open Door Family Centre"),
    ("Larkhill Night Ward", "Beacon Dispatch Room"),
)
FAR = (
    ("Evenlight Grief Line", "Spanwright Engineers"),
    ("Red Stove Kitchens", "Fairgate Legal Aid"),
)


class Truth:
    """What groups prefer on all pairs of a part's responses, weighed as the sample draws them.

    Attributes:
        first_longer: Characters that the first response has more than the second, (pairs,).
        chances: Of the first response of each pair, (groups, pairs).
        weights: Of each group's judgements in the sample, (groups, pairs); they sum to 1.
    """

    def __init__(self, groups: tuple[JudgingGroup, ...], part: str) -> None:
        offered = [list(combinations(prompt.responses, 2)) for prompt in prompts_of(part)]
        pairs = [pair for each in offered for pair in each]
        of_pair = np.array([1 / len(each) for each in offered for _ in each])
        of_group = np.array([group.size for group in groups])
        self.first_longer = np.array([len(a.text) - len(b.text) for a, b in pairs])
        self.chances = np.array([[each.preference(a, b) for a, b in pairs] for each in groups])
        self.weights = np.outer(of_group / of_group.sum(), of_pair / of_pair.sum())

    def accuracy(self, first: np.ndarray) -> float:
        """How often it is right to say that the first response, or the second, is preferred."""
        return float((self.weights * np.where(first, self.chances, 1 - self.chances)).sum())


@pytest.fixture(scope="module")
def rows() -> list[dict[str, object]]:
    return list(pair_rows())


@pytest.fixture(scope="module")
def truth() -> Truth:
    return Truth(judging_groups(), "all")


# The prompts.


def test_there_are_enough_prompts_and_nothing_is_said_twice() -> None:
    assert len(PROMPTS) == len({prompt.prompt_id for prompt in PROMPTS}) == 120
    assert len({prompt.text for prompt in PROMPTS}) == 120
    assert len({response.text for response in RESPONSES}) == len(RESPONSES) >= 420
    openings = Counter(" ".join(response.text.split()[:4]).lower() for response in RESPONSES)
    assert max(openings.values()) <= 2


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.prompt_id)
def test_a_prompt_is_well_formed(prompt: Prompt) -> None:
    assert 5 <= len(prompt.text.split()) <= 35
    assert 3 <= len(prompt.responses) <= 4
    for text in (prompt.text, *(response.text for response in prompt.responses)):
        assert text.isascii() and text.isprintable() and text == text.strip()
        assert "  " not in text
    for response in prompt.responses:
        assert 25 <= len(response.text.split()) <= 90
        assert len(response.style) == len(AXES)
        assert max(map(abs, (response.quality, *response.style))) <= 1


@pytest.mark.parametrize("prompt", PROMPTS, ids=lambda prompt: prompt.prompt_id)
def test_a_prompt_has_a_weak_response_and_good_ones_that_differ_in_style(prompt: Prompt) -> None:
    good = [response for response in prompt.responses if response.quality >= 0.4]
    weak = [response for response in prompt.responses if response.quality <= -0.5]
    assert len(good) >= 2 and len(weak) >= 1
    assert len(good) + len(weak) >= len(prompt.responses) - 1
    apart = np.ptp([response.style for response in good], axis=0)
    assert apart.max() >= 1


def test_held_out_prompts_are_fixed_and_in_no_training_pair(rows: list[dict[str, object]]) -> None:
    held_out = held_out_prompts()
    assert [prompt.prompt_id for prompt in held_out[:3]] == [
        "blood_test",
        "dentist_fear",
        "hand_wash_kids",
    ]
    assert len(held_out) == 24
    assert {*held_out, *prompts_of("train")} == set(prompts_of("all")) == set(PROMPTS)
    assert not {prompt.text for prompt in held_out} & {row["prompt"] for row in rows}
    others = list(pair_rows(part="held-out"))
    assert {row["prompt"] for row in others} == {prompt.text for prompt in held_out}
    assert {row["annotator"] for row in others} == {row["annotator"] for row in rows}


def test_a_response_is_found_by_what_it_says() -> None:
    assert all(response_of(response.text) is response for response in RESPONSES)
    with pytest.raises(ValueError, match="no prompt of the sample pairs offers this response"):
        response_of("Certainly!")


# The rows.


def test_the_default_pairs_have_the_stated_size(rows: list[dict[str, object]]) -> None:
    judged = Counter((row["group"], row["annotator"]) for row in rows)
    assert set(judged.values()) == {6}
    assert len(rows) == 4320 and len(judged) == 720
    assert len({annotator for _, annotator in judged}) == len(judged)
    sizes = Counter(group for group, _ in judged)
    assert len(sizes) == 12
    assert (min(sizes.values()), max(sizes.values())) == (45, 75)


def test_a_row_is_a_pair_of_one_prompt_and_nobody_judges_a_prompt_twice(
    rows: list[dict[str, object]],
) -> None:
    offered = {prompt.text: {each.text for each in prompt.responses} for prompt in PROMPTS}
    for row in rows:
        assert list(row) == ["group", "annotator", "prompt", "chosen", "rejected"]
        assert row["chosen"] != row["rejected"]
        assert {row["chosen"], row["rejected"]} <= offered[str(row["prompt"])]
        assert isinstance(parse_record(row), PairRecord)
    assert max(Counter((row["annotator"], row["prompt"]) for row in rows).values()) == 1


def test_the_seed_decides_the_rows() -> None:
    first, again, other = (list(pair_rows(seed=s, groups=13, persons=5)) for s in (5, 5, 6))
    assert first == again != other


def test_the_preferences_of_a_seed_are_pinned() -> None:
    # Published figures name a seed: should this change, they no longer reproduce.
    # Words may still be polished: a response is named by its place.
    places = {
        response.text: f"{prompt.prompt_id} {place}"
        for prompt in PROMPTS
        for place, response in enumerate(prompt.responses)
    }
    said = "\n".join(
        f"{row['annotator']} {places[str(row['chosen'])]} {places[str(row['rejected'])]}"
        for row in pair_rows(groups=14, persons=10)
    )
    assert hashlib.sha256(said.encode()).hexdigest() == (
        "722ce77691f4c1f59fff39eac2c513729efb65ed1b76620c0d149670910c7d40"
    )


def test_more_groups_leave_the_earlier_ones_as_they_are() -> None:
    few = list(pair_rows(groups=14, persons=3))
    assert list(islice(pair_rows(groups=20, persons=3), len(few))) == few
    names = [group.name for group in judging_groups(groups=300)]
    assert len(set(names)) == 300


def test_severity_changes_what_groups_like_and_nothing_else() -> None:
    asked = [
        [(row["annotator"], row["prompt"], {row["chosen"], row["rejected"]}) for row in made]
        for made in (pair_rows(persons=5, severity=each) for each in (0.0, 1.0, 2.0))
    ]
    assert asked[0] == asked[1] == asked[2]
    alike = Truth(judging_groups(severity=0.0), "train").chances
    assert np.ptp(alike, axis=0).max() < 1e-12
    spreads = [
        np.ptp(Truth(judging_groups(severity=each), "train").chances, axis=0).mean()
        for each in (0.5, 1.0, 2.0)
    ]
    assert spreads == sorted(spreads)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed is -1, must be at least 0"),
        ({"groups": 0}, "groups is 0, must be between 1 and 4096"),
        ({"groups": 4097}, "groups is 4097, must be between 1 and 4096"),
        ({"persons": 0}, "persons is 0, must be at least 1"),
        ({"pairs": 0}, "pairs is 0, must be between 1 and 24"),
        ({"pairs": 25}, "pairs is 25, must be between 1 and 24"),
        ({"severity": float("nan")}, "severity is nan, must be between 0 and 10"),
        ({"part": "test"}, "part is 'test', must be one of train, held-out, all"),
    ],
)
def test_a_bad_argument_is_refused_at_the_call(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pair_rows(**arguments)


# The truth behind them.


def test_a_preference_is_that_of_a_group_of_many_persons() -> None:
    group = judging_groups()[3]
    first, second = PROMPTS[0].responses[:2]
    chance = group.preference(first, second)
    assert chance + group.preference(second, first) == pytest.approx(1)
    assert (chance > 0.5) == (group.liking(first) > group.liking(second))
    persons = group.draw_persons(200_000, np.random.default_rng(1))
    apart = np.subtract(first.style, second.style)
    leads = 1.4 * (first.quality - second.quality) + 1.1 * persons @ apart
    assert np.mean(1 / (1 + np.exp(-leads))) == pytest.approx(chance, abs=2e-3)


def test_rows_follow_the_preferences() -> None:
    group = judging_groups(groups=1)[0]
    rows = list(pair_rows(groups=1, persons=4000, pairs=6))
    expected = [
        max(chance, 1 - chance) for row in rows for chance in [group.preference(*_responses(row))]
    ]
    right = [group.preference(*_responses(row)) > 0.5 for row in rows]
    assert np.mean(right) == pytest.approx(np.mean(expected), abs=0.015)


def _responses(row: dict[str, object]) -> tuple[Response, Response]:
    return response_of(str(row["chosen"])), response_of(str(row["rejected"]))


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("groups", "seed"), [(12, 0), (36, 1)])
def test_who_knows_the_group_predicts_better_than_who_knows_the_population(
    part: str, groups: int, seed: int
) -> None:
    truth = Truth(judging_groups(groups=groups, seed=seed), part)
    population = (truth.weights * truth.chances).sum(axis=0) / truth.weights.sum(axis=0)
    assert 0.75 <= truth.accuracy(truth.chances > 0.5) <= 0.80
    assert 0.65 <= truth.accuracy(population > 0.5) <= 0.70


@pytest.mark.parametrize("part", PARTS)
def test_length_does_not_give_the_answer_away(part: str) -> None:
    truth = Truth(judging_groups(), part)
    longer = truth.first_longer > 0
    assert 0.47 <= truth.accuracy(longer) <= 0.55
    by_group = [
        np.average(np.where(longer, chances, 1 - chances), weights=weights)
        for chances, weights in zip(truth.chances, truth.weights, strict=True)
    ]
    assert min(by_group) < 0.42 < 0.6 < max(by_group)


def test_length_does_not_give_the_drawn_answers_away(rows: list[dict[str, object]]) -> None:
    longer = [len(str(row["chosen"])) > len(str(row["rejected"])) for row in rows]
    assert 0.47 <= np.mean(longer) <= 0.55


def test_groups_agree_on_quality_and_disagree_on_style(truth: Truth) -> None:
    alike = np.corrcoef(truth.chances)
    pairs = alike[np.triu_indices(len(alike), 1)]
    assert pairs.min() < -0.4 and pairs.max() > 0.9
    assert 0.1 < pairs.mean() < 0.4
    at = {group.name: i for i, group in enumerate(judging_groups())}
    assert all(alike[at[one], at[other]] > 0.8 for one, other in CLOSE)
    assert all(alike[at[one], at[other]] < 0.0 for one, other in FAR)
    for group in judging_groups():
        # Of two that are alike in style every group prefers the better one.
        assert (
            group.preference(Response(0.7, (0.0,) * 4, "a"), Response(-0.7, (0.0,) * 4, "b")) > 0.8
        )


def test_a_drawn_split_holds_out_pairs_whose_prompts_are_still_trained_on() -> None:
    records = load_records("sample-pairs:persons=20").records
    split = draw_split(tally(records), seed=0)
    prompts = {record.question.question_id: record.question.text for record in records}
    unseen = split.unseen_questions
    assert unseen and set(split.train_groups).isdisjoint(split.draws)
    trained = {text for question_id, text in prompts.items() if question_id not in unseen}
    assert np.mean([prompts[question_id] in trained for question_id in unseen]) > 0.9


# The source.


def test_the_source_takes_parameters() -> None:
    text = "sample-pairs:groups=3,persons=2,pairs=4,severity=2,seed=7,part=all"
    source = read_sample(text)
    assert source == SamplePairsSource(
        groups=3, persons=2, pairs=4, severity=2.0, seed=7, part="all"
    )
    assert str(source) == text
    assert str(read_sample("sample-pairs")) == str(SamplePairsSource()) == "sample-pairs"
    made = pair_rows(groups=3, persons=2, pairs=4, severity=2.0, seed=7, part="all")
    assert load_records(text).records == tuple(map(parse_record, made))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("sample-pairs:", "'' must be name=value, as in sample-pairs:groups=48,severity=2"),
        ("sample-pairs:person=3", "unknown parameter 'person': did you mean 'persons'?"),
        (
            "sample-pairs:respondents=3",
            "unknown parameter 'respondents': known are groups, persons",
        ),
        ("sample-pairs:pairs=some", "pairs = 'some' must be a whole number"),
        ("sample-pairs:pairs=99", "sample-pairs:pairs=99: pairs is 99, must be between 1 and 24"),
        ("sample-pairs:part=test", "part is 'test', must be one of train, held-out, all"),
        ("sample-pears", "sample-pears"),
    ],
)
def test_a_bad_source_is_one_line(source: str, said: str) -> None:
    with pytest.raises(DataError) as refused:
        load_records(source)
    assert said in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
