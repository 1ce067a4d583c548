"""How many tokens are enough for a question: a small head beside the scorer, and the rule that turns it into a count.

Ours. The head reads what the scorer computes before it knows a budget: the question and the visual tokens, projected to
the scorer's width. It predicts the probability that the answer from k tokens is as good as the answer from all,

    p(k) = sigmoid(level + slope log k),  slope > 0.

The rule buys tokens while any larger count is worth its price: with counts c_1 < ... < c_J = n and

    gain_j = (p(c_j+1) - p(c_j)) / (c_j+1 - c_j),    worth_j = max(gain_j, gain_j+1, ...),

a question gets the least c_j whose worth is below the price, the same price for all questions. At a given mean loss
this needs fewer tokens than the same probability for all questions, which spends most on those that no budget helps
(docs/log.md, 2026-11-30). A price of 0 buys all tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from grip_vlm.mdp import State
from grip_vlm.scorer import Reading

HIDDEN = 8


@dataclass(frozen=True)
class Curve:
    """p(k) = sigmoid(level + slope log k) of B questions."""

    level: Tensor  # (B,) float64
    slope: Tensor  # (B,) float64, above 0

    def logits(self, counts: Tensor) -> Tensor:
        """Of counts (J,): (B, J)."""
        return self.level[:, None] + self.slope[:, None] * counts.to(self.level).log()

    def row(self, index: int) -> "Curve":
        """The curve of one question."""
        return Curve(self.level[index : index + 1], self.slope[index : index + 1])


class Head(nn.Module):
    """(Reading, State) -> Curve. It adds less than one percent to a scorer of the default width."""

    def __init__(self, width: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(2 * width, hidden), nn.Linear(hidden, 2)

    def forward(self, reading: Reading, state: State) -> Curve:
        """The curve of every question."""
        return self.curve(features(reading, state))

    def curve(self, seen: Tensor) -> Curve:
        """Of features (B, 2d)."""
        level, slope = self.outer(torch.tanh(self.inner(seen.to(self.inner.weight.dtype)))).double().unbind(-1)
        return Curve(level, nn.functional.softplus(slope) + 1e-3)


def features(reading: Reading, state: State) -> Tensor:
    """Mean of a question's tokens and mean of its visual tokens, as the scorer projects them: (B, 2d)."""

    def mean(values: Tensor, mask: Tensor) -> Tensor:
        weights = mask.to(values.dtype)[:, None]  # (B, 1, M)
        return (weights @ values)[:, 0] / weights.sum(2).clamp(min=1)

    question = mean(reading.question, reading.question_mask)
    return torch.cat([question, mean(reading.visual, state.visual_mask)], dim=-1)


def steps(n: int) -> list[int]:
    """The counts that the rule chooses from: powers of two and the counts halfway between, to 7/8 of n, and n."""
    counts = {base * 2**octave for octave in range(n.bit_length()) for base in (1, 3)}
    return [*sorted(count for count in counts if 8 * count <= 7 * n), n]


def worth(curve: Curve, counts: Tensor) -> Tensor:
    """The most probability per token that a larger count brings, (B, J), for ascending counts (J,).

    It never rises from one count to the next. It is minus infinity at the last, where there is nothing to buy.
    """
    probability = torch.sigmoid(curve.logits(counts))  # (B, J)
    gain = probability.diff(dim=1) / counts.diff()  # (B, J - 1)
    largest = gain.flip(1).cummax(1).values.flip(1) if gain.shape[1] else gain
    return torch.cat([largest, torch.full_like(probability[:, :1], -torch.inf)], dim=1)


def least(curve: Curve, n: int, price: float) -> Tensor:
    """Tokens of n for each question at a price per token, (B,) int64: the least of `steps(n)` whose worth is below it.

    Raises:
        ValueError: the price is negative or not a number.
    """
    if not price >= 0:
        raise ValueError(f"a price is at least 0, got {price}")
    counts = torch.tensor(steps(n), device=curve.level.device)
    return counts[(worth(curve, counts) >= price).sum(1)]
