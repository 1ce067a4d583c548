"""When an answer is right: exact match after normalisation, in any order for a list."""

import re
from collections.abc import Sequence


def normalise(text: str) -> tuple[str, ...]:
    """The parts of an answer, sorted. Case, space around it, a final full stop, and the order of a list do not count.

    The parts of a list are separated by commas or by `and`.
    """
    parts = re.split(r"\s*,\s*(?:and\s+)?|\s+and\s+", text.strip().rstrip(".").strip().lower())
    return tuple(sorted(part for part in parts if part))


def score(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the accepted answers after `normalise`, else 0.0."""
    return float(normalise(prediction) in [normalise(answer) for answer in answers])
