"""Spelling, names, and how any text is shown."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import FORGED, HOSTILE_TEXT, MISSPELLED, assert_seen
from texts import (
    MAX_NAME,
    UnfitText,
    json_text,
    name_of,
    require_name,
    shown,
    spelled,
    visible,
    visible_lines,
)

ANY = st.text(max_size=60) | st.text("\\x1bu202eU\x1b\u202e\n \U000e0041", max_size=12)
WHITE = st.sampled_from([" ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "  ", " \u2028"])
WORDS = st.lists(st.text("Caféé字Żлё-1'", min_size=1, max_size=8), min_size=1, max_size=4)

PLAIN_NAMES = [
    "North",
    "Group 0",
    "Group [bold] 1",
    "Côte d\u2019Ivoire",
    "S. Africa (Non-national sample)",
    "Wave 2023-2024",
    "Survey 2024",
    "550e8400-e29b-41d4-a716-446655440000",
    "Москва",
    "Ελλάδα",
    "日本 Lab カナ",
    "한국 Lab",
    "臺灣 ㄅㄆ",
    "ישראל",
    "ไทยนี้",
    "हिन्दी",
    "x" * MAX_NAME,
]


class TestNames:
    @pytest.mark.parametrize("name", FORGED, ids=ascii)
    def test_what_could_forge_hide_or_pass_for_another_is_no_name(self, name: str) -> None:
        """Was open: any text was a name."""
        with pytest.raises(UnfitText) as caught:
            require_name(name)
        assert_seen(str(caught.value))
        assert name.strip() == "" or name not in str(caught.value)

    @pytest.mark.parametrize("name", PLAIN_NAMES, ids=ascii)
    def test_what_people_call_themselves_is(self, name: str) -> None:
        assert name_of(name) == require_name(name) == name

    @pytest.mark.parametrize("name", MISSPELLED, ids=ascii)
    def test_what_is_signed_or_pinned_is_refused_in_any_other_spelling(self, name: str) -> None:
        """Was open: one name had as many spellings as Unicode gives it."""
        assert require_name(name_of(name)) != name
        with pytest.raises(UnfitText, match="is not in its one spelling"):
            require_name(name)

    @given(st.text(max_size=120))
    def test_any_text_is_a_name_that_is_shown_as_itself_or_is_refused(self, text: str) -> None:
        try:
            name = name_of(text)
        except UnfitText as error:
            assert error.problem and error.remedy
            return
        assert name_of(name) == name == visible(name)
        assert name.isprintable() and len(name) <= MAX_NAME
        assert_seen(name)


class TestSpelling:
    @given(WORDS, st.lists(WHITE, min_size=6, max_size=6), st.sampled_from(["NFC", "NFD"]))
    def test_one_person_has_one_spelling(
        self, words: list[str], white: list[str], form: str
    ) -> None:
        """Was open: composed and decomposed, and every white space, made persons of their own."""
        ends = [white[-2], *white[: len(words) - 1], white[-1]]
        written = ends[0] + "".join(
            word + space for word, space in zip(words, ends[1:], strict=True)
        )
        assert spelled(unicodedata.normalize(form, written)) == spelled(" ".join(words))

    @given(st.text())
    def test_a_spelling_is_its_own(self, text: str) -> None:
        try:
            once = spelled(text)
        except UnfitText:
            return
        assert spelled(once) == once
        assert unicodedata.is_normalized("NFC", once)

    @pytest.mark.parametrize("hidden", ["\u200b", "\ufeff", "\u00ad", "\u2060", "\u202e", "\x00"])
    def test_what_cannot_be_seen_is_refused_and_not_dropped(self, hidden: str) -> None:
        """Was open: a zero-width space made a second person that looked like the first."""
        with pytest.raises(UnfitText, match="write it without"):
            spelled(f"an{hidden}na")


class TestShown:
    @given(ANY)
    def test_any_text_is_one_line_of_what_can_be_seen(self, text: str) -> None:
        line = shown(text)
        assert line.isprintable()
        assert_seen(line)
        # What is printed once more is what was shown.
        assert visible(line) == line

    @given(ANY, ANY)
    def test_two_texts_are_shown_as_two(self, one: str, other: str) -> None:
        assert (shown(one) == shown(other)) == (one == other)

    @given(st.text("aé字 -[]", max_size=30))
    def test_what_can_be_seen_is_shown_as_it_is(self, text: str) -> None:
        assert shown(text) == text

    @given(ANY, st.integers(1, 20))
    def test_its_length_is_bounded_where_asked(self, text: str, most: int) -> None:
        line = shown(text, most=most)
        assert len(line) <= most
        assert line == shown(text) or line.endswith("…")

    def test_escapes_are_those_of_python(self) -> None:
        assert shown("\x1b[8m\u202e\U000e0041\n") == r"\x1b[8m\u202e\U000e0041\x0a"
        assert shown("\\x1b \\n") == r"\\x1b \n"

    @given(ANY)
    def test_lines_stay_lines(self, text: str) -> None:
        assert visible_lines(text).count("\n") == text.count("\n")
        assert_seen(visible_lines(text))


@given(st.dictionaries(st.text(), st.text() | st.floats(allow_nan=False, allow_infinity=False)))
def test_json_reads_back_and_shows_every_character(value: dict[str, object]) -> None:
    for indent in (None, 2):
        text = json_text({**value, "hostile": HOSTILE_TEXT}, indent=indent)
        assert json.loads(text) == {**value, "hostile": HOSTILE_TEXT}
        assert_seen(text)
