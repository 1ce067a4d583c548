"""The budget-aware scorer: the lightweight agent that says how much every visual token matters, and what repeats what.

Ours, since the paper's is not public: tokens are projected to a small width, mix with each other, look
at the question, and are modulated by the budget. The modulation starts at zero: an untrained scorer ranks alike for
every budget, and training departs from that only where it pays. sequential.py turns what it says into a choice.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from grip_vlm.mdp import State

Blind = Literal["nothing", "budget", "question"]


@dataclass(frozen=True)
class ScorerConfig:
    """The shape of a scorer; saved beside its weights."""

    dim: int
    """width D of the VLM's language model"""
    width: int = 96
    """width of the scorer"""
    heads: int = 2
    blocks: int = 1
    """mixing blocks over the visual tokens"""
    frequencies: int = 8
    """sine and cosine pairs per coordinate in the 2-D position code"""
    aversion: float = 4.0
    """what a token loses, before training, per unit of cosine with one already kept; 0 for never anything"""
    one_pass: bool = False
    """choose by `sequential.discounted`, as relaxations are trained, instead of one token after another"""
    blind_to: Blind = "nothing"
    """what is hidden from the scorer (recipes/ablations.py)"""

    def __post_init__(self) -> None:
        if min(self.dim, self.width, self.heads, self.blocks, self.frequencies) < 1 or self.width % self.heads:
            raise ValueError(f"a scorer needs positive sizes and a width divisible by its heads, got {self}")
        if self.aversion < 0:
            raise ValueError(f"aversion must be at least 0, got {self.aversion}")
        if self.blind_to not in get_args(Blind):
            raise ValueError(f"blind_to must be one of {', '.join(get_args(Blind))}, got {self.blind_to!r}")


class Scores(NamedTuple):
    """What a scorer says of B samples."""

    importance: Tensor  # (B, N) float32, -inf for padding
    aversion: Tensor  # (B, N) float32, what a token loses per unit of cosine with one already kept
    keys: Tensor  # (B, N, d) float32 unit vectors: their cosines say how much tokens repeat each other


class Attention(nn.Module):
    """Multi-head attention that copes with rows whose keys are all padding (a question of no tokens gives zeros)."""

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
        some = mask.any(1)[:, None, None]  # (B, 1, 1)
        seen = (mask[:, None] | ~some)[:, None]  # (B, 1, 1, M): rows without a key see all, and are zeroed below
        y = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        out: Tensor = self.out(y.transpose(1, 2).flatten(2)) * some
        return out


class Block(nn.Module):
    """Tokens mix, look at the question, and pass a feed-forward layer; each step is modulated by the budget."""

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
    """(State, k) -> Scores; works for any N and any number of images, with or without a question."""

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
        said = nn.Linear(width, 2)  # importance and the logarithm of aversion
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), said)
        self.keys = nn.Linear(width, width, bias=False)
        # An untrained scorer averts every repetition alike, of tokens as they were projected.
        nn.init.zeros_(said.weight[1])
        nn.init.zeros_(said.bias[1:])
        nn.init.eye_(self.keys.weight)

    def forward(self, state: State, k: Tensor) -> Scores:
        """What every visual token is worth, alone and beside others.

        Args:
            state: B samples, in the VLM's own precision; the scorer computes in its weights' precision.
            k: (B,) tokens to keep.

        Raises:
            ValueError: the VLM's width is not the one this scorer was built for.
        """
        if state.visual.shape[-1] != self.config.dim:
            raise ValueError(
                f"this scorer reads tokens of width {self.config.dim}, the VLM's are {state.visual.shape[-1]}"
            )
        if self.config.blind_to == "budget":
            k = torch.ones_like(k)
        elif self.config.blind_to == "question":
            state = replace(state, question_mask=torch.zeros_like(state.question_mask))
        kind = self.visual.weight.dtype
        # Which image a token belongs to is a third coordinate; the code is computed in float32 and rounded last.
        where = torch.cat([state.places.float(), state.image[..., None].float() / 32], dim=-1)  # (B, N, 3)
        places = fourier(where, self.config.frequencies).to(kind)  # (B, N, 6F)
        visual = self.visual(self.visual_norm(state.visual.to(kind)))  # (B, N, d)
        question = self.question(self.question_norm(state.question.to(kind)))  # (B, M, d)
        order = torch.arange(question.shape[1], device=question.device, dtype=torch.float32)
        question = question + sinusoids(order, question.shape[-1]).to(kind)
        normed = self.word_norm(question)
        question = question + self.words(normed, normed, state.question_mask)
        n = state.counts.to(torch.float32)
        share = torch.stack([torch.log(k / n), torch.log(k.float()) / 8, torch.log(n) / 8], dim=-1)  # (B, 3)
        budget = self.budget(share.to(kind))
        x = visual + self.place(places)
        for block in self.blocks:
            x = block(x, state.visual_mask, question, state.question_mask, budget)
        importance, reluctance = self.head(x).float().unbind(-1)  # (B, N) each
        return Scores(
            importance.masked_fill(~state.visual_mask, -torch.inf),
            self.config.aversion * reluctance.exp(),
            nn.functional.normalize(self.keys(visual).float(), dim=-1),
        )


def fourier(places: Tensor, frequencies: int) -> Tensor:
    """Sines and cosines of (B, N, C) coordinates in [0, 1], (B, N, 2 C F)."""
    waves = math.pi * 2 ** torch.linspace(0, 5, frequencies, device=places.device, dtype=torch.float32)
    angles = (places[..., None] * waves).flatten(-2)  # (B, N, C F)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sinusoids(order: Tensor, width: int) -> Tensor:
    """The position code of question tokens, (M, width)."""
    waves = torch.exp(-math.log(1000.0) * torch.arange(0, width, 2, device=order.device) / width)
    angles = order[:, None] * waves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]
