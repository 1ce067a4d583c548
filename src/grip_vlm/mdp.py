"""The nouns of the decision process: State, Schedule, Action.

The agent keeps k of N visual tokens. It picks them one after another without replacement, because the value of a token
depends on the tokens already kept. The reward comes at the end.

Letters, here and everywhere: B pairs of image and question, N visual tokens (padded), M question tokens (padded), L
tokens of the full prompt (padded), D width of the language model, G group size, k tokens kept.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class State:
    """s: what the scorer sees. Everything comes from the frozen VLM before its language model runs."""

    visual: Tensor  # (B, N, D) visual tokens after the projector
    visual_mask: Tensor  # (B, N) bool, False is padding
    places: Tensor  # (B, N, 2) row and column of each token in its image, in [0, 1]
    image: Tensor  # (B, N) which image of its sample a token belongs to, 0-based
    question: Tensor  # (B, M, D) token embeddings of the question; M may be 0
    question_mask: Tensor  # (B, M) bool

    def __post_init__(self) -> None:
        b, n, d = self.visual.shape
        shapes = {
            "visual_mask": (b, n),
            "places": (b, n, 2),
            "image": (b, n),
            "question": (b, self.question.shape[1], d),
            "question_mask": (b, self.question.shape[1]),
        }
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"State.{name} is {tuple(getattr(self, name).shape)}, but should be {shape}")

    @property
    def counts(self) -> Tensor:
        """Visual tokens of each sample, (B,)."""
        return self.visual_mask.sum(1)

    def to(self, device: torch.device | str) -> "State":
        return replace(self, **{field.name: getattr(self, field.name).to(device) for field in fields(self)})


@dataclass(frozen=True)
class Schedule:
    """Which visual tokens leave inside the language model: before which layers, how many stay, and who ranks them."""

    keep: dict[int, Tensor]  # layer, at least 1 -> (B,) visual tokens that enter it and the layers after it
    queries: Tensor  # (B, L) bool, tokens of the full prompt whose attention to the visual tokens ranks them
    early: int = 0
    """the rank is read this many layers before the layer that the dropped tokens no longer enter"""


@dataclass(frozen=True)
class Action:
    """a: the subset that enters the language model, as a mask, and what happens to it afterwards."""

    mask: Tensor  # (B, N) bool
    features: Tensor | None = None  # (B, N, D) in place of the kept tokens' own features; None leaves them alone
    schedule: Schedule | None = None  # tokens that leave before later layers; None if none do

    @property
    def kept(self) -> Tensor:
        """Visual tokens that enter the language model, (B,)."""
        return self.mask.sum(1)

    def kept_per_layer(self, layers: int) -> Tensor:
        """Visual tokens per layer of the language model, mean over layers, (B,) float64. Methods are compared by it."""
        keep = {0: self.kept} | (self.schedule.keep if self.schedule else {})
        starts = sorted(keep)
        ends = [*starts[1:], layers]
        passing = [keep[start] * (end - start) for start, end in zip(starts, ends, strict=True)]
        return torch.stack(passing).sum(0).double() / layers

    def indices(self, row: int = 0) -> list[int]:
        """Kept tokens of one sample, in their original order."""
        return [int(i) for i in self.mask[row].nonzero()[:, 0]]
