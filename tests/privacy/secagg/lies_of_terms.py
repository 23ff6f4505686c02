"""Lies about what a round is and who takes part: in the advertise and share requests."""

import json
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

from privacy.canonical import canonical_json
from privacy.errors import (
    BadSignature,
    DuplicateKey,
    MalformedMessage,
    NoiseShortfall,
    PolicyRefused,
    Replayed,
    SecaggAbort,
    SurvivorSetRefused,
    ThresholdRefused,
    TooFewMembers,
)
from privacy.identity.keys import Identity, public_of
from privacy.secagg.encoding import NO_SIGNATURE
from privacy.secagg.messages import Advert, AdvertiseRequest, ShareRequest
from privacy.secagg.round_terms import Attempt, RoundTerms, VectorTerms
from tests.privacy.secagg.liar import EVIL, OTHER, Liar, Lie, edit


def terms_lie(
    name: str, change: Callable[[dict[str, Any], str], Any], *errors: type[SecaggAbort]
) -> Lie:
    """A lie in the terms; what is changed is their JSON."""

    def lie(liar: Liar, victim: str, request: bytes) -> bytes:
        asked = ShareRequest.decode(request)
        nested = json.loads(asked.terms)
        change(nested, victim)
        return replace(asked, terms=canonical_json(nested)).encode()

    return Lie(f"terms: {name}", "share", lie, errors)


def number(name: str, value: Any, *errors: type[SecaggAbort], outer: str = "") -> Lie:
    def change(nested: dict[str, Any], victim: str) -> None:
        (nested[outer] if outer else nested)[name] = value

    return terms_lie(f"{name} = {value!r}"[:40], change, *errors)


def adverts_lie(
    name: str,
    change: Callable[[Liar, str, dict[str, bytes]], Iterable[bytes] | None],
    *errors: type[SecaggAbort],
    terms: Callable[[RoundTerms, str], RoundTerms] = lambda terms, victim: terms,
) -> Lie:
    """A lie in the list of advertisements."""

    def lie(liar: Liar, victim: str, request: bytes) -> bytes:
        asked = ShareRequest.decode(request)
        told = RoundTerms.decode(asked.terms)
        adverts = dict(zip(told.members, asked.adverts, strict=False))
        listed = change(liar, victim, adverts)
        chosen = adverts.values() if listed is None else listed
        return ShareRequest(terms(told, victim).encode(), tuple(chosen)).encode()

    return Lie(f"adverts: {name}", "share", lie, errors)


def signed_advert(liar: Liar, name: str, key: Identity, **changes: Any) -> bytes:
    """The advertisement of a member with fields changed, signed by a key for this attempt."""
    advert = replace(Advert.decode(liar.got["advertise"][name]), **changes, signature=NO_SIGNATURE)
    return advert.payload() + key.sign("advert", liar.group.attempt.context(), advert.payload())


FORGED: dict[str, Any] = {
    "sender": "m0040",
    "cipher_key": public_of(b"\1" * 32),
    "mask_key": public_of(b"\2" * 32),
    "commitment": bytes(32),
    "nonce": bytes(32),
    "head_seq": 1,
    "head": b"\1" * 32,
    "signature": bytes(64),
}
assert set(FORGED) == {field.name for field in fields(Advert)}


def forged(field: str, own: bool) -> Lie:
    def change(liar: Liar, victim: str, adverts: dict[str, bytes]) -> None:
        name = victim if own else OTHER
        if name in adverts:
            advert = replace(Advert.decode(adverts[name]), **{field: FORGED[field]})
            adverts[name] = advert.encode()

    error = SurvivorSetRefused if field == "sender" else BadSignature
    return adverts_lie(f"{field} of {'the own' if own else 'another'} is forged", change, error)


def evil(name: str, changes: Callable[[Liar], dict[str, Any]], *errors: type[SecaggAbort]) -> Lie:
    """An advertisement that a colluding member has signed, other than the one it sent."""

    def change(liar: Liar, victim: str, adverts: dict[str, bytes]) -> None:
        if EVIL in adverts:
            key = liar.group.identities[EVIL]
            adverts[EVIL] = signed_advert(liar, EVIL, key, **changes(liar))

    return adverts_lie(f"a colluding member's {name}", change, *errors)


