"""A prompt to an assistant, its responses, and where each stands on the axes of style."""

from typing import NamedTuple

AXES = ("thorough", "warm", "cautious", "asking")


class Response(NamedTuple):
    """One response that a prompt offers.

    Attributes:
        quality: How right, helpful and well put it is, from -1 to 1; all groups value it.
        style: Its position on each of ``AXES``, from -1 to 1; groups disagree on these.
        text: What the assistant says.
    """

    quality: float
    style: tuple[float, ...]
    text: str


class Prompt(NamedTuple):
    """Something that people ask an assistant, with three or four responses.

    Attributes:
        prompt_id: Unique, stable name.
        text: What is asked.
        responses: Good ones that differ in style, and at least one that is clearly weaker.
    """

    prompt_id: str
    text: str
    responses: tuple[Response, ...]
