"""The graph of a large round: symmetric, the same for all, and as dense as the stated odds ask."""

import math
from collections import deque
from fractions import Fraction
from functools import cache

import pytest

from privacy.secagg.graph import Graph, consistency_threshold, degree


@cache
def tail(population: int, marked: int, drawn: int, least: int) -> Fraction:
    """Exact chance that of `drawn` without replacement at least `least` are marked."""
    ways = sum(
        math.comb(marked, found) * math.comb(population - marked, drawn - found)
        for found in range(max(0, least), min(marked, drawn) + 1)
    )
    return Fraction(ways, math.comb(population, drawn))


def keeps_the_odds(members: int, k: int, shares: int) -> bool:
    """Secrecy 2^-40 and correctness 2^-20 with a fifth corrupt and a tenth gone, in fractions."""
    corrupt, gone = members // 5, members // 10
    parted = Fraction(members**2, 2) * Fraction(3, 10) ** k
    exposed = members * tail(members - 1, corrupt, k, shares)
    lost = members * tail(members - 1, gone, k, k - shares + 1)
    small, rare = Fraction(1, 2**40), Fraction(1, 2**20)
    return parted <= small and exposed <= small and lost <= rare


@pytest.mark.parametrize("members", [65, 66, 70, 80, 100, 150, 200, 333, 500, 1000])
def test_the_degree_is_the_least_that_keeps_the_odds(members: int) -> None:
    """Against exact fractions: what is chosen keeps the odds, and no sparser graph does."""
    chosen = degree(members)
    assert keeps_the_odds(members, chosen.neighbours, chosen.shares)
    assert not keeps_the_odds(members, chosen.neighbours, chosen.shares - 1)
    sparser = range(8, chosen.neighbours, 2)
    assert not any(keeps_the_odds(members, k, s) for k in sparser for s in range(1, k + 1))


@pytest.mark.parametrize(
    ("members", "neighbours", "shares"), [(500, 60, 39), (1000, 68, 43), (100, 32, 21)]
)
def test_degrees_that_were_published(members: int, neighbours: int, shares: int) -> None:
    """At n = 100 a degree of 30 just misses: both cuts of the ring have odds of 2^-39.8."""
    assert (degree(members).neighbours, degree(members).shares) == (neighbours, shares)


@pytest.mark.parametrize("members", [2, 3, 10, 64])
def test_small_rounds_are_complete(members: int) -> None:
    graph = Graph.of(members, bytes(32), complete=False, threshold=consistency_threshold(members))
    for member in range(members):
        assert graph.neighbours(member) == tuple(m for m in range(members) if m != member)
        assert graph.holders(member) == tuple(range(members))
    assert graph.shares == consistency_threshold(members) == graph.fewest_neighbours + 1


def test_noise_shares_need_a_complete_graph_of_any_size() -> None:
    """And so the threshold of the terms counts, also above 64 members."""
    graph = Graph.of(200, bytes(32), complete=True, threshold=150)
    assert graph.shares == 150 and len(graph.neighbours(7)) == 199


@pytest.mark.parametrize("members", [65, 100, 1000])
def test_a_sparse_graph_is_regular_symmetric_and_connected(members: int) -> None:
    graph = Graph.of(members, b"s" * 32, complete=False, threshold=members)
    neighbours = [graph.neighbours(member) for member in range(members)]
    k = degree(members).neighbours
    for member, others in enumerate(neighbours):
        assert len(set(others)) == len(others) == k < members - 1
        assert member not in others and list(others) == sorted(others)
        assert all(member in neighbours[other] for other in others)
        assert graph.holders(member) == tuple(sorted((member, *others)))
    reached, waiting = {0}, deque([0])
    while waiting:
        new = set(neighbours[waiting.popleft()]) - reached
        reached |= new
        waiting.extend(new)
    assert len(reached) == members
    assert graph.fewest_neighbours == graph.shares == degree(members).shares


def test_the_graph_follows_from_its_seed_alone() -> None:
    """Same seed, same graph; another bit of the seed, another graph."""
    graphs = [
        Graph.of(100, seed, complete=False, threshold=67)
        for seed in (b"a" * 32, b"a" * 32, b"a" * 31 + b"b")
    ]
    assert graphs[0] == graphs[1]
    assert graphs[0].order != graphs[2].order
    assert sorted(graphs[0].order or ()) == list(range(100))


def test_who_is_next_to_whom_is_uniform() -> None:
    """3000 seeds at n = 65: every pair is joined in k/(n-1) of them.

    2080 counts, each within 7 deviations of its mean: false positives below 2080 * 2.6e-12 < 1e-8.
    """
    members, draws = 65, 3000
    k = degree(members).neighbours
    counts = [0] * members
    for draw in range(draws):
        graph = Graph.of(members, draw.to_bytes(32, "big"), complete=False, threshold=44)
        for other in graph.neighbours(draw % members):
            counts[(other - draw) % members] += 1
    chance = k / (members - 1)
    deviation = math.sqrt(draws * chance * (1 - chance))
    assert counts[0] == 0
    assert all(abs(count - draws * chance) < 7 * deviation for count in counts[1:])


def test_two_sets_of_survivors_cannot_both_be_signed() -> None:
    """Were two sets each signed by t, more than a third of the members would have signed both."""
    for members in range(2, 2000):
        t = consistency_threshold(members)
        assert 3 * t > 2 * members and 3 * (t - 1) <= 2 * members
        assert 3 * (2 * t - members) > members


def test_a_server_alone_cannot_part_a_sparse_round() -> None:
    """However it lets members drop: a part whose members can be unmasked has no end.

    Members of a part that ends have at most k/2 neighbours left and are unmasked by as many shares
    as `shares` says; where that is not above k/2, more than n - t would have to drop.
    """
    for members in range(65, 1001):
        chosen = degree(members)
        droppable = members - consistency_threshold(members)
        assert 2 * chosen.shares > chosen.neighbours or droppable < chosen.neighbours
