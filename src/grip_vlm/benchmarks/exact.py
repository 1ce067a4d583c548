"""Exact match: the score of the composed benchmarks and of a user's own data."""

from collections.abc import Sequence

EXACT = "exact"  # `Example.benchmark` of a user's own data


def normalise(text: str) -> str:
    """Lower case, without surrounding space and final full stops."""
    return text.strip().rstrip(".").strip().lower()


def exact_match(prediction: str, answers: Sequence[str], group: str = "") -> float:
    """1.0 if the prediction equals an accepted answer after `normalise`, else 0.0. The group is ignored."""
    return float(normalise(prediction) in {normalise(answer) for answer in answers})
