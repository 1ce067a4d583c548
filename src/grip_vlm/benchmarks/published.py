"""A published benchmark: where its table of rows is, the field's prompt for a row, and the field's score.

Prompts, splits, lengths of answers and scores are those of lmms-eval 0.7.3, checked against vectors from it, so that
numbers can be put beside published ones. Where the field disagrees with itself, a benchmark has variants, and the row
says which: `textvqa:ocr`.
"""

import string
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from PIL import Image

SHORT = "\nAnswer the question using a single word or phrase."
LETTER = "\nAnswer with the option's letter from the given choices directly."
LETTERS = string.ascii_uppercase


@dataclass(frozen=True)
class Asked:
    """One row of a table as a question; the image is the row's own."""

    question: str
    answers: tuple[str, ...]
    group: str = ""
    """what the benchmark's score or summary tells rows apart by"""


class Answered(Protocol):
    """What a summary reads of a row of `evaluate`."""

    @property
    def prediction(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def group(self) -> str: ...


class Published(ABC):
    """What a file of a published benchmark defines as its class `Benchmark`."""

    hub: ClassVar[str]
    """id of the data set on the Hugging Face hub"""
    config: ClassVar[str | None] = None
    split: ClassVar[str] = "test"
    pictures: ClassVar[str | None] = None
    """the configuration whose `image` a row without one has, joined where its `id` is the row's `imageId`"""
    columns: ClassVar[tuple[str, ...]]
    """what a copy must have besides `image`"""
    variants: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int] = 16

    def __init__(self, variant: str = "") -> None:
        """Raises ValueError for an unknown variant."""
        if variant not in ("", *self.variants):
            name = type(self).__module__.rpartition(".")[2]
            known = f"only {', '.join(self.variants)}" if self.variants else "it has none"
            raise ValueError(f"benchmark {name!r} has no variant {variant!r}, {known}")
        self.variant = variant

    def keeps(self, row: Mapping[str, Any]) -> bool:
        """Whether the row belongs to this variant."""
        return True

    @abstractmethod
    def ask(self, row: Mapping[str, Any]) -> Asked:
        """The field's prompt for a row and what is accepted."""

    @abstractmethod
    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """What an answer is worth, 0 to 1."""

    def summary(self, rows: Sequence[Answered]) -> dict[str, float]:
        """Metrics that are no means of scores, of one method at one budget; NaN where the rows do not allow one."""
        return {}

    @staticmethod
    @abstractmethod
    def sample() -> list[dict[str, Any]]:
        """Two rows with different answers, in the columns of the table, their images made in code."""


def choices(question: str, options: Sequence[str]) -> str:
    """A multiple-choice prompt: one lettered option per line."""
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question}\n{listed}{LETTER}"


def bare(text: str) -> str:
    """Surrounding space, case and ASCII punctuation do not count."""
    return text.strip().lower().translate(str.maketrans("", "", string.punctuation))


def picture(colour: str) -> Image.Image:
    """The image of a sample: a square of one colour."""
    return Image.new("RGB", (24, 24), colour)
