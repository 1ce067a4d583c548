"""Seconds per question. Methods and budgets take turns, so all are timed under the same machine load."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from grip_vlm.allot import allot
from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Timing:
    """Seconds of vision tower, pruner, prefill and a fixed number of answer tokens together."""

    pruner: str
    budget: str
    batch: int
    seconds: float
    """Median over rounds, per question."""
    low: float
    high: float
    """`low` and `high` are the 10th and 90th percentile over rounds."""


def measure_latency(
    vlm: FrozenVLM,
    jobs: Sequence[tuple[str, Pruner, Budget]],
    examples: Sequence[Example],
    batch: int,
    rounds: int = 30,
    new_tokens: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Timing]:
    """Time every (name, pruner, budget) on the same `batch` questions, interleaved, after one discarded round.

    Every answer has exactly `new_tokens` tokens, so a method is not faster because its answers are shorter. The
    processor's work on pixels and text is the same for all methods and is not timed.

    Returns:
        One timing per job, in the order of `jobs`.
    """
    chosen = examples[:batch]
    inputs = vlm.inputs([e.image for e in chosen], [e.question for e in chosen])
    seconds: list[list[float]] = [[] for _ in jobs]
    for round_ in range(rounds + 1):
        # Each round starts at another job, so no job always runs after the same one.
        for job in (*range(round_ % len(jobs), len(jobs)), *range(round_ % len(jobs))):
            _, pruner, budget = jobs[job]
            start = clock()
            encoded = vlm.encode(inputs)
            k = allot([budget] * batch, pruner, vlm, encoded, new_tokens)
            action = pruner.select(vlm, encoded, k)
            vlm.respond(encoded, action, max_new_tokens=new_tokens, min_new_tokens=new_tokens)
            vlm.synchronize()
            if round_:
                seconds[job].append((clock() - start) / batch)
    return [
        Timing(name, str(budget), batch, *(float(np.percentile(times, q)) for q in (50, 10, 90)))
        for (name, _, budget), times in zip(jobs, seconds, strict=True)
    ]
