"""AI2D: diagrams from school books, answered by an option's letter (arXiv 1603.07396)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import LETTERS, Asked, Published, bare, choices, picture


class Benchmark(Published):
    hub = "lmms-lab-encoder/ai2d"
    columns = ("question", "options", "answer")

    def ask(self, row: Mapping[str, Any]) -> Asked:
        return Asked(choices(row["question"], row["options"]), (LETTERS[int(row["answer"])],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """A leading capital with a full stop is the answer, else the whole text, without case and punctuation."""
        led = re.match(r"\s*([A-Z])\.", prediction)
        return float(bare(led[1] if led else prediction) == bare(answers[0]))

    @staticmethod
    def sample() -> list[dict[str, Any]]:
        return [
            {
                "question": "What does the square stand for?",
                "options": ["sun", "leaf", "water", "soil"],
                "answer": answer,
                "image": picture(colour),
            }
            for answer, colour in (("1", "green"), ("2", "blue"))
        ]
