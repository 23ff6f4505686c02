r"""Conversations as messages: what a prompt or a response is where it is more than one text.

Messages are read in the shapes in which chat data are written (``role`` and ``content``, or the
``from`` and ``value`` of ShareGPT), brought to four roles, and checked like any other text. A model
with a chat template renders them itself; everybody else reads :attr:`Conversation.plain`. Cheap to
import: neither torch nor any data library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from alignment.data.fields import InvalidRecordError, check_text, kind_of
from texts import composed

#: More messages are no conversation that anybody had.
MAX_MESSAGES = 1000
#: Characters of the tool calls of one message, and how deep their brackets go.
MAX_TOOL_CALLS = 200_000
MAX_DEPTH = 32

#: Every role, and how a transcript says that it speaks.
_SPEAKERS = {"system": "System", "user": "Human", "assistant": "Assistant", "tool": "Tool"}
_ALIASES = {
    **{role: role for role in _SPEAKERS},
    **dict.fromkeys(("human", "prompter"), "user"),
    **dict.fromkeys(("gpt", "bot", "model", "chatbot"), "assistant"),
    "developer": "system",
    **dict.fromkeys(("function", "ipython"), "tool"),
}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
_ROLES = "system, developer, user, assistant, tool or function"
#: Who speaks in a response.
_ANSWERING = frozenset({"assistant", "tool"})
#: Kinds of parts that may be named: of others only that they are no text.
_OTHER_PARTS = frozenset({"image", "image_url", "input_audio", "audio", "video", "file"})


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool``.
        content: What is said; empty where there are only calls.
        name: Of who speaks, such as a tool; None where nobody is named.
        tool_calls: Calls of tools as canonical JSON, a list of objects without null fields, ASCII
            with sorted keys; None where there are none.
        tool_call_id: The call that a tool answers, or None.
    """

    role: str
    content: str
    name: str | None = None
    tool_calls: str | None = None
    tool_call_id: str | None = None

    def as_mapping(self) -> dict[str, Any]:
        """The dictionary that ``tokenizer.apply_chat_template`` takes; absent fields left out."""
        fields: dict[str, Any] = {"role": self.role, "content": self.content}
        if self.name is not None:
            fields["name"] = self.name
        if self.tool_calls is not None:
            fields["tool_calls"] = json.loads(self.tool_calls)
        if self.tool_call_id is not None:
            fields["tool_call_id"] = self.tool_call_id
        return fields

    @property
    def said(self) -> str:
        """The content, and below it the tool calls as JSON."""
        return "\n".join(each for each in (self.content, self.tool_calls) if each)


@dataclass(frozen=True)
class Conversation:
    """Messages in their order: a prompt, or a response of one or several messages."""

    messages: tuple[Message, ...]

    @property
    def plain(self) -> str:
        r"""What a reader without a chat template reads.

        One message of a user or an assistant is what it says, and nothing more. Others are a
        transcript, ``"\n\nHuman: ...\n\nAssistant: ..."``. One that is to be answered ends with
        ``"\n\nAssistant:"``, so a response that begins with an assistant begins without the mark.
        """
        if not self.messages:
            return ""
        first, last = self.messages[0], self.messages[-1]
        if len(self.messages) == 1 and first.role in ("user", "assistant"):
            return first.said
        turns = [f"\n\n{_SPEAKERS[each.role]}: {each.said}" for each in self.messages]
        if {first.role, last.role} <= _ANSWERING:
            if first.role == "assistant":
                turns[0] = first.said
        elif last.role != "assistant":
            turns.append(f"\n\n{_SPEAKERS['assistant']}:")
        return "".join(turns)


#: What a person or a model said: a text, or messages.
Text: TypeAlias = str | Conversation


@dataclass(frozen=True, slots=True)
class Turns:
    """The messages of a question of which some text is a conversation.

    Attributes:
        prompt: What is answered; a plain text is one message of a user.
        responses: Beside the options, in their order; a plain text is one message of an assistant.
    """

    prompt: tuple[Message, ...]
    responses: tuple[tuple[Message, ...], ...]

    def to_json(self) -> str:
        """All of it, letter by letter: different turns, different texts."""
        parts = (self.prompt, *self.responses)
        said = [[message.as_mapping() for message in part] for part in parts]
        return json.dumps(said, sort_keys=True, separators=(",", ":"))

    def composed(self) -> list[list[list[str | None]]]:
        """By what they are known again: as :func:`texts.composed`, prompt first."""
        return [_composed(part) for part in (self.prompt, *self.responses)]


def _is_plain(text: Text) -> bool:
    return isinstance(text, str)


def plain_of(text: Text) -> str:
    """The text itself, or how a conversation is read without a chat template."""
    return text if isinstance(text, str) else text.plain


def messages_of(text: Text, role: str) -> tuple[Message, ...]:
    """The messages of a conversation; a plain text is one message of that role."""
    return (Message(role, text),) if isinstance(text, str) else text.messages


