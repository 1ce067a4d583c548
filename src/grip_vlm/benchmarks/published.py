"""Published benchmarks: where a benchmark's rows are, the prompt of a row, and the score of an answer.

Prompts, splits, answer lengths and scores are those of lmms-eval 0.7.3. Tests check them against vectors from it, so
our numbers are comparable with published ones. Where published practice differs, a benchmark has variants; rows name
the variant: `textvqa:ocr`.
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
class PublishedQuestion:
    """The prompt of one row and its accepted answers. The image is the row's own."""

    text: str
    answers: tuple[str, ...]
    group: str = ""
    """Category used by the benchmark's score or aggregate metric."""


class ScoredAnswer(Protocol):
    """The fields of a row of `evaluate` that aggregate metrics read."""

    @property
    def prediction(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def group(self) -> str: ...


class Published(ABC):
    """Base of the class `Benchmark` that the file of a published benchmark defines."""

    hub: ClassVar[str]
    """Identifier of the data set on the Hugging Face hub."""
    config: ClassVar[str | None] = None
    """Configuration of the data set."""
    split: ClassVar[str] = "test"
    image_config: ClassVar[str | None] = None
    """Configuration that holds the images, if the rows hold none. Its `id` is joined with a row's `imageId`."""
    columns: ClassVar[tuple[str, ...]]
    """Columns that the data set must have besides `image`."""
    variants: ClassVar[tuple[str, ...]] = ()
    max_new_tokens: ClassVar[int] = 16

    def __init__(self, variant: str = "") -> None:
        """Raises ValueError if the variant is unknown."""
        if variant not in ("", *self.variants):
            name = type(self).__module__.rpartition(".")[2]
            known = f"only {', '.join(self.variants)}" if self.variants else "it has none"
            raise ValueError(f"benchmark {name!r} has no variant {variant!r}, {known}")
        self.variant = variant

    def in_variant(self, row: Mapping[str, Any]) -> bool:
        """Whether the row belongs to this variant."""
        return True

    @abstractmethod
    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        """The prompt of a row and its accepted answers."""

    @abstractmethod
    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """The score of an answer, in [0, 1]."""

    def metrics(self, rows: Sequence[ScoredAnswer]) -> dict[str, float]:
        """Metrics of one method at one budget that are not simple averages of scores (MME points, POPE F1).

        NaN if the rows do not allow a metric.
        """
        return {}

    @staticmethod
    @abstractmethod
    def example_rows() -> list[dict[str, Any]]:
        """Two rows with different answers, for tests. They have the data set's columns and images made in code."""


def choice_prompt(question: str, options: Sequence[str]) -> str:
    """A multiple-choice prompt with one lettered option per line."""
    lines = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False))
    return f"{question}\n{lines}{LETTER}"


def without_punctuation(text: str) -> str:
    """Lower case, without surrounding space and ASCII punctuation."""
    return text.strip().lower().translate(str.maketrans("", "", string.punctuation))


def square_image(colour: str) -> Image.Image:
    """The image of an example row: a square of one colour."""
    return Image.new("RGB", (24, 24), colour)
