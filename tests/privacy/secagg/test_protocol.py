"""Whole rounds among members who keep to the protocol: the sum is exact, or there is none."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting.plan import PrivacyPlan
from privacy.accounting.release import mean_of_sum
from privacy.errors import (
    BadCiphertext,
    MalformedMessage,
    NoiseShortfall,
    PolicyRefused,
    ReconstructionFailed,
    Replayed,
    SecaggAbort,
    SurvivorSetRefused,
    TooFewMembers,
)
from privacy.kernel.quantisation import dequantised_mean, error_bound, quantise
from privacy.kernel.types import KernelSettings, centred
from privacy.secagg import shamir
from privacy.secagg.agreement import Agreement
from privacy.secagg.client import Member
from privacy.secagg.graph import consistency_threshold
from privacy.secagg.messages import (
    AdvertiseRequest,
    ConsistencyRequest,
    MaskedInput,
    Masking,
    MaskRequest,
    ShareRequest,
    Unmask,
)
from privacy.secagg.round_terms import VectorTerms
from privacy.secagg.server import ServerRound

Draw = Callable[[st.SearchStrategy[Any]], Any]


def dropouts(draw: Draw, names: tuple[str, ...], survivors: int) -> list[list[str]]:
    """Who drops at each of the four stages, such that the sum can still be unmasked.

    Vectors of at least `survivors` members come; of those at least as many answer to the end.
    """
    order = draw(st.permutations(names))
    cuts = sorted(draw(st.lists(st.integers(0, len(names) - survivors), min_size=4, max_size=4)))
    return [order[a:b] for a, b in zip([0, *cuts], cuts, strict=False)]


def assert_exact(federation: Any, drops: list[list[str]], exposed: Any) -> None:
    """Run a round: the sum of those whose vectors came, bit for bit, and it is all that opens."""
    server, total, bad = federation.run(drops)
    gone = {*drops[0], *drops[1]}
    expected = tuple(name for name in federation.names if name not in gone)
    assert server.survivors == expected and bad == ()
    assert total.dtype == federation.exact(expected).dtype
    assert np.array_equal(total, federation.exact(expected))
    context = server.agreement.context
    assert exposed(federation)[context] == [frozenset(expected)]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), members=st.integers(3, 40), dimension=st.integers(1, 300))
def test_drops_at_every_stage_leave_the_exact_sum_over_the_survivors(
    data: st.DataObject, members: int, dimension: int, federation: Any, exposed: Any
) -> None:
    """Dropouts at every stage, quantised: 30 rounds of 3 to 40 members, any permitted t and u.

    The difference from the plain sum of integers is 0.
    """
    threshold = data.draw(st.integers(consistency_threshold(members), members))
    survivors = data.draw(st.integers(threshold, members))
    group = federation(members, dimension, threshold=threshold, survivors=survivors)
    assert_exact(group, dropouts(data.draw, group.names, survivors), exposed)


@settings(max_examples=16, deadline=None)
@given(data=st.data(), members=st.integers(3, 16), bits=st.sampled_from([25, 27, 32, 33, 47, 64]))
def test_noise_shares_add_up_exactly(
    data: st.DataObject, members: int, bits: int, federate: Any, noised: Any, exposed: Any
) -> None:
    """Dropouts at every stage, real clipped sums with real noise, modulo 2^25 to 2^64.

    At 25 bits the largest sum is 16 of two units at S = 126,130, and 12 deviations of their noise.
    """
    assert 16 * 2 * 126_130 + 12 * math.sqrt(16) * 2**16 < 2**24
    kernel = KernelSettings(
        dimension=data.draw(st.sampled_from([16, 1000])),
        clipping_norm=0.5,
        sensitivity=126_130,
        noise_log2=16,
        modulus_bits=32 if bits <= 32 else 64,
    )
    survivors = data.draw(st.integers(consistency_threshold(members), members))
    vector = VectorTerms(
        dimension=kernel.dimension,
        modulus_bits=bits,
        noise_log2=16,
        sensitivity=126_130,
        honest_shares=survivors - 1,
        colluding=1,
    )
    group = federate(noised(members, kernel), vector, survivors=survivors)
    assert_exact(group, dropouts(data.draw, group.names, survivors), exposed)


@settings(max_examples=12, deadline=None)
@given(data=st.data(), members=st.integers(3, 12), bits=st.integers(2, 15))
def test_a_sum_that_leaves_the_modulus_is_still_the_sum_of_the_low_bits(
    data: st.DataObject, members: int, bits: int, federate: Any, noised: Any
) -> None:
    """Noise of 2^16 in a modulus of less: what comes out is the exact sum modulo 2^bits."""
    kernel = KernelSettings(
        dimension=101, clipping_norm=0.5, sensitivity=126_130, noise_log2=16, modulus_bits=32
    )
    vector = VectorTerms(dimension=101, modulus_bits=bits, noise_log2=16, sensitivity=126_130)
    group = federate(noised(members, kernel), vector)
    drops = dropouts(data.draw, group.names, consistency_threshold(members))
    server, total, _ = group.run(drops)
    exact = centred(group.exact(server.survivors))
    assert np.array_equal(centred(total) % 2**bits, exact % 2**bits)
    assert np.abs(centred(total)).max() <= 2 ** (bits - 1)


def test_a_vector_with_stray_bits_or_of_another_length_is_not_added(
    federate: Any, noised: Any, settings: Callable[..., KernelSettings]
) -> None:
    """Even where its sender has signed it: 13 coordinates of 27 bits leave one bit over."""
    vector = VectorTerms(dimension=13, modulus_bits=27, noise_log2=16, sensitivity=126_130)
    group = federate(noised(3, settings(dimension=13)), vector)
    server = group.begin()
    for name in group.names:
        server.take_shares(name, group.ask(name, "share", server.share_request))
    server.close_sharing()
    message = MaskedInput.decode(group.ask("m000", "mask", server.mask_request("m000")))
    data = message.vector
    assert len(data) == 44 and data[-1] < 0x80
    context = server.agreement.context
    for wrong in (data[:-1] + bytes([data[-1] | 0x80]), data + b"\0", data[:-1]):
        unsigned = replace(message, vector=wrong)
        signature = group.identities["m000"].sign("masked", context, unsigned.payload())
        with pytest.raises(MalformedMessage, match=r"behind its last|44 needed"):
            server.take_masked("m000", replace(unsigned, signature=signature).encode())
    server.take_masked("m000", message.encode())


def test_a_member_refuses_another_number_of_bits_than_its_plan_says(
    terms: Callable[..., Any], federate: Any, noised: Any
) -> None:
    """One bit fewer could wrap, one more sends what nobody needs: neither is agreed to."""
    plan = PrivacyPlan.calibrate(terms(dimension=2000))
    own = VectorTerms.of_plan(plan)
    assert own.modulus_bits == plan.bits_needed < 32
    for bits in (own.modulus_bits - 1, own.modulus_bits + 1, 32):
        group = federate(noised(10, plan.kernel), own, survivors=7)
        group.vector = replace(own, modulus_bits=bits)
        with pytest.raises(PolicyRefused, match=f"modulus_bits = {bits}"):
            group.run()
        assert not any(stage in ("share", "mask") for _, stage, _ in group.sent)


def test_a_round_under_a_real_plan(
    terms: Callable[..., Any], federate: Any, noised: Any, exposed: Any
) -> None:
    """The reference plan at epsilon 4: 10 groups, u = 7, c = 1, h = 6; three groups are lost."""
    plan = PrivacyPlan.calibrate(terms(dimension=2000))
    shares = noised(10, plan.kernel)
    group = federate(shares, VectorTerms.of_plan(plan), survivors=7)
    assert_exact(group, [["m001"], ["m004", "m009"], [], []], exposed)
    _, total, _ = group.run()
    exact = sum(centred(share.vector) for share in shares)
    assert np.array_equal(centred(total), exact)
    mean = mean_of_sum(total, plan, shares=10)
    assert np.array_equal(mean, exact * plan.mean_gradient_scale())


@pytest.mark.parametrize(("members", "lost"), [(65, (2, 2, 1, 1)), (100, (3, 3, 2, 2))])
def test_a_sparse_round_loses_members_at_every_stage(
    members: int, lost: tuple[int, ...], federation: Any, exposed: Any
) -> None:
    """Dropouts at every stage on a sparse graph of 65 and of 100 members; the difference is 0."""
    group = federation(members)
    order = np.random.default_rng(members).permutation(group.names).tolist()
    ends = np.cumsum(lost).tolist()
    drops = [order[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert_exact(group, drops, exposed)
    orders = [group.begin().agreement.graph.order for _ in range(2)]
    assert None not in orders and orders[0] != orders[1]


def test_noise_shares_are_summed_on_a_complete_graph(
    federate: Any, noised: Any, settings: Callable[..., KernelSettings]
) -> None:
    """66 members are enough for a sparse graph, but a part of them would have too little noise."""
    kernel = settings(dimension=10)
    vector = VectorTerms(
        dimension=10, noise_log2=16, sensitivity=126_130, honest_shares=40, colluding=5
    )
    group = federate(noised(66, kernel), vector)
    server = group.begin()
    assert server.agreement.graph.order is None
    assert server.agreement.graph.shares == consistency_threshold(66)


def test_the_mean_is_within_the_stated_bound(federation: Any) -> None:
    """Secure and plain means of the real vectors differ by at most `error_bound`."""
    group = federation(10, 1000)
    generator = np.random.default_rng(0)
    values = generator.normal(size=(10, 1000))
    for party, row in zip(group.parties.values(), values, strict=True):
        party.vector = quantise(row, members=10)
    group.vector = replace(group.vector, dimension=1001)
    for party in group.parties.values():
        party.terms = replace(party.terms, vector=group.vector)
    server, total, _ = group.run([["m000"], ["m007"], ["m003"], []])
    mean = dequantised_mean(total, members=10)
    plain = np.delete(values, [0, 7], axis=0).mean(axis=0)
    assert len(server.survivors) == 8
    assert np.abs(mean - plain).max() <= error_bound(10) + 1e-15


def test_a_retry_is_a_new_attempt_with_new_masks(federation: Any) -> None:
    group = federation(4)
    masked = []
    for _ in range(2):
        group.run()
        masked.append([m for name, stage, m in group.sent if (name, stage) == ("m000", "mask")][-1])
        request = AdvertiseRequest(group.attempt).encode()
        with pytest.raises(Replayed, match="answered once"):
            group.ask("m000", "advertise", request)
    assert masked[0] != masked[1]
    secrets = group.parties["m000"].secrets
    assert len({s.mask_seed for s in secrets}) == len({s.self_seed for s in secrets}) == 2
    assert len({s.cipher_secret for s in secrets}) == 2


@pytest.mark.parametrize("stage", range(4))
def test_below_the_threshold_nothing_is_unmasked(stage: int, federation: Any, exposed: Any) -> None:
    """One more than may be lost, at each stage: a typed error, and no sum can be computed.

    10 members, t = u = 7. At the last stage the members' shares are out, but too few of them.
    """
    group = federation(10)
    drops: list[tuple[str, ...]] = [(), (), (), ()]
    drops[stage] = group.names[2:6]
    error = ReconstructionFailed if stage == 3 else TooFewMembers
    with pytest.raises(error):
        group.run(drops)
    assert all(not sums for sums in exposed(group).values())
    unmasked = [m for _, s, m in group.sent if s == "unmask"]
    assert bool(unmasked) == (stage == 3)


@pytest.mark.parametrize("stage", [0, 1])
def test_below_the_survivors_nothing_is_unmasked(stage: int, federation: Any, exposed: Any) -> None:
    """10 members, t = 7, but u = 9 must survive: 8 are a typed error, and nobody unmasks."""
    group = federation(10, survivors=9)
    drops: list[tuple[str, ...]] = [(), (), (), ()]
    drops[stage] = group.names[:2]
    with pytest.raises(TooFewMembers, match="9 needed"):
        group.run(drops)
    assert all(not sums for sums in exposed(group).values())
    assert all(s != "unmask" for _, s, _ in group.sent)


def test_too_little_noise_is_not_unmasked(
    federate: Any, noised: Any, settings: Callable[..., KernelSettings], exposed: Any
) -> None:
    """h = 6 and c = 1 need 7 vectors: with 6 neither the server goes on nor would a member."""
    kernel = settings(dimension=16)
    vector = VectorTerms(
        dimension=16, noise_log2=16, sensitivity=126_130, honest_shares=6, colluding=1
    )
    group = federate(noised(8, kernel), vector, threshold=6, survivors=7)
    with pytest.raises(NoiseShortfall, match="accounted for"):
        group.run([(), group.names[:2], (), ()])
    assert all(not sums for sums in exposed(group).values())
    with pytest.raises(NoiseShortfall):
        federate(noised(8, kernel), vector, threshold=6, survivors=6).begin()


@pytest.mark.parametrize(
    "changes",
    [{"dimension": 9}, {"members": 9}, {"weight_only": True}],
)
def test_a_vector_that_is_not_of_the_terms_is_not_sent(changes: dict, federation: Any) -> None:
    """Another length, other binary digits, or one of the member's own noise shares."""
    group = federation(4, 7)
    party = group.parties["m002"]
    length = changes.get("dimension", 7) if "weight_only" not in changes else 0
    party.vector = quantise(np.zeros(length), members=changes.get("members", 4))
    with pytest.raises(PolicyRefused, match="not what the terms"):
        group.run()
    assert not any(name == "m002" and stage == "mask" for name, stage, _ in group.sent)


