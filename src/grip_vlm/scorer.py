"""The budget-aware scorer: a small network that rates the importance and the redundancy of every visual token.

Ours, because the paper's scorer is not public. Tokens are projected to a small width, attend to each other and to the
question, and are modulated by the budget. The modulation starts at zero, so an untrained scorer ranks tokens the same
way for every budget. `policy.py` turns its scores into a subset.
"""

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from grip_vlm.mdp import State

Blind = Literal["nothing", "budget", "question"]


@dataclass(frozen=True)
class ScorerConfig:
    """The architecture of a scorer, saved with its weights."""

    dim: int
    """Width D of the VLM's language model."""
    width: int = 96
    """Width of the scorer."""
    heads: int = 2
    blocks: int = 1
    """Transformer blocks over the visual tokens."""
    frequencies: int = 8
    """Sine and cosine pairs per coordinate in the position code."""
    aversion: float = 4.0
    """Redundancy penalty at initialisation: logits lost per unit of cosine with a kept token; 0 switches it off."""
    one_pass: bool = False
    """Select all tokens at once from redundancy-discounted scores (as the relaxation baselines are trained) instead of
    one at a time."""
    blind_to: Blind = "nothing"
    """Input that is hidden from the scorer, for the ablations (recipes/ablations.py)."""

    def __post_init__(self) -> None:
        if min(self.dim, self.width, self.heads, self.blocks, self.frequencies) < 1 or self.width % self.heads:
            raise ValueError(f"a scorer needs positive sizes and a width divisible by its heads, got {self}")
        if self.aversion < 0:
            raise ValueError(f"aversion must be at least 0, got {self.aversion}")
        if self.blind_to not in get_args(Blind):
            raise ValueError(f"blind_to must be one of {', '.join(get_args(Blind))}, got {self.blind_to!r}")


class Scores(NamedTuple):
    """The output of a scorer for B samples."""

    importance: Tensor  # (B, N) float32, -inf for padding
    aversion: Tensor  # (B, N) float32, logits lost per unit of cosine with a kept token
    keys: Tensor  # (B, N, d) float32 unit vectors; redundancy is their cosine


class Reading(NamedTuple):
    """What a scorer sees before it knows a budget, at its own width d."""

    visual: Tensor  # (B, N, d)
    question: Tensor  # (B, M, d)
    question_mask: Tensor  # (B, M) bool


class Attention(nn.Module):
    """Multi-head attention. Rows whose keys are all padding, such as an empty question, give zeros."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor) -> Tensor:
        """x (B, N, d), context (B, M, d), mask (B, M) bool -> (B, N, d)."""
        if context.shape[1] == 0:
            return torch.zeros_like(x)
        q, k, v = (
            layer(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer, y in ((self.query, x), (self.key, context), (self.value, context))
        )
        has_keys = mask.any(1)[:, None, None]  # (B, 1, 1)
        # Rows without a key attend to all padding, which avoids NaN, and are zeroed below.
        attention_mask = (mask[:, None] | ~has_keys)[:, None]  # (B, 1, 1, M)
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2)) * has_keys
        return out


class Block(nn.Module):
    """Self-attention, cross-attention to the question and a feed-forward layer, each modulated by the budget."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(3))
        self.mix = Attention(width, heads)
        self.ask = Attention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, mask: Tensor, question: Tensor, question_mask: Tensor, budget: Tensor) -> Tensor:
        scales = self.modulation(budget)[:, None].chunk(6, dim=-1)  # 6 of (B, 1, d)

        def normed(step: int) -> Tensor:
            y: Tensor = self.norms[step](x) * (1 + scales[2 * step]) + scales[2 * step + 1]
            return y

        mixed = normed(0)
        x = x + self.mix(mixed, mixed, mask)
        x = x + self.ask(normed(1), question, question_mask)
        out: Tensor = x + self.feed(normed(2))
        return out


