"""AI2D: multiple-choice questions about diagrams from school books (arXiv 1603.07396)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import (
    LETTERS,
    Published,
    PublishedQuestion,
    choice_prompt,
    square_image,
    without_punctuation,
)


class Benchmark(Published):
    hub = "lmms-lab-encoder/ai2d"
    columns = ("question", "options", "answer")

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        return PublishedQuestion(choice_prompt(row["question"], row["options"]), (LETTERS[int(row["answer"])],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """The answer is a leading capital with a full stop, else the whole text. Case and punctuation are ignored."""
        letter = re.match(r"\s*([A-Z])\.", prediction)
        return float(without_punctuation(letter[1] if letter else prediction) == without_punctuation(answers[0]))

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "question": "What does the square stand for?",
                "options": ["sun", "leaf", "water", "soil"],
                "answer": answer,
                "image": square_image(colour),
            }
            for answer, colour in (("1", "green"), ("2", "blue"))
        ]
