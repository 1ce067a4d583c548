"""Exact match: the score of every benchmark with short answers."""

from collections.abc import Sequence


def normalise(text: str) -> str:
    """Case, surrounding space and a final full stop do not count."""
    return text.strip().rstrip(".").strip().lower()


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the prediction equals one of the accepted answers after `normalise`, else 0.0."""
    return float(normalise(prediction) in {normalise(answer) for answer in answers})
