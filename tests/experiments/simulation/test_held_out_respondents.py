"""Persons held out of their groups: who, what is shown of them, and a whole run on the files."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from alignment.data.loading import load_records, write_records
from alignment.data.population import load_population
from alignment.data.records import (
    ChoiceRecord,
    PairRecord,
    PreferenceRecord,
    Question,
    SurveyRecord,
)
from alignment.data.split import SPLIT_FILE
from experiments.simulation.held_out_respondents import (
    EXAMPLE,
    RECORDS_FILE,
    HeldOutRespondents,
    hold_out_respondents,
    split_respondents,
)
from experiments.simulation.run import run
from server.config import read_run_config

WriteRows = Callable[..., Path]


def question(number: int) -> Question:
    return Question(question_id=f"q{number:02d}", text=f"{number} ?", options=("yes", "no"))


def choices(sizes: Mapping[str, Iterable[int]]) -> list[PreferenceRecord]:
    """Groups of respondents who answered so many questions each."""
    return [
        ChoiceRecord(
            group=group, respondent=f"p{person}", question=question(number), choice=number % 2
        )
        for group, counts in sizes.items()
        for person, count in enumerate(counts)
        for number in range(count)
    ]


RECORDS = choices({"north": [30] * 10, "south": [2, 3, 4, 5, 60], "lone": [9]})


def held_out(made: HeldOutRespondents) -> Counter[str]:
    return Counter(name.split(" / ")[0] for name in made.split.draws)


def shape(records: Iterable[PreferenceRecord]) -> Counter[tuple[str | None, str, object]]:
    """What was said by whom, whatever the group is called."""
    return Counter((r.unit, r.question.question_id, r.target) for r in records)


class TestWho:
    def test_a_share_of_every_group_is_held_out_and_the_rest_trains(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.2)
        assert held_out(made) == {"north": 2, "south": 1}
        assert made.split.train_groups == ("lone", "north", "south")
        assert made.train_respondents == 16 - 3
        left = {(r.group, r.unit) for r in made.records if r.group in made.split.train_groups}
        gone = {(r.group, r.unit) for r in made.records if r.group in made.split.draws}
        assert (len(left), len(gone)) == (13, 3)
        for name, unit in gone:
            group, _, respondent = name.partition(" / ")
            assert respondent == unit
            assert (group, unit) not in left

    def test_no_answer_is_lost_and_none_changes(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.5)
        assert shape(made.records) == shape(RECORDS)
        assert [r.unit for r in made.records] == [r.unit for r in RECORDS]

    def test_somebody_of_every_group_trains(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.99)
        assert held_out(made) == {"north": 9, "south": 4}

    def test_who_answered_one_question_trains(self) -> None:
        made = hold_out_respondents(choices({"a": [1, 1, 1, 1, 2, 2, 1, 1, 1, 1]}), share=0.4)
        assert set(made.split.draws) == {"a / p4", "a / p5"}

    def test_one_question_answered_often_is_one_question(self) -> None:
        twice = [*choices({"a": [1, 2]}), *choices({"a": [1]})]
        assert set(hold_out_respondents(twice, share=0.5).split.draws) == {"a / p1"}

    def test_a_seed_repeats_the_draw_whatever_the_order_of_the_records(self) -> None:
        first = hold_out_respondents(RECORDS, share=0.5, seed=3)
        assert hold_out_respondents(RECORDS[::-1], share=0.5, seed=3).split == first.split
        assert hold_out_respondents(RECORDS, share=0.5, seed=4).split != first.split

    def test_everybody_is_as_likely(self) -> None:
        """200 draws of 2 in 10: a fair count is off by 32 (5.7 deviations) in 1 of 10^7 tries."""
        drawn: Counter[str] = Counter()
        for seed in range(200):
            drawn.update(list(hold_out_respondents(RECORDS[:300], seed=seed).split.draws))
        assert len(drawn) == 10
        assert all(abs(count - 40) < 32 for count in drawn.values())

    def test_pairs_with_annotators_are_held_out_as_choices_are(self) -> None:
        pairs = [
            PairRecord(group="a", annotator=f"p{i % 4}", prompt=f"{i}", chosen="x", rejected="y")
            for i in range(16)
        ]
        made = hold_out_respondents(pairs, share=0.25)
        assert len(made.split.draws) == 1
        assert shape(made.records) == shape(pairs)


class TestDraws:
    def test_some_answers_are_shown_and_all_others_are_targets(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.9, context=20)
        for name, (draw,) in made.split.draws.items():
            mine = [r.question.question_id for r in made.records if r.group == name]
            assert sorted((*draw.context, *draw.target)) == sorted(mine)
            assert len(draw.context) == min(20, len(mine) // 2)
            assert draw.target

    def test_the_context_may_be_smaller(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.9, context=3)
        assert max(len(d.context) for (d,) in made.split.draws.values()) == 3

    def test_draws_of_a_respondent_differ(self) -> None:
        made = hold_out_respondents(RECORDS, share=0.5, draws=4)
        for name, draws in made.split.draws.items():
            assert len(draws) == 4
            if name.startswith("north"):
                assert len({draw.context for draw in draws}) == 4


class TestRefusals:
    @pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
    def test_a_share_out_of_bounds(self, share: float) -> None:
        with pytest.raises(ValueError, match=r"share = \S+ must be above 0 and below 1"):
            hold_out_respondents(RECORDS, share=share)

    @pytest.mark.parametrize("name", ["context", "draws"])
    def test_nothing_to_show_or_to_draw(self, name: str) -> None:
        with pytest.raises(ValueError, match=f"{name} = 0 must be at least 1"):
            hold_out_respondents(RECORDS, **{name: 0})

    def test_surveys_and_nameless_pairs(self) -> None:
        survey = SurveyRecord(group="a", question=question(0), distribution=(0.5, 0.5))
        pair = PairRecord(group="a", annotator=None, prompt="p", chosen="x", rejected="y")
        for record in (survey, pair):
            with pytest.raises(ValueError, match="of group 'a' names no respondent: give"):
                hold_out_respondents([record])

    def test_nobody_to_hold_out(self) -> None:
        for records in (choices({"a": [5]}), choices({"a": [1] * 10}), RECORDS[:90]):
            with pytest.raises(ValueError, match="holds out nobody"):
                hold_out_respondents(records, share=0.1)

    def test_a_name_that_is_taken(self) -> None:
        taken = choices({"a": [2, 2], "a / p0": [1], "a / p1": [1]})
        with pytest.raises(ValueError, match=r"'a / p[01]' would stand for two"):
            hold_out_respondents(taken, share=0.5)


@pytest.fixture
def call() -> Callable[..., Any]:
    """The function behind the options that it will be mounted with."""
    app = typer.Typer()
    app.command(epilog=EXAMPLE)(split_respondents)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


class TestCommand:
    def test_it_writes_what_loads(
        self, call: Callable[..., Any], tmp_path: Path, tiny_data: Path
    ) -> None:
        out = tmp_path / "new" / "data"
        done = call("--data", tiny_data, "--out", out, "--share", 0.3, "--context", 4)
        assert done.exit_code == 0, done.exception
        assert "12 respondents held out, 24 in 6 group(s) left to train" in done.output
        assert f"--data {out / RECORDS_FILE} --split {out / SPLIT_FILE}" in done.output
        population = load_population(
            str(out / RECORDS_FILE), split=str(out / SPLIT_FILE), seed=0, skip_invalid=False
        )
        assert len(population.groups) == 6 + 12
        assert population.split.unseen_questions == frozenset()
        for (draw,) in population.split.draws.values():
            assert (len(draw.context), len(draw.target)) == (4, 8)
        for group in population.split.train_groups:
            assert len(population.training_units(group, unit="respondent")) == 4
        before, after = load_records(tiny_data).records, load_records(out / RECORDS_FILE).records
        assert shape(after) == shape(before)

    def test_equal_seeds_give_equal_files(
        self, call: Callable[..., Any], tmp_path: Path, tiny_data: Path
    ) -> None:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            call("--data", tiny_data, "--out", tmp_path / name, "--seed", seed)
        for file in (RECORDS_FILE, SPLIT_FILE):
            first, again, other = ((tmp_path / n / file).read_bytes() for n in "abc")
            assert first == again != other

    def test_what_exists_is_replaced_on_demand_only(
        self, call: Callable[..., Any], tmp_path: Path, tiny_data: Path
    ) -> None:
        out = tmp_path / "out"
        given = ("--data", tiny_data, "--out", out)
        assert call(*given).exit_code == 0
        (out / "notes.txt").write_text("mine")
        before = (out / SPLIT_FILE).read_bytes()
        refused = call(*given, "--seed", 1).exception
        assert isinstance(refused, ValueError)
        assert str(refused) == f"--out {out}: exists; choose another name or --overwrite"
        assert (out / SPLIT_FILE).read_bytes() == before
        assert call(*given, "--seed", 1, "--overwrite").exit_code == 0
        assert (out / SPLIT_FILE).read_bytes() != before
        assert (out / "notes.txt").read_text() == "mine"

    def test_a_file_is_never_replaced_by_a_folder(
        self, call: Callable[..., Any], tmp_path: Path, tiny_data: Path
    ) -> None:
        file = tmp_path / "file"
        file.write_text("mine")
        refused = call("--data", tiny_data, "--out", file, "--overwrite").exception
        assert "exists; choose another name for the folder" in str(refused)
        assert file.read_text() == "mine"

    def test_bad_input_writes_nothing(
        self, call: Callable[..., Any], tmp_path: Path, tiny_data: Path
    ) -> None:
        survey = tmp_path / "survey.jsonl"
        write_records(
            [SurveyRecord(group="a", question=question(0), distribution=(0.5, 0.5))], survey
        )
        out = tmp_path / "out"
        for words in (("--data", survey), ("--data", tiny_data, "--share", 1)):
            refused = call(*words, "--out", out).exception
            assert isinstance(refused, ValueError)
            assert len(str(refused).splitlines()) == 1
            assert not out.exists()

    def test_help_shows_the_example(self, call: Callable[..., Any]) -> None:
        shown = " ".join(call("--help").output.split())
        assert "Example: fedaccord experiment split-respondents --data polis.jsonl.gz" in shown
        assert "Hold out single respondents" in shown


def test_a_run_trains_on_the_rest_and_measures_each_person(
    tmp_path: Path, tiny_data: Path, tiny_settings: Mapping[str, Any]
) -> None:
    split_respondents(tiny_data.as_posix(), tmp_path / "data", share=0.2, context=6)
    split = tmp_path / "data" / SPLIT_FILE
    changes = {
        "data": str(tmp_path / "data" / RECORDS_FILE),
        "split": str(split),
        "out": str(tmp_path / "out"),
    }
    result = run(read_run_config({**tiny_settings, **changes}))
    people = json.loads(split.read_text())["eval_groups"]
    assert len(people) == 6
    assert set(result["alignment"]["unseen_groups"]["groups"]) == set(people)
    assert result["data"]["train_groups"] == 6
    assert result["alignment"]["unseen_groups"]["unseen_questions"] is None
    assert np.isfinite(result["alignment"]["unseen_groups"]["log_loss"])
