"""POPE: is this object in the photograph? Yes or no, against three sets of absent ones (arXiv 2305.10355).

`pope` is lmms-eval's: the whole answer must be yes or no. `pope:words` is the original parser, of which published F1
are mostly means over the three sets: an answer is no if its first sentence has a no or not, else yes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

from grip_vlm.benchmarks.published import SHORT, Answered, Asked, Published, picture

SETS = ("adversarial", "popular", "random")


class Benchmark(Published):
    hub = "lmms-lab-encoder/POPE"
    columns = ("question", "answer", "category")
    variants = ("words",)
    max_new_tokens = 128

    def ask(self, row: Mapping[str, Any]) -> Asked:
        return Asked(row["question"].strip() + SHORT, (row["answer"].strip().lower(),), row["category"])

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        return float(self.said(prediction) == answers[0])

    def said(self, prediction: str) -> str:
        """yes, no, or without `words` anything else."""
        if self.variant != "words":
            return prediction.strip().lower()
        words = prediction.partition(".")[0].replace(",", "").split(" ")
        return "no" if {"No", "no", "not"} & set(words) else "yes"

    def summary(self, rows: Sequence[Answered]) -> dict[str, float]:
        """Percent. An answer that is neither yes nor no is wrong, but is no false negative; `yes` is the share of yes
        among the predictions (lmms-eval 0.7.3 takes it from the truth)."""
        counts = self._counts(rows)
        right, wrong, missed = counts["yes", "yes"], counts["no", "yes"], counts["yes", "no"]
        sets = [[row for row in rows if row.group == name] for name in SETS]
        return {
            "accuracy": 100 * _ratio(sum(row.score for row in rows), len(rows)),
            "precision": 100 * _ratio(right, right + wrong),
            "recall": 100 * _ratio(right, right + missed),
            "F1": 100 * self._f1(rows),
            "F1, mean of sets": 100 * sum(map(self._f1, sets)) / len(SETS) if all(sets) else nan,
            "yes": 100 * _ratio(right + wrong, len(rows)),
        }

    def _counts(self, rows: Sequence[Answered]) -> Counter[tuple[str, str]]:
        """(truth, said) -> how often."""
        return Counter((row.target, self.said(row.prediction)) for row in rows)

    def _f1(self, rows: Sequence[Answered]) -> float:
        counts = self._counts(rows)
        right = 2 * counts["yes", "yes"]
        return _ratio(right, right + counts["no", "yes"] + counts["yes", "no"])

    @staticmethod
    def sample() -> list[dict[str, Any]]:
        return [
            {
                "question": f"Is there a {thing} in the image?",
                "answer": answer,
                "category": "popular",
                "image": picture(colour),
            }
            for thing, answer, colour in (("lawn", "yes", "green"), ("snowman", "no", "olive"))
        ]


def _ratio(part: float, whole: float) -> float:
    """Nothing of nothing is zero, as in lmms-eval."""
    return part / whole if whole else 0.0
