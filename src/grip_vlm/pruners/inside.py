"""Methods that drop tokens inside the language model: the schedule for a budget.

A budget is the mean number of visual tokens per layer, over all layers. A method defines a family of schedules from
keep-all to almost nothing. We take the largest one whose mean is within the budget; it falls short by less than one
token. Layers before the first cut see every token that enters, so a budget below that share of the layers is
impossible. It is refused: a row that used more tokens than its budget says would flatter the method.

Cuts are placed by their share of the depth in the paper, at layer 1 or later. Cuts that coincide in a shallow model
become one, with the count of the last.
"""

import math
from abc import abstractmethod
from fractions import Fraction
from typing import ClassVar

import torch
from torch import Tensor

from grip_vlm.mdp import Action, Schedule
from grip_vlm.pruners.base import Untrained
from grip_vlm.vlms import Encoded, FrozenVLM


class Inside(Untrained):
    """A method says where its cuts are, how many tokens pass each, and which tokens rank them."""

    depths: ClassVar[tuple[Fraction, ...]]
    """cuts as shares of the layers, rising; 0 is before the language model"""
    early: ClassVar[int] = 0
    """how many layers before a cut the rank is read"""

    @abstractmethod
    def shares(self, scale: float) -> list[float]:
        """Shares of the visual tokens that pass each cut: rising with scale, about 0 at 0; above 1 is all."""

    def queries(self, encoded: Encoded) -> Tensor:
        """Which tokens of the full prompt rank the visual tokens, (B, L) bool: by default the last one."""
        queries = torch.zeros_like(encoded.prompt.input_ids, dtype=torch.bool)
        queries[:, -1] = True
        return queries

    def enter(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        """The k (B,) tokens that enter the language model: all, where no cut is before it."""
        return Action(encoded.state.visual_mask)

    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        state = encoded.state
        if not state.question_mask.any(1).all():
            raise ValueError("tokens inside the language model are ranked by the text after the image; a row has none")
        layers = vlm.model.config.get_text_config().num_hidden_layers
        plans = [self.plan(n, keep, layers) for n, keep in zip(state.counts.tolist(), k.tolist(), strict=True)]
        keep = {layer: torch.tensor([plan[layer] for plan in plans], device=vlm.device) for layer in plans[0]}
        entering = self.enter(vlm, encoded, keep.pop(0))
        return Action(entering.mask, entering.features, Schedule(keep, self.queries(encoded), self.early))

    def plan(self, n: int, k: int, layers: int) -> dict[int, int]:
        """Layer -> visual tokens of n from it on; layer 0 is the input of the language model.

        Raises:
            ValueError: fewer tokens per layer than the method can keep.
        """
        cuts = [min(max(1, round(layers * depth)), layers - 1) if depth else 0 for depth in self.depths]

        def at(scale: float) -> dict[int, int]:
            shares = self.shares(scale)
            return {0: n} | {c: min(max(1, int(n * s)), n) for c, s in zip(cuts, shares, strict=True)}

        low, high = 0.0, 4.0  # almost nothing, and more than all at every cut
        if mean(at(low), layers) > k:
            raise ValueError(
                f"{self.name} keeps at least {math.ceil(mean(at(low), layers))} of {n} tokens per layer in a language "
                f"model of {layers} layers, since all that enter pass the layers before its first cut; got a budget of "
                f"{k}"
            )
        if mean(at(high), layers) <= k:
            return at(high)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if mean(at(middle), layers) <= k else (low, middle)
        return at(low)


def mean(plan: dict[int, int], layers: int) -> float:
    """Visual tokens per layer of a plan, mean over the layers."""
    starts = sorted(plan)
    ends = [*starts[1:], layers]
    return sum(plan[start] * (end - start) for start, end in zip(starts, ends, strict=True)) / layers
