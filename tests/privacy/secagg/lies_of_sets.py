"""Lies about who has come so far: in the mask, consistency and unmask requests, and raw bytes."""

from privacy.errors import (
    BadCiphertext,
    BadSignature,
    MalformedMessage,
    NoiseShortfall,
    Replayed,
    SplitView,
    SurvivorSetRefused,
    TooFewMembers,
)
from privacy.secagg.encoding import NO_SIGNATURE
from privacy.secagg.messages import (
    Consistency,
    ConsistencyRequest,
    MaskRequest,
    Shares,
    UnmaskRequest,
    survivors_digest,
)
from tests.privacy.secagg.liar import (
    EVIL,
    MEMBERS,
    STAGES,
    Liar,
    Lie,
    edit,
    first_changed,
    flipped,
    other_place,
    values_swapped,
    without,
)


def sealed(liar: Liar, name: str) -> tuple[tuple[int, bytes], ...]:
    return Shares.decode(liar.got["share"][name]).ciphertexts


def member_at(liar: Liar, victim: str, index: int) -> str:
    return liar.told[victim].members[index]


def for_another(liar: Liar, victim: str, index: int) -> bytes:
    rows = sealed(liar, member_at(liar, victim, index))
    return next(data for to, data in rows if to != liar.index(victim, victim))


def of_before(liar: Liar, victim: str, index: int) -> bytes:
    message = liar.earlier["share"][member_at(liar, victim, index)]
    return dict(Shares.decode(message).ciphertexts)[liar.group.names.index(victim)]


def before_signed(liar: Liar, victim: str, index: int) -> bytes:
    message = liar.earlier["confirm"][member_at(liar, victim, index)]
    return Consistency.decode(message).signature


def evil_signed(
    liar: Liar, context: bytes, survivors: tuple[int, ...] | None, kind: str = "consistency"
) -> bytes:
    indices = tuple(range(MEMBERS)) if survivors is None else survivors
    words = Consistency(context, survivors_digest(indices), NO_SIGNATURE).payload()
    return liar.group.identities[EVIL].sign(kind, context, words)