def turns_of(prompt: Text, *responses: Text) -> Turns | None:
    """The messages of a prompt and its responses; None where all of them are plain texts."""
    if isinstance(prompt, str) and all(map(_is_plain, responses)):
        return None
    spoken = tuple(messages_of(each, "assistant") for each in responses)
    return Turns(messages_of(prompt, "user"), spoken)


def in_json(text: Text) -> str | list[dict[str, Any]]:
    """The text, or its messages, in the form in which rows hold them."""
    return text if isinstance(text, str) else [each.as_mapping() for each in text.messages]


def turns_of_transcript(text: str) -> tuple[Message, ...]:
    r"""The messages that a transcript writes down, ``"\n\nHuman: ...\n\nAssistant:"``.

    None of another text, or of one that ends with something that an assistant has said.
    """
    opening, *turns = _TURN.split(text)
    pairs = list(zip(turns[::2], (said.strip() for said in turns[1::2]), strict=True))
    if (
        opening.strip()
        or len(pairs) < 2
        or pairs[0][0] != "Human"
        or pairs[-1] != ("Assistant", "")
    ):
        return ()
    roles = {"Human": "user", "Assistant": "assistant"}
    return tuple(Message(roles[speaker], said) for speaker, said in pairs[:-1])


def order_of(response: Text) -> tuple[str, str]:
    """A total order of responses, in which those that say the same are equal.

    A plain text says the same as one message of an assistant.
    """
    if isinstance(response, str):
        return composed(response), ""
    messages, plain = response.messages, response.plain
    bare = messages == (Message("assistant", plain),)
    return composed(plain), "" if bare else json.dumps(_composed(messages))


def parse_messages(field: str, value: object, which: str = "") -> tuple[Message, ...]:
    """Check a list of messages, which as a whole may say nothing.

    A message has ``role`` and ``content``, or ``from`` and ``value``. Content is a text, or parts
    that are texts, which are joined; it may be null beside tool calls. ``name``, ``tool_calls`` and
    ``tool_call_id`` are kept, null and empty ones count as absent, other fields are ignored.

    Args:
        field: Name of the field.
        value: What it holds.
        which: As for :func:`parse_text`.

    Raises:
        InvalidRecordError: They are no messages. Nothing else is raised for any value of JSON.
    """
    if not isinstance(value, list | tuple):
        remedy = "give a list of messages with role and content"
        raise InvalidRecordError(field, f"{which}is {kind_of(value)}, not a list", remedy)
    if not 1 <= len(value) <= MAX_MESSAGES:
        problem = f"{which}has {len(value)} messages, outside 1 to {MAX_MESSAGES}"
        raise InvalidRecordError(field, problem, "give the messages of one conversation")
    return tuple(_message(field, each, f"{which}message {i}: ") for i, each in enumerate(value))


def parse_text(field: str, value: object, which: str = "") -> Text:
    """A text, or a conversation where a list is given; either says something.

    Args:
        field: Name of the field.
        value: What it holds.
        which: Opens messages on a value that is one of several, as in "completion 2 ".

    Raises:
        InvalidRecordError: It is neither.
    """
    if isinstance(value, list | tuple):
        return _saying(field, parse_messages(field, value, which), which)
    return check_text(field, value, which)


def parse_response(field: str, value: object, which: str = "") -> Text:
    """The same, where a conversation begins with a message of an assistant or a tool."""
    return _answering(field, parse_text(field, value, which), which)


def parse_pair(row: Mapping[str, object]) -> tuple[Text, Text, Text]:
    """Prompt, chosen and rejected of a pair, in every way in which trl takes them apart.

    Where ``chosen`` and ``rejected`` are whole conversations, their longest common beginning is the
    prompt: without ``prompt``, and with one that is a text among the user's messages of that
    beginning. Messages of ``prompt`` that both repeat at their head are taken off. A response
    that is a conversation begins with a message of an assistant or a tool.

    Raises:
        InvalidRecordError: A text is missing, or the three cannot be told apart.
    """
    chosen = parse_text("chosen", row.get("chosen"))
    rejected = parse_text("rejected", row.get("rejected"))
    if isinstance(chosen, str) and isinstance(rejected, str):
        return parse_text("prompt", row.get("prompt")), chosen, rejected
    prompt: Text | None = None
    whole = isinstance(chosen, Conversation) and isinstance(rejected, Conversation)
    if not whole or row.get("prompt") is not None:
        prompt = parse_text("prompt", row.get("prompt"))
    if isinstance(chosen, Conversation) and isinstance(rejected, Conversation):
        begin = _beginning(prompt, chosen.messages, rejected.messages)
        if not isinstance(prompt, Conversation) and begin:
            prompt = _saying("prompt", chosen.messages[:begin])
        if begin:
            chosen = _saying("chosen", chosen.messages[begin:])
            rejected = _saying("rejected", rejected.messages[begin:])
    if prompt is None:
        remedy = "begin both with the same messages, or give the prompt"
        raise InvalidRecordError("rejected", "shares no message with chosen", remedy)
    return prompt, _answering("chosen", chosen), _answering("rejected", rejected)


