"""The command that lists strategies, and the path of somebody who writes one."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import fedaccord
from experiments.planning.strategy_table import HIDINGS, rows, with_table
from strategies.registry import known

DOCS = Path(__file__).parents[3] / "docs" / "strategies.md"


def invoke(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(fedaccord.app, ["strategies", *words], env={"COLUMNS": "100"})
    return done.exit_code, done.output


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The example of the documentation, as somebody would copy it."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), flags=re.DOTALL)
    path = tmp_path / "cut_momentum.py"
    path.write_text(code, encoding="utf-8")
    return path


def test_it_lists_all_with_settings_and_reasons() -> None:
    code, output = invoke()
    assert code == 0
    for row in rows():
        assert row.name in output
        for setting in row.settings:
            assert f"{setting}=" in output
        for reason in row.refusals.values():
            rule = reason.removeprefix(f"strategy {row.name} ")
            assert not rule or any(
                row.name in line and rule in line for line in output.splitlines()
            )


def test_as_json() -> None:
    code, output = invoke("--json")
    listed = json.loads(output)
    assert code == 0
    assert [each["name"] for each in listed] == list(known())
    assert all(set(each["refusals"]) == set(HIDINGS) for each in listed)


def test_the_table_of_the_documentation_is_what_the_rules_say() -> None:
    """``python -m experiments.planning.strategy_table docs/strategies.md`` makes it so."""
    page = DOCS.read_text(encoding="utf-8")
    assert with_table(page) == page
    older = page.replace("| `diloco` |", "| `gone` |").replace("(7) It adds nothing up", "(7) Else")
    assert older != page
    assert with_table(older) == page


class TestOwn:
    def test_the_example_is_one_file_of_less_than_60_lines_that_passes(self, own: Path) -> None:
        assert len(own.read_text(encoding="utf-8").splitlines()) < 60
        code, output = invoke("--check", f"{own}:CutMomentum")
        assert code == 0, output
        assert "FAIL" not in output
        assert "18 of 18 checks hold" in output

    def test_it_trains_a_federation_and_goes_on_where_it_stopped(
        self, own: Path, tmp_path: Path, make_config: object
    ) -> None:
        from experiments.simulation.run import run
        from server.config import RunConfig

        config = make_config(tmp_path / "out", {"strategy.name": f"{own}:CutMomentum"})
        assert isinstance(config, RunConfig)
        result = run(config)
        assert result["config"]["strategy"]["momentum"] == 0.5
        assert result["alignment"]["unseen_groups"]["mean"] > 0.5

    def test_what_does_not_hold_is_said_and_ends_with_1(self, own: Path) -> None:
        text = own.read_text(encoding="utf-8")
        own.write_text(text.replace("return current + velocity", "return current - velocity"))
        code, output = invoke("--check", f"{own}:CutMomentum")
        assert code == 1
        assert "FAIL it comes nearer to a goal: NotConforming: after 1,000 rounds" in output
        assert "16 of 18 checks hold" in output
        code, output = invoke("--check", f"{own}:CutMomentum", "--json")
        assert code == 1
        problems = [each for each in json.loads(output)["checks"] if each["problem"]]
        assert {each["check"] for each in problems} == {"it comes nearer to a goal"}

    def test_a_file_that_cannot_be_read_is_one_line(self, own: Path) -> None:
        own.write_text("import nothing_of_that_name\n", encoding="utf-8")
        with pytest.raises(ValueError, match=r"cannot be read: ModuleNotFoundError: No module"):
            CliRunner().invoke(
                fedaccord.app,
                ["strategies", "--check", f"{own}:CutMomentum"],
                catch_exceptions=False,
            )
