"""Whoever declares a name proves its key; no node stops a run, whatever it says."""

import json
import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.identity.keys import Roster, rosters_json
from privacy.identity.possession import CHALLENGE_BYTES
from server.rounds.admission import MembershipTerms, Setup, agreeing, holders, overstated
from server.rounds.membership import Membership
from tests.server.door import NODES, Door, group, key, pinning, signed

Keeper = Callable[..., Membership]

#: Runs that ask for keys.
ASKING: tuple[Mapping[str, Any], ...] = ({"secure": True}, {"unit": "respondent", "delta": 1e-5})
#: The y-coordinate of the neutral point of Ed25519, and what anybody can sign with it.
NEUTRAL = bytes([1]) + bytes(31)


def lie(at: Door, place: int, how: str) -> Any:
    """What a node says that would be group A and does not hold its key."""
    own, victim = at.nodes[place], at.nodes[-1]
    honest = group("A")

    def answer(challenge: bytes) -> dict[str, Any]:
        return {
            "no proof": honest,
            "a proof that is a text": {**honest, "proof": "ab" * 64},
            "a short proof": {**honest, "proof": bytes(63)},
            "a long proof": {**honest, "proof": bytes(10_000)},
            "a proof of zeros": {**honest, "proof": bytes(64)},
            "a proof of its own key": {
                **honest,
                "proof": signed(group("Z"), challenge, own)["proof"],
            },
            "the answer of another node": signed(honest, challenge, victim),
            "the answer to another request": signed(honest, bytes(CHALLENGE_BYTES), own),
            "other units": {**signed(honest, challenge, own), "units": 6},
            "another roster": {**signed(honest, challenge, own), "roster": "{}"},
            "other code": {**signed(honest, challenge, own), "code": "ab"},
            "another role": {**signed(honest, challenge, own), "role": "held_out"},
            "one more field": {**signed(honest, challenge, own), "more": 1},
            "a key of low order": {
                **honest,
                "identity": NEUTRAL.hex(),
                "proof": NEUTRAL + bytes(32),
            },
        }[how]

    return answer


LIES = (
    "no proof",
    "a proof that is a text",
    "a short proof",
    "a long proof",
    "a proof of zeros",
    "a proof of its own key",
    "the answer of another node",
    "the answer to another request",
    "other units",
    "another roster",
    "other code",
    "another role",
    "one more field",
    "a key of low order",
)


class TestProof:
    @pytest.mark.parametrize("how", LIES)
    @pytest.mark.parametrize("terms", ASKING, ids=["secure", "private"])
    @pytest.mark.parametrize("late", [False, True], ids=["at the start", "between rounds"])
    def test_a_node_that_does_not_hold_the_key_it_declares_is_left_out(
        self,
        door: Door,
        opened: Keeper,
        caplog: pytest.LogCaptureFixture,
        how: str,
        terms: Mapping[str, Any],
        late: bool,
    ) -> None:
        """Was open: a node could declare the name and key of anybody, and take their place."""
        if not late:
            door.come(0, lie(door, 0, how))
        b, c = door.come(1, group("B")), door.come(2, group("C"))
        keeper = opened(**terms, seats=4, units_per_seat=9)
        if late:
            door.come(0, lie(door, 0, how))
            assert keeper.refresh() == ()
        assert keeper.cohort.train == {"B": b, "C": c}
        assert not keeper.cohort.held_out
        assert caplog.text.count("left out: group 'A' does not prove that it holds its key") == 1
        # The name is still that of whoever proves it.
        a = door.come(NODES - 1, group("A"))
        assert keeper.refresh() == ("A",)
        assert keeper.cohort.train == {"A": a, "B": b, "C": c}

    def test_every_request_carries_a_challenge_of_its_own(self, door: Door, opened: Keeper) -> None:
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(secure=True)
        for at, name in enumerate("CD", start=2):
            door.come(at, group(name))
            assert keeper.refresh() == (name,)
        assert {len(each) for each in door.challenges} == {CHALLENGE_BYTES}
        # Each for one node.
        assert len(set(door.challenges)) == len(door.challenges) == 4

    def test_where_vectors_are_neither_private_nor_summed_nobody_is_asked_for_a_key(
        self, door: Door, opened: Keeper
    ) -> None:
        first = door.come(0, group("A"))
        door.come(1, group("A"))
        keeper = opened()
        assert set(door.challenges) == {b""}
        assert keeper.cohort.train == {"A": first}
        assert not keeper.cohort.identities

    @pytest.mark.parametrize("late", [False, True], ids=["at the start", "between rounds"])
    def test_held_out_groups_prove_the_key_that_they_name(
        self, door: Door, opened: Keeper, late: bool
    ) -> None:
        """Was open: what a held-out group said of its key was believed."""
        for at, name in enumerate("AB"):
            door.come(at, group(name))
        keeper = opened(secure=True) if late else None
        door.come(2, {**group("X", "held_out"), "proof": bytes(64)})
        y = door.come(3, group("Y", "held_out"))
        z = door.come(4, {"group": "Z", "role": "held_out"})
        keeper = keeper or opened(secure=True)
        keeper.refresh()
        assert keeper.cohort.held_out == {"Y": y, "Z": z}


