"""Stage b, the projector alone: what it makes of a patch comes near the words that apply to it.

The language model is not run; its embeddings are enough. Without this stage answers stayed at chance (docs/log.md).
"""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, LlavaConfig, PreTrainedTokenizerBase

from smol_llava.build import build_projector
from smol_llava.loop import Plan, Step, run
from smol_llava.tower import pixels
from smol_llava.train_tower import batch
from smol_llava.words import naming_loss, word_points

RATE = 2e-3


class Projector(nn.Module):
    """LLaVA's projector, with an output of the size of word embeddings."""

    def __init__(self, config: LlavaConfig, words: Tensor, seed: int) -> None:
        """
        Args:
            words: the language model's embeddings, (vocabulary, D).
        """
        super().__init__()
        self.layers = build_projector(config, seed)
        self.register_buffer("size", words.detach().float().std(), persistent=False)

    def forward(self, patches: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D)."""
        out: Tensor = self.layers(patches) * self.size
        return out

    def plain(self) -> dict[str, Tensor]:
        """The weights of a plain projector that does the same."""
        weights = {name: weight.detach().clone() for name, weight in self.layers.state_dict().items()}
        for name in ("linear_2.weight", "linear_2.bias"):
            weights[name] *= self.size
        return weights


@torch.no_grad()
def features(tower: CLIPVisionModel, values: Tensor) -> Tensor:
    """What the projector reads, (B, N, C)."""
    hidden: Tensor = tower(values, output_hidden_states=True).hidden_states[-1]
    return hidden[:, 1:]


def align(
    plan: Plan,
    tower: CLIPVisionModel,
    projector: Projector,
    words: Tensor,
    tokenizer: PreTrainedTokenizerBase,
    images: int,
    seed: int,
) -> None:
    """Train the projector in place; goes on where the plan's state is.

    Args:
        words: the language model's embeddings, (vocabulary, D).
        images: in a batch.
    """
    points = word_points(words, tokenizer)

    def step_of(number: int) -> Step:
        rng = np.random.default_rng([seed, 2, number])
        values, labels, _ = batch("train", number * images, images)
        loss = naming_loss(projector(features(tower, pixels(values, rng))), points, labels)
        return Step(loss, lambda: f"naming {loss:.4f}")

    optimizer = torch.optim.AdamW(projector.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    run(plan, {"projector": projector}, {"adamw": optimizer}, step_of)
