"""The handlers, asked by real messages through the in-process grid."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, RecordDict

from alignment.data.population import load_population
from alignment.model.predictor import Predictor
from experiments.simulation.local_grid import LocalGrid
from privacy.errors import BadSignature
from privacy.identity.keys import Identity
from privacy.identity.possession import require_proof
from server.config import RunConfig
from strategies.wire.round_plan import RoundPlan

MakeGrid = Callable[..., LocalGrid]
MakePlan = Callable[..., RoundPlan]
Ask = Callable[..., Message]
TRAIN, HELD_OUT = 0, 5


def challenged(grid: LocalGrid, node: int, challenge: bytes) -> dict[str, Any]:
    """What a node answers to a setup with a challenge."""
    with grid.as_server():
        asked = ConfigRecord({"version": 2, "unit": "", "challenge": challenge})
        message = Message(RecordDict({"setup": asked}), node, "query.setup")
        (reply,) = grid.send_and_receive([message])
    return dict(reply.content["setup"])


def released(reply: Message) -> np.ndarray:
    (vector,) = reply.content.array_records["update"].to_numpy_ndarrays()
    return vector


class TestSetup:
    def test_train_groups_come_first_then_held_out_groups_then_idle_nodes(
        self, make_grid: MakeGrid, ask: Ask, config: RunConfig
    ) -> None:
        grid = make_grid(8)
        population = load_population(
            config.data, split="", seed=config.seed, skip_invalid=config.skip_invalid
        )
        answers = [dict(ask(grid, "query.setup", i).content["setup"]) for i in range(8)]
        train, held_out = population.split.train_groups, tuple(population.split.draws)
        assert (len(train), len(held_out)) == (4, 2)
        expected = [{"group": g, "role": "train"} for g in train]
        expected += [{"group": g, "role": "held_out"} for g in held_out]
        assert answers == [*expected, *([{"group": "", "role": "idle"}] * 2)]

    def test_the_seed_decides_who_is_held_out(self, make_grid: MakeGrid, ask: Ask) -> None:
        held_out = set()
        for seed in range(4):
            grid = make_grid(6, seed=seed)
            last = [str(ask(grid, "query.setup", i).content["setup"]["group"]) for i in (4, 5)]
            held_out.add(tuple(last))
        assert len(held_out) > 1

    def test_fewer_nodes_than_groups_are_refused(self, make_grid: MakeGrid, ask: Ask) -> None:
        """Flower simulates two nodes unless told otherwise; nobody would be held out."""
        assert ask(make_grid(5), "query.setup", 0).has_error()

    def test_a_train_group_proves_its_key_where_it_is_challenged(self, make_grid: MakeGrid) -> None:
        """Was open: anybody could declare the public key of a group."""
        grid = make_grid()
        train, held_out = (list(grid.get_node_ids())[at] for at in (TRAIN, HELD_OUT))
        challenge = bytes(range(32))
        answer = challenged(grid, train, challenge)
        proof = answer.pop("proof")
        public = bytes.fromhex(answer["identity"])
        require_proof(public, proof, answer, challenge=challenge, node=train)
        for other in ({"node": held_out}, {"challenge": bytes(32)}):
            with pytest.raises(BadSignature):
                require_proof(
                    public, proof, answer, **{"challenge": challenge, "node": train, **other}
                )
        # Of a simulation, groups that only measure have no key.
        assert challenged(grid, held_out, challenge).keys() == {"group", "role"}

    def test_an_organisation_proves_its_key_whatever_it_is_for(
        self, deploy: Callable[..., Any]
    ) -> None:
        """Was open: nothing that a group said which only measures was signed."""
        deployed = deploy(groups=2, held_out=1)
        challenge = bytes(range(32))
        asked = ConfigRecord({"version": 2, "unit": "", "challenge": challenge})
        for node, (group, home) in zip(
            deployed.grid.get_node_ids(), deployed.homes.items(), strict=True
        ):
            content = deployed.ask(group, "query.setup", RecordDict({"setup": asked}))
            answer = dict(content["setup"])
            proof = answer.pop("proof")
            assert {"group", "role", "code", "roster"} < answer.keys()
            public = Identity.read(home / "identity.pem").public
            require_proof(public, proof, answer, challenge=challenge, node=node)

    @pytest.mark.parametrize("challenge", [b"1", bytes(33), "text", 7])
    def test_nothing_but_a_challenge_is_signed(
        self, make_grid: MakeGrid, challenge: bytes | str | int
    ) -> None:
        grid = make_grid()
        node = next(iter(grid.get_node_ids()))
        with grid.as_server():
            asked = ConfigRecord({"version": 2, "unit": "", "challenge": challenge})
            message = Message(RecordDict({"setup": asked}), node, "query.setup")
            (reply,) = grid.send_and_receive([message])
        assert reply.has_error()

    def test_a_node_outside_a_simulation_is_refused(self, config: RunConfig) -> None:
        from clients.data.simulated import SimulatedClientConfig

        with pytest.raises(ValueError, match="no partition-id: this client runs in simulations"):
            SimulatedClientConfig.read({}, config.flat())


class TestTrain:
    def test_the_reply_is_update_loss_and_weight_in_one_vector(
        self, make_grid: MakeGrid, ask: Ask, vector: np.ndarray
    ) -> None:
        update = released(ask(make_grid(), "train", TRAIN))
        assert (update.dtype, update.shape) == (np.dtype(np.float32), (vector.size + 2,))
        assert np.isfinite(update).all()
        assert update[-1] == 1  # all groups count alike
        assert 0.1 < update[-2] < 3  # cross-entropy of 2 or 3 options, untrained
        assert 0 < np.abs(update[:-2]).max() < 0.1  # a few steps of AdamW at 0.001

    def test_nothing_else_leaves(self, make_grid: MakeGrid, ask: Ask) -> None:
        grid = make_grid()
        reply = ask(grid, "train", TRAIN)
        assert list(reply.content) == ["update"]
        assert list(reply.content.array_records["update"]) == ["0"]
        assert not reply.content.metric_records
        assert not reply.content.config_records
        assert all(len(context.state) == 0 for context in grid.contexts.values())
        everything = b"".join(
            nested.deflate() for nested in reply.content.array_records["update"].values()
        )
        assert b"Group" not in everything + reply.content.deflate()

    def test_the_last_round_of_warmup_sends_the_head_alone(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan, predictor: Predictor
    ) -> None:
        heads = np.concatenate(
            [np.full(p.numel(), name.startswith("head.")) for name, p in predictor.trainable()]
        )
        warm = released(ask(make_grid(), "train", TRAIN, make_plan(train_adapter=False)))[:-2]
        full = released(ask(make_grid(), "train", TRAIN, make_plan(train_adapter=True)))[:-2]
        assert warm.shape == (heads.sum(),) and warm.any()
        assert full[~heads].any()
        assert full[heads].any()

    def test_the_same_plan_gives_the_same_bytes_whoever_trained_before(
        self, make_grid: MakeGrid, ask: Ask
    ) -> None:
        grid = make_grid()
        first = released(ask(grid, "train", TRAIN))
        ask(grid, "train", 1)
        ask(grid, "evaluate", HELD_OUT)
        assert released(ask(grid, "train", TRAIN)).tobytes() == first.tobytes()
        assert released(ask(make_grid(), "train", TRAIN)).tobytes() == first.tobytes()

    @pytest.mark.parametrize(
        "change",
        [{"round": 4}, {"seed": 1}, {"learning_rate_scale": 0.5}, {"training.batch_size": 3}],
        ids=str,
    )
    def test_another_plan_gives_another_update(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan, change: dict[str, Any]
    ) -> None:
        first = released(ask(make_grid(), "train", TRAIN))
        changed = released(ask(make_grid(), "train", TRAIN, make_plan(**change)))
        assert not np.array_equal(first, changed)

    def test_another_group_gives_another_update(self, make_grid: MakeGrid, ask: Ask) -> None:
        grid = make_grid()
        assert not np.array_equal(
            released(ask(grid, "train", 0))[:-2], released(ask(grid, "train", 1))[:-2]
        )

    def test_rounds_from_the_trained_vector_lower_the_loss(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan, vector: np.ndarray
    ) -> None:
        grid, current, losses = make_grid(), vector, []
        fast = make_plan(**{"training.learning_rate": 0.02})
        for _ in range(6):
            update = released(ask(grid, "train", TRAIN, fast, arrays=[current]))
            current = current + update[:-2]
            losses.append(float(update[-2]))
        assert losses[-1] < losses[0] - 0.05


class TestEvaluate:
    def test_a_held_out_group_reports_its_alignment_and_its_number_of_targets(
        self, make_grid: MakeGrid, ask: Ask
    ) -> None:
        reply = ask(make_grid(), "evaluate", HELD_OUT)
        assert list(reply.content) == ["metrics"]
        metrics = reply.content.metric_records["metrics"]
        assert set(metrics) == {"alignment", "log_loss", "targets", "public"}
        assert metrics["targets"] == 5 * 8  # 12 questions: 4 shown, 8 targets, five draws
        assert 0.1674 < float(str(metrics["alignment"])) < 1
        assert 0 < float(str(metrics["log_loss"])) < 27.64

    def test_the_context_setting_counts(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan
    ) -> None:
        scores = [
            float(str(ask(make_grid(), "evaluate", HELD_OUT, plan).content["metrics"]["alignment"]))
            for plan in (make_plan(), make_plan(**{"context.strength": 0.0}))
        ]
        assert scores[0] > scores[1]


class TestRefusals:
    """What must fail does so at the client, and no vector comes back."""

    @staticmethod
    def refused(grid: LocalGrid, reply: Message) -> str:
        assert reply.has_error()
        assert not reply.has_content()
        (failure,) = grid.failures
        return failure.traceback.strip().splitlines()[-1]

    def test_a_held_out_group_does_not_train(self, make_grid: MakeGrid, ask: Ask) -> None:
        grid = make_grid()
        line = self.refused(grid, ask(grid, "train", HELD_OUT))
        assert line == "ValueError: a held-out group does not train: ask train groups only"

    def test_a_train_group_does_not_evaluate(self, make_grid: MakeGrid, ask: Ask) -> None:
        grid = make_grid()
        line = self.refused(grid, ask(grid, "evaluate", TRAIN))
        assert line == "ValueError: a train group holds nothing out: ask held-out groups only"

    @pytest.mark.parametrize("kind", ["train", "evaluate"])
    def test_an_idle_node_does_neither(self, make_grid: MakeGrid, ask: Ask, kind: str) -> None:
        grid = make_grid(7)
        assert self.refused(grid, ask(grid, kind, 6)).startswith("ValueError: a ")

    @pytest.mark.parametrize("kind", ["train", "evaluate"])
    def test_a_vector_of_another_predictor_is_refused(
        self, make_grid: MakeGrid, ask: Ask, vector: np.ndarray, kind: str
    ) -> None:
        grid = make_grid()
        place = TRAIN if kind == "train" else HELD_OUT
        line = self.refused(grid, ask(grid, kind, place, arrays=[vector[:-1]]))
        assert "both sides must hold the same predictor configuration" in line

    def test_a_vector_that_is_not_finite_is_refused(
        self, make_grid: MakeGrid, ask: Ask, vector: np.ndarray
    ) -> None:
        grid = make_grid()
        broken = np.where(np.arange(vector.size) == 3, np.nan, vector).astype(np.float32)
        line = self.refused(grid, ask(grid, "train", TRAIN, arrays=[broken]))
        assert line == "ValueError: vector holds NaN or infinity: lower the learning rate"

    def test_two_vectors_are_refused(
        self, make_grid: MakeGrid, ask: Ask, vector: np.ndarray
    ) -> None:
        grid = make_grid()
        assert self.refused(grid, ask(grid, "train", TRAIN, arrays=[vector, vector]))

    def test_a_setting_that_this_version_does_not_know_is_refused(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan
    ) -> None:
        grid = make_grid()
        line = self.refused(grid, ask(grid, "train", TRAIN, make_plan(**{"training.momentum": 1})))
        assert "momentum" in line

    def test_training_that_diverges_names_the_remedy(
        self, make_grid: MakeGrid, ask: Ask, make_plan: MakePlan
    ) -> None:
        grid = make_grid()
        wild = make_plan(**{"training.learning_rate": 1e30, "training.local_epochs": 3.0})
        line = self.refused(grid, ask(grid, "train", TRAIN, wild))
        assert line == "ValueError: training diverged: lower training.learning_rate"


def test_importing_the_handlers_does_not_import_torch() -> None:
    """A process may serve one message alone: what a handler needs is its own business."""
    heavy = {"torch", "transformers", "peft", "datasets", "alignment.model.predictor"}
    program = f"import sys, clients.app; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
