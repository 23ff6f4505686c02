"""Cross-validation of pairs: folds by prompt, yardsticks, figures, and a study that resumes."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alignment.data.answers import tally
from alignment.data.conversations import Conversation, Message
from alignment.data.records import ChoiceRecord, PairRecord, Question
from experiments.pairs.baselines import (
    cross_predict,
    fit_pairs,
    frozen_model,
    length_model,
    longer_wins,
    targets_of,
)
from experiments.pairs.folds import deal_groups, dialogue_of, make_folds, pairs_of
from experiments.pairs.study import (
    HEAD_ALONE,
    LENGTH,
    LONGER,
    PairsStudy,
    plan_study,
    run_predictions,
    summarise_study,
)
from server.config import ConfigError
from server.presets import PAIR_DEFAULTS, PRIVATE_DEFAULTS

Command = Callable[..., Any]
WriteRows = Callable[..., Path]

LETTERS = "abcdefghijkl"


def transcript(first: str, *turns: str) -> str:
    return (
        f"Human: {first}"
        + "".join(f"\n\nAssistant: ok\n\nHuman: {t}" for t in turns)
        + ("\n\nAssistant:")
    )


def pair(prompt: str, chosen: str, rejected: str, **who: Any) -> PairRecord:
    given = {"group": "g", "annotator": None, **who}
    return PairRecord(prompt=prompt, chosen=chosen, rejected=rejected, **given)


def made_pairs(groups: Sequence[str] = ("east", "north", "west")) -> tuple[PairRecord, ...]:
    """Pairs of which the longer always wins: of each prompt two, by two annotators."""
    return tuple(
        pair(
            f"do you like {letter} ?",
            f"{('a ', 'yes ')[place % 2] * (4 + k + place % 3)}{letter}",
            f"no {letter}",
            group=groups[(k + place) % len(groups)],
            annotator=f"{groups[(k + place) % len(groups)]} {person}",
        )
        for place, letter in enumerate(LETTERS)
        for k in range(2)
        for person in range(2)
    )


@pytest.fixture
def data(tmp_path: Path, write_rows: WriteRows) -> Path:
    from alignment.data.records import record_to_row

    return write_rows(tmp_path / "pairs.jsonl", map(record_to_row, made_pairs()))


class TestDialogues:
    def test_a_conversation_is_named_by_what_the_user_said_first(self) -> None:
        turns = [("user", "Do you  like tea?"), ("assistant", "ok"), ("user", "and war?")]
        first, *_ = said = tuple(Message(role, text) for role, text in turns)
        system = Message("system", "Rhyme.")
        names = {dialogue_of(Conversation(each)) for each in (said, (first,), (system, *said))}
        assert names == {dialogue_of("do you like tea?")}
        other = Conversation((system, Message("user", "and war?")))
        assert dialogue_of(other) not in names
        assert dialogue_of(Conversation((system,))) not in names

    def test_targets_of_conversations_name_the_dialogue_of_their_records(self) -> None:
        records = tuple(
            replace(each, prompt=Conversation((Message("user", each.prompt),)))
            for each in made_pairs()
            if isinstance(each.prompt, str)
        )
        targets = targets_of(records, make_folds(records, folds=2))
        assert {t.dialogue for t in targets} == {dialogue_of(r.prompt) for r in made_pairs()}

    def test_a_dialogue_that_goes_on_is_the_same(self) -> None:
        short, long = transcript("do you like tea?"), transcript("Do you  like tea?", "and war?")
        assert dialogue_of(short) == dialogue_of(long) == dialogue_of(f"\n\n{short}")
        assert dialogue_of(short) != dialogue_of(transcript("and war?"))

    def test_any_other_prompt_is_a_whole(self) -> None:
        one, two = "Sort this.\n\nAssistant: a b", "Sort this.\n\nAssistant: c d"
        assert dialogue_of(one) != dialogue_of(two)
        assert dialogue_of("Sort  this.\n") == dialogue_of("sort this.")


class TestFolds:
    records = (
        *made_pairs(),
        *(
            pair(transcript(f"about {a}", *["more"] * turns), "yes it is", "no", group=group)
            for a, group in (("x", "east"), ("y", "north"), ("z", "west"))
            for turns in range(3)
        ),
    )

    @pytest.mark.parametrize("count", [2, 5])
    def test_no_dialogue_is_in_two_and_every_pair_is_predicted_once(self, count: int) -> None:
        folds = make_folds(self.records, folds=count)
        asked: Counter[tuple[str, str]] = Counter()
        met: Counter[str] = Counter()
        for fold in folds:
            held_out = [r for r in fold.records if r.group in fold.split.draws]
            train = [r for r in fold.records if r.group in fold.split.train_groups]
            assert len(held_out) + len(train) == len(self.records)
            assert not {dialogue_of(r.prompt) for r in held_out} & {
                dialogue_of(r.prompt) for r in train
            }
            met.update({dialogue_of(r.prompt) for r in held_out})
            fold.split.check(tally(fold.records))
            for name, (draw,) in fold.split.draws.items():
                assert not draw.context
                asked.update((name.removesuffix(" / held out"), id) for id in draw.target)
        assert set(met.values()) == {1}
        assert set(asked.values()) == {1}
        assert set(asked) == {(r.group, r.question.question_id) for r in self.records}

    def test_folds_are_alike_in_size(self) -> None:
        sizes = [
            sum(r.group in fold.split.draws for r in fold.records)
            for fold in make_folds(self.records, folds=3)
        ]
        assert max(sizes) - min(sizes) <= 4

    def test_the_order_of_records_means_nothing(self) -> None:
        one, two = (make_folds(records, folds=3) for records in (self.records, self.records[::-1]))
        for mine, other in zip(one, two, strict=True):
            assert mine.split.unseen_questions == other.split.unseen_questions

    def test_what_cannot_be_parted_is_refused(self) -> None:
        with pytest.raises(ValueError, match="--folds 1 must be at least 2"):
            make_folds(self.records, folds=1)
        with pytest.raises(ValueError, match=r"hold 15 prompt\(s\)"):
            make_folds(self.records, folds=16)
        alone = (*self.records, pair("alone ?", "yes", "no", group="south"))
        with pytest.raises(ValueError, match="'south' has all its prompts in one fold"):
            make_folds(alone, folds=2)
        taken = (*self.records, pair("do you like a ?", "b", "c", group="east / held out"))
        taken = (*taken, pair("do you like b ?", "b", "c", group="east / held out"))
        taken = (*taken, *(replace(r, group="east / held out") for r in self.records[4:40]))
        with pytest.raises(ValueError, match="would stand for two"):
            make_folds(taken, folds=2)

    def test_other_kinds_of_records_are_refused(self) -> None:
        question = Question(question_id="q", text="tea?", options=("yes", "no"))
        choice = ChoiceRecord(group="g", respondent="r", question=question, choice=0)
        with pytest.raises(ValueError, match="no pairs of responses"):
            pairs_of([*self.records, choice])


class TestDealing:
    def test_too_few_groups_are_dealt_out_by_dialogue(self) -> None:
        records = tuple(replace(r, group="all") for r in TestFolds.records)
        dealt = deal_groups(records, groups=4)
        groups: dict[str, set[str]] = {}
        for record in dealt:
            groups.setdefault(dialogue_of(record.prompt), set()).add(record.group)
        assert all(len(each) == 1 for each in groups.values())
        sizes = Counter(record.group for record in dealt)
        assert set(sizes) == {f"simulated {i}" for i in range(1, 5)}
        assert max(sizes.values()) - min(sizes.values()) <= 4
        folds = make_folds(dealt, folds=4)
        assert all(len(fold.split.draws) > 1 for fold in folds), "a fold is not a group"

    def test_data_with_groups_keep_them(self) -> None:
        assert deal_groups(TestFolds.records, groups=5) == TestFolds.records

    def test_two_groups_are_refused(self) -> None:
        records = tuple(replace(r, group="all") for r in TestFolds.records)
        with pytest.raises(ValueError, match="--groups 2 must be at least 3"):
            deal_groups(records, groups=2)


class TestBaselines:
    records = made_pairs()
    targets = targets_of(records, make_folds(records, folds=3))
    shares = np.array([target.share for target in targets])

    def test_where_the_longer_wins_both_rules_of_length_are_right(self) -> None:
        assert set(self.shares) == {0.0, 1.0}
        assert (longer_wins(self.targets) == self.shares).all()
        assert ((length_model(self.targets) > 0.5) == (self.shares > 0.5)).all()

    def test_responses_of_one_length_are_a_tie(self) -> None:
        even = pair("tea ?", "yes", "nay", group="east")
        odd = targets_of([even], [make_folds((*self.records, even), folds=2)[k] for k in (0, 1)])
        assert longer_wins(odd).tolist() == [0.5]

    def test_exchanging_the_responses_exchanges_the_prediction(self) -> None:
        features = np.random.default_rng(0).normal(size=(len(self.targets), 2, 4))
        predicted = frozen_model(features, self.targets)
        swapped = [replace(target, share=1 - target.share) for target in self.targets]
        assert frozen_model(features[:, ::-1], swapped) == pytest.approx(1 - predicted)

    def test_no_answer_of_the_own_fold_is_looked_at(self) -> None:
        differences = np.random.default_rng(1).normal(size=(len(self.targets), 3))
        before = cross_predict(differences, self.targets, penalties=(1.0, 0.01))
        turned = [
            replace(target, share=1 - target.share) if target.fold == 0 else target
            for target in self.targets
        ]
        after = cross_predict(differences, turned, penalties=(1.0, 0.01))
        inside = np.array([target.fold == 0 for target in self.targets])
        assert after[inside] == pytest.approx(before[inside], abs=1e-12)
        assert np.abs(after - before)[~inside].min() > 1e-6

    def test_the_fit_is_where_the_slope_is_zero(self) -> None:
        generator = np.random.default_rng(2)
        differences, shares = generator.normal(size=(200, 3)), generator.random(200)
        weights = fit_pairs(differences, shares, penalty=0.1)
        predicted = 1 / (1 + np.exp(-differences @ weights))
        slope = differences.T @ (predicted - shares) / 200 + 0.1 * weights
        assert np.abs(slope).max() < 1e-4


PlanStudy = Callable[..., PairsStudy]


@pytest.fixture
def plan(tmp_path: Path, data: Path) -> PlanStudy:
    def call(**changes: Any) -> PairsStudy:
        return plan_study(**{"data": str(data), "out": tmp_path / "study", "folds": 3, **changes})

    return call


class TestPlan:
    def test_each_method_runs_each_fold_with_one_setting_apart(self, plan: PlanStudy) -> None:
        study = plan(draws=2, assignments=["predictor.lora_rank=2"])
        assert Counter((run.method, run.seed) for run in study.runs) == {
            (method, seed): 3 for method in ("adapters", "head") for seed in (0, 1)
        }
        for run in study.runs:
            rank = 2 if run.method == "adapters" else 0
            assert run.config.predictor.lora_rank == rank
            assert (
                run.config.federation.adapter_rounds == PAIR_DEFAULTS["federation.adapter_rounds"]
            )
            assert run.config.training.context_weight == 0
        assert len({run.out for run in study.runs}) == len(study.runs)

    def test_without_adapters_there_is_nothing_to_control(self, plan: PlanStudy) -> None:
        study = plan(assignments=["federation.adapter_rounds=0"])
        assert {run.method for run in study.runs} == {HEAD_ALONE}

    def test_a_private_study_trains_as_private_runs_do(self, plan: PlanStudy) -> None:
        config = plan(assignments=["privacy.mode=distributed", "privacy.unit=record"]).config
        rounds = PRIVATE_DEFAULTS["federation.warmup_rounds"]
        assert (config.federation.warmup_rounds, config.federation.adapter_rounds) == (rounds, 0)

    def test_what_the_study_sets_is_refused(self, plan: PlanStudy) -> None:
        with pytest.raises(ConfigError, match="--set seed=3: the study sets it itself"):
            plan(assignments=["seed=3"])

    def test_persons_in_several_groups_are_not_promised_an_epsilon(
        self, tmp_path: Path, plan: PlanStudy, write_rows: WriteRows
    ) -> None:
        from alignment.data.records import record_to_row

        shared = [replace(r, annotator=str(r.annotator)[-1]) for r in made_pairs()]
        data = str(write_rows(tmp_path / "shared.jsonl", map(record_to_row, shared)))
        private = ["privacy.mode=distributed"]
        with pytest.raises(ConfigError, match="2 of 2 annotators answer in several groups"):
            plan(data=data, assignments=private)
        assert not (tmp_path / "study").exists()
        assert plan(data=data, assignments=[*private, "privacy.unit=record"]).runs
        assert plan(assignments=private).runs

    def test_other_data_make_other_folds(self, plan: PlanStudy, data: Path) -> None:
        before = [run.config.data for run in plan().runs]
        rows = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
        rows[0]["chosen"], rows[0]["rejected"] = rows[0]["rejected"], rows[0]["chosen"]
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        after = [run.config.data for run in plan().runs]
        assert not set(before) & set(after)


class TestFigures:
    def test_of_a_rule_that_is_always_right(self, plan: PlanStudy) -> None:
        study = plan()
        shares = np.array([target.share for target in study.targets])
        predictions = {LENGTH: np.clip(shares, 0.2, 0.8), LONGER: longer_wins(study.targets)}
        content = summarise_study(study, predictions, finished=0)
        length, longer = content["methods"]
        assert longer["accuracy"] == {"value": 1.0, "low": 1.0, "high": 1.0}
        assert all(longer[name] is None for name in ("log_loss", "brier", "calibration_error"))
        assert length["brier"]["value"] == pytest.approx(0.04)
        assert length["log_loss"]["value"] == pytest.approx(-np.log(0.8))
        assert length["calibration_error"]["value"] == pytest.approx(0.2)
        assert length["accuracy_by_fold"] == [1.0, 1.0, 1.0]
        assert content["gains"] == [
            {
                "method": LENGTH,
                "over": LONGER,
                "accuracy": {"value": 0.0, "low": 0.0, "high": 0.0},
                "log_loss": None,
            }
        ]

    def test_an_interval_takes_prompts_and_not_pairs_as_units(self, plan: PlanStudy) -> None:
        """All pairs of a prompt alike: as wide as for one pair each, not narrower by sqrt(2)."""
        study = plan()
        letters = sorted({target.dialogue for target in study.targets})
        right = np.array([letters.index(target.dialogue) % 2 for target in study.targets])
        shares = np.array([target.share for target in study.targets])
        predictions = {LENGTH: np.where(right == 1, shares, 1 - shares) * 0.8 + 0.1}
        found = summarise_study(study, predictions, finished=0)["methods"][0]["accuracy"]
        # 12 prompts, half of them right: two standard deviations are .29 each way.
        assert found["value"] == 0.5
        assert found["high"] - found["low"] == pytest.approx(4 * 0.5 / 12**0.5, abs=0.12)


SHORT = ("--set", "federation.warmup_rounds=1", "--set", "federation.adapter_rounds=1")


class TestCommand:
    @pytest.fixture
    def study(self, command: Command, tmp_path: Path, data: Path, tiny_encoder: str) -> Command:
        def call(*more: object) -> Any:
            tiny = {"encoder": tiny_encoder, "head_width": 8, "max_tokens": 64, "lora_layers": 1}
            sets = [word for k, v in tiny.items() for word in ("--set", f"predictor.{k}={v}")]
            given = ("--data", data, "--out", tmp_path / "study", "--folds", 2)
            return command("experiment", "pairs", *given, *sets, *SHORT, *more)

        return call

    def test_a_study_goes_on_where_it_was_and_every_pair_is_predicted_once(
        self, study: Command, plan: PlanStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from experiments.simulation import run as module

        real, begun = module.run, []

        def stopped(config: Any, **given: Any) -> Any:
            begun.append(Path(config.out).name)
            if len(begun) == 2:
                raise KeyboardInterrupt
            return real(config, **given)

        monkeypatch.setattr(module, "run", stopped)
        outcome = study("--json")
        assert outcome.code == 130
        content = json.loads(outcome.out)
        assert (content["finished"], content["runs"]) == (1, 4)
        half = content["methods"][0]
        assert half["method"] == "adapters"
        assert half["targets"] < content["targets"]
        assert half["accuracy_by_fold"][1] is None

        monkeypatch.setattr(
            module, "run", lambda c, **g: begun.append(Path(c.out).name) or real(c, **g)
        )
        outcome = study("--json")
        assert outcome.code == 0, outcome.err
        assert "1 of 4 runs had finished before" in outcome.err
        assert "reading" not in outcome.err, "the frozen encoder has read the responses before"
        names = [f"{method}-fold{k}-seed0" for method in ("adapters", "head") for k in (1, 2)]
        assert begun == [*names[:2], *names[1:]]
        content = json.loads(outcome.out)
        assert content == json.loads((tmp_path / "study" / "pairs.json").read_text())
        figures = {row["method"]: row for row in content["methods"]}
        assert [row["targets"] for row in figures.values()] == [24] * 5
        assert figures["longer"]["accuracy"]["value"] == 1
        assert (tmp_path / "study" / "pairs.png").read_bytes().startswith(b"\x89PNG")
        self.check_predictions(tmp_path / "study", content)

    @staticmethod
    def check_predictions(out: Path, content: Any) -> None:
        """The accuracy of the study is that of the rows of ``predictions.jsonl``."""
        rows = [
            json.loads(line)
            for folder in sorted((out / "runs").glob("adapters-*"))
            for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        assert len({(row["group"], row["question_id"]) for row in rows}) == len(rows) == 24
        assert all(row["with_context"] == row["without_context"] for row in rows)
        right = [(row["with_context"][0] > 0.5) == (row["actual"][0] > 0.5) for row in rows]
        found = next(row for row in content["methods"] if row["method"] == "adapters")
        assert found["accuracy"]["value"] == pytest.approx(np.mean(right))
        result = json.loads((out / "runs" / "adapters-fold1-seed0" / "result.json").read_text())
        assert result["choices"]["uniform"]["accuracy"] == 0.5
        assert found["accuracy_by_fold"][0] == pytest.approx(
            result["choices"]["unseen_groups"]["accuracy"]
        )

    def test_a_run_that_leaves_a_prediction_out_is_refused(
        self, plan: PlanStudy, tmp_path: Path
    ) -> None:
        study = plan()
        first = study.runs[0]
        first.out.mkdir(parents=True)
        (first.out / "predictions.jsonl").write_text("", encoding="utf-8")
        with pytest.raises(ConfigError, match="leaves 8 predictions out"):
            run_predictions(study, [first])

    def test_the_table_names_every_method(self, study: Command, simulated: None) -> None:
        outcome = study()
        assert outcome.code == 0, outcome.err
        for word in ("adapters and head", "length alone", "accuracy", "by prompt", "pairs.png"):
            assert word in outcome.out, word

    @pytest.fixture
    def simulated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Runs that predict every pair alike, without any simulation."""

        def fake(config: Any, *, overwrite: bool) -> dict[str, Any]:
            out, split = Path(config.out), json.loads(Path(config.split).read_text())
            out.mkdir(parents=True, exist_ok=True)
            rows = [
                {"group": group, "question_id": id, "with_context": [0.6, 0.4]}
                for group, draws in split["eval"].items()
                for id in draws["0"]["target"]
            ]
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (out / "predictions.jsonl").write_text(lines, encoding="utf-8")
            return {"seconds": {"total": 1.0}}

        monkeypatch.setattr("experiments.simulation.run.run", fake)

    def test_help_has_an_example(self, command: Command) -> None:
        outcome = command("experiment", "pairs", "--help")
        assert "Example: fedaccord experiment pairs --data" in " ".join(outcome.out.split())

    def test_data_without_pairs_are_one_line(
        self, command: Command, tiny_data: Path, tmp_path: Path
    ) -> None:
        outcome = command("experiment", "pairs", "--data", tiny_data, "--out", tmp_path / "study")
        assert outcome.code == 2
        assert outcome.err.splitlines() == [
            "error: the data are no pairs of responses: give rows with prompt, chosen and rejected"
        ]
        assert not (tmp_path / "study").exists()