def of_other(field: str) -> Callable[[Liar], dict[str, Any]]:
    return lambda liar: {field: getattr(Advert.decode(liar.got["advertise"][OTHER]), field)}


def remove(name: Callable[[str], str], *, advert: bool) -> Any:
    def change(liar: Liar, victim: str, adverts: dict[str, bytes]) -> None:
        if advert:
            adverts.pop(name(victim), None)

    return change


def fewer(name: Callable[[str], str]) -> Callable[[RoundTerms, str], RoundTerms]:
    def change(terms: RoundTerms, victim: str) -> RoundTerms:
        members = tuple(member for member in terms.members if member != name(victim))
        return replace(terms, members=members)

    return change


def add_stranger(name: str, key: Callable[[Liar], Identity]) -> Any:
    def change(liar: Liar, victim: str, adverts: dict[str, bytes]) -> None:
        adverts[name] = signed_advert(
            liar,
            OTHER,
            key(liar),
            sender=name,
            cipher_key=public_of(b"\5" * 32),
            mask_key=public_of(b"\6" * 32),
            commitment=b"\7" * 32,
        )

    return change


def more(name: str) -> Callable[[RoundTerms, str], RoundTerms]:
    return lambda terms, victim: replace(
        terms, members=(*terms.members, name), threshold=5, survivors=5
    )


STRANGER = Identity.create()
VECTOR_LIES: dict[str, Any] = {
    "dimension": 9,
    "modulus_bits": 64,
    "fraction_bits": 3,
    "noise_log2": 4,
    "sensitivity": 10**6,
    "sampling_rate": 0.5,
    "honest_shares": 1,
    "colluding": 2,
    "plan": "ab" * 32,
}
assert set(VECTOR_LIES) == {field.name for field in fields(VectorTerms)}


def with_spaces(liar: Liar, victim: str, request: bytes) -> bytes:
    asked = ShareRequest.decode(request)
    return replace(asked, terms=asked.terms.replace(b",", b", ", 1)).encode()


