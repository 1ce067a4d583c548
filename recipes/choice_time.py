"""Time the choice of k of N on one thread: the lazy greedy path beside the plain loop that compares all pairs.

    python recipes/choice_time.py

Scores are those of the shipped scorer for the tokens of several test images in one prompt, and random ones. Both ways
take turns; times are the fastest and the median of the rounds, in milliseconds. Both must keep the same tokens.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

from grip_vlm import benchmarks, checkpoint, policy, vlms
from grip_vlm.files import write_text
from grip_vlm.mdp import State
from grip_vlm.scorer import Scores

SIZES = ((196, 20), (576, 58), (2880, 320), (4096, 512))  # N and k


@dataclass(frozen=True)
class ChoiceTime:
    rounds: int = 9
    """Rounds, of which every way has one run each."""
    out: Path = Path("results/choice.json")
    """File of the times."""


def shipped_scores(n: int, k: int) -> Scores:
    """Of the shipped scorer, for the first n tokens of some test images and the question on the first."""
    vlm = vlms.load("tiny-llava")
    items = [benchmarks.example("pointing", "test", index) for index in range(math.ceil(n / 196))]
    states = [vlm.encode(vlm.inputs([item.image], [item.question])).state for item in items]
    visual, mask, places = (
        torch.cat([getattr(state, name) for state in states], 1)[:, :n] for name in ("visual", "visual_mask", "places")
    )
    image = torch.arange(len(states)).repeat_interleave(196)[None, :n]
    state = State(visual, mask, places, image, states[0].question, states[0].question_mask)
    with torch.no_grad():
        scores: Scores = checkpoint.load(checkpoint.locate("tiny-llava"), vlm)(state, torch.tensor([k]))
    return scores


def random_scores(n: int) -> Scores:
    generator = torch.Generator().manual_seed(0)
    importance, aversion = torch.randn(1, n, generator=generator), 4 * torch.rand(1, n, generator=generator)
    return Scores(importance, aversion, F.normalize(torch.randn(1, n, 96, generator=generator), dim=-1))


def milliseconds(ways: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, list[float]]:
    """Of each way and round, after one run of each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def main(settings: ChoiceTime) -> None:
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for n, budget in SIZES:
        k = torch.tensor([budget])
        for source, scores in (("shipped scorer", shipped_scores(n, budget)), ("random", random_scores(n))):
            ways = {
                "all pairs": partial(policy.greedy_by_all_pairs, scores, k),
                "lazy": partial(policy.greedy, scores, k),
            }
            if not torch.equal(*(way() for way in ways.values())):
                raise RuntimeError(f"the two ways keep different tokens of {n} with scores of {source}")
            for name, times in milliseconds(ways, settings.rounds).items():
                rows.append({"scores": source, "tokens": n, "k": budget, "way": name, "fastest": round(min(times), 2)})
                rows[-1]["median"] = round(median(times), 2)
                print(rows[-1])
    write_text(settings.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(tyro.cli(ChoiceTime))
