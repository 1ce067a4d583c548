"""What `auto` costs beside the same count given beforehand, and whether answers keep to a time.

    python recipes/auto_speed.py --out results/auto-speed.json

Both answer the same questions one at a time and take turns. Run it on a quiet machine. Remove the VLM's cost curve in
~/.cache/grip-vlm/cost before, so that it is measured on a quiet machine too.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from grip_vlm import benchmarks, pruners, vlms
from grip_vlm.files import write_text
from grip_vlm.pruners.clock import curve_of


@dataclass(frozen=True)
class Speed:
    out: Path = Path("results/auto-speed.json")
    """File for the numbers."""
    vlm: str = "tiny-llava"
    """A shipped VLM with a shipped scorer and calibration."""
    questions: int = 60
    """Held-out questions."""
    rounds: int = 7
    """Interleaved rounds; the median of each question counts."""
    shares: tuple[float, ...] = (0.1, 0.4, 0.7)
    """Times to keep to: so far between what one token takes and what all tokens take."""


NEW_TOKENS = 2  # of an answer that has to keep to a time: a word and the end


def main(speed: Speed) -> None:
    vlm, names = vlms.load(speed.vlm), benchmarks.composed()
    grip = pruners.load("grip", scorer=speed.vlm)
    questions = [benchmarks.example(names[i % len(names)], "test", i // len(names)) for i in range(speed.questions)]

    def seconds(budget: int | str, index: int) -> tuple[float, int]:
        item = questions[index]
        start = time.perf_counter()
        kept = vlm.answer(item.image, item.question, grip, budget, max_new_tokens=8).kept
        return time.perf_counter() - start, kept

    exact = [seconds("auto", i)[1] for i in range(len(questions))]
    taken = np.zeros((2, speed.rounds, len(questions)))
    for round_ in range(speed.rounds):
        for i, k in enumerate(exact):
            for way in (0, 1) if (round_ + i) % 2 else (1, 0):
                taken[way, round_, i] = seconds(("auto", k)[way], i)[0]
    median = np.median(taken, axis=1)  # (2, questions)
    ratio = float(median[0].sum() / median[1].sum())
    notes = {"vlm": vlm.name, "questions": len(questions), "rounds": speed.rounds, "ratio_of_auto_to_exact": ratio}
    notes["ms_exact"], notes["ms_auto"] = (1000 * float(part.mean()) for part in median[::-1])
    notes["times"] = times(vlm, grip, questions, speed)
    write_text(speed.out, json.dumps(notes, indent=2) + "\n")
    print(speed.out.read_text())


def times(vlm: vlms.FrozenVLM, grip: pruners.Pruner, questions: list[benchmarks.Example], speed: Speed) -> list[dict]:
    """For each time: the share of answers within it, and the slowest as a multiple of it.

    Answers are cut off after NEW_TOKENS tokens, which nearly all of them have. Longer plans would leave time over.
    """
    encoded = vlm.encode(vlm.inputs([questions[0].image], [questions[0].question]))
    n, curve = int(encoded.state.counts[0]), curve_of(vlm, grip)
    text = int(encoded.prompt.attention_mask[0].sum()) - n
    one, full = (1000 * curve.seconds(n, text + k, NEW_TOKENS) for k in (1, n))
    made = []
    for share in speed.shares:
        limit = one + share * (full - one)
        goal, answers = f"{limit:.2f}ms", []
        for _ in range(speed.rounds):
            answers += [vlm.answer(q.image, q.question, grip, goal, max_new_tokens=NEW_TOKENS) for q in questions]
        parts = 1000 * np.array([answer.seconds for answer in answers]) / limit
        made.append(
            {
                "limit_ms": limit,
                "kept": float(np.mean([answer.kept for answer in answers])),
                "median": float(np.median(parts)),
                "share_within": float((parts <= 1).mean()),
                "share_within_1.2": float((parts <= 1.2).mean()),
                "slowest": float(parts.max()),
            }
        )
    return made


if __name__ == "__main__":
    main(tyro.cli(Speed))
