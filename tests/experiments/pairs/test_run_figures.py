"""A run on pairs from end to end: what its result, console, page, pictures and card speak of."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from experiments.cli import _show
from experiments.pairs.run_tables import headings, summary_rows
from experiments.publishing.model_card import model_card
from experiments.report.plot_answers import choose_example
from experiments.report.plots import draw_plots
from experiments.report.wording import score_text
from experiments.simulation.run import run
from server.config import read_run_config

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def on_pairs(
    tmp_path_factory: pytest.TempPathFactory, tiny_settings: Mapping[str, Any]
) -> tuple[Path, dict[str, Any]]:
    """Pairs of 5 groups, each of 16 prompts; the longer response wins three times of four."""
    rows = []
    for group in range(5):
        for number in range(16):
            texts = [f"yes yes good {number}", f"no {number}"]
            order = texts if number % 4 else texts[::-1]
            for annotator in range(1 + number % 2):
                rows.append(
                    {
                        "group": f"group {group}",
                        "annotator": f"person {annotator}",
                        "prompt": f"do you like {'abcdefgh'[number % 8]} of {group} and {number} ?",
                        "chosen": order[0],
                        "rejected": order[1],
                    }
                )
    folder = tmp_path_factory.mktemp("pairs")
    data = folder / "pairs.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {
        **tiny_settings,
        "data": str(data),
        "out": str(folder / "out"),
        "federation.warmup_rounds": 1,
        "federation.adapter_rounds": 1,
        "federation.evaluate_every": 1,
    }
    return folder / "out", run(read_run_config(settings))


def test_figures_of_every_group_and_of_all(on_pairs: tuple[Path, dict[str, Any]]) -> None:
    out, result = on_pairs
    pairs, own = result["pairs"], result["pairs"]["unseen_groups"]
    groups = result["alignment"]["unseen_groups"]["groups"]
    assert own["groups"].keys() == groups.keys() == pairs["longer_wins"]["groups"].keys()
    for each in (own, *own["groups"].values()):
        found = each["accuracy"]
        assert 0 <= found["low"] <= found["value"] <= found["high"] <= 1
        assert each["answers"] > each["pairs"]
    assert pairs["longer_wins"]["accuracy"]["value"] > 0.5
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["pairs"].keys() == {
        *("unseen_groups", "without_context", "swapped_context", "longer_wins", "train_groups")
    }


def test_rounds_hold_what_the_result_holds(on_pairs: tuple[Path, dict[str, Any]]) -> None:
    out, result = on_pairs
    rounds = [json.loads(line) for line in (out / "rounds.jsonl").read_text("utf-8").splitlines()]
    own = result["pairs"]["unseen_groups"]
    assert rounds[-1]["accuracy"] == pytest.approx(own["accuracy"]["value"], abs=0.02)
    assert rounds[-1]["margin"] == pytest.approx(own["margin"], abs=0.02)
    assert all(each["accuracy"] is not None for each in rounds)


def test_places_speak_of_accuracy_and_not_of_alignment(
    on_pairs: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = on_pairs
    value = score_text(result["pairs"]["unseen_groups"]["accuracy"]["value"])
    _show(result, out)
    page = (out / "report.html").read_text(encoding="utf-8")
    card = model_card(result, None, base_model="tiny", license=None, title=None)
    for said in (capsys.readouterr().out, page.partition('id="details"')[0], card):
        assert value in said
        assert "alignment" not in said.lower().replace("fedaccord", "").replace(
            "from alignment.", ""
        )
    assert {path.name for path in (out / "plots").iterdir()} == {
        *("accuracy.png", "accuracy_by_round.png", "predicted_beside_actual.png")
    }


def test_what_says_nothing_is_left_out(
    on_pairs: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    out, result = on_pairs
    assert "no context" in headings(result["pairs"])
    silent = {**result["pairs"], "without_context": None, "swapped_context": None}
    assert headings(silent)[-1] == "longer wins"
    assert not {"no context", "another's context"} & set(headings(silent))
    assert all(len(row.cells) == len(headings(silent)) for row in summary_rows(silent))
    lines = (out / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    predictions = [json.loads(line) for line in lines]
    bare = {**result, "pairs": silent}
    example = choose_example(bare, predictions)
    assert example is not None
    assert list(example.bars) == ["actual", "own"]
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "groups.png").write_bytes(b"of an earlier run")
    drawn = draw_plots(tmp_path, bare, [], predictions)
    # Nothing was measured by round.
    assert [path.name for path in drawn] == ["accuracy.png", "predicted_beside_actual.png"]
    assert all(path.read_bytes().startswith(PNG) for path in drawn)
    assert not (tmp_path / "plots" / "groups.png").exists()


def test_a_survey_has_none_of_it(finished: Any) -> None:
    assert "pairs" not in finished.result
    assert (finished.out / "plots" / "groups.png").is_file()
