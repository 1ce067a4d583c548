"""Small trainings: a new scorer, dev scores that are known beforehand, and a kill at a dev score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from grip_vlm.scorer import Scorer, ScorerConfig


def fresh_scorer(vlm):
    """A small scorer, always with the same weights."""
    torch.manual_seed(0)
    return Scorer(ScorerConfig(dim=vlm.dim, width=16))


def same_weights(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@dataclass
class KilledAt:
    """A dev score whose call number `number`, counted from 0, ends the process; call 0 is of the initial weights."""

    number: int
    dev_score: Callable[[Scorer, Sequence[str | float]], float]
    calls: int = 0

    def __call__(self, scorer, budgets):
        if self.calls == self.number:
            raise KeyboardInterrupt
        self.calls += 1
        return self.dev_score(scorer, budgets)
