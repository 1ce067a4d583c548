"""Methods that let tokens leave inside the language model: a schedule for any budget, and how it is run.

A budget is the mean number of visual tokens per layer, over all layers. A method is a curve of schedules, from every
token to hardly any; the one with the most tokens whose mean is within the budget is run, which is less than a token
below it. Layers before the first cut see every token that enters, so budgets below that share of the layers cannot be
met. They are refused: a row that used more tokens than its budget names would flatter the method.

Cuts are placed by their share of the depth in the paper, at layer 1 or later. Cuts that fall together in a shallow
model are one, to the count of the last.
"""

import math
from abc import abstractmethod
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, NoReturn

import torch
from torch import Tensor

from grip_vlm.inside import Schedule, leaving
from grip_vlm.mdp import Action
from grip_vlm.pruners._pruner import Said
from grip_vlm.pruners._untrained import Untrained

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM


class Inside(Untrained):
    """A file of this kind says where the cuts are, how many tokens pass each, and which tokens rank them."""

    depths: ClassVar[tuple[Fraction, ...]]
    """cuts as shares of the layers, rising; 0 is before the language model"""
    early: ClassVar[int] = 0
    """how many layers before a cut the rank is read"""

    @abstractmethod
    def shares(self, scale: float) -> list[float]:
        """Shares of the visual tokens that pass each cut: rising with scale, about 0 at 0; above 1 is all."""

    def asks(self, encoded: "Encoded", length: int) -> Tensor:
        """Which tokens of the prompt rank the visual ones, (B, length): the last one."""
        rows = len(encoded.prompt.input_ids)
        return (torch.arange(length) == length - 1).expand(rows, -1).to(encoded.prompt.input_ids.device)

    def enter(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> Action:
        """The k (B,) tokens that enter the language model: all, where no cut is before it."""
        return Action(encoded.state.visual_mask)

    def select(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> NoReturn:
        name = type(self).__module__.rpartition(".")[2]
        raise ValueError(
            f"{name} prunes inside the language model, which inputs alone cannot express; use "
            f"vlm.answer(image, question, pruner, budget), or its respond() in place of prune() and generate()"
        )

    @torch.no_grad()
    def respond(
        self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor, max_new_tokens: int, min_new_tokens: int = 0
    ) -> Said:
        state = encoded.state
        if not state.question_mask.any(1).all():
            raise ValueError("tokens inside the language model are ranked by the text after the image; a row has none")
        layers = vlm.model.config.get_text_config().num_hidden_layers
        plans = [self.plan(n, keep, layers) for n, keep in zip(state.counts.tolist(), k.tolist(), strict=True)]
        keep = {at: torch.tensor([plan[at] for plan in plans], device=vlm.device) for at in plans[0]}
        entering = keep.pop(0)
        action = self.enter(vlm, encoded, entering)
        inputs = vlm.pruned(encoded.prompt, action, forward=False)
        ids = inputs["input_ids"]
        visual = vlm.placeholders(ids, "image") | vlm.placeholders(ids, "video")  # (B, S)
        schedule = Schedule(keep, self.asks(encoded, ids.shape[1]), self.early)
        with leaving(vlm.model, encoded.prompt, inputs, visual, schedule) as walk:
            texts = vlm.generate(inputs, max_new_tokens, min_new_tokens)
        last = torch.zeros_like(action.mask)
        last[action.mask] = walk.survivors()[visual]
        means = torch.tensor([mean(plan, layers) for plan in plans])
        return Said(texts, Action(last), entering, means)

    def plan(self, n: int, k: int, layers: int) -> dict[int, int]:
        """Layer -> visual tokens of n from it on; 0 is what enters the language model.

        Raises:
            ValueError: fewer tokens per layer than the method can keep.
        """
        cuts = [min(max(1, round(layers * depth)), layers - 1) if depth else 0 for depth in self.depths]

        def at(scale: float) -> dict[int, int]:
            shares = self.shares(scale)
            return {0: n} | {c: min(max(1, int(n * s)), n) for c, s in zip(cuts, shares, strict=True)}

        low, high = 0.0, 4.0  # hardly any, and more than all at every cut
        if mean(at(low), layers) > k:
            name, least = type(self).__module__.rpartition(".")[2], math.ceil(mean(at(low), layers))
            raise ValueError(
                f"{name} keeps at least {least} of {n} tokens per layer in a language model of {layers} layers, since "
                f"all that enter pass those before its first cut; got a budget of {k}"
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
