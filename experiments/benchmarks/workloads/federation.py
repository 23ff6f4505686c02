"""Real training rounds on a local grid, one at a time: same messages, handlers and round loop."""

from __future__ import annotations

from dataclasses import replace

from alignment.config import TrainingConfig
from alignment.model.predictor import Predictor
from alignment.model.vector import to_vector
from clients.app import app as client_app
from experiments.benchmarks.workloads.plans import sample_population
from experiments.simulation.local_grid import LocalGrid
from server.aggregation.base import MeanOfUpdates
from server.aggregation.step_sizes import steps_of
from server.config import FederationConfig, RunConfig
from server.rounds.admission import MembershipTerms
from server.rounds.collection import PlainCollector
from server.rounds.evaluation import HeldOutEvaluation
from server.rounds.loop import RoundLoop
from server.rounds.membership import Membership
from strategies.fedavg import FedAvg


class TrainingRounds:
    """A federation on the built-in survey whose adapters train from the start.

    Each call runs one round of train messages and nothing else; the model goes on from call to
    call.

    Args:
        serialize: As of :class:`experiments.simulation.local_grid.LocalGrid`.
        groups: Train groups that take part, the first by name; None takes all.
        training: What a client does in a round; None takes the defaults.
    """

    def __init__(
        self,
        *,
        serialize: bool,
        groups: int | None = None,
        training: TrainingConfig | None = None,
    ) -> None:
        self._config = RunConfig(
            training=training or TrainingConfig(),
            federation=FederationConfig(
                warmup_rounds=0, adapter_rounds=1, secure_aggregation=False
            ),
        )
        count = len(sample_population().groups)
        self.grid = LocalGrid(
            client_app=client_app,
            node_configs=[{"partition-id": i, "num-partitions": count} for i in range(count)],
            run_config=self._config.flat(),
            serialize=serialize,
        )
        with self.grid.as_server():
            cohort = Membership(self.grid, MembershipTerms.of(self._config)).gather()
        # The loop ends a run by asking the held-out groups: nobody is there to answer.
        train = dict(list(cohort.train.items())[:groups])
        self._cohort = replace(cohort, train=train, held_out={})
        predictor = Predictor(self._config.predictor)
        self.vector = to_vector(predictor)
        self._steps = steps_of(predictor, self._config.training)

    def __call__(self) -> None:
        """Run one round.

        Raises:
            RuntimeError: A client failed.
        """
        aggregation = MeanOfUpdates(self._steps)
        federation = self._config.federation
        loop = RoundLoop(
            config=self._config,
            cohort=self._cohort,
            strategy=FedAvg(),
            aggregation=aggregation,
            collector=PlainCollector(self.grid, self._cohort, federation, aggregation),
            evaluation=HeldOutEvaluation(self.grid, self._cohort, federation),
        )
        with self.grid.as_server():
            self.vector = loop.run(self.vector)
        for failure in self.grid.failures:
            raise RuntimeError(f"a client failed: {failure.first_cause}") from failure.error
