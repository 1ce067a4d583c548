"""Exact match: the score of the composed benchmarks and of a user's own data."""

from collections.abc import Sequence

EXACT = "exact"  # what a user's own examples call their benchmark


def normalise(text: str) -> str:
    """Case, surrounding space and a final full stop do not count."""
    return text.strip().rstrip(".").strip().lower()


def exact_match(prediction: str, answers: Sequence[str], group: str = "") -> float:
    """1.0 if the prediction equals one of the accepted answers after `normalise`, else 0.0, in every group."""
    return float(normalise(prediction) in {normalise(answer) for answer in answers})
