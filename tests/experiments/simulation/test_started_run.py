"""Runs that begin from a published model: from exactly that one, and with its privacy told on."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Message

from alignment.config import PredictorConfig
from alignment.model.folder import load_predictor
from alignment.model.vector import to_vector
from clients.sessions.group_ledger import forget_ledgers
from experiments.publishing.publish import Publication, publish
from experiments.simulation.local_grid import LocalGrid
from experiments.simulation.run import run
from privacy.audit.card import build_card
from privacy.audit.comparison.card_comparison import compare_card
from privacy.audit.evidence import gather
from privacy.audit.verify import holds, verify
from server.config import ConfigError, RunConfig, StrategyConfig, read_run_config
from strategies.wire.round_plan import vector_digest

Command = Callable[..., Any]
MakeConfig = Callable[..., RunConfig]

ONE_ROUND = {"federation.warmup_rounds": 1, "federation.adapter_rounds": 0}
PRIVATE = {"privacy.mode": "distributed", "privacy.delta": 1e-3, "privacy.micro_batch": 4}
CLEAR = {"federation.secure_aggregation": False}
LOCAL = {**PRIVATE, "privacy.mode": "local", "privacy.micro_batch": 8}
BASE = "tiny/encoder"


class Killed(BaseException):
    """The server is gone."""


def vector_of(folder: Path) -> np.ndarray:
    return to_vector(load_predictor(folder)[0])


def contents(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def bodies(path: Path, type: str) -> list[dict[str, Any]]:
    lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [line["body"] for line in lines if line["type"] == type]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A private run that began from a run without privacy, its publication, and a run from that."""

    second: Path
    published: Path
    third: RunConfig
    result: Mapping[str, Any]


@pytest.fixture(scope="module")
def chain(
    finished: Any,
    make_config: MakeConfig,
    tiny_encoder: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Chain:
    folder = tmp_path_factory.mktemp("chain")
    second, published, third = folder / "second", folder / "published", folder / "third"
    private = {**PRIVATE, **ONE_ROUND}
    run(make_config(second, {**private, "training.start": str(finished.out)}))
    with pytest.MonkeyPatch.context() as patched:
        # The tiny encoder is a folder; where it is published, others find it under this name.
        (folder / "tiny").mkdir()
        (folder / BASE).symlink_to(tiny_encoder)
        patched.chdir(folder)
        publish(Publication(model=second, out=published, base_model=BASE))
        changes = {"predictor.encoder": BASE, "training.start": str(published)}
        config = make_config(third, {**private, **changes})
        result = run(config)
    return Chain(second=second, published=published, third=config, result=result)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        (CLEAR, "train"),
        ({}, "train.masked"),
        ({**CLEAR, "strategy.name": "fedadam", "strategy.averaging": 0.9}, "train"),
        (PRIVATE, "train.masked"),
        ({**LOCAL, **CLEAR, "strategy.name": "gossip"}, "train.meet"),
    ],
    ids=["in the clear", "secure", "averaged", "private", "in pairs"],
)
def test_the_first_round_begins_at_exactly_the_vector_of_the_start(
    finished: Any,
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: Mapping[str, Any],
    kind: str,
) -> None:
    handle, vectors, plans = LocalGrid._run_handler, [], []

    def watching(grid: LocalGrid, message: Message) -> Message:
        if "plan" in message.content.config_records:
            plans.append(dict(message.content.config_records["plan"]))
        if message.metadata.message_type == kind:
            vectors.extend(message.content.array_records["model"].to_numpy_ndarrays())
        return handle(grid, message)

    monkeypatch.setattr(LocalGrid, "_run_handler", watching)
    # Another seed: drawn values would be others than those the start itself was made from.
    given = {**changes, **ONE_ROUND, "seed": 3, "training.start": str(finished.out)}
    result = run(make_config(tmp_path / "out", given))
    first = vector_of(finished.out)
    assert len(vectors) == 4
    assert all(np.array_equal(vector, first) for vector in vectors)
    # What is asked of groups names the vector, and no place of the server's.
    assert {plan["training.start"] for plan in plans} == {vector_digest(first)}
    assert not any(str(finished.out) in str(plan) for plan in plans)
    assert result["start"]["model"] == vector_digest(first)
    assert result["start"]["name"] == finished.out.name
    assert result["start"]["privacy"] == {"mode": "none"}
    assert result["start"]["start"] is None


