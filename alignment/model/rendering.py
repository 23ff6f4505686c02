"""What a model reads of a prompt and a response, where a chat template or other readers decide.

A template marks turns by special tokens. A text that spells one means its letters: were it read as
the token, a response could end its own turn and go on as somebody else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedTokenizerBase

from alignment.data.conversations import messages_of, turns_of_transcript
from alignment.data.records import Question

#: Of a text, token ids, and how many of them are the prompt's.
Parted = tuple[list[int], int]


def tokens_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text, and nothing around them."""
    # A text that spells a special token means its letters, not the token.
    read = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
    return list(read["input_ids"])


class ChatTemplate:
    """Renders prompts and responses as turns of a conversation, by a tokenizer's own template.

    Args:
        tokenizer: With a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        special = {*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()}
        # White space, which some tokenizers add as tokens of its own, marks no turn.
        marks = {token for token in special if token.strip()}
        ordered = sorted(marks, key=lambda token: (-len(token), token))
        self._special = re.compile("|".join(map(re.escape, ordered)) or r"(?!)")

    def tokens(self, question: Question, place: int) -> Parted:
        """Token ids of a question's prompt with one of its responses, as the template has them.

        A prompt that is a transcript is read as the turns that it writes down. The end of the
        response's turn counts as a part of it.

        Args:
            question: Its options stand alone.
            place: Of the response among the options.

        Raises:
            ValueError: The template takes no such conversation.
        """
        prompt, response = self._messages(question, place)
        try:
            opened = self._render(prompt, add_generation_prompt=True)
            whole = self._render([*prompt, *response], add_generation_prompt=False)
        except Exception as error:  # A template is a program of others, and may fail in any way.
            raise ValueError(
                "the tokenizer's chat template takes no such conversation: "
                "predictor.chat_template = false reads it as a text"
            ) from error
        # Some templates open a turn otherwise than they write one that is over.
        cut = len(os.path.commonprefix([opened, whole]))  # noqa: RUF071 letter by letter
        return parted(self._tokenizer, whole, cut, special=True)

    def _render(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool) -> str:
        rendered = self._tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
        return str(rendered)

    def _messages(
        self, question: Question, place: int
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        turns = question.turns
        if turns is not None:
            prompt, response = turns.prompt, turns.responses[place]
        else:
            said = question.options[place]
            transcript = turns_of_transcript(question.text)
            # What follows a mark of a transcript begins with a space, which nobody has said.
            response = messages_of(said.strip() if transcript else said, "assistant")
            prompt = transcript or messages_of(question.text, "user")
        return (
            [self._disarmed(message.as_mapping()) for message in prompt],
            [self._disarmed(message.as_mapping()) for message in response],
        )

    def _disarmed(self, said: Any) -> Any:
        """The same, but no text in it spells a special token any more."""
        if isinstance(said, str):
            return self._special.sub(lambda token: f"{token[0][0]} {token[0][1:]}", said)
        if isinstance(said, Mapping):
            return {self._disarmed(key): self._disarmed(value) for key, value in said.items()}
        return [self._disarmed(each) for each in said] if isinstance(said, list) else said


def parted(tokenizer: PreTrainedTokenizerBase, text: str, cut: int, *, special: bool) -> Parted:
    """Token ids of a text that is read as one, and how many begin before a place in it.

    Args:
        tokenizer: A fast one.
        text: The text.
        cut: In letters.
        special: Whether special tokens are read as such.
    """
    read = tokenizer(
        text,
        add_special_tokens=False,
        split_special_tokens=not special,
        return_offsets_mapping=True,
        verbose=False,
    )
    before = sum(start < cut for start, _ in read["offset_mapping"])
    return list(read["input_ids"]), before