@pytest.mark.parametrize(
    "field", ["dimension", "modulus_bits", "sensitivity", "noise_log2", "fraction_bits"]
)
def test_noise_of_another_plan_is_not_sent(
    field: str, federate: Any, noised: Any, settings: Callable[..., KernelSettings]
) -> None:
    """Terms and policy agree with each other, but the vector in hand was made otherwise."""
    other = {"dimension": 17, "modulus_bits": 64, "sensitivity": 126_131, "noise_log2": 15}
    vectors = noised(4, settings(dimension=16))
    vector = VectorTerms(dimension=16, noise_log2=16, sensitivity=126_130, honest_shares=1)
    vector = replace(vector, **{field: other.get(field, 3)})
    group = federate(vectors, vector)
    with pytest.raises(PolicyRefused, match="not what the terms"):
        group.run()


def test_a_member_must_be_pinned_under_its_own_key(federation: Any) -> None:
    group = federation(3)
    for name, identity in (("m000", group.identities["m001"]), ("x", group.identities["m000"])):
        with pytest.raises(PolicyRefused, match="own key"):
            Member(name=name, identity=identity, roster=group.roster, source=None)


def test_the_server_keeps_the_order_of_stages(federation: Any) -> None:
    """What comes too early, too late or from outside is refused, and changes nothing."""
    group = federation(5)
    server = group.begin()
    shares = {n: group.ask(n, "share", server.share_request) for n in group.names}
    for name in group.names[:4]:
        server.take_shares(name, shares[name])
    server.close_sharing()
    with pytest.raises(Replayed, match="too late"):
        server.take_shares("m004", shares["m004"])
    masked = {n: group.ask(n, "mask", server.mask_request(n)) for n in group.names[:4]}
    with pytest.raises(SurvivorSetRefused, match="had not shared"):
        server.take_masked("m004", masked["m000"])
    with pytest.raises(SurvivorSetRefused, match="not a survivor"):
        server.take_unmask("m000", b"")
    for name, message in masked.items():
        server.take_masked(name, message)
    server.close_masking()
    with pytest.raises(Replayed, match="too late"):
        server.take_masked("m000", masked["m000"])
    with pytest.raises(TooFewMembers, match="0 members signed, 4 needed"):
        server.unmask_request()
    for take in (server.take_shares, server.take_masked, server.take_consistency):
        with pytest.raises(SurvivorSetRefused, match="not a member"):
            take("stranger", b"")
    with pytest.raises(SurvivorSetRefused, match="not a survivor"):
        server.take_consistency("m004", b"")
    with pytest.raises(ReconstructionFailed):
        server.total()


