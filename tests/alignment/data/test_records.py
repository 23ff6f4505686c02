"""Records: what counts as one, how the three kinds read alike, and what each error says."""

import math
import pickle
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.data.fields import MAX_OPTIONS, InvalidRecordError
from alignment.data.records import (
    ChoiceRecord,
    PairRecord,
    Question,
    SurveyRecord,
    parse_question,
    parse_record,
    question_digest,
    record_to_row,
)
from alignment.data.units import units_of
from tests.hostile import FORGED, assert_seen
from texts import spelled

IDS = st.text("abcdefé \u00a0\u0301\u0439字-1", min_size=1).filter(str.strip)
ROOT = Path(__file__).parents[3]
ASKED: dict[str, Any] = {"question_id": "tea", "question": "Tea?", "options": ["Yes", "No", "Both"]}
SURVEY: dict[str, Any] = {"group": "north", **ASKED, "distribution": [0.5, 0.25, 0.25]}
CHOICE: dict[str, Any] = {"group": "north", "respondent": "ann", **ASKED, "choice": 1}
PAIR: dict[str, Any] = {
    "group": "north",
    "annotator": "ann",
    "prompt": "Say hello.",
    "chosen": "Good day!",
    "rejected": "What?",
}


def error_of(row: Any) -> InvalidRecordError:
    with pytest.raises(InvalidRecordError) as caught:
        parse_record(row)
    assert "\n" not in str(caught.value)
    return caught.value