class TestNames:
    @pytest.mark.parametrize("late", [False, True], ids=["at the start", "between rounds"])
    @pytest.mark.parametrize("place", [0, NODES - 1], ids=["listed first", "listed last"])
    def test_a_name_without_a_key_gives_way_to_one_with_a_key(
        self, door: Door, opened: Keeper, late: bool, place: int
    ) -> None:
        """Was open: a node that only measures could hold the name of a group that trains."""
        door.come(place, {"group": "A", "role": "held_out"})
        b, c = door.come(1, group("B")), door.come(2, group("C"))
        if late:
            keeper = opened(secure=True)
            a = door.come(3, group("A"))
            assert keeper.refresh() == ("A",)
        else:
            a = door.come(3, group("A"))
            keeper = opened(secure=True)
        assert keeper.refresh() == ()
        assert keeper.cohort.train == {"A": a, "B": b, "C": c}
        assert not keeper.cohort.held_out

    @pytest.mark.parametrize("role", ["train", "held_out"])
    def test_a_name_in_the_roster_is_believed_with_its_key_alone(
        self, door: Door, opened: Keeper, tmp_path: Path, role: str
    ) -> None:
        """Was open: without a key, a node was let in as a held-out group of any listed name."""
        path = tmp_path / "roster.json"
        readers = {"X": key("X")}
        path.write_text(rosters_json(Roster({n: key(n) for n in "AB"}), Roster({}), readers))
        door.come(0, {"group": "X", "role": "held_out"})
        door.come(1, group("A", role, identity=key("M").hex()))
        door.come(2, {"group": "A", "role": "held_out"})
        nodes = {name: door.come(at, group(name)) for at, name in enumerate("AB", start=3)}
        x = door.come(5, group("X", "held_out"))
        keeper = opened(roster=str(path), secure=True)
        keeper.refresh()
        assert keeper.cohort.train == nodes
        assert keeper.cohort.held_out == {"X": x}

    def test_of_two_nodes_with_one_proved_key_the_first_stays(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Was open: a group that showed its key under two names ended the run of all."""
        a, b = door.come(0, group("A")), door.come(1, group("B"))
        door.come(2, group("A"))
        door.come(3, group("N", identity=key("A").hex()))
        keeper = opened(secure=True)
        keeper.refresh()
        assert keeper.cohort.train == {"A": a, "B": b}
        assert "left out: group 'A' has a node already" in caplog.text
        assert "left out: group 'N' shows the key of another group" in caplog.text

    def test_what_is_said_is_bounded_in_length(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Was open: rosters, keys and roles of any length were read."""
        long = "ab" * 600_000
        pins = json.dumps({f"{at}": key("A").hex() for at in range(20_000)})
        said = [
            group("C", roster=pins),
            group("D", identity=long),
            group("E", code=long),
            group("F", role=long),
            group(long),
            group("G", units=True),
        ]
        for at, each in enumerate(said):
            door.come(at, each)
        for at, name in enumerate("AB", start=len(said)):
            door.come(at, group(name))
        with caplog.at_level(logging.DEBUG):
            keeper = opened(secure=True, unit="respondent")
        assert list(keeper.cohort.train) == ["A", "B"]
        assert max(map(len, caplog.messages)) < 500

    def test_a_node_that_waits_in_silence_does_not_keep_the_others_waiting(
        self, door: Door, opened: Keeper
    ) -> None:
        """Was open: a node that had answered once and waited was asked in every round for ever."""
        for at, name in enumerate("AB"):
            door.come(at, pinning(name, "A", "B"))
        keeper = opened(secure=True)
        node = door.come(2, pinning("N", "A"))
        keeper.refresh()
        door.says[node] = None
        door.forget()
        for _ in range(9):
            keeper.refresh()
        assert door.asked.count(node) == 4


class TestUnits:
    def test_no_group_makes_the_plan_of_all_impossible(
        self, door: Door, opened: Keeper, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Was open: a member could end a run at its start by the units that it declared."""
        said = {"A": 5, "B": 6, "C": 7, "D": 10**12, "E": 0, "F": -1, "G": 90_000}
        for at, (name, units) in enumerate(said.items()):
            door.come(at, group(name, units=units))
        keeper = opened(unit="respondent", delta=1e-5)
        assert keeper.cohort.units == {"A": 5, "B": 6, "C": 7, "G": 90_000}
        assert "group 'D' declares 1000000000000 units, too many for delta = 1e-05" in caplog.text
        assert caplog.text.count("it needs at least 1") == 2

    @given(
        st.lists(st.integers(1, 1000), min_size=1, max_size=9),
        st.lists(st.integers(-5, 10**15), max_size=8),
        st.floats(1e-9, 1e-2),
    )
    def test_honest_groups_stay_and_those_who_are_to_blame_go(
        self, honest: list[int], others: list[int], delta: float
    ) -> None:
        others = others[: len(honest) - 1]
        setups = [
            Setup(node=node, group=str(node), role="train", units=units)
            for node, units in enumerate([*honest, *others])
        ]
        out = overstated(setups, delta=delta)
        left = [each.units for each in setups if each.node not in out]
        # Nobody goes for nothing, and nobody who declares what is usual.
        if all(units >= 1 for units in others) and sum(honest + others) * delta < 1:
            assert not out
        assert not any(node in out for node, units in enumerate(honest) if units <= min(honest) * 9)
        counted = sorted(each.units for each in setups if each.units >= 1)
        usual = counted[(len(counted) - 1) // 2]
        assert sum(left) * delta < 1 or max(left) <= 10 * usual


HONEST = ("A", "B", "C", "D")
HOSTILE = ("M", "P", "Q")


def honest_answer(name: str) -> dict[str, Any]:
    """What an honest group says, that pins all that train: the one liar among them, too."""
    return pinning(name, *HONEST, "M")


def said_by_hostile(keys: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Any answer of nodes that hold these keys, and know the public keys of all."""
    named = st.sampled_from([*HONEST, "M", "X", "N", "", "N" * 1000, 7, ["A"]])
    pins = st.sets(st.sampled_from([*HONEST, "M"])).map(
        lambda names: json.dumps({each: key(each).hex() for each in names})
    )
    identities = st.sampled_from([*HONEST, "X", *keys]).map(lambda name: key(name).hex())
    return st.fixed_dictionaries(
        {"group": named, "role": st.sampled_from(["train", "held_out", "observer", "idle", 3])},
        optional={
            "identity": identities | st.sampled_from(["", "zz", "ab", NEUTRAL.hex()]),
            "units": st.sampled_from([-1, 0, 1, 5, 10**4, 10**15, "5"]),
            "roster": pins | st.sampled_from(["", "{}", "[", "[]", '{"A": 1}', "[" * 100_000]),
            "code": st.sampled_from(["", "ab", "z", "ab" * 500]),
            "proof": st.sampled_from([bytes(64), b"", "text", NEUTRAL + bytes(32)]),
            "more": st.just(1),
        },
    )


class Liar:
    """Says what it likes, signed where it holds the key."""

    def __init__(self, said: dict[str, Any], node: int, keys: tuple[str, ...]) -> None:
        self.said, self.node = said, node
        self.public = {key(name).hex() for name in keys}

    def __call__(self, challenge: bytes) -> dict[str, Any]:
        if self.said.get("identity") in self.public:
            return signed(self.said, challenge, self.node)
        return self.said


@pytest.fixture(scope="module")
def roster_file() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.json"
        members = Roster({name: key(name) for name in (*HONEST, "M")})
        path.write_text(rosters_json(members, Roster({}), {"X": key("X")}), encoding="utf-8")
        yield str(path)


class TestAnyAnswers:
    """An honest cohort is what it would be without them."""

    TERMS: Mapping[str, Any] = {
        "unit": "respondent",
        "delta": 1e-5,
        "secure": True,
        "minimum_groups": 3,
        "timeout_seconds": 60.0,
        "seats": 5,
        "units_per_seat": 9,
    }

    @settings(max_examples=150, deadline=None)
    @given(
        said=st.lists(said_by_hostile(HOSTILE), max_size=4),
        late=st.lists(said_by_hostile(HOSTILE[1:]), max_size=3),
        first=st.booleans(),
    )
    def test_of_hostile_nodes_leave_the_honest_cohort_as_it_is(
        self, roster_file: str, said: list[Any], late: list[Any], first: bool
    ) -> None:
        """Was open: names, keys, roles, units and pins that were made up ended runs.

        One of the liars is a member, whose key the others pin; the rest are not.
        """
        nodes = 12
        door = Door(nodes)
        places = iter(range(nodes) if first else reversed(range(nodes)))

        def come(answers: list[Any], keys: tuple[str, ...]) -> None:
            for each in answers:
                at = next(places)
                door.come(at, Liar(each, door.nodes[at], keys))

        with door.as_server():
            come(said, HOSTILE)
            names = HONEST[:3] if late else HONEST
            honest = {name: door.come(next(places), honest_answer(name)) for name in names}
            x = door.come(next(places), group("X", "held_out"))
            keeper = Membership(door, MembershipTerms(**self.TERMS, roster=roster_file))
            cohort = keeper.gather()
            self.require_honest(keeper, honest, x)
            liar_inside = "M" in cohort.train
            come(late, HOSTILE[1:])
            keeper.refresh()
            self.require_honest(keeper, honest, x)
            if late and not liar_inside:
                honest["D"] = door.come(next(places), honest_answer("D"))
                assert keeper.refresh() == ("D",)
                self.require_honest(keeper, honest, x)

    @staticmethod
    def require_honest(keeper: Membership, honest: Mapping[str, int], held_out: int) -> None:
        cohort = keeper.cohort
        assert {name: node for name, node in cohort.train.items() if name != "M"} == honest
        assert cohort.held_out == {"X": held_out}
        assert all(cohort.identities[name] == key(name) for name in cohort.train)
        assert all(cohort.units[name] == 5 for name in honest)

    @settings(max_examples=50, deadline=None)
    @given(
        said=st.sampled_from(["", "A", "B", "AB", "ABC", "ABCD"]),
        gone=st.sampled_from(HONEST),
        first=st.booleans(),
    )
    def test_of_a_member_shut_nobody_out_who_was_away(
        self, roster_file: str, said: str, gone: str, first: bool
    ) -> None:
        """Was open: a member that forgot a key while its owner was away took the seat of both."""
        door = Door(12)
        places = iter(range(12) if first else reversed(range(12)))
        with door.as_server():
            liar = door.come(next(places), honest_answer("M"))
            honest = {name: door.come(next(places), honest_answer(name)) for name in HONEST}
            keeper = Membership(door, MembershipTerms(**self.TERMS, roster=roster_file))
            assert keeper.gather().train == {**honest, "M": liar}
            door.online = [node for node in door.online if node not in (liar, honest[gone])]
            liar = door.come(next(places), pinning("M", *said))
            keeper.refresh()
            door.online.append(honest[gone])
            keeper.refresh()
            assert keeper.refresh() == ()
            cohort = keeper.cohort
            assert {name: n for name, n in cohort.train.items() if name != "M"} == honest
            assert ("M" in cohort.train) == (said == "ABCD")

    @given(st.integers(2, 6), st.integers(0, 4), st.data())
    def test_of_members_that_lie_about_whom_they_pin_shut_nobody_out(
        self, count: int, liars: int, data: st.DataObject
    ) -> None:
        """Was open: one member's roster could shut out a group that all others had pinned."""
        honest = [f"h{at}" for at in range(count)]
        # Names may come before and after those of the honest.
        lying = [f"{data.draw(st.sampled_from('az'))}{at}" for at in range(min(liars, count - 1))]
        everybody = [*honest, *lying]
        all_pins = {name: key(name) for name in everybody}
        setups = [
            Setup(node=at, group=name, role="train", identity=key(name), pins=all_pins)
            for at, name in enumerate(honest)
        ]
        for at, name in enumerate(lying, start=count):
            pinned = data.draw(st.sets(st.sampled_from(everybody)))
            pins = {each: key(each) for each in pinned}
            setups.append(Setup(node=at, group=name, role="train", identity=key(name), pins=pins))
        chosen = agreeing(data.draw(st.permutations(setups)))
        assert {each.group for each in chosen} >= set(honest)

    @given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["", "A", "B", "C"]))))
    def test_names_and_keys_are_those_of_one_node_each(self, shown: list[tuple[str, str]]) -> None:
        setups = [
            Setup(node=at, group=name, role="train", identity=key(held) if held else b"")
            for at, (name, held) in enumerate(shown)
        ]
        believed, reasons = holders(setups)
        names, keys = [e.group for e in believed], [e.identity for e in believed if e.identity]
        assert len(set(names)) == len(names)
        assert len(set(keys)) == len(keys)
        assert {e.node for e in believed} | reasons.keys() == {e.node for e in setups}
        proved = {name for name, held in shown if held}
        # A name without a key is believed where nobody else shows the name with one.
        assert {name for name, _ in shown} - proved <= set(names)
