"""Seconds per question, side by side: every method and budget in turn, so that all meet the same machine."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Timing:
    """Median over rounds; vision tower, pruner, prefill and a fixed number of answer tokens together."""

    pruner: str
    budget: str
    batch: int
    seconds: float
    """per question"""
    low: float
    high: float
    """10th and 90th percentile over rounds"""


def measure(
    vlm: FrozenVLM,
    jobs: Sequence[tuple[str, Pruner, Budget]],
    examples: Sequence[Example],
    batch: int,
    rounds: int = 30,
    new_tokens: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time every (name, pruner, budget) on the same questions, interleaved, after one round that is thrown away.

    Every answer has exactly `new_tokens` tokens, so that no method is faster for saying less. The processor's work on
    pixels and text is the same for all and is not counted.
    """
    part = examples[:batch]
    inputs = vlm.inputs([e.image for e in part], [e.question for e in part])
    seconds: list[list[float]] = [[] for _ in jobs]
    for round_ in range(rounds + 1):
        # Each round begins elsewhere, so that no job always runs behind the same one.
        for at in (*range(round_ % len(jobs), len(jobs)), *range(round_ % len(jobs))):
            _, pruner, budget = jobs[at]
            start = clock()
            encoded = vlm.encode(inputs)
            k = budget.each(encoded.state.counts)
            action = pruner.select(vlm, encoded, k)
            vlm.respond(encoded, action, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
            vlm.synchronize()
            if round_:
                seconds[at].append((clock() - start) / batch)
    return [
        Timing(name, str(budget), batch, *(float(np.percentile(times, q)) for q in (50, 10, 90)))
        for (name, _, budget), times in zip(jobs, seconds, strict=True)
    ]
