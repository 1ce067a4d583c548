"""MME: two yes/no questions per image in fourteen categories of up to 200 points each (arXiv 2306.13394).

`mme` has all categories, `mme:perception` the ten of perception (2000 points), `mme:cognition` the other four (800).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Published, PublishedQuestion, ScoredAnswer, square_image

CATEGORIES = {
    "perception": (
        *("existence", "count", "position", "color", "posters"),
        *("celebrity", "scene", "landmark", "artwork", "OCR"),
    ),
    "cognition": ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning"),
}


class Benchmark(Published):
    hub = "lmms-lab-encoder/MME"
    columns = ("question_id", "question", "answer", "category")
    variants = ("perception", "cognition")

    def in_variant(self, row: Mapping[str, Any]) -> bool:
        return not self.variant or row["category"] in CATEGORIES[self.variant]

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        question = row["question"].strip().replace(" Please answer yes or no.", "")
        return PublishedQuestion(
            question + SHORT, (parsed_answer(row["answer"]),), f"{row['category']}/{row['question_id']}"
        )

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(parsed_answer(prediction) == answers[0])

    def metrics(self, rows: Sequence[ScoredAnswer]) -> dict[str, float]:
        """Points per part. NaN if a category is missing or an image lacks one of its two questions."""
        images: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            category, _, image = row.group.partition("/")
            images[category][image].append(row.score)
        points = {category: _points(list(pairs.values())) for category, pairs in images.items()}
        parts = [self.variant] if self.variant else list(CATEGORIES)
        sums = {part: sum(points.get(name, nan) for name in CATEGORIES[part]) for part in parts}
        return sums if self.variant else {**sums, "total": sum(sums.values())}

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "question_id": "color/0001.png",
                "question": f"Is the square {colour}? Please answer yes or no.",
                "answer": answer,
                "category": "color",
                "image": square_image("red"),
            }
            for colour, answer in (("red", "Yes"), ("blue", "No"))
        ]


def parsed_answer(text: str) -> str:
    """`yes`, `no` or `other`, from the first four characters."""
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")
    return next((word for word in ("yes", "no") if word in text[:4]), "other")


def _points(pairs: list[list[float]]) -> float:
    """The points of a category: the percentage of correct answers plus the percentage of images with both correct."""
    if any(len(pair) != 2 for pair in pairs):
        return nan
    return sum(50 * sum(pair) + 100 * (sum(pair) == 2) for pair in pairs) / len(pairs)
