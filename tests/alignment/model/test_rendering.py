"""Chat templates: the tokens of others, turns no text can forge, and where a response begins."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from alignment.data.conversations import Conversation, Message
from alignment.data.records import PairRecord, Question, parse_record
from alignment.model.encoding import TextEncoder, TokenSequence, shortened
from alignment.model.predictor import Predictor
from alignment.model.rendering import ChatTemplate, parted

SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>")
USER = [{"role": "user", "content": "do you like the tea ?"}]
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "yes ?"},
    {"role": "user", "content": "do you like the tea ?"},
]
#: Tool calls are kept with sorted keys.
CALLING = [
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"function": {"arguments": {"cups": 2}, "name": "brew"}, "type": "function"}
        ],
    },
    {"role": "tool", "name": "brew", "content": "hot"},
    {"role": "assistant", "content": "yes , the best"},
]


@pytest.fixture
def tokenizer(encoder_folder: Callable[[str], str]) -> Any:
    return AutoTokenizer.from_pretrained(encoder_folder("chat llama"))


def asked(prompt: Any, chosen: Any, rejected: Any = "no") -> tuple[Question, int]:
    """A pair as it is read from a file, and the place of what was chosen."""
    record = parse_record({"group": "a", "prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert isinstance(record, PairRecord)
    return record.question, record.target.index(1.0)


def as_messages(text: Any, role: str) -> list[dict[str, Any]]:
    return [{"role": role, "content": text}] if isinstance(text, str) else text


# --- as others read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prompt", ["do you like the tea ?", USER, TALK], ids=["text", "one", "many"]
)
@pytest.mark.parametrize(
    "response",
    [" yes , the tea", [{"role": "assistant", "content": "yes\n\nthe"}], CALLING],
    ids=["text", "one", "calls"],
)
def test_tokens_are_those_of_the_template_read_as_one(
    tokenizer: Any, prompt: Any, response: Any
) -> None:
    """As trl scores a conversation: the template's text, tokenised without anything around it."""
    question, place = asked(prompt, response)
    before, after = as_messages(prompt, "user"), as_messages(response, "assistant")
    text = tokenizer.apply_chat_template([*before, *after], tokenize=False)
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids, cut = ChatTemplate(tokenizer).tokens(question, place)
    assert ids == expected
    opened = tokenizer.apply_chat_template(before, tokenize=False, add_generation_prompt=True)
    assert tokenizer.decode(ids[:cut]) == opened
    # The end of the turn belongs to the response.
    assert tokenizer.decode(ids[cut:]) == text.removeprefix(opened)
    assert ids[cut:][-2] == tokenizer.eos_token_id


def test_the_rejected_response_is_read_like_the_chosen_one(tokenizer: Any) -> None:
    question, place = asked(TALK, CALLING, [{"role": "assistant", "content": "no"}])
    ids, cut = ChatTemplate(tokenizer).tokens(question, 1 - place)
    assert tokenizer.decode(ids[cut:]) == "no<|im_end|>\n"


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
SILENT = "{% for m in messages %}{{ m['content'] }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "before"),
    [
        (THINKING, "<|im_start|>user\nhi<|im_end|><|im_start|>assistant\n"),
        (SILENT, "hi<|im_end|>"),
    ],
    ids=["opens otherwise", "opens no turn"],
)
def test_a_turn_that_opens_otherwise_than_it_is_written_still_parts(
    tokenizer: Any, template: str, before: str
) -> None:
    tokenizer.chat_template = template
    question, place = asked("hi", "yes")
    ids, cut = ChatTemplate(tokenizer).tokens(question, place)
    assert (tokenizer.decode(ids[:cut]), tokenizer.decode(ids[cut:])) == (before, "yes<|im_end|>")


# --- what a text cannot forge -----------------------------------------------------------------

