"""FLOPs of an answer: vision tower, pruner and language model, counted while the real modules run."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from grip_vlm.allot import allot
from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import jobs
from grip_vlm.evaluation.rows import FIXED
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import FrozenVLM


def count_flops(call: Callable[[], Any]) -> int:
    """FLOPs of the matrix products, convolutions and attention in `call`."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def answer_flops(
    vlm: FrozenVLM, pruners: dict[str, Pruner], budgets: Sequence[Budget], examples: Sequence[Example]
) -> dict[str, dict[str, float]]:
    """FLOPs up to the first token of an answer: vision tower, pruner and language model, in the calls of `evaluate`.

    Later tokens are left out, because they cost all methods about the same.

    Args:
        vlm: should use `eager` attention, because the counter does not know other kernels.

    Returns:
        pruner -> budget -> mean FLOPs over the examples.
    """
    flops: dict[str, dict[str, float]] = {name: {} for name in pruners}
    for name, budget in jobs(pruners, budgets):
        parsed = Budget(tokens=1) if name in FIXED else Budget.parse(budget)

        def answer(example: Example, pruner: Pruner = pruners[name], budget: Budget = parsed) -> None:
            encoded = vlm.encode(vlm.inputs([example.image], [example.question]))
            k = allot([budget], pruner, vlm, encoded, 1)
            vlm.respond(encoded, pruner.select(vlm, encoded, k), 1)

        flops[name][budget] = sum(count_flops(partial(answer, example)) for example in examples) / len(examples)
    return flops