def test_a_run_without_a_start_states_none(finished: Any) -> None:
    assert finished.result["start"] is None
    lineage = json.loads((finished.out / "lineage.json").read_text(encoding="utf-8"))
    assert lineage == {
        "model": vector_digest(vector_of(finished.out)),
        "privacy": {"mode": "none"},
        "start": None,
    }


def test_the_shape_that_is_not_given_is_that_of_the_start(
    finished: Any, tiny_settings: Mapping[str, Any]
) -> None:
    ours = {k: v for k, v in tiny_settings.items() if not k.startswith("predictor.")}
    # Private runs have defaults of their own: these give way as well.
    config = read_run_config({**ours, **PRIVATE, "training.start": str(finished.out)})
    assert config.predictor == finished.config.predictor != PredictorConfig()
    # So do their steps: shorter ones from where something is known, unless somebody says how long.
    assert config.strategy.as_dict()["learning_rate"] == 0.002
    cold = read_run_config({**ours, **PRIVATE}).strategy
    assert cold.as_dict()["learning_rate"] == 0.008
    started = {**ours, **PRIVATE, "training.start": str(finished.out)}
    asked = read_run_config({**started, "strategy.learning_rate": 1.0}).strategy
    assert asked.as_dict() == {**cold.as_dict(), "learning_rate": 1.0}
    other = read_run_config({**started, "strategy.name": "fedavg"}).strategy
    assert other == StrategyConfig(name="fedavg")
    given = {**ours, "training.start": str(finished.out), "predictor.head_width": "9"}
    assert read_run_config(given).predictor == replace(config.predictor, head_width=9)


def truncated(folder: Path) -> None:
    file = folder / "adapter" / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


def pickled_head(folder: Path) -> None:
    (folder / "head.safetensors").write_bytes(pickle.dumps({"head.inner.bias": [1.0]}))


def pickled_adapter(folder: Path) -> None:
    file = folder / "adapter" / "adapter_model.safetensors"
    (folder / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps({}))
    file.unlink()


def emptied(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def other_lineage(folder: Path) -> None:
    path = folder / "lineage.json"
    lineage = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**lineage, "model": "ab" * 32}), encoding="utf-8")


def forged_lineage(folder: Path) -> None:
    path = folder / "lineage.json"
    lineage = json.loads(path.read_text(encoding="utf-8"))
    privacy = {"mode": "none", "epsilon": 1}
    path.write_text(json.dumps({**lineage, "privacy": privacy}), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "changes", "named"),
    [
        (shutil.rmtree, {}, "no head.safetensors in it"),
        (emptied, {}, "no head.safetensors in it"),
        (pickled_head, {}, "not a published predictor"),
        (pickled_adapter, {}, "adapter_model.safetensors: cannot be read"),
        (truncated, {}, "adapter_model.safetensors: cannot be read"),
        (other_lineage, {}, "lineage.json is of another model than lies beside it"),
        (forged_lineage, {}, "lineage.json: privacy is neither mode = none nor"),
        (None, {"predictor.head_width": 9}, "predictor.head_width = 8 there and 9 in this run"),
        (None, {"predictor.lora_rank": 2}, "predictor.lora_rank = 4 there and 2 in this run"),
        (None, {"predictor.context_rank": 3}, "predictor.context_rank = 16 there and 3"),
        (None, {"predictor.early_features": "false"}, "predictor.early_features = True there"),
        (None, {"predictor.encoder": "all-MiniLM-L6-v2"}, "predictor.encoder ="),
    ],
)
def test_what_cannot_be_begun_from_is_refused_in_one_line_and_nothing_is_replaced(
    finished: Any,
    command: Command,
    as_options: Sequence[str],
    tiny_data: Path,
    tmp_path: Path,
    damage: Callable[[Path], None] | None,
    changes: Mapping[str, Any],
    named: str,
) -> None:
    start, out = tmp_path / "start", tmp_path / "out"
    shutil.copytree(finished.out, start)
    if damage is not None:
        damage(start)
    shutil.copytree(finished.out, out)
    before = contents(out)
    more = {**changes, "training.start": start}
    words = [word for key, value in more.items() for word in ("--set", f"{key}={value}")]
    refused = command(
        *("simulate", "--data", tiny_data, "--out", out, "--overwrite", *as_options, *words)
    )
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
    assert f"training.start = '{start}'" in refused.err
    assert named in refused.err
    assert contents(out) == before