def test_a_round_needs_the_advert_of_every_member(federation: Any) -> None:
    group = federation(3)
    server = group.begin()
    adverts = dict(zip(group.names, server.agreement.encoded, strict=True))
    del adverts["m001"]
    with pytest.raises(TooFewMembers, match="m001"):
        ServerRound(group.terms(), adverts, group.roster)


def test_after_a_round_a_member_has_nothing_left_to_answer_with(federation: Any) -> None:
    group = federation(3)
    group.run()
    requests = {(n, s): r for n, s, r in group.received}
    for party in group.parties.values():
        assert party.state == b""
    for stage in ("share", "mask", "confirm", "unmask"):
        with pytest.raises(SecaggAbort):
            group.ask("m000", stage, requests["m000", stage])
    given = [Unmask.decode(m).shares for n, s, m in group.sent if (n, s) == ("m000", "unmask")]
    assert len(given) == 1 and len(given[0]) == 3


def test_a_member_signs_no_set_with_too_little_noise(
    federate: Any, noised: Any, settings: Callable[..., KernelSettings]
) -> None:
    """h = 6 and c = 1: whatever the server goes on with, members refuse to sign 6 survivors."""
    vector = VectorTerms(
        dimension=16, noise_log2=16, sensitivity=126_130, honest_shares=6, colluding=1
    )
    group = federate(noised(8, settings(dimension=16)), vector, threshold=6, survivors=7)
    server = group.begin()
    for name in group.names:
        server.take_shares(name, group.ask(name, "share", server.share_request))
    server.close_sharing()
    for name in group.names:
        group.ask(name, "mask", server.mask_request(name))
    request = ConsistencyRequest(server.agreement.context, tuple(range(6))).encode()
    with pytest.raises(NoiseShortfall, match="leave fewer"):
        group.ask("m000", "confirm", request)


