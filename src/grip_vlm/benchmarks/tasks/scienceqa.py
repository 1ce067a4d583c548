"""ScienceQA-IMG: school science with a picture, answered by an option's letter (arXiv 2209.09513)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from grip_vlm.benchmarks.published import LETTERS, Asked, Published, choices, picture


class Benchmark(Published):
    hub, config = "lmms-lab-encoder/ScienceQA", "ScienceQA-IMG"
    columns = ("question", "choices", "answer", "hint")

    def ask(self, row: Mapping[str, Any]) -> Asked:
        context = f"Context: {row['hint']}\n" if row["hint"] else ""
        return Asked(context + choices(row["question"], row["choices"]), (LETTERS[row["answer"]],))

    def score(self, prediction: str, answers: Sequence[str], group: str = "") -> float:
        """The letter alone in any case, or the capital with a full stop and anything behind it."""
        said = prediction.strip()
        led = re.match(r"([A-Z])\.", said)
        return float((led[1] if led else said.upper()) == answers[0])

    @staticmethod
    def sample() -> list[dict[str, Any]]:
        return [
            {
                "question": "Which colour is shown?",
                "choices": ["red", "green", "blue"],
                "answer": answer,
                "hint": hint,
                "image": picture(colour),
            }
            for answer, hint, colour in ((1, "Leaves have it.", "green"), (2, "", "blue"))
        ]
