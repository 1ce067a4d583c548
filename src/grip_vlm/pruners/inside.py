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
    """A method defines where its cuts are, how many tokens pass each cut, and which tokens rank them."""

    depths: ClassVar[tuple[Fraction, ...]]
    """cuts as shares of the layers, ascending; 0 is before the language model"""
    early: ClassVar[int] = 0
    """the rank is read this many layers before a cut"""

    @abstractmethod
    def shares(self, scale: float) -> list[float]:
        """Share of the visual tokens that passes each cut. It grows with scale from about 0; above 1 means all."""

    def queries(self, encoded: Encoded) -> Tensor:
        """Tokens of the full prompt whose attention ranks the visual tokens, (B, L) bool. Default: the last one.

        They must be among `encoded.readers`, because a token attends only to what stands before it.
        """
        queries = torch.zeros_like(encoded.prompt.input_ids, dtype=torch.bool)
        queries[:, -1] = True
        return queries

    def enter(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        """The tokens that enter the language model: k (B,) of each sample, or all if no cut is before it."""
        return Action(encoded.state.visual_mask)

    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        state = encoded.state
        if not (state.question_mask.any(1) & encoded.readers.any(1)).all():
            raise ValueError("tokens inside the language model are ranked by the text after the image; a row has none")
        layers = vlm.model.config.get_text_config().num_hidden_layers
        plans = [self.plan(n, keep, layers) for n, keep in zip(state.counts.tolist(), k.tolist(), strict=True)]
        keep = {layer: torch.tensor([plan[layer] for plan in plans], device=vlm.device) for layer in plans[0]}
        entering = self.enter(vlm, encoded, keep.pop(0))
        return Action(entering.mask, entering.features, Schedule(keep, self.queries(encoded), self.early))

    def plan(self, n: int, k: int, layers: int) -> dict[int, int]:
        """Layer -> how many of n visual tokens enter it and the layers after it, for k tokens per layer in the mean.

        Raises:
            ValueError: k is below what the method can reach.
        """
        cuts = [min(max(1, round(layers * depth)), layers - 1) if depth else 0 for depth in self.depths]

        def scaled(scale: float) -> dict[int, int]:
            shares = self.shares(scale)
            return {0: n} | {c: min(max(1, int(n * s)), n) for c, s in zip(cuts, shares, strict=True)}

        low, high = 0.0, 4.0  # almost nothing, and more than all at every cut
        if (least := mean(scaled(low), layers)) > k:
            raise ValueError(
                f"{self.name} keeps at least {math.ceil(least)} of {n} tokens per layer in a language model of "
                f"{layers} layers, because every token that enters passes the layers before its first cut; got a "
                f"budget of {k}"
            )
        if mean(scaled(high), layers) <= k:
            return scaled(high)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if mean(scaled(middle), layers) <= k else (low, middle)
        return scaled(low)


def mean(plan: dict[int, int], layers: int) -> float:
    """Visual tokens per layer of a plan, mean over the layers."""
    starts = sorted(plan)
    ends = [*starts[1:], layers]
    return sum(plan[start] * (end - start) for start, end in zip(starts, ends, strict=True)) / layers
