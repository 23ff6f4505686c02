"""One run from settings to the finished folder."""

import gzip
import json
import tomllib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from peft import PeftModel
from safetensors import safe_open
from transformers import AutoModel

from alignment.data.sources import DataError
from alignment.data.split import read_split
from alignment.model.folder import load_predictor
from experiments.simulation.run import run
from server.config import ConfigError, RunConfig, read_run_config
from strategies.wire.round_plan import flatten

MakeConfig = Callable[..., RunConfig]
WriteRows = Callable[..., Path]

FILES = {
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "config.toml",
    "head.safetensors",
    "lineage.json",
    "plots/alignment_by_round.png",
    "plots/fairness.png",
    "plots/groups.png",
    "plots/predicted_beside_actual.png",
    "predictions.jsonl",
    "report.html",
    "result.json",
    "rounds.jsonl",
    "split.json",
}
ONE_ROUND = {
    "federation.warmup_rounds": 0,
    "federation.adapter_rounds": 1,
    "federation.evaluate_every": 0,
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TestFolder:
    def test_it_holds_these_files_and_no_others(self, finished: Any) -> None:
        assert set(files_of(finished.out)) == FILES
        assert all(content for content in files_of(finished.out).values())

    def test_the_rounds_are_one_a_line(self, finished: Any) -> None:
        lines = (finished.out / "rounds.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        assert [row["round"] for row in rows] == [0, 1, 2, 3, 4]
        assert [row["alignment"] is not None for row in rows] == [True, False, True, False, True]
        assert [row["train_adapter"] for row in rows] == [False, False, False, True, True]
        assert {row["groups"] for row in rows[1:]} == {4}

    def test_the_configuration_repeats_the_run(self, finished: Any) -> None:
        content = tomllib.loads((finished.out / "config.toml").read_text(encoding="utf-8"))
        assert read_run_config(flatten(content)) == finished.config

    def test_the_split_reads_back(self, finished: Any) -> None:
        split = read_split(finished.out / "split.json")
        assert len(split.train_groups) == 4
        assert set(split.draws) == set(finished.result["alignment"]["unseen_groups"]["groups"])

    def test_pictures_and_report_are_what_their_names_say(self, finished: Any) -> None:
        for picture in (finished.out / "plots").iterdir():
            assert picture.read_bytes().startswith(b"\x89PNG\r\n")
        report = (finished.out / "report.html").read_text(encoding="utf-8")
        assert report.lstrip().lower().startswith("<!doctype html>")

    def test_the_model_loads_and_predicts(self, finished: Any) -> None:
        predictor, context = load_predictor(finished.out)
        assert predictor.config == finished.config.predictor
        assert context == finished.config.context

    def test_the_adapter_loads_with_peft_alone(self, finished: Any, tiny_encoder: str) -> None:
        base = AutoModel.from_pretrained(tiny_encoder)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
            model = PeftModel.from_pretrained(base, str(finished.out / "adapter"))
        b = [p for name, p in model.named_parameters() if "lora_B" in name]
        assert b
        assert all(p.abs().sum() > 0 for p in b)  # B starts at zero: it was trained

    def test_the_head_is_safetensors(self, finished: Any) -> None:
        with safe_open(str(finished.out / "head.safetensors"), framework="np") as file:
            assert {"inner.weight", "inner.bias", "score.weight", "score.bias"} <= set(file.keys())


class TestOut:
    def test_a_finished_run_is_not_written_over(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        config = make_config(tmp_path, ONE_ROUND)
        run(config)
        before = files_of(tmp_path)
        with pytest.raises(
            ConfigError, match=r"holds result.json of a run; choose another or --overw"
        ):
            run(config)
        assert files_of(tmp_path) == before

    def test_overwrite_replaces_it(self, tmp_path: Path, make_config: MakeConfig) -> None:
        run(make_config(tmp_path, ONE_ROUND))
        result = run(make_config(tmp_path, {**ONE_ROUND, "seed": 5}), overwrite=True)
        assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == result
        assert result["seed"] == 5
        assert set(files_of(tmp_path)) == FILES

    def test_a_run_without_adapters_leaves_none_of_an_older_run(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        run(make_config(tmp_path, ONE_ROUND))
        run(make_config(tmp_path, {**ONE_ROUND, "predictor.lora_rank": 0}), overwrite=True)
        assert not (tmp_path / "adapter").exists()
        load_predictor(tmp_path)

    def test_a_run_that_fails_leaves_no_result(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        wild = {"training.learning_rate": 1e30, "training.local_epochs": 4.0}
        with pytest.raises(RuntimeError, match="training diverged"):
            run(make_config(tmp_path, wild))
        assert not (tmp_path / "result.json").exists()
        run(make_config(tmp_path, ONE_ROUND))  # and its folder may be used again
        assert (tmp_path / "result.json").exists()

    def test_bad_data_cost_no_finished_run(self, tmp_path: Path, make_config: MakeConfig) -> None:
        out = tmp_path / "out"
        run(make_config(out, ONE_ROUND))
        before = files_of(out)
        bad = tmp_path / "bad.jsonl"
        bad.write_text("{}\n", encoding="utf-8")
        with pytest.raises(DataError):
            run(make_config(out, {"data": str(bad)}), overwrite=True)
        assert files_of(out) == before

    def test_bad_data_leave_no_empty_folder(self, tmp_path: Path, make_config: MakeConfig) -> None:
        with pytest.raises(DataError):
            run(make_config(tmp_path / "out", {"data": str(tmp_path / "none.jsonl")}))
        assert not (tmp_path / "out").exists()

    def test_a_model_without_a_result_is_not_written_over(
        self, tmp_path: Path, make_config: MakeConfig
    ) -> None:
        """As a run on Flower's own simulation leaves it."""
        run(make_config(tmp_path, ONE_ROUND))
        (tmp_path / "result.json").unlink()
        with pytest.raises(ConfigError, match="--overwrite"):
            run(make_config(tmp_path, {**ONE_ROUND, "seed": 1}))

    def test_a_file_is_no_folder(self, tmp_path: Path, make_config: MakeConfig) -> None:
        (tmp_path / "out").write_text("mine", encoding="utf-8")
        with pytest.raises(ConfigError, match="is a file; name a folder"):
            run(make_config(tmp_path / "out"))
        assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


class TestKindsOfData:
    @pytest.fixture
    def short(self, make_config: MakeConfig, tmp_path: Path) -> Callable[..., dict[str, Any]]:
        def run_on(data: Path, **changes: object) -> dict[str, Any]:
            return run(make_config(tmp_path / "out", {**ONE_ROUND, "data": str(data), **changes}))

        return run_on

    def test_pairs_run_end_to_end(
        self,
        tmp_path: Path,
        write_rows: WriteRows,
        short: Callable[..., dict[str, Any]],
    ) -> None:
        rows: list[Mapping[str, object]] = []
        for group in range(5):
            for number in range(9):
                both = [f"yes , {'tea ' * (number + 1)}", "no , coffee is good ."]
                chosen, rejected = both if group % 2 else reversed(both)
                for annotator in ("p", "q"):
                    rows.append(
                        {
                            "group": f"Lab {group}",
                            "annotator": f"{annotator}{group}",
                            "prompt": f"do you like {'abcdefghi'[number]} ?",
                            "chosen": chosen,
                            "rejected": rejected,
                        }
                    )
        result = short(write_rows(tmp_path / "pairs.jsonl", rows))
        assert result["data"]["records"] == 90
        assert (result["data"]["train_groups"], result["data"]["held_out_groups"]) == (4, 1)
        assert result["alignment"]["unseen_groups"]["mean"] > 0.1674
        of_surveys = {f"plots/{name}.png" for name in ("alignment_by_round", "groups", "fairness")}
        of_pairs = {"plots/accuracy_by_round.png", "plots/accuracy.png"}
        assert set(files_of(tmp_path / "out")) == FILES - of_surveys | of_pairs

    def test_one_held_out_group_has_nobody_to_swap_with(
        self,
        tmp_path: Path,
        write_rows: WriteRows,
        tiny_rows: tuple[dict[str, Any], ...],
        short: Callable[..., dict[str, Any]],
    ) -> None:
        few = [row for row in tiny_rows if row["group"] < "Group 3"]
        result = short(write_rows(tmp_path / "few.jsonl", few))
        assert result["context_swap_drop"] is None
        assert result["alignment"]["swapped_context"] is None
        assert set(files_of(tmp_path / "out")) == FILES

    def test_a_compressed_survey_runs_end_to_end(
        self, tmp_path: Path, short: Callable[..., dict[str, Any]]
    ) -> None:
        rows = [
            {
                "group": f"Land {group}",
                "question_id": f"q{number}",
                "question": f"is {'abcdefgh'[number]} good ?",
                "options": ["yes", "no", "both"],
                "distribution": [0.7, 0.2, 0.1] if group % 2 else [0.1, 0.3, 0.6],
            }
            for group in range(4)
            for number in range(8)
        ]
        data = tmp_path / "survey.jsonl.gz"
        data.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode()))
        result = short(data)
        assert result["data"]["records"] == 32
        assert result["context_gain"] > 0

    def test_invalid_rows_are_left_out_and_counted(
        self,
        tmp_path: Path,
        write_rows: WriteRows,
        tiny_rows: tuple[dict[str, Any], ...],
        short: Callable[..., dict[str, Any]],
    ) -> None:
        broken = [{**tiny_rows[0], "choice": 9}, {**tiny_rows[1], "group": ""}]
        data = write_rows(tmp_path / "some.jsonl", [*tiny_rows, *broken])
        result = short(data, skip_invalid=True)
        assert result["data"]["skipped"] == 2
        assert result["data"]["records"] == len(tiny_rows)

    def test_groups_that_answered_one_question_can_train(
        self,
        tmp_path: Path,
        finished: Any,
        write_rows: WriteRows,
        tiny_rows: tuple[dict[str, Any], ...],
        short: Callable[..., dict[str, Any]],
    ) -> None:
        split = read_split(finished.out / "split.json")
        seen = next(
            row["question_id"]
            for row in tiny_rows
            if row["question_id"] not in split.unseen_questions
        )
        first = split.train_groups[0]
        rows = [r for r in tiny_rows if r["group"] != first or r["question_id"] == seen]
        result = short(
            write_rows(tmp_path / "one.jsonl", rows), split=str(finished.out / "split.json")
        )
        assert first in result["alignment"]["train_groups"]["groups"]


def test_more_tokens_than_the_encoder_has_positions_are_refused_before_training(
    tmp_path: Path,
    make_config: MakeConfig,
    tiny_rows: tuple[dict[str, Any], ...],
    write_rows: WriteRows,
) -> None:
    rows = [{**row, "question": row["question"] + " and tea" * 200} for row in tiny_rows]
    data = write_rows(tmp_path / "long.jsonl", rows)
    changes = {**ONE_ROUND, "data": str(data), "predictor.max_tokens": 400}
    with pytest.raises(ValueError, match="max_tokens"):
        run(make_config(tmp_path / "out", changes))