def test_a_run_does_not_replace_what_it_begins_from(
    finished: Any, make_config: MakeConfig, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished.out, out)
    with pytest.raises(ConfigError, match=r"training\.start = .* lies in --out"):
        run(make_config(out, {"training.start": str(out)}), overwrite=True)
    assert contents(out) == contents(finished.out)


def test_a_chain_of_starts_is_told_on(chain: Chain, finished: Any) -> None:
    begun = json.loads((chain.second / "result.json").read_text(encoding="utf-8"))
    first, start = begun["start"], chain.result["start"]
    assert first["model"] == vector_digest(vector_of(finished.out))
    assert (start["name"], start["start"]) == ("published", first)
    promised = {name: begun["privacy"][name] for name in ("mode", "unit", "epsilon", "delta")}
    groups = sorted(begun["privacy"]["groups"])
    run_name = begun["privacy"]["run"]
    assert start["privacy"] == {**promised, "run": run_name, "groups": groups}
    out = Path(chain.third.out)
    for name in ("privacy.json", "lineage.json"):
        assert json.loads((out / name).read_text(encoding="utf-8"))["start"] == start


def test_the_ledgers_name_the_start_and_a_review_finds_no_fault(chain: Chain) -> None:
    out, model = Path(chain.third.out), chain.result["start"]["model"]
    ledgers = sorted((out / "ledgers" / "groups").glob("*.jsonl"))
    announced = [body["model"] for path in ledgers for body in bodies(path, "PLAN")]
    assert announced == [model] * 4
    (begun,) = bodies(out / "ledgers" / "server.jsonl", "RUN")
    assert begun["model"] == model
    checks = verify(gather([out]))
    assert holds(checks), [check for check in checks if check.status == "fail"]


@pytest.mark.parametrize(
    ("file", "changes", "named"),
    [
        ("result.json", {"model": "ab" * 32}, "start is not as in privacy.json"),
        ("both", {"model": "ab" * 32}, "another model than the run began from"),
        ("both", {"privacy": {"mode": "secret"}}, "privacy is neither"),
        ("both", None, "start is not as config.training.start has it"),
        ("lineage.json", {"privacy": None}, "lineage.json: missing, or not as the server ledger"),
    ],
)
def test_a_start_that_is_forged_is_found(
    chain: Chain, tmp_path: Path, file: str, changes: Mapping[str, Any] | None, named: str
) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(chain.third.out, forged)
    for name in ("result.json", "privacy.json") if file == "both" else (file,):
        content = json.loads((forged / name).read_text(encoding="utf-8"))
        content["start"] = changes and {**content["start"], **changes}
        if content["start"] is None and name == "privacy.json":
            del content["start"]
        (forged / name).write_text(json.dumps(content), encoding="utf-8")
    failed = [check.finding for check in verify(gather([forged])) if check.status == "fail"]
    assert any(named in finding for finding in failed), failed


