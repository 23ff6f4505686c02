"""The demonstration on a language model: its stage, what choices are worth, page and picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from alignment.config import ContextConfig, PredictorConfig
from alignment.data.loading import load_records
from alignment.data.split import read_split
from alignment.model.predictor import Predictor
from experiments.aligning import demo, measure
from experiments.aligning.measure import (
    AFTER,
    AT_BEST,
    BEFORE,
    BY_CHANCE,
    BY_CONTEXT,
    BY_REWARD,
    CHOOSERS,
)
from experiments.aligning.page import described, sentences, table, write_page
from experiments.aligning.plot import PICTURE, aligned_title, draw_aligned
from experiments.aligning.stage import Stage, set_stage
from experiments.cli import app


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return set_stage(tmp_path_factory.mktemp("stage"), persons=3, pairs=4)


class TestStage:
    def test_nobody_trains_on_a_prompt_that_is_judged(self, stage: Stage) -> None:
        judged = {prompt.text for prompt in stage.prompts}
        records = load_records(stage.records).records
        split = read_split(stage.split)
        trained = [record for record in records if record.group in split.train_groups]
        assert trained
        assert not judged & {record.question.text for record in trained}

    def test_every_group_trains_and_is_judged_on_its_own_answers(self, stage: Stage) -> None:
        split = read_split(stage.split)
        assert set(split.train_groups) == set(stage.contexts) == set(stage.held_out)
        assert set(split.draws) == {f"{group} / held out" for group in split.train_groups}
        for group in split.train_groups:
            (draw,) = split.draws[f"{group} / held out"]
            assert set(draw.context) == {q.question_id for q in stage.contexts[group].questions}
            assert set(draw.target) == {q.question_id for q in stage.held_out[group].questions}

    def test_the_split_fits_the_records(self, stage: Stage) -> None:
        from alignment.data.answers import tally

        read_split(stage.split).check(tally(load_records(stage.records).records))

    def test_equal_arguments_give_equal_files(self, stage: Stage, tmp_path: Path) -> None:
        again = set_stage(tmp_path, persons=3, pairs=4)
        assert again.records.read_bytes() == stage.records.read_bytes()
        assert again.split.read_bytes() == stage.split.read_bytes()


class TestWorth:
    def test_a_group_is_served_best_by_itself_and_evenly_by_chance(self, stage: Stage) -> None:
        for group, rows in measure.wins(stage).items():
            offered = [len(prompt.responses) for prompt in stage.prompts]
            assert list(map(len, rows)) == offered
            # Of two responses one wins as often as the other loses.
            assert measure._mean_worth(rows, None) == pytest.approx(0.5), group
            best = measure._mean_worth(rows, rows)
            assert best > 0.65, group
            assert measure._mean_worth(rows, [-row for row in rows]) < 0.35, group

    def test_choices_are_judged_by_the_truth_and_not_by_their_scores(self, stage: Stage) -> None:
        rows = measure.wins(stage)[stage.groups[0].name]
        first = [np.arange(len(row), 0, -1.0) * 1000 for row in rows]
        assert measure._mean_worth(rows, first) == pytest.approx(np.mean([r[0] for r in rows]))

    def test_of_real_models(self, stage: Stage, chat_model: str) -> None:
        shape = {"encoder": chat_model, "max_tokens": 160, "lora_layers": 1}
        policy = Predictor(PredictorConfig(scores="policy", **shape))
        reward = Predictor(PredictorConfig(scores="reward", **shape))
        found = measure.worth(stage, policy, measure.reward_of(stage, reward, ContextConfig()))
        assert tuple(found) == CHOOSERS
        groups = [group.name for group in stage.groups]
        for each in found.values():
            assert list(each) == groups
            assert all(0 < value < 1 for value in each.values())
        assert all(found[AT_BEST][g] >= found[other][g] for other in CHOOSERS for g in groups)
        written = measure.write_texts(policy, ["do you like tea ?"], tokens=4)
        # Adapters begin with no effect.
        assert [each.before for each in written] == [each.after for each in written]


def a_study() -> dict[str, Any]:
    groups = ["Night <Ward>", "School"]
    level = {
        BY_CHANCE: 0.5,
        BEFORE: 0.52,
        AFTER: 0.6,
        BY_REWARD: 0.62,
        BY_CONTEXT: 0.7,
        AT_BEST: 0.8,
    }
    worth = {
        name: dict(zip(groups, (value, value - 0.1), strict=True)) for name, value in level.items()
    }
    accuracy = {"mean": 0.64, "worst": 0.55, "without_context": 0.6}
    return {
        "encoder": "SmolLM2-135M-Instruct",
        "groups": groups,
        "prompts": 24,
        "pairs": {"judged": 1234},
        "accuracy": {"reward": accuracy, "policy": {**accuracy, "without_context": None}},
        "longer_wins": 0.52,
        "worth": worth,
        "summary": {name: measure.summary(each) for name, each in worth.items()},
        "texts": [{"prompt": "Why <b>?", "before": "So.", "after": "Because."}],
        "seconds": 1.0,
    }


class TestPage:
    def test_the_table_has_mean_worst_and_every_group(self) -> None:
        heading, rows = table(a_study())
        assert heading == ["", *CHOOSERS]
        assert [row[0] for row in rows] == [
            "mean of the groups", "worst group", "Night <Ward>", "School",
        ]  # fmt: skip
        assert rows[0][1 + CHOOSERS.index(BY_CONTEXT)] == ".650"
        assert rows[1][1 + CHOOSERS.index(BY_CONTEXT)] == ".600"

    def test_the_sentences_say_what_was_measured(self) -> None:
        first, *caveats = sentences(a_study())
        assert "1,234 pairs" in first
        assert "64.0%" in first
        assert "52.0%" in first
        assert any("true preferences" in each for each in caveats)
        assert "24 prompts that nobody trained on" in described(a_study())

    def test_page_and_picture(self, tmp_path: Path) -> None:
        study = a_study()
        picture = draw_aligned(tmp_path, study)
        assert picture.name == PICTURE
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert "47% of cases before" in aligned_title(study)
        page = write_page(tmp_path, study, picture).read_text(encoding="utf-8")
        assert "Why &lt;b&gt;?" in page
        assert "Night &lt;Ward&gt;" in page
        assert "http" not in page.replace("http-equiv", "")


def test_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {}

    def carried_out(out: Path, **given: Any) -> dict[str, Any]:
        asked.update(out=out, **given)
        out.mkdir()
        return a_study()

    monkeypatch.setattr(demo, "carry_out", carried_out)
    arguments = ["demo", "--lm", "--out", str(tmp_path / "lm"), "--set", "seed=3"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert asked["assignments"] == ["seed=3"]
    assert "Why <b>?" in result.output
    assert (tmp_path / "lm" / "aligned.html").is_file()
    result = CliRunner().invoke(app, [*arguments, "--json"])
    assert result.exit_code == 1  # The folder is there: the stand-in cannot make it again.


def test_a_whole_demonstration_on_a_tiny_model(
    chat_model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "PERSONS", 2)
    monkeypatch.setattr(demo, "TOKENS", 3)
    small = [
        f"predictor.encoder={chat_model}",
        "predictor.dtype=float32",
        "predictor.depth=0",
        "predictor.max_tokens=100",
        "predictor.lora_layers=1",
        "federation.adapter_rounds=1",
    ]
    said: list[str] = []
    study = demo.carry_out(tmp_path, assignments=small, say=said.append)
    assert json.loads((tmp_path / demo.STUDY_FILE).read_text()) == study
    assert set(study["worth"]) == set(CHOOSERS)
    assert 0 < study["accuracy"]["reward"]["mean"] < 1
    assert len(study["texts"]) == demo.TEXTS
    assert any("reward" in line for line in said)
    write_page(tmp_path, study, draw_aligned(tmp_path, study))
