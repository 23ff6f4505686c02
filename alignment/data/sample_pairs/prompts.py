"""The prompts of the built-in sample pairs, as plain data: 120, with three or four responses each.

Everyday questions to an assistant, twenty for each of six parts of life. Every response carries its
quality and its position on four axes of style, valued by hand:

=========== ============================ ================================
axis        +1                           -1
=========== ============================ ================================
thorough    in detail                    in brief
warm        with warmth                  matter-of-fact
cautious    with limits and safety       bold and direct
asking      asks back first              answers at once
=========== ============================ ================================

Weaker responses evade, miss the point, pad, or are wrong in a way that a careful reader sees; they
are examples of bad advice, so follow none. Some of them are long and some are short, and so are the
good ones: length does not give the answer away. All persons in them are invented.
``alignment.data.sample_pairs.rows`` turns these prompts into preferences.
"""

from alignment.data.sample_pairs import abroad, care, home, learning, people, work
from alignment.data.sample_pairs.prompt import Prompt, Response

PROMPTS: tuple[Prompt, ...] = (
    *care.PROMPTS,
    *home.PROMPTS,
    *work.PROMPTS,
    *people.PROMPTS,
    *learning.PROMPTS,
    *abroad.PROMPTS,
)

PARTS = ("train", "held-out", "all")
_HELD_OUT = slice(4, None, 5)


def prompts_of(part: str) -> tuple[Prompt, ...]:
    """The prompts of a part: every fifth one, four of each part of life, is held out.

    Args:
        part: ``train`` (96 prompts), ``held-out`` (24) or ``all``.

    Raises:
        ValueError: There is no such part.
    """
    held_out = PROMPTS[_HELD_OUT]
    if part == "held-out":
        return held_out
    if part == "train":
        return tuple(prompt for prompt in PROMPTS if prompt not in held_out)
    if part == "all":
        return PROMPTS
    raise ValueError(f"part is {part!r}, must be one of {', '.join(PARTS)}")


def held_out_prompts() -> tuple[Prompt, ...]:
    """The prompts that no pair of the part ``train`` is about, fixed for every seed."""
    return prompts_of("held-out")


def response_of(text: str) -> Response:
    """The response that says so, with its quality and style.

    Raises:
        ValueError: No prompt offers it.
    """
    if (found := _BY_TEXT.get(text)) is None:
        raise ValueError("no prompt of the sample pairs offers this response; give an offered one")
    return found


_BY_TEXT = {response.text: response for prompt in PROMPTS for response in prompt.responses}
