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
``alignment.data.sample_pairs`` turns these prompts into preferences.
"""

from alignment.data.sample_prompts import abroad, care, home, learning, people, work
from alignment.data.sample_prompts.prompt import AXES, Prompt, Response

PROMPTS: tuple[Prompt, ...] = (
    *care.PROMPTS,
    *home.PROMPTS,
    *work.PROMPTS,
    *people.PROMPTS,
    *learning.PROMPTS,
    *abroad.PROMPTS,
)

__all__ = ["AXES", "PROMPTS", "Prompt", "Response"]
