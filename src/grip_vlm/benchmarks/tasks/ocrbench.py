"""OCRBench: text recognition in ten kinds of images. A prediction must contain the answer (arXiv 2305.07895)."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from grip_vlm.benchmarks.published import Published, PublishedQuestion, ScoredAnswer, square_image

FORMULAS = "HME100k"
PARTS = {
    "recognition": (
        "Regular Text Recognition",
        "Irregular Text Recognition",
        "Artistic Text Recognition",
        "Handwriting Recognition",
        "Digit String Recognition",
        "Non-Semantic Text Recognition",
    ),
    "scene text": ("Scene Text-centric VQA",),
    "documents": ("Doc-oriented VQA",),
    "key information": ("Key Information Extraction",),
    "formulas": ("Handwritten Mathematical Expression Recognition",),
}
HALF_WIDTH = {0xFF01 + i: 0x21 + i for i in range(94)} | {0x3000: " "}


class Benchmark(Published):
    hub = "echo840/OCRBench"
    columns = ("dataset", "question", "question_type", "answer")
    max_new_tokens = 128

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        answers = [row["answer"]] if isinstance(row["answer"], str) else row["answer"]
        return PublishedQuestion(row["question"].strip(), tuple(answers), f"{row['question_type']}/{row['dataset']}")

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """1.0 if the prediction contains an answer. Formulas ignore spaces, other questions ignore case."""
        normalise = _formula if group.endswith(f"/{FORMULAS}") else _text
        return float(any(normalise(answer) in normalise(prediction) for answer in answers))

    def metrics(self, rows: Sequence[ScoredAnswer]) -> dict[str, float]:
        """`score` is out of 1000: the number of correct answers if all items are there. The parts are percentages."""
        parts = {}
        for part, types in PARTS.items():
            scores = [row.score for row in rows if row.group.rpartition("/")[0] in types]
            parts[part] = 100 * sum(scores) / len(scores) if scores else nan
        return {"score": 1000 * sum(row.score for row in rows) / len(rows), **parts}

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "dataset": dataset,
                "question": question,
                "question_type": kind,
                "answer": [answer],
                "image": square_image("white"),
            }
            for dataset, question, kind, answer in (
                ("IIIT5K", "what is written in the image?", "Regular Text Recognition", "CENTRE"),
                (FORMULAS, "Please write out the expression.", PARTS["formulas"][0], "\\frac { X } { 2 }"),
            )
        ]


def _formula(text: str) -> str:
    return text.strip().replace("\n", "").replace(" ", "")


def _text(text: str) -> str:
    return text.translate(HALF_WIDTH).lower().strip().replace("\n", " ")
