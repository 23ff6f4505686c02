"""Who takes part, and who is refused."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import Message

from experiments.simulation.local_grid import LocalGrid
from server.rounds.admission import MembershipTerms
from server.rounds.cohort import Cohort, CohortError
from server.rounds.membership import Membership
from tests.server.clock import Clock

Federation = Callable[..., Any]


def gather(grid: LocalGrid, *, minimum_groups: int = 1, timeout_seconds: float = 60.0) -> Cohort:
    terms = MembershipTerms(minimum_groups=minimum_groups, timeout_seconds=timeout_seconds)
    with grid.as_server():
        return Membership(grid, terms).gather()


def test_groups_are_sorted_by_name_and_role(federation: Federation) -> None:
    grid = federation().grid()
    nodes = list(grid.get_node_ids())
    cohort = gather(grid)
    assert list(cohort.train.items()) == [("A", nodes[1]), ("B", nodes[0]), ("C", nodes[2])]
    assert list(cohort.held_out.items()) == [("X", nodes[4]), ("Y", nodes[3])]


def test_idle_nodes_take_no_part(federation: Federation) -> None:
    cohort = gather(federation(groups=[("", "idle"), ("A", "train"), ("", "idle")]).grid())
    assert list(cohort.train) == ["A"]
    assert not cohort.held_out


@pytest.mark.parametrize("role", ["train", "held_out", "observer"])
def test_of_two_nodes_of_one_group_the_first_takes_part(
    federation: Federation, caplog: pytest.LogCaptureFixture, role: str
) -> None:
    """Was open: any node could end a run at its start by the name of another, or by its role."""
    grid = federation(groups=[("A", "train"), ("B", "train"), ("A", role)]).grid()
    cohort = gather(grid)
    assert cohort.train == dict(zip("AB", grid.get_node_ids(), strict=False))
    assert not cohort.held_out
    assert caplog.text.count("left out: group 'A' has a") == 1


def test_too_few_groups_are_refused_with_counts(federation: Federation) -> None:
    groups = [("A", "train"), ("B", "broken"), ("C", "held_out"), ("D", "train")]
    expected = (
        r"^2 train group\(s\) answered and 1 failed; at least 3 needed: look at the clients' logs$"
    )
    with pytest.raises(CohortError, match=expected):
        gather(federation(groups=groups).grid(), minimum_groups=3)


def test_just_enough_groups_are_enough(federation: Federation) -> None:
    groups = [("A", "train"), ("B", "broken"), ("D", "train")]
    assert len(gather(federation(groups=groups).grid(), minimum_groups=2).train) == 2


def test_nodes_that_come_late_are_waited_for(
    federation: Federation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = federation().grid()
    calls = []

    def late() -> Iterable[int]:
        calls.append(clock.now)
        return list(LocalGrid.get_node_ids(grid)) if len(calls) > 2 else []

    monkeypatch.setattr(grid, "get_node_ids", late)
    assert len(gather(grid).train) == 3
    assert 0 < sum(clock.slept) < 5


def test_without_any_node_the_time_limit_ends_the_wait(
    federation: Federation, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = federation().grid()
    monkeypatch.setattr(grid, "get_node_ids", list)
    with pytest.raises(CohortError, match=r"^0 train group\(s\) answered and 0 failed"):
        gather(grid, timeout_seconds=7.0)
    assert 7 <= sum(clock.slept) < 8


def test_a_client_that_fails_is_not_quoted(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(CohortError) as caught:
        gather(federation(groups=[("A", "broken")]).grid())
    assert "no records here" not in caplog.text + str(caught.value)


def test_a_role_of_another_version_is_left_out(
    federation: Federation, caplog: pytest.LogCaptureFixture
) -> None:
    """Was open: one node with an unknown role ended the run of all."""
    cohort = gather(federation(groups=[("A", "train"), ("B", "observer")]).grid())
    assert list(cohort.train) == ["A"]
    assert "left out: group 'B' has an unknown role: use one version" in caplog.text


def test_every_node_is_asked_once(federation: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = federation().grid()
    sent: list[Message] = []
    push = LocalGrid.push_messages

    def spy(messages: Iterable[Message]) -> Iterable[str]:
        sent.extend(messages := list(messages))
        return push(grid, messages)

    monkeypatch.setattr(grid, "push_messages", spy)
    gather(grid)
    assert [m.metadata.dst_node_id for m in sent] == list(grid.get_node_ids())
    assert {m.metadata.message_type for m in sent} == {"query.setup"}


class TestDraw:
    COHORT = Cohort(train={name: node for node, name in enumerate("ABCDEFGH")}, held_out={"X": 9})

    def test_a_round_asks_as_many_as_it_is_told(self) -> None:
        drawn = self.COHORT.drawn(3, seed=0, size=3)
        assert len(drawn) == 3
        assert list(drawn) == sorted(drawn)
        assert all(self.COHORT.train[group] == node for group, node in drawn.items())

    @pytest.mark.parametrize("size", [0, 8, 9])
    def test_all_where_there_are_no_more(self, size: int) -> None:
        assert self.COHORT.drawn(1, seed=0, size=size) == self.COHORT.train

    def test_it_depends_on_seed_and_round_and_on_nothing_else(self) -> None:
        def draw(seed: int, number: int) -> tuple[str, ...]:
            return tuple(self.COHORT.drawn(number, seed=seed, size=4))

        assert draw(0, 1) == draw(0, 1)
        assert len({draw(0, number) for number in range(20)}) > 10
        assert len({draw(seed, 1) for seed in range(20)}) > 10

    def test_every_group_has_its_turn_about_equally_often(self) -> None:
        drawn = [group for n in range(800) for group in self.COHORT.drawn(n, seed=1, size=2)]
        counts = [drawn.count(group) for group in self.COHORT.train]
        # 200 each; four standard deviations of a binomial of 800 and 1/4.
        assert max(abs(count - 200) for count in counts) < 50
