"""TextVQA: questions about text in photographs, scored against the answers of ten people (arXiv 1904.08920).

`textvqa` gives the image alone. `textvqa:ocr` adds the words that an OCR system read, as LLaVA-1.5's evaluation does.
Scores of the two are not comparable.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.evalai import normalise
from grip_vlm.benchmarks.published import SHORT, Published, PublishedQuestion, square_image


class Benchmark(Published):
    hub, split = "lmms-lab-encoder/textvqa", "validation"
    columns = ("question", "answers", "ocr_tokens")
    variants = ("ocr",)
    max_new_tokens = 128
    """Ours: lmms-eval sets none."""

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        hint = f"\nReference OCR token: {', '.join(row['ocr_tokens'])}" if self.variant == "ocr" else ""
        # The most frequent answer comes first, because rows call the first answer the target.
        answers = [answer for answer, count in Counter(row["answers"]).most_common() for _ in range(count)]
        return PublishedQuestion(row["question"].capitalize() + hint + SHORT, tuple(answers))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """Mean over the people of min(1, other people who agree / 3): 0, 0.3, 0.6, 0.9, 1 if 0 to 4 of ten agree."""
        agree = Counter(map(normalise, answers))[normalise(prediction)]
        people = len(answers)
        return (agree * min(1, (agree - 1) / 3) + (people - agree) * min(1, agree / 3)) / people

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "question": "what brand is the phone?",
                "answers": [answer] * 8 + ["unanswerable", "samsung"],
                "ocr_tokens": [answer.upper(), "3G"],
                "image": square_image(colour),
            }
            for answer, colour in (("nokia", "gray"), ("siemens", "black"))
        ]