LIES_OF_TERMS: list[Lie] = [
    # The attempt.
    Lie(
        "the attempt of before",
        "advertise",
        lambda liar, victim, request: AdvertiseRequest(
            liar.group.parties[victim].last or Attempt(run="run", round=0)
        ).encode(),
        (Replayed,),
    ),
    Lie(
        "an earlier round",
        "advertise",
        lambda liar, victim, request: AdvertiseRequest(Attempt(run="run", round=0)).encode(),
        (Replayed,),
    ),
    *(
        Lie(
            f"another {field}",
            "advertise",
            edit(
                AdvertiseRequest,
                attempt=lambda liar, v, asked, f=field, x=value: replace(asked.attempt, **{f: x}),
            ),
        )
        for field, value in (("run", "other"), ("round", 10**6), ("attempt", 2))
    ),
    # The terms.
    number("run", "other", Replayed, outer="attempt"),
    number("round", 10**7, Replayed, outer="attempt"),
    number("attempt", 3, Replayed, outer="attempt"),
    *(number(f, v, PolicyRefused, NoiseShortfall, outer="vector") for f, v in VECTOR_LIES.items()),
    number("sampling_rate", 10**400, MalformedMessage, outer="vector"),
    number("dimension", "8", MalformedMessage, outer="vector"),
    number("honest_shares", True, MalformedMessage, outer="vector"),
    *(number("threshold", value, ThresholdRefused) for value in (4, 1, 0, -1, 7, 10**30)),
    number("threshold", 6, ThresholdRefused),  # Above survivors.
    *(number("survivors", value, ThresholdRefused) for value in (4, 1, 0, -1, 7)),
    number("survivors", 6),
    terms_lie("threshold and survivors = 6", lambda n, v: n.update(threshold=6, survivors=6)),
    terms_lie(
        "threshold and survivors = 2",
        lambda n, v: n.update(threshold=2, survivors=2),
        ThresholdRefused,
    ),
    number("task", "other", PolicyRefused),
    number("model", "other"),
    number("unknown", 1, MalformedMessage),
    terms_lie("no model", lambda nested, v: nested.pop("model"), MalformedMessage),
    terms_lie("members unsorted", lambda n, v: n["members"].reverse(), MalformedMessage),
    terms_lie("a member doubled", lambda n, v: n["members"].insert(0, "m000"), MalformedMessage),
    terms_lie("no members", lambda n, v: n["members"].clear(), TooFewMembers),
    terms_lie("a member too few", lambda n, v: n["members"].pop(), SurvivorSetRefused),
    terms_lie("a member too many", lambda n, v: n["members"].append("m9"), SurvivorSetRefused),
    terms_lie(
        "a member renamed",
        lambda n, v: n["members"].__setitem__(5, "m0050"),
        SurvivorSetRefused,
    ),
    Lie("terms: with spaces", "share", with_spaces, (MalformedMessage,)),
    # The advertisements.
    *(forged(field, own) for field in FORGED for own in (True, False)),
    adverts_lie("one is missing", remove(lambda v: OTHER, advert=True), SurvivorSetRefused),
    adverts_lie(
        "one is doubled",
        lambda liar, v, adverts: [*adverts.values(), adverts[OTHER]],
        SurvivorSetRefused,
    ),
    adverts_lie(
        "the order is another",
        lambda liar, v, adverts: reversed(adverts.values()),
        SurvivorSetRefused,
    ),
    adverts_lie(
        "one stands for another",
        lambda liar, v, adverts: adverts.update({OTHER: adverts[EVIL]}),
        SurvivorSetRefused,
    ),
    adverts_lie(
        "a member is left out",
        remove(lambda v: OTHER, advert=True),
        terms=fewer(lambda v: OTHER),
    ),
    adverts_lie(
        "the member itself is left out",
        remove(lambda victim: victim, advert=True),
        SurvivorSetRefused,
        terms=fewer(lambda victim: victim),
    ),
    adverts_lie(
        "a stranger is let in",
        add_stranger("m9", lambda liar: STRANGER),
        PolicyRefused,
        terms=more("m9"),
    ),
    adverts_lie(
        "a member is let in that never came",
        add_stranger("z-pinned", lambda liar: STRANGER),
        BadSignature,
        terms=more("z-pinned"),
    ),
    adverts_lie(
        "another member signs for one",
        lambda liar, v, adverts: adverts.update(
            {OTHER: signed_advert(liar, OTHER, liar.group.identities[EVIL])}
        ),
        BadSignature,
    ),
    adverts_lie(
        "one is of an attempt before",
        lambda liar, v, adverts: adverts.update({OTHER: liar.earlier["advertise"][OTHER]}),
        BadSignature,
    ),
    adverts_lie(
        "the own one is of an attempt before",
        lambda liar, v, adverts: adverts.update({v: liar.earlier["advertise"][v]}),
        BadSignature,
    ),
    adverts_lie(
        "the own one is another that the member has signed for this attempt",
        lambda liar, v, adverts: adverts.update(
            {v: signed_advert(liar, v, liar.group.identities[v], nonce=bytes(32))}
        ),
        Replayed,
    ),
    *(
        evil(f"{field} is that of another", of_other(field), DuplicateKey)
        for field in ("cipher_key", "mask_key", "commitment")
    ),
    evil(
        "keys are one key",
        lambda liar: {"cipher_key": FORGED["mask_key"], "mask_key": FORGED["mask_key"]},
        DuplicateKey,
    ),
    *(
        evil(f"{field} hides nothing ({name})", lambda liar, f=field, k=key: {f: k}, DuplicateKey)
        for field in ("cipher_key", "mask_key")
        for name, key in (
            ("zero", bytes(32)),
            ("one", b"\1" + bytes(31)),
            ("minus one", (2**255 - 20).to_bytes(32, "little")),
        )
    ),
    evil("nonce is another", lambda liar: {"nonce": b"\3" * 32}),
    evil("keys are others", lambda liar: {"mask_key": FORGED["mask_key"]}),
]