def _beginning(prompt: Text | None, chosen: Sequence[Message], rejected: Sequence[Message]) -> int:
    """How many messages at the head of both are the prompt's."""
    most = min(len(chosen), len(rejected)) - 1
    if isinstance(prompt, Conversation):
        # As often as it is repeated, so that what is written and read again stays as it is.
        size, begin = len(prompt.messages), 0
        while begin + size <= most and all(
            tuple(each[begin : begin + size]) == prompt.messages for each in (chosen, rejected)
        ):
            begin += size
        return begin
    shared = 0
    while shared < most and chosen[shared] == rejected[shared]:
        shared += 1
    if prompt is None:
        return shared
    said = [each.content.strip() for each in chosen[:shared] if each.role == "user"]
    return shared if prompt.strip() in said else 0


def _saying(field: str, messages: tuple[Message, ...], which: str = "") -> Conversation:
    if not any(each.tool_calls or each.content.strip() for each in messages):
        raise InvalidRecordError(field, f"{which}is empty", "give messages with content")
    return Conversation(messages)


def _answering(field: str, response: Text, which: str = "") -> Text:
    if isinstance(response, Conversation) and response.messages[0].role not in _ANSWERING:
        problem = f"{which}answers with a message of the {response.messages[0].role}"
        remedy = "give the messages that answer the prompt, the first of an assistant"
        raise InvalidRecordError(field, problem, remedy)
    return response


def _message(field: str, value: object, which: str) -> Message:
    if not isinstance(value, Mapping):
        remedy = "give an object with role and content"
        raise InvalidRecordError(field, f"{which}is {kind_of(value)}, not an object", remedy)
    role = next((value[key] for key in ("role", "from") if value.get(key) is not None), None)
    known = _ALIASES.get(role.strip().lower()) if isinstance(role, str) else None
    if known is None:
        problem = "has no role" if role is None else "has an unknown role"
        raise InvalidRecordError(field, f"{which}{problem}", f"give {_ROLES}")
    calls = _tool_calls(field, value.get("tool_calls"), which)
    content = next((value[key] for key in ("content", "value") if value.get(key) is not None), None)
    return Message(
        role=known,
        content="" if content is None and calls else _content(field, content, which),
        name=_label(field, value.get("name"), f"{which}name "),
        tool_calls=calls,
        tool_call_id=_label(field, value.get("tool_call_id"), f"{which}tool_call_id "),
    )


def _content(field: str, value: object, which: str) -> str:
    if not isinstance(value, list | tuple):
        return check_text(field, value, f"{which}content ", blank=True)
    return "".join(_part(field, each, which) for each in value)


def _part(field: str, value: object, which: str) -> str:
    kind = value.get("type") if isinstance(value, Mapping) else None
    if not isinstance(value, Mapping) or kind not in (None, "text"):
        named = isinstance(kind, str) and kind in _OTHER_PARTS
        problem = f"holds a part of type {kind}" if named else "holds a part that is no text"
        raise InvalidRecordError(field, f"{which}{problem}", "give parts of type text alone")
    return check_text(field, value.get("text"), f"{which}a part ", blank=True)


def _label(field: str, value: object, which: str) -> str | None:
    return None if value is None or value == "" else check_text(field, value, which, blank=True)


def _tool_calls(field: str, value: object, which: str) -> str | None:
    if value is None or value == [] or value == ():
        return None
    remedy = "give a list of objects"
    if not isinstance(value, list | tuple) or not all(isinstance(each, Mapping) for each in value):
        raise InvalidRecordError(field, f"{which}tool_calls are no list of objects", remedy)
    try:
        calls = json.dumps(_pruned(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = f"{which}tool_calls are no JSON, or brackets too deep"
        raise InvalidRecordError(field, problem, remedy) from error
    if len(calls) > MAX_TOOL_CALLS:
        problem = f"{which}tool_calls have more than {MAX_TOOL_CALLS} characters"
        raise InvalidRecordError(field, problem, "shorten them")
    return calls


def _pruned(value: object, depth: int = 0) -> object:
    """A value of JSON without null fields, which tables add to every object that lacks one."""
    if depth > MAX_DEPTH:
        raise ValueError("too deep")
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("a key is no text")
        pairs = ((_pruned(k, depth + 1), v) for k, v in value.items() if v is not None)
        return {str(key): _pruned(each, depth + 1) for key, each in pairs}
    if isinstance(value, list | tuple):
        return [_pruned(each, depth + 1) for each in value]
    if isinstance(value, str):
        value.encode()  # Half a surrogate pair is a ValueError.
    return value


def _composed(messages: Sequence[Message]) -> list[list[str | None]]:
    """Per message all that it says, composed but for tool calls: those are ASCII."""
    return [
        [
            each.role,
            composed(each.content),
            each.name and composed(each.name),
            each.tool_calls,
            each.tool_call_id and composed(each.tool_call_id),
        ]
        for each in messages
    ]
