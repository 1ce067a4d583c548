"""What a user may ask for in place of a count: a drop in accuracy, a mean over a stream, or a time."""

import re
from dataclasses import dataclass
from fractions import Fraction

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?"
DAY = 24 * 60 * 60  # seconds
RULES = (
    "`auto`, `auto:0.02` (accuracy falls by at most 2 points), `mean:5%` (in the mean over 100 questions; "
    "`mean:5%/32` over 32) or a time (`20ms`, `0.5s`)"
)


@dataclass(frozen=True)
class Auto:
    """As few tokens for each question as keep the accuracy, by the scorer's calibration (docs/auto-budget.md)."""

    max_drop: float | None = None
    """Largest drop in accuracy, in (0, 1); None for the first drop that the scorer was calibrated for."""
    confidence: float = 0.95
    """Probability over the draw of the calibration set that the drop is not exceeded, in (0, 1)."""

    def __post_init__(self) -> None:
        for name, value in (("max_drop", self.max_drop), ("confidence", self.confidence)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be between 0 and 1, not {value}")

    def __str__(self) -> str:
        if self.max_drop is None:
            return "auto"
        return f"auto:{self.max_drop!r}" + ("" if self.confidence == 0.95 else f":{self.confidence!r}")


@dataclass(frozen=True)
class Mean:
    """A share of the tokens in the mean over consecutive questions, given where they are needed."""

    fraction: Fraction
    window: int = 100
    """Questions over which the mean is exact."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"a mean is a share of the tokens in (0, 1], not {float(self.fraction)}")
        if self.window < 1:
            raise ValueError(f"a mean needs a window of at least one question, not {self.window}")

    def __str__(self) -> str:
        return f"mean:{float(self.fraction)!r}/{self.window}"


@dataclass(frozen=True)
class Within:
    """As many tokens as leave the whole answer within a time, on this device."""

    seconds: Fraction

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= DAY:
            raise ValueError("a time must be above 0 and at most a day")

    def __str__(self) -> str:
        return f"{float(self.seconds * 1000)!r}ms"


Goal = Auto | Mean | Within


def parse(text: str) -> Goal | None:
    """The goal that a text names, None if it has the form of none.

    `auto`, `auto:DROP` and `auto:DROP:CONFIDENCE`; `mean:SHARE` and `mean:SHARE/WINDOW`; `20ms`, `0.5s`. Drops, shares
    and confidences are fractions or percentages.

    Raises:
        ValueError: the form is right and a number is impossible.
    """
    share = rf"({NUMBER}\s*%?)"
    if match := re.fullmatch(rf"auto(?::{share}(?::{share})?)?", text, re.ASCII):
        drop, confidence = match.groups()
        if drop is None:
            return Auto()
        return Auto(float(share_of(drop)), 0.95 if confidence is None else float(share_of(confidence)))
    if match := re.fullmatch(rf"mean:{share}(?:/(\d{{1,9}}))?", text, re.ASCII):
        return Mean(share_of(match[1]), 100 if match[2] is None else int(match[2]))
    if match := re.fullmatch(rf"({NUMBER})\s*(ms|s)", text, re.ASCII):
        return Within(Fraction(match[1]) / (1000 if match[2] == "ms" else 1))
    return None


def share_of(text: str) -> Fraction:
    """`0.05` or `5%` as an exact fraction."""
    return Fraction(text[:-1].strip()) / 100 if text.endswith("%") else Fraction(text)