class Scorer(nn.Module):
    """(State, k) -> Scores, for any N and any number of images, with or without a question."""

    def __init__(self, config: ScorerConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.visual_norm, self.question_norm = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.visual, self.question = nn.Linear(config.dim, width), nn.Linear(config.dim, width)
        self.place = nn.Linear(6 * config.frequencies, width)
        self.word_norm = nn.LayerNorm(width)
        self.words = Attention(width, config.heads)
        self.budget = nn.Sequential(nn.Linear(3, width), nn.SiLU())
        self.blocks = nn.ModuleList(Block(width, config.heads) for _ in range(config.blocks))
        output = nn.Linear(width, 2)  # importance and the logarithm of aversion relative to its initial value
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), output)
        self.keys = nn.Linear(width, width, bias=False)
        # At initialisation every token has the same redundancy penalty, and redundancy is the cosine of the projected
        # features.
        nn.init.zeros_(output.weight[1])
        nn.init.zeros_(output.bias[1:])
        nn.init.eye_(self.keys.weight)

    def read(self, state: State) -> Reading:
        """The question and the visual tokens, projected.

        Args:
            state: B samples in the VLM's precision. The scorer computes in the precision of its weights.

        Raises:
            ValueError: the VLM's width differs from `config.dim`.
        """
        if state.visual.shape[-1] != self.config.dim:
            raise ValueError(
                f"this scorer reads tokens of width {self.config.dim}, the VLM's are {state.visual.shape[-1]}"
            )
        dtype, mask = self.visual.weight.dtype, state.question_mask
        if self.config.blind_to == "question":
            mask = torch.zeros_like(mask)
        visual = self.visual(self.visual_norm(state.visual.to(dtype)))  # (B, N, d)
        question = self.question(self.question_norm(state.question.to(dtype)))  # (B, M, d)
        order = torch.arange(question.shape[1], device=question.device, dtype=torch.float32)
        question = question + sinusoids(order, question.shape[-1]).to(dtype)
        normed = self.word_norm(question)
        return Reading(visual, question + self.words(normed, normed, mask), mask)

    def forward(self, state: State, k: Tensor, reading: Reading | None = None) -> Scores:
        """Importance, aversion and key of every visual token.

        Args:
            state: as in `read`.
            k: (B,) tokens to keep.
            reading: what `read` gave for this state, if it is known already.

        Raises:
            ValueError: see `read`.
        """
        visual, question, question_mask = self.read(state) if reading is None else reading
        if self.config.blind_to == "budget":
            k = torch.ones_like(k)
        dtype = visual.dtype
        # The image's index is a third coordinate. The code is computed in float32 and rounded last.
        coordinates = torch.cat([state.places.float(), state.image[..., None].float() / 32], dim=-1)  # (B, N, 3)
        places = fourier(coordinates, self.config.frequencies).to(dtype)  # (B, N, 6F)
        n = state.counts.to(torch.float32)
        log_sizes = torch.stack([torch.log(k / n), torch.log(k.float()) / 8, torch.log(n) / 8], dim=-1)  # (B, 3)
        budget = self.budget(log_sizes.to(dtype))
        x = visual + self.place(places)
        for block in self.blocks:
            x = block(x, state.visual_mask, question, question_mask, budget)
        importance, log_aversion = self.head(x).float().unbind(-1)  # (B, N) each
        return Scores(
            importance.masked_fill(~state.visual_mask, -torch.inf),
            self.config.aversion * log_aversion.exp(),
            nn.functional.normalize(self.keys(visual).float(), dim=-1),
        )


def fourier(coordinates: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines at F frequencies of (B, N, C) coordinates in [0, 1]: (B, N, 2 C F)."""
    waves = math.pi * 2 ** torch.linspace(0, 5, frequencies, device=coordinates.device, dtype=torch.float32)
    angles = (coordinates[..., None] * waves).flatten(-2)  # (B, N, C F)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sinusoids(order: Tensor, width: int) -> Tensor:
    """The sinusoidal position code of question tokens at positions (M,): (M, width)."""
    waves = torch.exp(-math.log(1000.0) * torch.arange(0, width, 2, device=order.device) / width)
    angles = order[:, None] * waves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]