def test_cards_and_reports_say_what_people_have_paid_before(chain: Chain, tmp_path: Path) -> None:
    run_name = chain.result["start"]["privacy"]["run"]
    said = (
        f"The run starts from published (model {chain.result['start']['model'][:16]}), which was "
        "itself trained under epsilon = 8, delta = 0.001 for every respondent of Group 0, Group 1, "
        f"Group 4, Group 5 (run {run_name[:11]}…): people in both pay both, the epsilons add up."
    )
    before = "That model in turn starts from out ("
    out = Path(chain.third.out)
    report = (out / "report.html").read_text(encoding="utf-8")
    assert said in report and before in report
    evidence = gather([out])
    checks = verify(evidence)
    card = build_card(evidence, checks)
    assert card["runs"][0]["starts"][0] == said
    assert "on data that count as public" in card["runs"][0]["starts"][1]
    # A card is compared whole: one that leaves the start out is found.
    for starts, status in ((card["runs"][0]["starts"], "pass"), ([], "fail")):
        stated = {**card, "runs": [{**card["runs"][0], "starts": starts}]}
        assert compare_card(stated, evidence, checks, evidence).status == status


def test_a_publication_carries_the_chain_on(
    chain: Chain, tiny_encoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is a folder here goes under a name of its own elsewhere.
    (tmp_path / "tiny").mkdir()
    for name in (BASE, f"{BASE}-2"):
        (tmp_path / name).symlink_to(tiny_encoder)
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "again"
    files = publish(Publication(model=Path(chain.third.out), out=out, base_model=f"{BASE}-2"))
    assert "lineage.json" in files
    lineage = json.loads((out / "lineage.json").read_text(encoding="utf-8"))
    assert lineage["start"] == chain.result["start"]
    assert lineage["model"] == vector_digest(vector_of(out))
    text = (out / "README.md").read_text(encoding="utf-8")
    assert "people in both pay both, the epsilons add up" in text
    assert "That model in turn starts from out" in text
    assert str(chain.published) not in text


@pytest.mark.parametrize("privacy", [{}, {**PRIVATE, "federation.adapter_rounds": 1}])
def test_a_run_goes_on_without_the_folder_that_it_began_from(
    finished: Any,
    make_config: MakeConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    privacy: Mapping[str, Any],
) -> None:
    start, out = tmp_path / "start", tmp_path / "out"
    shutil.copytree(finished.out, start)
    config = make_config(out, {**privacy, "training.start": str(start)})
    handle, left, plans = LocalGrid._run_handler, [6], []

    def stopping(grid: LocalGrid, message: Message) -> Message:
        if message.metadata.message_type == "train.masked":
            plans.append(message.content.config_records["plan"]["training.start"])
            left[0] -= 1
            if left[0] == 0:
                raise Killed
        return handle(grid, message)

    monkeypatch.setattr(LocalGrid, "_run_handler", stopping)
    with pytest.raises(Killed):
        run(config)
    forget_ledgers()
    model = vector_digest(vector_of(start))
    shutil.rmtree(start)
    written = (out / "start.json").read_bytes()
    again = replace(config, resume=True)
    for content, named in ((None, "cannot be read"), (b"{}", "a start has the fields")):
        (out / "start.json").unlink()
        if content is not None:
            (out / "start.json").write_bytes(content)
        with pytest.raises(ValueError, match=named) as refused:
            run(again)
        assert "\n" not in str(refused.value)
        (out / "start.json").write_bytes(written)
    if privacy:
        other = {**json.loads(written), "model": "ab" * 32}
        (out / "start.json").write_text(json.dumps(other), encoding="utf-8")
        with pytest.raises(ValueError, match="names another start than the run has registered"):
            run(again)
        (out / "start.json").write_bytes(written)
    result = run(again)
    assert result["start"]["model"] == model
    assert set(plans) == {model}
    if privacy:
        checks = verify(gather([out]))
        assert holds(checks), [check for check in checks if check.status == "fail"]


def test_every_study_and_comparison_takes_the_start(finished: Any, tmp_path: Path) -> None:
    """They put settings together and hand them to ``run``: no other place draws a first vector."""
    from experiments.compare.comparison import plan_comparison

    plan = plan_comparison(
        data=finished.config.data,
        split=None,
        out=tmp_path / "compare",
        methods=("fedaccord", "fedaccord-private"),
        draws=1,
        gpo_rounds=1,
        assignments=[f"training.start={finished.out}"],
        say=lambda _: None,
    )
    assert {each.config.training.start for each in plan.runs} == {str(finished.out)}
    assert {each.config.predictor for each in plan.runs} == {finished.config.predictor}
