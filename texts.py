"""Texts of others: how a name is spelled, which names are taken, and how any text is shown.

Names and texts come from files of other parties. Two spellings that look alike must not be two
persons, no name may pass for a fingerprint or hide what stands beside it, and nothing that is
printed may move a cursor, turn a line round or leave it. Every room may import this module.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import regex

#: Most characters of a name that others see.
MAX_NAME = 100
#: More marks on one letter reach into the lines above and below.
_MAX_MARKS = 4

#: What is drawn as nothing, or shows others than itself, beyond what Python calls not printable.
_UNDRAWN = regex.compile(r"[\p{C}\p{Default_Ignorable_Code_Point}\u2800]")
_BACKSLASHES = regex.compile(r"\\+")
_ESCAPE = regex.compile(r"x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}")

#: Scripts in everyday use (Unicode Standard Annex 31, table 5).
_SCRIPTS = (
    "Arab Armn Beng Bopo Cyrl Deva Ethi Geor Grek Gujr Guru Hang Hani Hebr Hira Kana Khmr Knda "
    "Laoo Latn Mlym Mymr Orya Sinh Taml Telu Thaa Thai Tibt"
).split()
#: Scripts that are written together (Unicode Technical Standard 39, "highly restrictive").
_TOGETHER = (("Latn", "Hani", "Hira", "Kana"), ("Latn", "Hani", "Bopo"), ("Latn", "Hani", "Hang"))
_ONE_SCRIPT = regex.compile(
    "|".join(
        "[" + "".join(rf"\p{{scx={each}}}" for each in (*scripts, "Zyyy", "Zinh")) + "]*"
        for scripts in (*((script,) for script in _SCRIPTS), *_TOGETHER)
    )
)
_MARKS = regex.compile(rf"^\p{{M}}|\p{{M}}{{{_MAX_MARKS + 1}}}")
_GROUP_OF_FOUR = r"(?<![0-9a-z])[0-9a-f]{4}(?![0-9a-z])"
#: Two groups of four hexadecimal digits with a space between them, or four with anything.
_FINGERPRINT = regex.compile(
    rf"{_GROUP_OF_FOUR} {_GROUP_OF_FOUR}|{_GROUP_OF_FOUR}(?:[^0-9a-z]+{_GROUP_OF_FOUR}){{3}}"
)


class UnfitText(ValueError):
    """A name that is not taken; the text says why and what to do, without a word of the name.

    Attributes:
        problem: What is wrong with it, as in "holds a control character".
        remedy: What to do about it.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy)
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


def spelled(text: str) -> str:
    """The one spelling of what identifies somebody or something.

    Composed characters (NFC), every run of white space one plain space, none at the ends. Two
    texts that a reader cannot tell apart by these have one spelling; a spelling is its own.

    Raises:
        UnfitText: It is empty, or holds a character that cannot be seen.
    """
    plain = " ".join(unicodedata.normalize("NFC", text).split())
    if not plain:
        raise UnfitText("is empty", "give a name")
    if not _is_seen(plain):
        raise UnfitText(
            "holds an invisible, control, private or unassigned character", "write it without"
        )
    return plain


def name_of(text: str) -> str:
    """The one spelling of a name that others will see: of a group or of a federation.

    Raises:
        UnfitText: It has no spelling (:func:`spelled`), is longer than ``MAX_NAME``, mixes scripts
            as only forgers do, is written in characters that stand for plainer ones, or looks like
            a fingerprint.
    """
    name = spelled(text)
    if len(name) > MAX_NAME:
        raise UnfitText(f"has {len(name)} characters", f"give at most {MAX_NAME}")
    if unicodedata.normalize("NFKC", name) != name:
        raise UnfitText("holds characters that stand for plainer ones", "write the plain ones")
    if _MARKS.search(name):
        raise UnfitText("holds marks without a letter, or too many on one", "write it without")
    if not _ONE_SCRIPT.fullmatch(name):
        raise UnfitText("mixes scripts, or is in one of no everyday use", "write it in one script")
    if _FINGERPRINT.search(_digits(name.casefold())):
        raise UnfitText(
            "looks like a fingerprint", "write it without groups of four hexadecimal digits"
        )
    return name


def require_name(text: str) -> str:
    """A name as :func:`name_of` spells it: what is signed or pinned is not spelled anew.

    Raises:
        UnfitText: It is no name, or spelled in another way.
    """
    if name_of(text) != text:
        raise UnfitText(
            "is not in its one spelling", "write composed characters (NFC) and single plain spaces"
        )
    return text


def composed(text: str) -> str:
    """A text by which a question is known again: composed characters (NFC), else as it is."""
    return unicodedata.normalize("NFC", text)


def shown(text: str, *, most: int | None = None) -> str:
    r"""Any text on one line, every character of which can be seen.

    What cannot be seen becomes an escape such as ``\x1b`` or ``\u202e``. Different texts are shown
    differently: a backslash that would read as the start of an escape is doubled.

    Args:
        text: Of anybody.
        most: Characters to show, at least 1; the rest becomes an ellipsis.
    """
    whole = visible(_BACKSLASHES.sub(_doubled, text))
    return whole if most is None or len(whole) <= most else f"{whole[: most - 1]}…"


def visible(text: str) -> str:
    r"""A line that is put together already, with escapes for what cannot be seen; line ends too.

    The last guard of whatever prints: it leaves alone what :func:`shown` has made.
    """
    return text if _is_seen(text) else "".join(map(_escaped, text))


def visible_lines(text: str) -> str:
    r"""The same line by line: ``\n`` stays, and nothing else that ends a line."""
    return "\n".join(visible(line) for line in text.split("\n"))


def json_text(value: object, *, indent: int | None = None) -> str:
    """JSON that reads back as the value and shows every character; letters stay letters.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    # Line ends of the layout stay; one within a text is an escape already.
    return "".join(c if c == "\n" or _is_seen(c) else _json_escaped(c) for c in text)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark at its start.

    Raises:
        OSError: It cannot be read.
        UnicodeDecodeError: It is not UTF-8.
    """
    return path.read_text(encoding="utf-8-sig")


def _is_seen(text: str) -> bool:
    """Whether every character of a text is printed as itself; spaces are, other white space not."""
    return text.isprintable() and not _UNDRAWN.search(text)


def _doubled(run: regex.Match[str]) -> str:
    """Backslashes, twice where an escape follows, or what reads as one."""
    after = run.string[run.end() : run.end() + 9]
    ambiguous = after and (_ESCAPE.match(after) or not _is_seen(after[0]))
    return f"{run[0]}{run[0] if ambiguous else ''}"


def _escaped(character: str) -> str:
    code = ord(character)
    if _is_seen(character):
        return character
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _digits(text: str) -> str:
    """The text with every decimal digit of any script as 0 to 9."""
    return "".join(
        each if (digit := unicodedata.decimal(each, None)) is None else str(digit) for each in text
    )
