"""GQA: compositional questions about photographs, answered in one or two words (arXiv 1902.09506).

The split is the balanced test-dev split.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Published, PublishedQuestion, square_image, without_punctuation


class Benchmark(Published):
    hub, config, split = "lmms-lab-encoder/GQA", "testdev_balanced_instructions", "testdev"
    image_config = "testdev_balanced_images"
    columns = ("imageId", "question", "answer")

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        return PublishedQuestion(row["question"] + SHORT, (row["answer"],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(without_punctuation(prediction) == without_punctuation(answers[0]))

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "imageId": f"n{number}",
                "question": "What colour is the square?",
                "answer": colour,
                "image": square_image(colour),
            }
            for number, colour in enumerate(("red", "blue"))
        ]
