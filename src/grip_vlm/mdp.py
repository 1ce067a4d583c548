"""The nouns of the decision process: State, Action, Group.

The agent picks k of N visual tokens, one after another without replacement: what a token is worth depends on those
already kept. The reward comes at the end.

Letters, here and everywhere: B pairs of image and question, N visual tokens (padded), M question tokens (padded),
D width of the language model, G group size, k tokens kept.
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
class Action:
    """a: the subset kept, as a mask; `features` replaces the kept tokens' features where a method computes its own."""

    mask: Tensor  # (B, N) bool
    features: Tensor | None = None  # (B, N, D), a row for every row of the mask, or None

    @property
    def kept(self) -> Tensor:
        """(B,) tokens kept."""
        return self.mask.sum(1)

    def indices(self, row: int = 0) -> list[int]:
        """Kept tokens of one sample, in their original order."""
        return [int(i) for i in self.mask[row].nonzero()[:, 0]]


@dataclass(frozen=True)
class Group:
    """G subsets for the same image, question and budget, with what they earned."""

    mask: Tensor  # (B, G, N) bool
    reward: Tensor  # (B, G)
