"""Names and texts as a hostile party would write them, and what must never reach a reader."""

import regex

#: Names that forge a fingerprint, hide or turn what stands beside them, or pass for others.
FORGED = (
    "North   1111 2222 3333 4444 5555 6666 7777 8888\x1b[8m",
    "North 1111 2222 3333 4444 5555 6666 7777 8888",
    "1111:2222:3333:4444",
    "North ٠١٢٣ ٤٥٦٧",
    "Nor\x1b[2Kth",
    "North\x9b8m",
    "North\x7f",
    "\u202eNorth",
    "North\u2066",
    "North\u200e",
    "Nor\u200bth",
    "Nor\u00adth",
    "North\ufeff",
    "North\u3164",
    "North\u034f",
    "North\ufe0f",
    "North\u2800",
    "North\ue000",
    "North\U000e0041",
    "North\u0378",
    "N\u043erth",
    "\u0391thens",
    "\u13daest",
    "\U0001d40dorth",
    "\uff2eorth",
    "\u0301North",
    "N" + "\u0323\u0331" * 4 + "orth",
    "No" * 51,
    "",
    "   ",
)

#: Names that are fine, though not in the spelling that is signed and pinned.
MISSPELLED = (
    "Cafe\u0301",
    "North\u00a0Sea",
    "North  Sea",
    " North",
    "North\u2003Sea",
    "North\t",
    "a\rb",
    "a\nb",
)

#: A text with everything that must not be printed as it is, and with markup.
HOSTILE_TEXT = (
    "Fine?\x1b[2K\x1b[8m\x9b1A\r\x07 \u202egnp.exe\u2066 a\u200bb\ufeff \u2028 [bold]x[/bold] "
    "[link=https://example.org]y[/link] <script>z</script> | \x7f $x_1$ \ue000"
)

#: What no output may hold, but for the ends of its lines.
UNSEEN = regex.compile(
    r"[\p{Cc}--[\n]]|[\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|\p{Default_Ignorable_Code_Point}",
    regex.V1,
)


def assert_seen(text: str) -> None:
    """Fail where a text holds what a terminal or a reader would not show as itself."""
    found = UNSEEN.search(text)
    assert found is None, f"U+{ord(found[0]):04X} in {text[max(0, found.start() - 60) :][:120]!a}"