def test_a_member_masks_for_no_fewer_sharers_than_must_survive(federation: Any) -> None:
    """u = 6 of 6 with t = 5: five sharers would find every secret, and are too few."""
    group = federation(6, survivors=6)
    server = group.begin()
    for name in group.names:
        server.take_shares(name, group.ask(name, "share", server.share_request))
    server.close_sharing()
    asked = MaskRequest.decode(server.mask_request("m000"))
    fewer = replace(asked, sharers=asked.sharers[:-1], ciphertexts=asked.ciphertexts[:-1])
    with pytest.raises(TooFewMembers, match="have shared, 6 needed"):
        group.ask("m000", "mask", fewer.encode())


def test_fewer_holders_than_the_threshold_know_no_seed(federation: Any) -> None:
    """The shares as dealt: any 7 of 10 give both seeds of a member, any 6 give neither."""
    group = federation(10)
    server = group.begin()
    for name in group.names:
        server.take_shares(name, group.ask(name, "share", server.share_request))
    server.close_sharing()
    dealt = {}
    for index, name in enumerate(group.names):
        group.ask(name, "mask", server.mask_request(name))
        dealt[index + 1] = dict(Masking.decode(group.parties[name].state).shares)[3]
    secrets = group.parties["m003"].secrets[0]
    for half, seed in ((slice(0, 32), secrets.self_seed), (slice(32, 64), secrets.mask_seed)):
        for first in range(3):
            points = list(range(1 + first, 8 + first))
            shares = [dealt[point][half] for point in points]
            assert shamir.recover(points, shares) == int.from_bytes(seed, "big")
            assert shamir.recover(points[:-1], shares[:-1]) != int.from_bytes(seed, "big")


def test_keys_of_one_attempt_belong_to_what_was_agreed(federation: Any) -> None:
    """Told of another model, a member cannot read the others' shares, nor share their masks."""
    group = federation(5)
    server = group.begin()
    asked = ShareRequest.decode(server.share_request)
    terms = replace(server.agreement.terms, model="other").encode()
    other = Agreement.read(replace(asked, terms=terms))
    assert other.context != server.agreement.context
    assert other.pair_context(0, 1) != server.agreement.pair_context(0, 1)
    pairs = {other.pair_context(a, b) for a in range(5) for b in range(5) if a != b}
    assert len(pairs) == 10
    for name in group.names:
        told = replace(asked, terms=terms).encode() if name == "m002" else server.share_request
        message = group.ask(name, "share", told)
        if name != "m002":
            server.take_shares(name, message)
    server.close_sharing()
    everyone = MaskRequest.decode(server.mask_request("m002"))
    everyone = replace(everyone, context=other.context, sharers=tuple(range(5)))
    with pytest.raises(BadCiphertext):
        group.ask("m002", "mask", everyone.encode())
