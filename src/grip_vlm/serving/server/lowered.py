"""A pruner under load: it keeps a share of what each budget gives, and never less than a least budget."""

from collections.abc import Sequence

import torch
from torch import Tensor

from grip_vlm.budget import Budget
from grip_vlm.mdp import Action
from grip_vlm.pruners.base import BasePruner
from grip_vlm.vlms import Encoded, FrozenVLM


class Lowered(BasePruner):
    """The pruner `inner` for one batch. Afterwards, `asked` holds what the budgets of the rows with images gave."""

    def __init__(self, inner: BasePruner, share: float, least: Budget) -> None:
        self.inner, self.share, self.least = inner, share, least
        self.checkpoint = inner.checkpoint
        self.asked: list[int] = []

    @property
    def name(self) -> str:
        return self.inner.name

    def allot(self, vlm: FrozenVLM, encoded: Encoded, budgets: Sequence[Budget], new_tokens: int | None) -> Tensor:
        return self.inner.allot(vlm, encoded, budgets, new_tokens)

    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        self.asked = k.tolist()
        return self.inner.select(vlm, encoded, lowered(k, encoded.state.counts.to(k.device), self.share, self.least))


def lowered(k: Tensor, counts: Tensor, share: float, least: Budget) -> Tensor:
    """What a share leaves of budgets k (B,) for counts (B,) of visual tokens: (B,).

    A budget that is below the least already stays what it is.
    """
    part = (k * share).round().to(k.dtype)
    return torch.minimum(k, torch.maximum(part, least.each(counts).to(k.dtype)))
