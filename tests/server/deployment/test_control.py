"""How a coordinator's commands reach a SuperLink: by Flower's own command, whose words are read."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import supervision
from server.deployment import control as module
from server.deployment.control import Control, ControlError, staged_app
from server.deployment.home import ServerHome, set_up

Says = Callable[..., list[list[str]]]

SCRIPT = """#!{python}
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
told = json.loads((here / "told.json").read_text())
seen = [*sys.argv[1:]]
for word in sys.argv[1:]:
    if word.endswith((".node.pub", "run.toml")):
        seen.append(pathlib.Path(word).read_text())
home = os.environ["FLWR_HOME"]
with (here / "asked.jsonl").open("a") as file:
    file.write(json.dumps([seen, home]) + "\\n")
print(told["out"])
print(told["err"], file=sys.stderr)
sys.exit(told["code"])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> ServerHome:
    folder = tmp_path_factory.mktemp("server")
    lab = {"federation": "L", "host": "a.org", "bind": "127.0.0.1"}
    return set_up(ServerHome(folder=folder / "lab", port=9443, **lab), {})


@pytest.fixture
def control(home: ServerHome) -> Control:
    return Control(home, supervision.environment(home.folder))


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Says:
    """Put a program in the place of Flower's; what it was asked."""
    program = tmp_path / "flwr"
    program.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(module, "sys", SimpleNamespace(executable=str(tmp_path / "python")))

    def say(told: object = "", *, err: str = "", code: int = 0) -> list[list[str]]:
        out = told if isinstance(told, str) else json.dumps(told)
        (tmp_path / "told.json").write_text(json.dumps({"out": out, "err": err, "code": code}))
        asked = tmp_path / "asked.jsonl"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return [json.loads(line)[0] for line in lines]

    return say


def test_flower_is_told_where_the_server_is(control: Control, home: ServerHome) -> None:
    import tomllib

    config = tomllib.loads((home.folder / "flower" / "config.toml").read_text(encoding="utf-8"))
    assert config["superlink"] == {
        "default": "fedaccord",
        "fedaccord": {
            "address": "127.0.0.1:9443",
            "root-certificates": str(home.file("tls", "ca.crt")),
        },
    }


def test_a_run_is_started_with_all_its_settings(
    control: Control, home: ServerHome, says: Says
) -> None:
    says({"success": True, "run-id": "12"})
    assert control.start({"privacy.mode": "distributed", "seed": 3}) == 12
    ((*words, settings),) = says()
    assert words[0] == "run"
    assert words[2:4] == ["fedaccord", "--run-config"]
    assert words[-2:] == ["--format", "json"]
    assert settings == '"privacy.mode" = "distributed"\nseed = 3\n'
    # What was written for Flower is gone.
    assert words[1].endswith("/fedaccord") and not Path(words[1]).parent.exists()


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")
def test_the_bundle_is_the_code_that_clients_have_installed(tmp_path: Path) -> None:
    from flwr.cli.build import build_fab_from_disk

    from clients.deployment.bundle import bundle_digest, bundled_files, code_digest

    bundle = build_fab_from_disk(staged_app(module._APP, tmp_path / "fedaccord"))
    assert bundle_digest(bundle) == code_digest()
    rooms = {name.partition("/")[0] for name in bundled_files(bundle) if "/" in name}
    assert rooms == {".info", "alignment", "clients", "privacy", "server", "strategies"}


def test_a_node_is_let_in_once(control: Control, home: ServerHome, says: Says) -> None:
    says({"success": True, "node-id": "34"})
    assert control.register("ecdsa key", "North") == 34
    says({"success": False, "error-message": "Public key already in use."}, code=1)
    assert control.register("ecdsa key", "North") is None
    first, second = says()
    assert first == second
    assert first[:2] == ["supernode", "register"]
    assert first[-1] == "ecdsa key\n"
    assert not home.file(".node.pub").exists()
    says({"success": False, "error-message": "the SuperLink is already closing"}, code=1)
    with pytest.raises(ControlError, match="already closing"):
        control.register("ecdsa key", "North")
    says({"success": False, "error-message": "no such\n  curve"}, code=1)
    with pytest.raises(ControlError, match=r"^North: flwr supernode register: no such curve; is "):
        control.register("ecdsa key", "North")


def test_nodes_and_runs_are_read(control: Control, says: Says) -> None:
    says({"nodes": [{"node-id": "1", "status": "online"}, {"node-id": "2", "status": "offline"}]})
    assert control.nodes() == {1: "online", 2: "offline"}
    says({"runs": [{"status": "finished:completed"}]})
    assert control.status(12) == "finished:completed"
    says({"runs": []})
    assert control.status(12) == "unknown"
    says({"success": True})
    control.stop(12)
    control.unregister(34)
    assert [words[:3] for words in says()][-2:] == [
        ["stop", "12", "fedaccord"],
        ["supernode", "unregister", "34"],
    ]


@pytest.mark.parametrize(
    ("told", "err", "code", "words"),
    [
        ("", "Connection refused\nby somebody", 1, "Connection refused by somebody; is fedaccord"),
        ("no json {", "", 1, "no json {; is fedaccord server start running?"),
        ({"success": False, "error-message": "not yours"}, "", 0, "not yours; is fedaccord"),
        ("", "", 3, "flwr stop 12: failed; is fedaccord server start running?"),
        ("", "word " * 500, 1, "; is fedaccord server start running?"),
    ],
)
def test_what_went_wrong_is_one_short_line(
    control: Control, says: Says, told: object, err: str, code: int, words: str
) -> None:
    says(told, err=err, code=code)
    with pytest.raises(ControlError) as caught:
        control.stop(12)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_flower_that_gives_no_answer_is_not_waited_for(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "flwr"
    program.write_text("#!/bin/sh\nexec sleep 20\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setattr(module, "sys", SimpleNamespace(executable=str(tmp_path / "python")))
    monkeypatch.setattr(module, "_SECONDS", 0.2)
    with pytest.raises(ControlError, match=r"^flwr stop gave no answer in 0\.2 s$"):
        control.stop(12)


def test_a_package_without_the_projects_file_cannot_start_a_run(
    control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_APP", tmp_path)
    with pytest.raises(ControlError, match=r"has no pyproject\.toml: install from a checkout"):
        control.start({})
    assert os.listdir(tmp_path) == []
