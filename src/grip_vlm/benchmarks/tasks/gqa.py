"""GQA: compositional questions about photographs, one or two words (arXiv 1902.09506); the balanced test-dev split."""

from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Asked, Published, bare, picture


class Benchmark(Published):
    hub, config, split = "lmms-lab-encoder/GQA", "testdev_balanced_instructions", "testdev"
    pictures = "testdev_balanced_images"
    columns = ("imageId", "question", "answer")

    def ask(self, row: Mapping[str, Any]) -> Asked:
        return Asked(row["question"] + SHORT, (row["answer"],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(bare(prediction) == bare(answers[0]))

    @staticmethod
    def sample() -> list[dict[str, Any]]:
        return [
            {
                "imageId": f"n{number}",
                "question": "What colour is the square?",
                "answer": colour,
                "image": picture(colour),
            }
            for number, colour in enumerate(("red", "blue"))
        ]
