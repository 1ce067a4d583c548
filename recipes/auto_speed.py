"""What `auto` costs beside the same count given beforehand, and whether answers keep to a time.

    python recipes/auto_speed.py --out results/auto-speed.json

Both answer the same questions one at a time and take turns. Run it on a quiet machine. Remove the VLM's cost curve in
~/.cache/grip-vlm/cost before, so that it is measured on a quiet machine too.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    time_rounds: int = 15
    """Rounds of all questions for each time."""


NEW_TOKENS = 2  # of an answer that has to keep to a time: a word and the end
QUIET = 1.2  # a round is quiet if the control beside it takes at most so many times its least


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

    A machine that others share has slow phases. An answer from all tokens before and after each round tells them.
    Answers are cut off after NEW_TOKENS tokens, which nearly all of them have. Longer plans would leave time over.
    """
    encoded = vlm.encode(vlm.inputs([questions[0].image], [questions[0].question]))
    n, curve = int(encoded.state.counts[0]), curve_of(vlm, grip)
    text = int(encoded.prompt.attention_mask[0].sum()) - n
    one, full = (1000 * curve.seconds(n, text + k, NEW_TOKENS) for k in (1, n))

    def answered(question: benchmarks.Example, budget: str) -> vlms.Answer:
        return vlm.answer(question.image, question.question, grip, budget, max_new_tokens=NEW_TOKENS)

    def control() -> float:
        """Milliseconds of the same answer from all tokens: what the machine is like now."""
        return 1000 * float(np.median([answered(questions[0], "100%").seconds for _ in range(5)]))

    limits = [one + share * (full - one) for share in speed.shares]
    found: dict[float, list[tuple[float, list[vlms.Answer]]]] = {limit: [] for limit in limits}
    for _ in range(speed.time_rounds):
        for limit in limits:
            before = control()
            answers = [answered(question, f"{limit:.2f}ms") for question in questions]
            found[limit].append((max(before, control()), answers))
    least = min(slow for rounds in found.values() for slow, _ in rounds)
    return [summary(limit, rounds, QUIET * least) for limit, rounds in found.items()]


def summary(limit: float, rounds: list[tuple[float, list[vlms.Answer]]], quiet: float) -> dict:
    """What a limit in milliseconds did, in all rounds and in the quiet ones, by the control beside them."""
    parts = {name: [] for name in ("all", "quiet")}
    for slow, answers in rounds:
        for name in ("all", "quiet") if slow <= quiet else ("all",):
            parts[name] += [1000 * answer.seconds / limit for answer in answers]
    kept = [answer.kept for _, answers in rounds for answer in answers]
    made: dict[str, Any] = {"limit_ms": limit, "kept": float(np.mean(kept))}
    for name, shares in parts.items():
        values = np.array(shares or [np.nan])
        made[name] = {
            "answers": len(shares),
            "median": float(np.median(values)),
            "share_within": float((values <= 1).mean()),
            "share_within_1.2": float((values <= 1.2).mean()),
            "slowest": float(values.max()),
        }
    return made


if __name__ == "__main__":
    main(tyro.cli(Speed))