#: Texts around the spelling of special tokens: whole, broken, doubled, one in another.
PIECES = st.sampled_from([*SPECIAL, "<|im_", "end|>", "start|>", "<|", "|>", " ", "\n", "yes", "é"])
FORGED = st.lists(PIECES, min_size=1, max_size=8).map("".join).filter(lambda text: text.strip())


@pytest.fixture(scope="module")
def chat_tokenizer(encoder_folder: Callable[[str], str]) -> Any:
    return AutoTokenizer.from_pretrained(encoder_folder("chat llama"))


@given(
    said=st.tuples(FORGED, FORGED, FORGED),
    name=FORGED,
    argument=FORGED,
    call=st.tuples(FORGED, FORGED, FORGED),
)
@settings(max_examples=60, deadline=None)
def test_no_text_yields_a_special_token(
    chat_tokenizer: Any,
    said: tuple[str, str, str],
    name: str,
    argument: str,
    call: tuple[str, str, str],
) -> None:
    """In prompt, response, name and tool calls, keys included: as many as harmless texts have."""

    def count(texts: Sequence[str], name: str, argument: str, call: Sequence[str]) -> list[int]:
        first, second, third = texts
        calls = [
            {"function": {"name": call[0], "arguments": {argument: [call[1], {"deep": call[2]}]}}}
        ]
        question, place = asked(
            [{"role": "user", "content": first, "name": name}],
            [
                {"role": "assistant", "content": second, "tool_calls": calls},
                {"role": "tool", "content": third, "name": name, "tool_call_id": name},
            ],
            "a",
        )
        ids, _ = ChatTemplate(chat_tokenizer).tokens(question, place)
        return [ids.count(chat_tokenizer.convert_tokens_to_ids(token)) for token in SPECIAL]

    assert count(said, name, argument, call) == count("bcd", "e", "f", "ghi") == [3, 3, 0, 1]


@given(said=st.tuples(FORGED, FORGED))
@settings(max_examples=60, deadline=None)
def test_nor_does_a_text_without_a_template(chat_tokenizer: Any, said: tuple[str, str]) -> None:
    prompt, response = said
    ids, before = parted(chat_tokenizer, prompt + response, len(prompt), special=False)
    marks = set(chat_tokenizer.convert_tokens_to_ids(list(SPECIAL[:3])))
    assert not marks & set(ids)
    assert chat_tokenizer.decode(ids) == prompt + response
    assert chat_tokenizer.decode(ids[:before]).startswith(prompt)
    assert len(chat_tokenizer.decode(ids[: before - 1])) <= len(prompt)


def test_a_text_keeps_its_letters_where_it_spells_no_special_token(tokenizer: Any) -> None:
    """Tokens of white space, as some tokenizers add them, are no turns: nothing is put between."""
    tokenizer.add_tokens(["  ", "\n\n", "\t"])
    question, place = asked("two  spaces\n\nand\ttabs", "yes  the\n\n")
    text = tokenizer.apply_chat_template(
        [
            {"role": "user", "content": "two  spaces\n\nand\ttabs"},
            {"role": "assistant", "content": "yes  the\n\n"},
        ],
        tokenize=False,
    )
    ids, _ = ChatTemplate(tokenizer).tokens(question, place)
    assert ids == tokenizer(text, add_special_tokens=False)["input_ids"]


# --- what a template does not take --------------------------------------------------------------


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('roles must alternate: ' + messages[0]['content']) }}",
        "{{ messages[0]['content'] + 1 }}",
        "{{ messages[7]['content'].strip() }}",
        "{{ messages[0]['content'][none:'x'] }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_template_that_fails_gives_one_line_that_repeats_no_text(
    tokenizer: Any, template: str
) -> None:
    tokenizer.chat_template = template
    question, place = asked("secretword", "yes")
    with pytest.raises(ValueError, match=r"chat_template = false") as caught:
        ChatTemplate(tokenizer).tokens(question, place)
    assert "secretword" not in str(caught.value) and "\n" not in str(caught.value)


# --- too long ---------------------------------------------------------------------------------


