"""What can be written: words of three to ten letters, split by word, and numbers of two to six digits."""

from functools import cache
from importlib.resources import files

import numpy as np

from grip_vlm.benchmarks.spread.splits import members


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of every split, in alphabetical order."""
    return tuple((files("grip_vlm.benchmarks.spread") / "assets" / "words.txt").read_text().split())


@cache
def words(split: str, shortest: int = 3, longest: int = 10) -> tuple[str, ...]:
    """The words of one split that have a length from `shortest` to `longest`.

    Raises:
        ValueError: an unknown split.
    """
    return tuple(word for word in members(list(vocabulary()), split, key=26) if shortest <= len(word) <= longest)


def draw_word(rng: np.random.Generator, split: str, shortest: int = 3, longest: int = 10) -> str:
    """A word; every length is as likely as any other, so that long ones are not rare."""
    length = int(rng.integers(shortest, longest + 1))
    candidates = words(split, length, length)
    return candidates[rng.integers(len(candidates))]


def draw_number(rng: np.random.Generator, shortest: int = 2, longest: int = 6) -> str:
    """A number that does not start with a zero; every length is as likely as any other."""
    length = int(rng.integers(shortest, longest + 1))
    return str(rng.integers(1, 10)) + "".join(str(digit) for digit in rng.integers(0, 10, length - 1))
