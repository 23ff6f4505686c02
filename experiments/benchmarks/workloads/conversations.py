"""Made-up pairs of responses to a prompt, of the lengths that assistants write."""

from __future__ import annotations

from alignment.data.answers import GroupAnswers, tally
from alignment.data.records import PairRecord, Question

_TOPICS = (
    "a weekly plan for a vegetable garden",
    "a letter to a landlord about a broken heater",
    "the way a bicycle brake is adjusted",
    "a budget for a student's first year",
    "the difference between weather and climate",
    "a short speech for a colleague who retires",
    "the steps to learn an instrument at forty",
    "a recipe for lentil soup without onions",
)
_ASKS = (
    "Could you help me with {}? I have about an hour this evening and no special tools.",
    "Please explain {} to somebody who has never heard of it, in plain words.",
    "I need {} by tomorrow. What should I think of first, and what can wait until later?",
    "My sister asked me about {}, and I did not know what to say. What would you tell her?",
)
_USEFUL = (
    "Begin with what you already have, write it down, and strike out whatever can wait.",
    "Take the first part on its own: it decides how long everything after it will take.",
    "If something does not work at once, change one thing at a time and look again.",
    "A friend who has done it before will spare you the two mistakes that most people make.",
    "Set aside a quarter of the time for the end, where small things are easily forgotten.",
    "When you are done, compare the result with the list that you made at the beginning.",
    "That way {} is finished in one evening, and you know what to do better next time.",
)
_VAGUE = (
    "There are many ways to look at it, and all of them have something to be said for them.",
    "It depends on a number of factors, which are different for everybody who asks.",
    "Some people find it easy and others find it hard, and both are right in their own way.",
    "You could also look for more about {} somewhere else, or ask someone who knows.",
    "In the end it is up to you, and whatever you decide will probably be fine.",
)


def made_up_pairs(count: int = 64) -> GroupAnswers:
    """Prompts with a useful and a vague response, some 60 to 200 tokens a text; always the same."""
    return next(iter(tally([_pair(number) for number in range(count)]).values()))


def messages(question: Question, place: int) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The prompt of a pair and one of its responses, as turns of a conversation."""
    prompt = [{"role": "user", "content": question.text}]
    return prompt, [{"role": "assistant", "content": question.options[place]}]


def _pair(number: int) -> PairRecord:
    topic = _TOPICS[number % len(_TOPICS)]
    ask = _ASKS[number // len(_TOPICS) % len(_ASKS)]
    return PairRecord(
        group="made up",
        annotator=f"person {number}",
        prompt=f"{ask.format(topic)} This is question {number}.",
        chosen=_said(_USEFUL, topic, start=number, sentences=1 + number % 7),
        rejected=_said(_VAGUE, topic, start=number, sentences=1 + 3 * number % 5),
    )


def _said(sentences_of: tuple[str, ...], topic: str, *, start: int, sentences: int) -> str:
    places = (start + each for each in range(sentences))
    return " ".join(sentences_of[place % len(sentences_of)].format(topic) for place in places)
