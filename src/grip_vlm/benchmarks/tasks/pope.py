"""POPE: is this object in the photograph? Yes/no questions with three sets of absent objects (arXiv 2305.10355).

`pope` parses as lmms-eval does: the whole answer must be yes or no. `pope:words` is the original parser: an answer is
no if its first sentence contains "no" or "not", else yes. Published F1 values mostly use the original parser and are
means over the three sets.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Published, PublishedQuestion, ScoredAnswer, square_image

SETS = ("adversarial", "popular", "random")


class Benchmark(Published):
    hub = "lmms-lab-encoder/POPE"
    columns = ("question", "answer", "category")
    variants = ("words",)
    max_new_tokens = 128

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        return PublishedQuestion(row["question"].strip() + SHORT, (row["answer"].strip().lower(),), row["category"])

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(self.parsed_answer(prediction) == answers[0])

    def parsed_answer(self, prediction: str) -> str:
        """`yes` or `no`. `pope` returns other answers unchanged, in lower case."""
        if self.variant != "words":
            return prediction.strip().lower()
        words = prediction.partition(".")[0].replace(",", "").split(" ")
        return "no" if {"No", "no", "not"} & set(words) else "yes"

    def metrics(self, rows: Sequence[ScoredAnswer]) -> dict[str, float]:
        """Percentages. An answer that is neither yes nor no is wrong, but does not count as a false negative.

        `yes` is the share of yes among the predictions; lmms-eval 0.7.3 takes it from the targets.
        """
        counts = self._counts(rows)
        true, false, missed = counts["yes", "yes"], counts["no", "yes"], counts["yes", "no"]
        sets = [[row for row in rows if row.group == name] for name in SETS]
        return {
            "accuracy": 100 * _ratio(sum(row.score for row in rows), len(rows)),
            "precision": 100 * _ratio(true, true + false),
            "recall": 100 * _ratio(true, true + missed),
            "F1": 100 * self._f1(rows),
            "F1, mean of sets": 100 * sum(map(self._f1, sets)) / len(SETS) if all(sets) else nan,
            "yes": 100 * _ratio(true + false, len(rows)),
        }

    def _counts(self, rows: Sequence[ScoredAnswer]) -> Counter[tuple[str, str]]:
        """(target, parsed answer) -> count."""
        return Counter((row.target, self.parsed_answer(row.prediction)) for row in rows)

    def _f1(self, rows: Sequence[ScoredAnswer]) -> float:
        counts = self._counts(rows)
        double = 2 * counts["yes", "yes"]
        return _ratio(double, double + counts["no", "yes"] + counts["yes", "no"])

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "question": f"Is there a {thing} in the image?",
                "answer": answer,
                "category": "popular",
                "image": square_image(colour),
            }
            for thing, answer, colour in (("lawn", "yes", "green"), ("snowman", "no", "olive"))
        ]


def _ratio(part: float, whole: float) -> float:
    """0 / 0 is 0, as in lmms-eval."""
    return part / whole if whole else 0.0