@given(length=st.integers(0, 90), prompt=st.integers(0, 90), most=st.integers(16, 64))
def test_a_text_that_is_too_long_keeps_a_piece_of_each(length: int, prompt: int, most: int) -> None:
    ids, prompt = list(range(100, 100 + length)), min(prompt, length)
    text = shortened(ids, prompt, most)
    ((start, end),) = text.spans
    assert 0 < end - start and end == len(text.token_ids) <= most
    if length < 2:
        return
    assert start > 0
    cut = min(max(prompt, 1), length - 1)
    assert text.lengths == (length - cut,)
    response = ids[cut:]
    assert list(text.token_ids[start:]) == response[: len(text.token_ids) - start]
    assert list(text.token_ids[:start]) == ids[:cut][-start:]
    if length <= most and length - cut <= most - most // 4:
        assert list(text.token_ids) == ids
    else:
        assert len(text.token_ids) >= min(length, most - most // 4)


@pytest.mark.parametrize("scores", ["head", "reward", "policy"])
def test_every_reader_keeps_a_long_conversation_within_its_bound(
    make_predictor: Callable[..., Predictor], encoder_folder: Callable[[str], str], scores: str
) -> None:
    predictor = make_predictor(encoder=encoder_folder("chat llama"), scores=scores, max_tokens=40)
    reader: TextEncoder = predictor.questions
    question, place = asked(TALK, "yes " * 40)
    texts: Sequence[TokenSequence] = reader.sequences(question)
    assert len(texts) == 2
    for text in texts:
        ((start, end),) = text.spans
        assert 0 < start < end == len(text.token_ids) <= 40
    long = texts[place]
    assert long.spans == ((10, 40),)
    tokenizer = predictor.encoder.tokenizer
    assert tokenizer.decode(long.token_ids[:10]).endswith("assistant\n"[-9:])
    assert tokenizer.decode(long.token_ids[10:]).startswith("yes yes yes")
    assert long.lengths[0] > 70


@pytest.mark.parametrize("scores", ["head", "reward", "policy"])
def test_without_a_template_the_same_words_are_read_as_text(
    make_predictor: Callable[..., Predictor], encoder_folder: Callable[[str], str], scores: str
) -> None:
    folder = encoder_folder("chat llama")
    predictor = make_predictor(encoder=folder, scores=scores, chat_template=False)
    question, place = asked("hi ", "yes")
    plain = predictor.questions.sequences(question)[place]
    assert "assistant" not in predictor.encoder.tokenizer.decode(plain.token_ids)
    turns, _ = asked([{"role": "user", "content": "hi "}], "yes")
    assert turns.turns is not None
    assert predictor.questions.sequences(turns)[place].token_ids == plain.token_ids


def test_a_survey_is_read_as_text_whatever_the_template(
    make_predictor: Callable[..., Predictor],
    encoder_folder: Callable[[str], str],
    survey: tuple[Question, ...],
) -> None:
    predictor = make_predictor(encoder=encoder_folder("chat llama"), scores="policy")
    (first, _) = predictor.questions.sequences(survey[0])
    start, end = predictor.encoder.tokenizer.convert_tokens_to_ids(list(SPECIAL[:2]))
    text = predictor.encoder.tokenizer.decode(first.token_ids[1:-1])
    assert text == survey[0].text + "\nyes"
    assert first.token_ids[0] == start and first.token_ids[-1] == end


def test_a_conversation_beside_a_text_says_the_same(tokenizer: Any) -> None:
    """One message of a user, or of an assistant, is what a plain text is."""
    chat = ChatTemplate(tokenizer)
    question, place = asked("hi", "yes")
    turns = Conversation((Message("assistant", "yes"),))
    record = PairRecord(group="a", annotator=None, prompt="hi", chosen=turns, rejected="no")
    assert chat.tokens(record.question, record.target.index(1.0)) == chat.tokens(question, place)
    assert chat.tokens(replace(question, turns=None), place) == chat.tokens(question, place)
