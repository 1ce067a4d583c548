"""ScienceQA-IMG: school science with an image, multiple choice (arXiv 2209.09513)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import LETTERS, Published, PublishedQuestion, choice_prompt, square_image


class Benchmark(Published):
    hub, config = "lmms-lab-encoder/ScienceQA", "ScienceQA-IMG"
    columns = ("question", "choices", "answer", "hint")

    def ask(self, row: Mapping[str, Any]) -> PublishedQuestion:
        context = f"Context: {row['hint']}\n" if row["hint"] else ""
        return PublishedQuestion(context + choice_prompt(row["question"], row["choices"]), (LETTERS[row["answer"]],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """Correct is the letter alone in any case, or the capital with a full stop and any text after it."""
        text = prediction.strip()
        letter = re.match(r"([A-Z])\.", text)
        return float((letter[1] if letter else text.upper()) == answers[0])

    @staticmethod
    def example_rows() -> list[dict[str, Any]]:
        return [
            {
                "question": "Which colour is shown?",
                "choices": ["red", "green", "blue"],
                "answer": answer,
                "hint": hint,
                "image": square_image(colour),
            }
            for answer, hint, colour in ((1, "Leaves have it.", "green"), (2, "", "blue"))
        ]
