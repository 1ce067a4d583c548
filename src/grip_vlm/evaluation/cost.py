"""The cost of an answer in FLOPs: vision tower, pruner and language model, counted on the real modules."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import jobs
from grip_vlm.evaluation.rows import FIXED
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import FrozenVLM


def count(call: Callable[[], Any]) -> int:
    """FLOPs of matrix products, convolutions and attention inside `call`."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def answer_flops(
    vlm: FrozenVLM, pruners: dict[str, Pruner], budgets: Sequence[Budget], examples: Sequence[Example]
) -> dict[str, dict[str, float]]:
    """FLOPs up to the first word of an answer: vision tower, pruner and language model, counted in the calls that
    `evaluate` makes. Later words, which cost all methods about the same, are left out.

    Args:
        vlm: its attention should be `eager`, whose products the counter knows.

    Returns:
        pruner -> budget -> mean over the examples.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in pruners}
    for name, budget in jobs(pruners, budgets):
        wanted = Budget(tokens=1) if name in FIXED else Budget.parse(budget)

        def answer(example: Example, pruner: Pruner = pruners[name], wanted: Budget = wanted) -> None:
            encoded = vlm.encode(vlm.inputs([example.image], [example.question]))
            k = torch.tensor([wanted.k(int(encoded.state.counts[0]))], device=vlm.device)
            vlm.respond(encoded, pruner.select(vlm, encoded, k), 1)

        found[name][budget] = sum(count(partial(answer, example)) for example in examples) / len(examples)
    return found