def decomposed(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def stripped(text: str) -> str:
    return composed(text).strip()


def test_a_survey_reads_as_a_distribution_of_nobody() -> None:
    record = parse_record({**SURVEY, "source": "ignored"})
    assert isinstance(record, SurveyRecord)
    assert record.question == Question(
        question_id="tea", text="Tea?", options=("Yes", "No", "Both"), together=True
    )
    assert (record.group, record.unit, record.target) == ("north", None, (0.5, 0.25, 0.25))


def test_a_choice_reads_as_the_one_hot_answer_of_its_respondent() -> None:
    record = parse_record(CHOICE)
    assert isinstance(record, ChoiceRecord)
    assert (record.group, record.unit, record.target) == ("north", "ann", (0.0, 1.0, 0.0))


def test_a_pair_reads_as_a_question_whose_options_stand_alone() -> None:
    record = parse_record(PAIR)
    assert isinstance(record, PairRecord)
    assert (record.question.text, record.question.together) == ("Say hello.", False)
    assert record.question.options == ("Good day!", "What?")
    assert (record.group, record.unit, record.target) == ("north", "ann", (1.0, 0.0))


def test_annotators_who_disagree_answer_the_same_question() -> None:
    one = parse_record(PAIR)
    other = parse_record({**PAIR, "chosen": PAIR["rejected"], "rejected": PAIR["chosen"]})
    assert one.question == other.question
    assert one.target == tuple(reversed(other.target))
    elsewhere = parse_record({**PAIR, "prompt": "Say goodbye."})
    assert one.question.question_id != elsewhere.question.question_id


def test_a_digest_depends_on_the_order_and_the_bounds_of_the_options() -> None:
    questions = [("a", ["b", "c"]), ("a", ["c", "b"]), ("ab", ["c"]), ("a", ["bc"])]
    assert len({question_digest(text, options) for text, options in questions}) == 4


@pytest.mark.parametrize("absent", [{"annotator": None}, {}])
def test_an_annotator_may_be_absent(absent: dict[str, Any]) -> None:
    row = {field: value for field, value in PAIR.items() if field != "annotator"}
    assert parse_record({**row, **absent}).unit is None


def test_two_spellings_of_a_respondent_are_one_unit() -> None:
    assert parse_record({**CHOICE, "respondent": " ann\t"}).unit == "ann"
    assert parse_record({**CHOICE, "group": "north "}).group == "north"


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("space", ["\u00a0", "  ", "\t", "\u3000", " \u2028"])
@pytest.mark.parametrize("field", ["group", "respondent", "question_id"])
def test_every_spelling_of_a_name_is_one_name(field: str, space: str, form: str) -> None:
    """Was open: composed and decomposed letters, and every white space, made two units of one."""
    written = unicodedata.normalize(form, f" Zoë{space}Núñez{space}")
    record = record_to_row(parse_record({**CHOICE, field: written}))
    assert record[field] == "Zoë Núñez"


def test_every_spelling_of_an_annotator_is_one_unit() -> None:
    """Was open: an annotator was a unit for every way her name is composed."""
    records = [
        parse_record({**PAIR, "annotator": unicodedata.normalize(form, "Zoë\u00a0Núñez")})
        for form in ("NFC", "NFD")
    ]
    assert len(units_of(records, unit="respondent")) == 1


@pytest.mark.parametrize("hidden", ["\u200b", "\ufeff", "\u200d", "\u202e", "\u00ad", "\x00"])
@pytest.mark.parametrize("field", ["group", "respondent", "question_id"])
def test_a_name_with_a_character_that_cannot_be_seen_is_refused(field: str, hidden: str) -> None:
    """Was open: what looked like one person was two."""
    error = error_of({**CHOICE, field: f"an{hidden}na"})
    assert (error.field, error.remedy) == (field, "write it without")
    assert "anna" not in str(error) and hidden not in str(error)


@pytest.mark.parametrize("group", FORGED, ids=ascii)
def test_a_group_whose_name_could_forge_is_refused(group: str) -> None:
    """Was open: the name of a group was any text, and is shown to others."""
    error = error_of({**CHOICE, "group": group})
    assert error.field == "group"
    assert_seen(str(error))


def test_persons_are_not_shown_and_may_mix_scripts() -> None:
    record = parse_record({**CHOICE, "respondent": "N\u043erth 1111 2222"})
    assert record.unit == "N\u043erth 1111 2222"


def test_a_question_is_known_however_its_text_is_composed() -> None:
    """Was open: one question, composed in two ways, was two that nobody answered twice."""
    rows = [{"question": "Café?", "options": ["Thé", "Café"]}]
    rows += [{"question": decomposed(r["question"]), "options": r["options"]} for r in rows]
    rows += [{**rows[0], "options": [decomposed(option) for option in rows[0]["options"]]}]
    asked = [parse_question(row) for row in rows]
    assert len({question.question_id for question in asked}) == 1
    # What is shown and encoded stays as it was written.
    assert asked[1].text == decomposed("Café?")


def test_two_responses_that_differ_in_composition_alone_are_none_to_choose_from() -> None:
    """Was open: a preference between a text and itself."""
    assert error_of({**PAIR, "chosen": "é", "rejected": "e\u0301"}).field == "rejected"
    asked = {**ASKED, "options": ["é", "e\u0301"]}
    assert error_of({**CHOICE, **asked}).field == "options"


@given(st.permutations(["é", "f", "e\u0302", "ez"]), st.booleans(), st.booleans())
def test_annotators_of_one_pair_mean_one_option_however_it_is_composed(
    texts: list[str], first: bool, second: bool
) -> None:
    """Was open: letters composed otherwise turned the order of the options round."""
    one, other = texts[:2]
    records = [
        parse_record({**PAIR, "chosen": spell(one), "rejected": spell(other)})
        for spell in ((decomposed, composed)[first], (decomposed, composed)[second])
    ]
    assert len({record.question.question_id for record in records}) == 1
    assert len({record.target for record in records}) == 1


@given(IDS, st.sampled_from(["NFC", "NFD"]), st.sampled_from([" ", "\u00a0", "\t ", "\u2003"]))
def test_two_spellings_that_are_spelled_alike_are_one_unit(
    name: str, form: str, space: str
) -> None:
    """Was open: a unit for every spelling of a person."""
    other = unicodedata.normalize(form, name).replace(" ", space)
    records = [parse_record({**CHOICE, "respondent": each}) for each in (name, other)]
    assert len(units_of(records, unit="respondent")) == 1


def test_texts_stay_as_they_are() -> None:
    assert parse_record({**CHOICE, "question": " Tea? "}).question.text == " Tea? "


def test_a_known_question_is_shared_only_while_it_is_the_same() -> None:
    known = {"tea": parse_record(CHOICE).question}
    assert parse_record(CHOICE, known=known).question is known["tea"]
    other = parse_record({**CHOICE, "question": "Coffee?"}, known=known).question
    assert other.text == "Coffee?"
    turned = parse_record({**CHOICE, "options": ["No", "Yes", "Both"]}, known=known).question
    assert turned.options == ("No", "Yes", "Both")


def test_rounded_distributions_are_normalised_exactly() -> None:
    record = parse_record({**SURVEY, "distribution": [0.33, 0.33, 0.33]})
    assert math.fsum(record.target) == 1.0
    assert record.target == pytest.approx([1 / 3] * 3)
    assert str(parse_record({**SURVEY, "distribution": [1, -0.0, 0]}).target) == "(1.0, 0.0, 0.0)"
    assert parse_record({**SURVEY, "distribution": [0, 1, 0.02]}).target[1] == pytest.approx(
        1 / 1.02
    )


@pytest.mark.parametrize(
    ("row", "field", "problem"),
    [
        ({**SURVEY, "distribution": [0.7, 0.7, 0]}, "distribution", "sums to 1.4, not 1"),
        ({**SURVEY, "distribution": [0.3, 0.3, 0.37]}, "distribution", "sums to 0.97, not 1"),
        ({**SURVEY, "distribution": [0, 0, 0]}, "distribution", "sums to 0, not 1"),
        ({**SURVEY, "distribution": [0.5, 0.5]}, "distribution", "has 2 entries for 3 options"),
        ({**SURVEY, "distribution": [1.01, -0.01, 0]}, "distribution", "entry 1 is not within"),
        ({**SURVEY, "distribution": [math.nan, 1, 0]}, "distribution", "entry 0 is not within"),
        ({**SURVEY, "distribution": [0, 0, math.inf]}, "distribution", "entry 2 is not within"),
        ({**SURVEY, "distribution": [10**400, 0, 0]}, "distribution", "entry 0 is not within"),
        ({**SURVEY, "distribution": [True, 0, 0]}, "distribution", "entry 0 is a boolean"),
        ({**SURVEY, "distribution": "0.5 0.5"}, "distribution", "is a text, not a list"),
        ({**SURVEY, "group": " "}, "group", "is empty"),
        ({**SURVEY, "question_id": None}, "question_id", "is missing"),
        ({**SURVEY, "question": ["Tea?"]}, "question", "is a list, not a text"),
        ({**SURVEY, "question": "Tea\ud83c?"}, "question", "half a surrogate pair"),
        ({**SURVEY, "options": ["Yes"]}, "options", "has 1 options, outside 2 to 64"),
        ({**SURVEY, "options": ["Yes", "No", "Yes "]}, "options", "options 0 and 2 are equal"),
        ({**SURVEY, "options": ["Yes", "", "No"]}, "options", "option 1 is empty"),
        ({**SURVEY, "options": ["Yes", 2, "No"]}, "options", "option 1 is an integer"),
        ({**SURVEY, "options": "Yes/No"}, "options", "is a text, not a list"),
        ({**SURVEY, "options": None}, "options", "is missing"),
        ({**CHOICE, "choice": 3}, "choice", "is 3, outside 0 to 2"),
        ({**CHOICE, "choice": -1}, "choice", "is -1, outside 0 to 2"),
        ({**CHOICE, "choice": 10**5000}, "choice", "is far, outside 0 to 2"),
        ({**CHOICE, "choice": True}, "choice", "is a boolean, not an integer"),
        ({**CHOICE, "choice": 1.0}, "choice", "is a number, not an integer"),
        ({**CHOICE, "respondent": 17}, "respondent", "is an integer, not a text"),
        ({**PAIR, "rejected": "Good day!"}, "rejected", "is the same text as chosen"),
        ({**PAIR, "rejected": None}, "rejected", "is missing"),
        ({**PAIR, "chosen": None}, "chosen", "is missing"),
        ({**PAIR, "annotator": ""}, "annotator", "is empty"),
        ({**CHOICE, "distribution": [1, 0, 0]}, "", "fields of several kinds"),
        ({"group": "north", **ASKED}, "", "no answer"),
        ([1, 2], "", "a row is a list"),
    ],
)
def test_an_error_names_field_problem_and_remedy(row: Any, field: str, problem: str) -> None:
    error = error_of(row)
    assert error.field == field
    assert problem in error.problem
    assert error.remedy and str(error).endswith(f"; {error.remedy}")


def test_the_bound_on_options_is_inclusive() -> None:
    options = [f"option {i}" for i in range(MAX_OPTIONS + 1)]
    assert parse_record({**CHOICE, "options": options[:-1]}).question.options == tuple(options[:-1])
    assert error_of({**CHOICE, "options": options}).field == "options"


def test_messages_hold_no_text_of_the_row() -> None:
    private = "a confidential sentence"
    for row in (
        {**CHOICE, "options": [private, private]},
        {**CHOICE, "question": private + "\ud800"},
        {**CHOICE, "choice": private},
        {**PAIR, "chosen": private, "rejected": private},
    ):
        assert private not in str(error_of(row))


def test_errors_survive_the_way_between_processes() -> None:
    error = error_of({**CHOICE, "choice": 3})
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 our own bytes
    assert (str(copy), copy.field) == (str(error), "choice")


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
GROUPS = st.text("north éé-I", min_size=1, max_size=20).filter(str.strip)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, object]:
    row: dict[str, object] = {"group": draw(GROUPS)}
    kind = draw(st.sampled_from(["survey", "choice", "pair"]))
    if kind == "pair":
        chosen, rejected = draw(st.lists(TEXTS, min_size=2, max_size=2, unique_by=stripped))
        answer = {"prompt": draw(TEXTS), "chosen": chosen, "rejected": rejected}
        return {**row, "annotator": draw(st.none() | IDS), **answer}
    options = draw(st.lists(TEXTS, min_size=2, max_size=8, unique_by=stripped))
    asked = {"question_id": draw(IDS), "question": draw(TEXTS), "options": options}
    if kind == "choice":
        choice = draw(st.integers(0, len(options) - 1))
        return {**row, "respondent": draw(IDS), **asked, "choice": choice}
    size = len(options)
    weights = draw(st.lists(st.integers(0, 1000), min_size=size, max_size=size).filter(any))
    # Rounded as published tables are, and off by up to the tolerance.
    rounded = [round(weight / sum(weights), draw(st.integers(3, 17))) for weight in weights]
    return {**row, **asked, "distribution": rounded}


@given(rows())
def test_a_record_survives_the_way_to_a_row_and_back(row: dict[str, object]) -> None:
    record = parse_record(row)
    assert parse_record(record_to_row(record)) == record
    assert math.fsum(record.target) == 1.0
    assert len(record.target) == len(record.question.options)
    if "distribution" not in row:
        names = ("group", "respondent", "annotator", "question_id")
        spellings = {name: spelled(row[name]) for name in names if row.get(name) is not None}
        assert record_to_row(record) == {**row, **spellings}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=8,
)


@given(
    st.sampled_from([SURVEY, CHOICE, PAIR, {}]),
    st.dictionaries(st.sampled_from([*SURVEY, *CHOICE, *PAIR]) | st.text(), JSON_VALUES),
)
def test_any_json_object_is_a_record_or_an_invalid_record(
    base: dict[str, Any], changes: dict[str, Any]
) -> None:
    try:
        record = parse_record({**base, **changes})
    except InvalidRecordError as error:
        assert str(error)
    else:
        assert math.fsum(record.target) == 1.0


def test_records_import_without_heavy_libraries() -> None:
    code = (
        "import sys, alignment.data.loading;"
        "print({'torch', 'datasets', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
