"""MME: two yes/no questions per image in fourteen categories; a category gives up to 200 points (arXiv 2306.13394).

`mme` has all categories, `mme:perception` the ten of perception (2000 points), `mme:cognition` the other four (800).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Answered, Asked, Published, picture

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

    def keeps(self, row: Mapping[str, Any]) -> bool:
        return not self.variant or row["category"] in CATEGORIES[self.variant]

    def ask(self, row: Mapping[str, Any]) -> Asked:
        question = row["question"].strip().replace(" Please answer yes or no.", "")
        return Asked(question + SHORT, (said(row["answer"]),), f"{row['category']}/{row['question_id']}")

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(said(prediction) == answers[0])

    def summary(self, rows: Sequence[Answered]) -> dict[str, float]:
        """Points; none where a category is missing or an image without one of its two questions."""
        images: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for row in rows:
            category, _, image = row.group.partition("/")
            images[category][image].append(row.score)
        points = {category: _points(list(pairs.values())) for category, pairs in images.items()}
        wanted = [self.variant] if self.variant else list(CATEGORIES)
        sums = {part: sum(points.get(name, nan) for name in CATEGORIES[part]) for part in wanted}
        return sums if self.variant else {**sums, "total": sum(sums.values())}

    @staticmethod
    def sample() -> list[dict[str, Any]]:
        return [
            {
                "question_id": "color/0001.png",
                "question": f"Is the square {colour}? Please answer yes or no.",
                "answer": answer,
                "category": "color",
                "image": picture("red"),
            }
            for colour, answer in (("red", "Yes"), ("blue", "No"))
        ]


def said(text: str) -> str:
    """yes, no or other: the first four characters decide."""
    text = text.lower().strip().replace(".", "")
    if len(text) == 1:
        return {"y": "yes", "n": "no"}.get(text, "other")
    return next((word for word in ("yes", "no") if word in text[:4]), "other")


def _points(pairs: list[list[float]]) -> float:
    """A category's: per cent of right answers, plus per cent of images with both right."""
    if any(len(pair) != 2 for pair in pairs):
        return nan
    return sum(50 * sum(pair) + 100 * (sum(pair) == 2) for pair in pairs) / len(pairs)