LIES_OF_SETS: list[Lie] = [
    # Who has shared.
    Lie("context", "mask", edit(MaskRequest, context=lambda *_: bytes(32)), (Replayed,)),
    Lie(
        "sharers: nobody of the round",
        "mask",
        edit(MaskRequest, sharers=lambda liar, v, asked: (*asked.sharers, 77)),
        (SurvivorSetRefused,),
    ),
    Lie(
        "sharers: without the member",
        "mask",
        edit(MaskRequest, sharers=lambda liar, v, a: without(a.sharers, liar.index(v, v))),
        (SurvivorSetRefused,),
    ),
    Lie(
        "sharers: the member alone",
        "mask",
        edit(
            MaskRequest,
            sharers=lambda liar, v, asked: (liar.index(v, v),),
            ciphertexts=lambda *_: (),
        ),
        (TooFewMembers,),
    ),
    Lie(
        "sharers: one whose ciphertext is missing",
        "mask",
        edit(MaskRequest, ciphertexts=lambda liar, v, asked: asked.ciphertexts[1:]),
        (SurvivorSetRefused,),
    ),
    Lie(
        "ciphertexts: of one that has not shared",
        "mask",
        edit(
            MaskRequest,
            sharers=lambda liar, v, a: without(a.sharers, other_place(liar, v, a)),
        ),
        (SurvivorSetRefused,),
    ),
    Lie(
        "sharers and ciphertexts: without another",
        "mask",
        edit(
            MaskRequest,
            sharers=lambda liar, v, a: without(a.sharers, other_place(liar, v, a)),
            ciphertexts=lambda liar, v, a: without(a.ciphertexts, other_place(liar, v, a)),
        ),
        divides=False,
    ),
    *(
        Lie(
            f"ciphertexts: {name}",
            "mask",
            edit(MaskRequest, ciphertexts=lambda liar, v, a, c=change: c(liar, v, a.ciphertexts)),
            errors,
        )
        for name, change, errors in (
            ("none", lambda liar, v, rows: (), (SurvivorSetRefused,)),
            ("of two swapped", lambda liar, v, rows: values_swapped(rows), (BadCiphertext,)),
            (
                "a bit of one",
                lambda liar, v, rows: first_changed(rows, flipped),
                (BadCiphertext,),
            ),
            (
                "one without its end",
                lambda liar, v, rows: first_changed(rows, lambda data: data[:-1]),
                (BadCiphertext,),
            ),
            (
                "one empty",
                lambda liar, v, rows: first_changed(rows, lambda data: b""),
                (BadCiphertext,),
            ),
            (
                "the own one sent back",
                lambda liar, v, rows: first_changed(
                    rows, lambda data: dict(sealed(liar, v))[rows[0][0]]
                ),
                (BadCiphertext,),
            ),
            (
                "one for another member",
                lambda liar, v, rows: first_changed(
                    rows, lambda data: for_another(liar, v, rows[0][0])
                ),
                (BadCiphertext,),
            ),
            (
                "one of the round before",
                lambda liar, v, rows: first_changed(
                    rows, lambda data: of_before(liar, v, rows[0][0])
                ),
                (BadCiphertext,),
            ),
            (
                "one from the member itself",
                lambda liar, v, rows: tuple(
                    sorted({**dict(rows), liar.index(v, v): rows[0][1]}.items())
                ),
                (SurvivorSetRefused,),
            ),
        )
    ),
    # Who survives.
    Lie("context", "confirm", edit(ConsistencyRequest, context=lambda *_: bytes(32)), (Replayed,)),
    *(
        Lie(
            f"survivors: {name}",
            "confirm",
            edit(
                ConsistencyRequest,
                survivors=lambda liar, v, a, c=change: c(liar, v, a.survivors),
            ),
            errors,
        )
        for name, change, errors in (
            ("nobody", lambda liar, v, rows: (), (SurvivorSetRefused,)),
            ("a stranger", lambda liar, v, rows: (*rows, 77), (SurvivorSetRefused,)),
            (
                "without the member",
                lambda liar, v, rows: without(rows, liar.index(v, v)),
                (SurvivorSetRefused,),
            ),
            (
                "the member alone",
                lambda liar, v, rows: (liar.index(v, v),),
                (TooFewMembers, NoiseShortfall),
            ),
            (
                "two too few",
                lambda liar, v, rows: tuple(
                    sorted({liar.index(v, v), *without(rows, liar.index(v, v))[:3]})
                ),
                (TooFewMembers, NoiseShortfall),
            ),
        )
    ),
    Lie(
        "survivors: without another",
        "confirm",
        edit(
            ConsistencyRequest,
            survivors=lambda liar, v, a: without(a.survivors, other_place(liar, v, a)),
        ),
    ),
    # Who has signed.
    Lie("context", "unmask", edit(UnmaskRequest, context=lambda *_: bytes(32)), (Replayed,)),
    *(
        Lie(
            f"signatures: {name}",
            "unmask",
            edit(
                UnmaskRequest,
                signatures=lambda liar, v, a, c=change: c(liar, v, a.signatures, a.context),
            ),
            errors,
        )
        for name, change, errors in (
            ("none", lambda liar, v, rows, ctx: (), (SplitView,)),
            ("too few", lambda liar, v, rows, ctx: rows[:4], (SplitView,)),
            (
                "a bit of one",
                lambda liar, v, rows, ctx: first_changed(rows, flipped),
                (BadSignature,),
            ),
            ("two swapped", lambda liar, v, rows, ctx: values_swapped(rows), (BadSignature,)),
            (
                "one signs for another",
                lambda liar, v, rows, ctx: first_changed(rows, lambda data: rows[1][1]),
                (BadSignature,),
            ),
            (
                "of nobody of the round",
                lambda liar, v, rows, ctx: (*rows, (77, rows[0][1])),
                (SurvivorSetRefused,),
            ),
            (
                "of the round before",
                lambda liar, v, rows, ctx: first_changed(
                    rows, lambda data: before_signed(liar, v, rows[0][0])
                ),
                (BadSignature,),
            ),
            (
                "on another set",
                lambda liar, v, rows, ctx: (
                    (
                        *((0, b""), *rows)[1:-1],
                        (rows[-1][0], evil_signed(liar, ctx, (0, 1, 2, 3, 5))),
                    )
                ),
                (BadSignature,),
            ),
            (
                "on the set, but as another kind of message",
                lambda liar, v, rows, ctx: (
                    (*rows[:-1], (rows[-1][0], evil_signed(liar, ctx, None, kind="unmask")))
                ),
                (BadSignature,),
            ),
        )
    ),
    # Bytes.
    *(
        Lie(f"bytes: {name}", stage, lambda liar, v, request, c=change: c(request), errors)
        for stage in STAGES
        for name, change, errors in (
            ("none", lambda request: b"", (MalformedMessage,)),
            ("without the last", lambda request: request[:-1], (MalformedMessage,)),
            ("one more", lambda request: request + b"\0", (MalformedMessage,)),
            ("another version", lambda request: b"FAS0" + request[4:], (MalformedMessage,)),
        )
    ),
    *(
        Lie(
            f"bytes: of {other} instead",
            stage,
            lambda liar, v, request, o=other: next(iter(liar.earlier["requests"][o].values())),
            (MalformedMessage,),
        )
        for stage in STAGES
        for other in STAGES
        if stage != other
    ),
    *(
        Lie(
            "bytes: replayed",
            stage,
            lambda liar, v, request, s=stage: liar.earlier["requests"][s][v],
            (Replayed,),
        )
        for stage in STAGES
    ),
]
