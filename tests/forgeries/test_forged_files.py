"""What lies beside the ledgers, changed by a publisher who holds no key, or swapped."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.forgeries.forger import copied, cut, edit
from tests.forgeries.review import Forgery, assert_found, assert_holds

Edit = Callable[[Path, Any], Any]

MODEL = Path("adapter") / "adapter_model.safetensors"


def ledger(folder: Path) -> Path:
    (found,) = (folder / "ledgers" / "groups").glob("Group-0-*.jsonl")
    return found


def first_said(file: Path, said: str) -> None:
    """Put fields before those of a file of JSON, which then has some of them twice."""
    text = file.read_text(encoding="utf-8").lstrip()
    file.write_text("{" + said + ", " + text[1:], encoding="utf-8")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("mode", "local"),
        ("unit", "record"),
        ("delta", 1e-9),
        ("epsilon", 1.0),
        ("epsilon", "8.0"),
        ("epsilon_pld", 1.0),
        ("epsilon_pld", float("nan")),
        ("second_opinion", 1.0),
        ("noise_multiplier", 9.0),
        ("noise_std_per_coordinate", 9.0),
        ("sampling_rate", 0.01),
        ("clipping_norm", 0.01),
        ("steps", 1),
        ("dimension", 3),
        ("honest_shares", 4),
        ("relation", "replace_one"),
    ],
)
def test_a_figure_of_the_result_is_found(
    real: Any, tmp_path: Path, field: str, value: object
) -> None:
    folder = copied(real.first, tmp_path / "run")
    assert_holds(folder, real.roster)
    edit(folder / "result.json", "privacy", field, to=value)
    found = Forgery(check="result", says="result.json")
    assert_found(found, folder, real.roster)


@pytest.mark.parametrize(
    ("way", "value"),
    [
        (("run",), "ab" * 16),
        (("plan_digest",), "ab" * 32),
        (("epsilon_pld",), 1.0),
        (("epsilon_opacus",), float("nan")),
        (("plan", "epsilon"), 1.0),
        (("plan", "rounds"), 1),
        (("plan", "units_per_group"), [60] * 4),
        (("plan", "delta"), 1e-9),
    ],
    ids=str,
)
def test_a_figure_of_the_plan_file_is_found(
    real: Any, tmp_path: Path, way: tuple[str, ...], value: object
) -> None:
    folder = copied(real.first, tmp_path / "run")
    assert_holds(folder, real.roster)
    edit(folder / "privacy.json", *way, to=value)
    assert_found(Forgery(check="result", says="privacy.json"), folder, real.roster)


def _forge(check: str, says: str, forge: Edit, *, of: str = "first") -> Any:
    forgery = Forgery(check=check, says=says, of=of)
    return pytest.param(forgery, forge, id=forge.__name__)


def fewer_rounds(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "rounds", to=3)


def sums_in_the_clear(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "secure_aggregation", to=False)


def another_model(folder: Path, _: Any) -> None:
    (folder / MODEL).write_bytes(b"another model")


def the_model_of_the_first_run(folder: Path, real: Any) -> None:
    shutil.copy(real.first / "head.safetensors", folder / "head.safetensors")


def the_ledger_of_a_group_from_before(folder: Path, real: Any) -> None:
    shutil.copy(ledger(real.first), ledger(folder))


def the_ledgers_of_all_groups_from_before(folder: Path, real: Any) -> None:
    for file in (folder / "ledgers" / "groups").glob("*.jsonl"):
        shutil.copy(real.first / "ledgers" / "groups" / file.name, file)


def the_server_ledger_from_before(folder: Path, real: Any) -> None:
    shutil.copy(real.first / "ledgers" / "server.jsonl", folder / "ledgers" / "server.jsonl")


def the_server_ledger_from_later(folder: Path, real: Any) -> None:
    shutil.copy(real.second / "ledgers" / "server.jsonl", folder / "ledgers" / "server.jsonl")


def both_files_of_the_later_run(folder: Path, real: Any) -> None:
    for name in ("result.json", "privacy.json"):
        shutil.copy(real.second / name, folder / name)


def a_release_that_is_torn_off(folder: Path, _: Any) -> None:
    file = ledger(folder)
    cut(file, 1)
    file.write_bytes(file.read_bytes()[:-40])


def an_empty_ledger(folder: Path, _: Any) -> None:
    ledger(folder).write_bytes(b"")


def an_empty_server_ledger(folder: Path, _: Any) -> None:
    (folder / "ledgers" / "server.jsonl").write_bytes(b"")


def a_name_that_stands_twice_in_a_line(folder: Path, _: Any) -> None:
    text = ledger(folder).read_text(encoding="utf-8")
    ledger(folder).write_text(text.replace('{"body":', '{"body":{"units":1},"body":', 1))


def people_who_are_nobody(folder: Path, _: Any) -> None:
    for file in ledger(folder).with_suffix(".people").iterdir():
        file.write_bytes(b"")


def people_of_another_group(folder: Path, _: Any) -> None:
    (other,) = (folder / "ledgers" / "groups").glob("Group-1-*.people")
    own = ledger(folder).with_suffix(".people")
    shutil.rmtree(own)
    other.rename(own)


def the_model_is_no_more_named_and_another(folder: Path, real: Any) -> None:
    cut(folder / "ledgers" / "server.jsonl", 1)
    another_model(folder, real)


def weights_that_nobody_names(folder: Path, _: Any) -> None:
    (folder / "adapter" / "adapter_model.bin").write_bytes(b"another model")


def weights_in_capitals_in_a_folder_of_their_own(folder: Path, _: Any) -> None:
    (folder / "best").mkdir()
    (folder / "best" / "MODEL.SafeTensors").write_bytes(b"another model")


def code_beside_the_adapter(folder: Path, _: Any) -> None:
    (folder / "adapter" / "modeling.py").write_text("print()", encoding="utf-8")


def the_result_of_the_first_run_under_another_name(folder: Path, real: Any) -> None:
    run = json.loads((folder / "privacy.json").read_text(encoding="utf-8"))["run"]
    shutil.copy(real.first / "result.json", folder / "result.json")
    edit(folder / "result.json", "privacy", "run", to=run)


def no_name_of_the_run(folder: Path, _: Any) -> None:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    del result["privacy"]["run"]
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")


def neither_privacy_nor_a_plan_file(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", to=None)
    (folder / "privacy.json").unlink()


def one_person_more_was_left_out(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "groups", "Group 0", "left_out", to=4)


def a_count_that_is_a_truth_value(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "aborted_rounds", to=False)


def a_smaller_epsilon_in_all_settings(folder: Path, _: Any) -> None:
    a_smaller_epsilon_in_the_settings(folder, _)
    edit(folder / "result.json", "config", "privacy", "epsilon", to=0.125)


def settings_that_cannot_be_read(folder: Path, _: Any) -> None:
    (folder / "config.toml").write_text("epsilon = 0.125, certified", encoding="utf-8")


def a_worst_group_that_is_better(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "alignment", "unseen_groups", "worst_group", to=0.999)


def a_plan_that_says_one_where_it_means_it(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "plan", "colluding", to=True)


def a_figure_inside_the_plan_file_that_is_a_text(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "epsilon_opacus", to="8.01")


def the_result_of_the_first_run(folder: Path, real: Any) -> None:
    shutil.copy(real.first / "result.json", folder / "result.json")


def the_result_of_the_later_run(folder: Path, real: Any) -> None:
    shutil.copy(real.second / "result.json", folder / "result.json")


def the_plan_file_of_the_first_run(folder: Path, real: Any) -> None:
    shutil.copy(real.first / "privacy.json", folder / "privacy.json")


def nobody_was_left_out(folder: Path, _: Any) -> None:
    private = json.loads((folder / "result.json").read_text(encoding="utf-8"))["privacy"]
    assert {each["left_out"] for each in private["groups"].values()} == {3}
    for name in private["groups"]:
        edit(folder / "result.json", "privacy", "groups", name, "left_out", to=0)


def a_group_less(folder: Path, _: Any) -> None:
    private = json.loads((folder / "result.json").read_text(encoding="utf-8"))["privacy"]
    del private["groups"]["Group 5"]
    edit(folder / "result.json", "privacy", to=private)


def no_groups(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "groups", to={})


def a_figure_that_no_run_has(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "epsilon_certified", to=0.125)


def a_figure_of_a_group_that_no_run_has(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "groups", "Group 0", "epsilon_spent", to=0.125)


def an_accountant_whom_nobody_asked(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "accountant", to="the authority")


def an_epsilon_that_is_a_text(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", "epsilon_pld", to=" 7.999959094992136 ")


def no_privacy_at_all(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "privacy", to=None)


def more_rounds_of_which_one_was_lost(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "rounds", to=5)
    edit(folder / "result.json", "aborted_rounds", to=1)


def a_run_that_ended_early(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "ended_early", to=True)


def a_smaller_epsilon_said_first(folder: Path, _: Any) -> None:
    first_said(folder / "result.json", '"privacy": {"epsilon": 0.125}')


def a_smaller_plan_said_first(folder: Path, _: Any) -> None:
    first_said(folder / "privacy.json", '"plan": {"epsilon": 0.125}')


def a_smaller_epsilon_in_the_settings_of_the_result(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "config", "privacy", "epsilon", to=0.125)


def a_smaller_epsilon_in_the_settings(folder: Path, _: Any) -> None:
    text = (folder / "config.toml").read_text(encoding="utf-8")
    assert "epsilon = 8.0" in text
    (folder / "config.toml").write_text(text.replace("epsilon = 8.0", "epsilon = 0.125"))


def other_groups_in_the_plan_file(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "groups", to=["Group 0", "Group 9"])


def groups_on_other_seats_in_the_plan_file(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "groups", to=["Group 5", "Group 4", "Group 1", "Group 0"])


def metrics_that_are_not_in_the_vector(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "metrics", to=["units", "loss", "accuracy"])


def a_figure_that_no_plan_file_has(folder: Path, _: Any) -> None:
    edit(folder / "privacy.json", "epsilon", to=0.125)


def a_mean_that_no_groups_have(folder: Path, _: Any) -> None:
    edit(folder / "result.json", "alignment", "unseen_groups", "mean", to=0.999)


def a_ledger_twice(folder: Path, _: Any) -> None:
    shutil.copy(ledger(folder), ledger(folder).with_name("again.jsonl"))


def an_older_copy_of_a_ledger_beside_it(folder: Path, _: Any) -> None:
    old = ledger(folder).with_name("old.jsonl")
    shutil.copy(ledger(folder), old)
    cut(old, 9)


@pytest.mark.parametrize(
    ("forgery", "forge"),
    [
        _forge("result", "3 rounds, 0 of them aborted", fewer_rounds),
        _forge("result", "secure_aggregation = False", sums_in_the_clear),
        _forge("published", "adapter_model.safetensors: missing, or not", another_model),
        _forge("published", "head.safetensors", the_model_of_the_first_run, of="second"),
        _forge("witness", "ends at event 15", the_ledger_of_a_group_from_before, of="second"),
        _forge("both", "has not paid", the_ledgers_of_all_groups_from_before, of="second"),
        _forge("plans", "lacks run", the_server_ledger_from_before, of="second"),
        _forge("both", "has not paid", the_server_ledger_from_later),
        _forge("result", "not that of the ledgers", both_files_of_the_later_run),
        _forge("witness", "ends at event 13", a_release_that_is_torn_off),
        _forge("chain", "names no signer", an_empty_ledger),
        _forge("book", "names no signer", an_empty_server_ledger),
        _forge("chain", "canonical form", a_name_that_stands_twice_in_a_line),
        _forge("chain", "missing or altered", people_who_are_nobody, of="second"),
        _forge("chain", "missing or altered", people_of_another_group, of="second"),
        _forge("published", "no published model", the_model_is_no_more_named_and_another),
        _forge("published", "adapter_model.bin", weights_that_nobody_names),
        _forge("result", "run", the_result_of_the_first_run, of="second"),
        _forge("result", "run", the_result_of_the_later_run),
        _forge("result", "run", the_plan_file_of_the_first_run, of="second"),
        _forge("result", "left_out", nobody_was_left_out, of="second"),
        _forge("result", "Group 5", a_group_less),
        _forge("result", "groups", no_groups),
        _forge("result", "epsilon_certified", a_figure_that_no_run_has),
        _forge("result", "epsilon_spent", a_figure_of_a_group_that_no_run_has),
        _forge("result", "accountant", an_accountant_whom_nobody_asked),
        _forge("result", "epsilon", an_epsilon_that_is_a_text),
        _forge("result", "privacy", no_privacy_at_all),
        _forge("result", "rounds", more_rounds_of_which_one_was_lost),
        _forge("result", "ended_early", a_run_that_ended_early),
        _forge("result", "twice", a_smaller_epsilon_said_first),
        _forge("result", "twice", a_smaller_plan_said_first),
        _forge("result", "config", a_smaller_epsilon_in_the_settings_of_the_result),
        _forge("result", "config.toml", a_smaller_epsilon_in_the_settings),
        _forge("result", "groups", other_groups_in_the_plan_file),
        _forge("result", "groups", groups_on_other_seats_in_the_plan_file),
        _forge("result", "metrics", metrics_that_are_not_in_the_vector),
        _forge("result", "epsilon", a_figure_that_no_plan_file_has),
        _forge("result", "mean", a_mean_that_no_groups_have),
        _forge("published", "SafeTensors", weights_in_capitals_in_a_folder_of_their_own),
        _forge("published", "modeling.py", code_beside_the_adapter),
        _forge("result", "left_out", the_result_of_the_first_run_under_another_name, of="second"),
        _forge("result", "run", no_name_of_the_run),
        _forge("result", "privacy", neither_privacy_nor_a_plan_file),
        _forge("result", "left_out", one_person_more_was_left_out, of="second"),
        _forge("result", "rounds", a_count_that_is_a_truth_value),
        _forge("result", "config", a_smaller_epsilon_in_all_settings),
        _forge("result", "config.toml", settings_that_cannot_be_read),
        _forge("result", "worst_group", a_worst_group_that_is_better),
        _forge("result", "not an integer", a_plan_that_says_one_where_it_means_it),
        _forge("result", "privacy.json", a_figure_inside_the_plan_file_that_is_a_text),
        _forge("forks", "Group 0", a_ledger_twice),
        _forge("forks", "Group 0", an_older_copy_of_a_ledger_beside_it),
    ],
)
def test_a_forged_file_is_found(real: Any, tmp_path: Path, forgery: Forgery, forge: Edit) -> None:
    """Was open: a run was known by its plan alone, and most figures by their own word."""
    folder = copied(getattr(real, forgery.of), tmp_path / "run")
    assert_holds(folder, real.roster)
    forge(folder, real)
    assert_found(forgery, folder, real.roster)


def test_a_smaller_delta_of_the_result_is_found(faint: Path, tmp_path: Path) -> None:
    """Was open: numbers closer than a thousand millionth were alike."""
    folder = copied(faint, tmp_path / "run")
    roster = folder / "ledgers" / "roster.json"
    assert_holds(folder, roster)
    edit(folder / "result.json", "privacy", "delta", to=1e-30)
    assert_found(Forgery(check="result", says="delta"), folder, roster)


@pytest.mark.parametrize("name", ["result.json", "privacy.json"])
def test_a_file_that_nests_without_end_is_refused(real: Any, tmp_path: Path, name: str) -> None:
    """Was open: it ended a review without a word."""
    folder = copied(real.first, tmp_path / "run")
    assert_holds(folder, real.roster)
    (folder / name).write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read as JSON"):
        assert_holds(folder, real.roster)


def test_an_earlier_run_with_ledgers_of_today_holds(real: Any, tmp_path: Path) -> None:
    """Was refused: ledgers outlast a run, and its folder stays as it was; nothing is forged."""
    folder = copied(real.first, tmp_path / "run")
    shutil.rmtree(folder / "ledgers")
    shutil.copytree(real.second / "ledgers", folder / "ledgers")
    assert_holds(folder, real.roster)
