"""Who is let in, at the start and later; whoever misbehaves stays outside and harms nobody."""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from privacy.identity.keys import Roster, rosters_json
from server.rounds.admission import Setup, TakenSeats, agreeing
from server.rounds.cohort import Cohort, CohortError
from server.rounds.membership import Membership
from tests.server.clock import Clock
from tests.server.door import NODES, Door, group, key, pinning

Keeper = Callable[..., Membership]


class TestComing:
    def test_without_anybody_new_a_refresh_is_one_look_at_the_list(
        self, door: Door, opened: Keeper
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        door.come(2, {"group": "", "role": "idle"})
        keeper = opened(secure=True)
        before = Cohort(**vars(keeper.cohort))
        assert keeper.refresh() == ()
        assert (door.looks, door.asked) == (1, [])
        assert keeper.cohort == before

    def test_newcomers_join_between_rounds_in_alphabetical_order(
        self, door: Door, opened: Keeper
    ) -> None:
        at_b = door.come(0, group("B"))
        keeper = opened()
        cohort = keeper.cohort
        at_a, at_x = door.come(1, group("A")), door.come(2, group("X", "held_out"))
        assert keeper.refresh() == ("A",)
        assert list(cohort.train.items()) == [("A", at_a), ("B", at_b)]
        assert cohort.held_out == {"X": at_x}
        assert cohort.group_indices == {"B": 0, "A": 1}
        assert keeper.refresh() == ()
        assert sorted(door.asked) == sorted([at_a, at_x])

    def test_a_node_that_fails_is_asked_again_once_a_refresh(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        door.come(0, group("A"))
        keeper = opened()
        node = door.come(1, ValueError("respondent 4711 said no"))
        for times in (1, 2, 3):
            assert keeper.refresh(fewest=2, patience_seconds=0.3) == ()
            assert door.asked == [node] * times
        door.says[node] = group("B")
        assert keeper.refresh() == ("B",)
        assert "4711" not in caplog.text

    def test_a_node_that_failed_at_the_start_can_come_later(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, group("A"))
        node = door.come(1, ValueError("not yet"))
        keeper = opened()
        door.says[node] = group("B")
        assert keeper.refresh() == ("B",)

    def test_a_node_that_is_silent_is_asked_ever_less_often(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, group("A"))
        keeper = opened()
        node = door.come(1, None)
        counts = []
        for _ in range(9):
            keeper.refresh()
            counts.append(door.asked.count(node))
        assert counts == [1, 2, 2, 3, 3, 3, 3, 4, 4]
        door.says[node] = group("B")
        came = [keeper.refresh() for _ in range(8)]
        assert came.count(("B",)) == 1

    def test_the_code_of_a_group_is_kept_and_nothing_else_it_says(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, group("A", code="ab12"))
        door.come(1, group("B"))
        door.come(2, group("C", code="ab" * 500))
        assert opened().cohort.code == {"A": "ab12", "B": ""}

    def test_a_round_that_would_be_lost_waits_for_groups_to_come(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, group("A"))
        door.come(1, group("B"))
        keeper = opened()
        gone = door.online.pop()
        looks: list[int] = []
        look = door.get_node_ids

        def later() -> Iterable[int]:
            looks.append(1)
            if len(looks) == 4:
                door.online.append(gone)
            return look()

        door.get_node_ids = later
        keeper.refresh(fewest=2, patience_seconds=20.0)
        assert list(keeper.cohort.train) == ["A", "B"]
        assert len(looks) == 4

    def test_and_not_for_ever(self, door: Door, opened: Keeper, clock: Clock) -> None:
        door.come(0, group("A"))
        keeper = opened()
        keeper.refresh(fewest=2, patience_seconds=7.0)
        assert 7 <= sum(clock.slept) < 8


@pytest.mark.parametrize("later", [False, True], ids=["at the start", "between rounds"])
def test_a_superlink_that_is_away_for_a_moment_ends_no_run(
    door: Door, opened: Keeper, later: bool
) -> None:
    door.come(0, group("A"))
    keeper = opened() if later else None
    look, failures = door.get_node_ids, [httpx.ConnectError("refused")] * 3

    def away() -> Iterable[int]:
        if failures:
            raise failures.pop()
        return look()

    door.get_node_ids = away
    if keeper is None:
        keeper = opened()
    keeper.refresh()
    assert list(keeper.cohort.train) == ["A"]
    assert not failures


class TestGoing:
    def test_a_group_whose_node_has_gone_is_not_in_the_cohort_until_it_is_back(
        self, door: Door, opened: Keeper
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        door.come(2, group("X", "held_out"))
        keeper = opened(secure=True)
        gone, door.online = door.online[1:], door.online[:1]
        assert keeper.refresh() == ()
        assert list(keeper.cohort.train) == ["A"]
        assert not keeper.cohort.held_out
        assert keeper.cohort.identities.keys() == {"A", "B"}
        door.online += gone
        assert keeper.refresh() == ()
        assert list(keeper.cohort.train) == ["A", "B"]
        assert list(keeper.cohort.held_out) == ["X"]
        assert door.asked == []

    @pytest.mark.parametrize("settings", [{}, {"secure": True}, {"unit": "respondent"}])
    def test_a_node_that_was_registered_anew_takes_over(
        self, door: Door, opened: Keeper, settings: dict[str, Any]
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(**settings)
        before = dict(keeper.cohort.group_indices)
        door.online.pop()
        node = door.come(5, group("B", code="cd"))
        assert keeper.refresh() == ()
        assert keeper.cohort.train["B"] == node
        assert keeper.cohort.group_indices == before
        assert keeper.cohort.code["B"] == "cd"

    def test_but_not_while_the_old_one_is_there(self, door: Door, opened: Keeper) -> None:
        old = door.come(0, group("A"))
        keeper = opened(unit="respondent")
        new = door.come(1, group("A"))
        keeper.refresh()
        assert keeper.cohort.train == {"A": old}
        door.online.remove(old)
        keeper.refresh()
        assert keeper.cohort.train == {"A": new}
        assert door.asked == [new]

    def test_nor_with_another_key_or_role(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(secure=True)
        door.online.pop()
        door.come(2, group("B", identity=key("Z").hex()))
        door.come(3, group("B", "held_out"))
        for _ in range(3):
            assert keeper.refresh() == ()
            assert list(keeper.cohort.train) == ["A"]
            assert not keeper.cohort.held_out
        assert keeper.cohort.identities["B"] == key("B")
        assert caplog.text.count("the name 'B' is that of a group with another key or role") == 2


RECORD = "respondent 4711"

#: What newcomers may get wrong, and what is logged of it.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "role": (group("N", "observer"), "unknown role"),
    "taken name": (group("A", identity=key("N").hex()), "another key or role"),
    "taken key": (group("N", identity=key("A").hex()), "the key of another group"),
    "held out under a taken name": (group("A", "held_out", identity=""), "another key or role"),
    "no role": ({"group": "N", RECORD: RECORD}, "cannot be read"),
    "no group": ({"role": "train"}, "cannot be read"),
    "empty name": (group(""), "name is empty"),
    "hidden name": (group("N\u200b"), "invisible"),
    "decomposed name": (group("e\u0301"), "not in its one spelling"),
    "long name": (group("N" * 10_000), "10000 characters"),
    "short key": (group("N", identity="abcd"), "names no key"),
    "no key": ({"group": "N", "role": "train", "units": 5}, "names no key"),
    "odd key": (group("N", identity=RECORD), "cannot be read"),
    "odd units": (group("N", units=RECORD), "cannot be read"),
    "odd roster": (group("N", roster=RECORD), "cannot be read"),
    "roster of no keys": (group("N", roster='{"A": 1}'), "cannot be read"),
    "roster that is a list": (group("N", roster='["A"]'), "cannot be read"),
    "deep roster": (group("N", roster="[" * 100_000), "cannot be read"),
    "odd code": (group("N", code=RECORD), "cannot be read"),
    "list for a name": ({**group("N"), "units": [1, 2]}, "cannot be read"),
}


@pytest.mark.parametrize(("said", "logged"), WRONG.values(), ids=WRONG)
def test_a_newcomer_that_misbehaves_is_left_out_and_harms_nobody(
    door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture, said: dict[str, Any], logged: str
) -> None:
    for at, name in enumerate("AB"):
        door.come(at, group(name))
    keeper = opened(secure=True, unit="respondent", seats=NODES, units_per_seat=9)
    before = Cohort(**vars(keeper.cohort))
    door.come(2, said)
    door.come(3, group("C"))
    with caplog.at_level(logging.DEBUG):
        assert keeper.refresh() == ("C",)
        assert keeper.refresh() == ()
    assert keeper.cohort.train.keys() == {"A", "B", "C"}
    assert not keeper.cohort.held_out
    assert {name: keeper.cohort.identities[name] for name in "AB"} == before.identities
    # Said once, and without a word of what was sent but names.
    assert caplog.text.count(logged) == 1
    assert RECORD not in caplog.text


class TestAdmission:
    @pytest.fixture
    def roster(self, tmp_path: Path) -> Callable[..., str]:
        def write(*names: str, **keys: bytes) -> str:
            path = tmp_path / "roster.json"
            members = Roster({**{name: key(name) for name in names}, **keys})
            path.write_text(rosters_json(members, Roster({})), encoding="utf-8")
            return str(path)

        return write

    def test_who_is_not_in_the_file_is_left_out(
        self, door: Door, opened: Keeper, roster: Callable[..., str]
    ) -> None:
        for at, name in enumerate("ABC"):
            door.come(at, group(name))
        door.come(3, group("X", "held_out"))
        door.come(4, group("Y", "held_out"))
        keeper = opened(roster=roster("A", "X", B=key("Z")))
        assert list(keeper.cohort.train) == ["A"]
        assert list(keeper.cohort.held_out) == ["X"]

    def test_if_too_few_remain_it_is_said_who_was_not_admitted(
        self, door: Door, opened: Keeper, roster: Callable[..., str]
    ) -> None:
        for at, name in enumerate("ABC"):
            door.come(at, group(name))
        with pytest.raises(CohortError) as caught:
            opened(roster=roster("A", B=key("Z")), minimum_groups=2)
        message = str(caught.value)
        assert message.startswith("1 train group(s) were let in and 0 failed; at least 2 needed: ")
        assert "group 'B' shows another key than the roster" in message
        assert "group 'C' is not in the roster" in message
        assert "\n" not in message

    def test_an_impostor_does_not_stop_the_start(
        self, door: Door, opened: Keeper, roster: Callable[..., str]
    ) -> None:
        node = door.come(0, group("A"))
        door.come(1, group("A", identity=key("Z").hex()))
        assert opened(roster=roster("A")).cohort.train == {"A": node}

    def test_the_file_is_read_again_between_rounds(
        self, door: Door, opened: Keeper, roster: Callable[..., str]
    ) -> None:
        for at, name in enumerate("ABC"):
            door.come(at, group(name))
        keeper = opened(roster=roster("A", "B"), secure=True)
        roster("A", "C")
        assert keeper.refresh() == ("C",)
        assert list(keeper.cohort.train) == ["A", "C"]
        assert door.asked == []

    @pytest.mark.parametrize("damage", ["{", "[]", '{"members": {"A": "ab"}}', None])
    def test_a_damaged_file_keeps_the_last_good_one(
        self,
        door: Door,
        opened: Keeper,
        roster: Callable[..., str],
        caplog: pytest.LogCaptureFixture,
        damage: str | None,
    ) -> None:
        door.come(0, group("A"))
        path = Path(roster("A", "B"))
        keeper = opened(roster=str(path))
        if damage is None:
            path.unlink()
        else:
            path.write_text(damage, encoding="utf-8")
        door.come(1, group("B"))
        door.come(2, group("C"))
        assert keeper.refresh() == ("B",)
        assert "going on with what it said before" in caplog.text
        roster("A", "B", "C")
        assert keeper.refresh() == ("C",)

    @pytest.mark.parametrize("text", [None, "{"])
    def test_a_file_that_cannot_be_read_is_refused_at_the_start(
        self, door: Door, opened: Keeper, tmp_path: Path, text: str | None
    ) -> None:
        path = tmp_path / "none.json"
        if text is not None:
            path.write_text(text, encoding="utf-8")
        with pytest.raises(CohortError, match=r"federation\.roster = .*none\.json"):
            opened(roster=str(path))


class TestRosters:
    """Whose keys the groups themselves have pinned."""

    def test_at_the_start_whoever_does_not_pin_whom_the_others_do_is_left_out(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        door.come(0, pinning("A", "B", "C", "D"))
        door.come(1, pinning("B", "A", "C", "D"))
        door.come(2, pinning("C", "A", "B"))
        door.come(3, pinning("D", "A", "B", "C"))
        keeper = opened(secure=True)
        assert list(keeper.cohort.train) == ["A", "B", "D"]
        assert (
            "left out: stale roster: 'C' does not pin 'D'; update the rosters of these groups"
            in caplog.text
        )

    def test_if_too_few_remain_it_is_said_who_does_not_pin_whom(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, pinning("A", "B"))
        door.come(1, pinning("B", "C"))
        door.come(2, pinning("C"))
        with pytest.raises(CohortError) as caught:
            opened(secure=True)
        message = str(caught.value)
        assert "at least 2 needed: stale roster: 'A' is not pinned by 'B'" in message
        assert "stale roster: 'C' does not pin 'B'" in message

    def test_without_sums_of_many_nobody_need_pin_anybody(self, door: Door, opened: Keeper) -> None:
        door.come(0, pinning("A"))
        door.come(1, pinning("B"))
        assert list(opened(unit="respondent").cohort.train) == ["A", "B"]

    def test_a_newcomer_waits_until_all_have_pinned_each_other(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        a, b = door.come(0, pinning("A", "B")), door.come(1, pinning("B", "A"))
        keeper = opened(secure=True)
        n = door.come(2, pinning("N"))
        assert keeper.refresh() == ()
        # It was asked, and those who do not pin it, in case that they do by now.
        assert door.asked == [n, a, b]
        assert "'N' does not pin 'A', 'B' and 'N' is not pinned by 'A', 'B'" in caplog.text
        door.forget()
        door.says[n] = pinning("N", "A", "B")
        door.says[a] = pinning("A", "B", "N")
        assert keeper.refresh() == ()
        assert door.asked == [n, a, b]
        door.forget()
        door.says[b] = pinning("B", "A", "N")
        assert keeper.refresh() == ("N",)
        # Nobody else was asked again than the one that the newcomer was waiting for.
        assert door.asked == [b]
        door.forget()
        assert keeper.refresh() == ()
        assert door.asked == []

    def test_rosters_that_were_updated_before_it_came_let_it_in_at_once(
        self, door: Door, opened: Keeper
    ) -> None:
        a, b = door.come(0, pinning("A", "B")), door.come(1, pinning("B", "A"))
        keeper = opened(secure=True)
        door.says[a], door.says[b] = pinning("A", "B", "N"), pinning("B", "A", "N")
        door.come(2, pinning("N", "A", "B"))
        assert keeper.refresh() == ("N",)

    def test_two_newcomers_that_do_not_know_each_other_do_not_both_come_in(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, pinning("A", "B", "M", "N"))
        door.come(1, pinning("B", "A", "M", "N"))
        keeper = opened(secure=True)
        door.come(2, pinning("N", "A", "B"))
        door.come(3, pinning("M", "A", "B"))
        assert keeper.refresh() == ("M",)
        assert list(keeper.cohort.train) == ["A", "B", "M"]

    def test_a_group_that_comes_back_must_know_who_has_come_since(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, pinning("A", "B", "N"))
        b = door.come(1, pinning("B", "A"))
        keeper = opened(secure=True)
        door.online.remove(b)
        door.come(2, pinning("N", "A", "B"))
        assert keeper.refresh() == ("N",)
        door.online.append(b)
        assert keeper.refresh() == ()
        assert list(keeper.cohort.train) == ["A", "N"]
        door.says[b] = pinning("B", "A", "N")
        assert keeper.refresh() == ()
        assert list(keeper.cohort.train) == ["A", "B", "N"]

    def test_another_key_under_a_pinned_name_is_not_pinned(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, pinning("A", "B"))
        door.come(1, pinning("B", "A"))
        keeper = opened(secure=True)
        pinned = {"A": key("A").hex(), "B": key("Z").hex()}
        door.come(2, group("N", roster=json.dumps(pinned)))
        assert keeper.refresh() == ()

    @given(st.integers(1, 7), st.data())
    def test_those_who_go_on_pin_each_other_and_nobody_else_could_join_them(
        self, count: int, data: st.DataObject
    ) -> None:
        names = [f"g{place}" for place in range(count)]
        setups = [
            Setup(
                node=place,
                group=name,
                role="train",
                identity=key(name),
                pins=data.draw(
                    st.none()
                    | st.sets(st.sampled_from(names)).map(lambda s: {each: key(each) for each in s})
                ),
            )
            for place, name in enumerate(names)
        ]

        def agree(one: Setup, two: Setup) -> bool:
            return one.takes(two) and two.takes(one)

        chosen = agreeing(setups)
        inside = [(a, b) for a in chosen for b in chosen if a is not b]
        assert all(agree(a, b) for a, b in inside)
        for other in setups:
            if other not in chosen:
                assert not all(agree(other, each) for each in chosen)
        assert agreeing(setups[::-1]) == chosen
        if all(agree(a, b) for a in setups for b in setups if a is not b):
            assert len(chosen) == count


class TestSeats:
    PRIVATE: Mapping[str, Any] = {"unit": "respondent", "secure": True}

    def test_a_private_run_has_no_seat_but_those_of_the_start(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(**self.PRIVATE, units_per_seat=9)
        door.come(2, group("N"))
        assert keeper.refresh() == ()
        assert "group 'N' finds no free seat of 2: raise federation.seats" in caplog.text

    def test_newcomers_take_free_seats_as_long_as_there_are_some(
        self, door: Door, opened: Keeper
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(**self.PRIVATE, seats=4, units_per_seat=5)
        for at, name in enumerate("ZYX", start=2):
            door.come(at, group(name))
        assert keeper.refresh() == ("X", "Y")
        assert keeper.cohort.group_indices == {"A": 0, "B": 1, "X": 2, "Y": 3}
        assert keeper.cohort.units == {"A": 5, "B": 5, "X": 5, "Y": 5}

    def test_a_seat_is_kept_for_the_group_that_has_gone(self, door: Door, opened: Keeper) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(**self.PRIVATE)
        door.online.pop()
        door.come(2, group("N"))
        assert keeper.refresh() == ()

    @pytest.mark.parametrize(("units", "bound"), [(6, 5), (0, 5), (-1, 5), (1, 0)])
    def test_more_units_than_were_planned_for_are_left_out(
        self,
        door: Door,
        opened: Keeper,
        caplog: pytest.LogCaptureFixture,
        units: int,
        bound: int,
    ) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(**self.PRIVATE, seats=4, units_per_seat=bound)
        door.come(2, group("N", units=units))
        assert keeper.refresh() == ()
        assert f"declares {units} units, not within [1, {bound}]" in caplog.text

    def test_seats_bound_runs_that_are_not_private_too(self, door: Door, opened: Keeper) -> None:
        door.come(0, group("A"))
        keeper = opened(seats=2)
        door.come(1, group("B"))
        door.come(2, group("C"))
        assert keeper.refresh() == ("B",)

    def test_more_groups_than_seats_at_the_start_all_have_one(
        self, door: Door, opened: Keeper
    ) -> None:
        for at, name in enumerate("ABC"):
            door.come(at, group(name))
        assert list(opened(**self.PRIVATE, seats=2).cohort.train) == ["A", "B", "C"]

    def test_a_run_that_goes_on_lets_in_whom_it_knows_and_then_the_others(
        self, door: Door, opened: Keeper
    ) -> None:
        door.come(0, group("B"))
        door.come(1, group("C", identity=key("Z").hex()))
        door.come(2, group("N"))
        keys = {name: key(name) for name in "ABC"}
        taken = TakenSeats(groups=("A", "B", "C", ""), keys=keys)
        keeper = opened(taken, **self.PRIVATE, seats=2, units_per_seat=5)
        assert keeper.cohort.group_indices == {"B": 1}
        door.come(3, group("A"))
        assert keeper.refresh() == ("N",)
        assert keeper.cohort.group_indices == {"A": 0, "B": 1, "N": 3}
        assert list(keeper.cohort.train) == ["A", "B", "N"]
