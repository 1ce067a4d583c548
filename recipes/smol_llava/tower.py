"""Stage a, the vision tower: every patch learns what it shows itself, CLS what is anywhere in the image.

A patch also learns its own place. Labels alone make the tower forget it: a linear probe then misses the row of a thing
by 5.6 of 24. The language model reads the patches as one line and would have little else to see neighbours by.

Nothing far may reach a patch, or choosing tokens would be choosing the one that knows. Three things see to it. Labels
speak of the patch alone. What CLS learns shapes the weights through CLS alone: it reads patches whose states take no
gradient from it. And attention of patches to what is more than WINDOW patches away, CLS included, costs. The result is
a plain CLIPVisionModel. `probe.py` measures what is left.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import PRESENT, VOCABULARIES
from smol_llava.build import MEAN, STD, embeddings, encoder_layers

WINDOW = 3  # patches to each side that attention may reach for nothing
PLACE = 16  # waves that say where a patch is
LayerStep = Callable[[nn.Module, Tensor, Tensor, int, Tensor], tuple[Tensor, Tensor, Tensor]]
FIELDS = [1 + len(names) for names in VOCABULARIES.values()]


@dataclass(frozen=True)
class Seen:
    """What the tower makes of a batch of images."""

    patches: Tensor  # (B, N, C) what the projector reads
    cls: Tensor  # (B, C), with no gradient into the patches
    far: Tensor  # (layers,) how much patches attend to what is far: the mean of -log of what stays near


class Heads(nn.Module):
    """Linear heads that the stage throws away: fields of a patch's label, where it is, and what is anywhere."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local = nn.Linear(width, sum(FIELDS))
        self.place = nn.Linear(width, PLACE)
        self.anywhere = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, len(PRESENT)))


def pixels(images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
    """What the processor makes of images (B, edge, edge, 3), (B, 3, edge, edge); with `rng`, brightness and contrast
    vary."""
    values = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    if rng is not None:
        gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(images), 1, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-0.08, 0.08, (len(images), 1, 1, 1)).astype(np.float32))
        values = (values * gain + shift).clamp_(0, 1)
    return (values - MEAN) / STD


def varied(values: Tensor, rng: np.random.Generator) -> Tensor:
    """Images (B, 3, edge, edge) moved by a pixel, and blurred or sharpened: fonts that were never seen differ so."""
    moved = [torch.roll(image, tuple(rng.integers(-1, 2, 2).tolist()), (1, 2)) for image in values]
    still = torch.stack(moved)
    blur = F.avg_pool2d(F.pad(still, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    strength = torch.from_numpy(rng.uniform(-0.5, 0.7, (len(values), 1, 1, 1)).astype(np.float32))
    return still + strength * (blur - still)


def near(grid: int) -> Tensor:
    """Which keys are within WINDOW of which patch, (N, 1 + N); CLS, the first key, never is."""
    line = torch.arange(grid)
    rows, columns = line.repeat_interleave(grid), line.repeat(grid)
    far = torch.maximum((rows[:, None] - rows).abs(), (columns[:, None] - columns).abs())  # (N, N)
    return F.pad(far <= WINDOW, (1, 0), value=False)


def crops(labels: Tensor, grid: int, size: int, rng: np.random.Generator, tries: int = 4) -> Tensor:
    """Patches of one square of `size` x `size` per image, (B, size * size): of a few by chance, that with most on it.

    Args:
        labels: (B, N, fields).
    """
    things = labels[..., 0].unflatten(1, (grid, grid)) > 0  # (B, grid, grid)
    inside = torch.arange(size)[:, None] * grid + torch.arange(size)  # (size, size)
    corners = []
    for thing in things:
        drawn = rng.integers(0, grid - size + 1, (tries, 2)).tolist()
        row, column = max(drawn, key=lambda at: int(thing[at[0] : at[0] + size, at[1] : at[1] + size].sum()))
        corners.append(row * grid + column)
    return torch.tensor(corners)[:, None] + inside.flatten()


def watch(
    tower: CLIPVisionModel, values: Tensor, watched: int, close: Tensor, step: LayerStep, shown: Tensor | None = None
) -> Seen:
    """The tower's forward, with CLS on a path of its own.

    Args:
        values: pixels, (B, 3, edge, edge).
        watched: of how many images the attention is looked at; the others take the faster kernel.
        close: what `near` gives.
        step: `layer_step`, or that compiled.
        shown: the only patches that the tower gets of each image, (B, K), a square of them; None for all.
    """
    inside = getattr(tower, "vision_model", tower)
    x = inside.pre_layrnorm(embeddings(tower)(values))  # (B, 1 + N, C)
    if shown is not None:
        patches = x[:, 1:].gather(1, shown[..., None].expand(-1, -1, x.shape[-1]))
        x = torch.cat([x[:, :1], patches], dim=1)  # (B, 1 + K, C)
    cls, far = x[:, :1], []
    for layer in encoder_layers(tower):
        still = torch.cat([cls, x[:, 1:].detach()], dim=1)
        x, cls, strayed = step(layer, x, still, watched, close)
        far.append(strayed)
    return Seen(x[:, 1:], cls[:, 0], torch.stack(far))


def layer_step(
    layer: nn.Module, x: Tensor, still: Tensor, watched: int, close: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One layer for all tokens, and again for CLS alone over patches that take no gradient."""
    attention = layer.self_attn
    q, k, v = heads_of(attention, layer.layer_norm1(x))
    weights = (q[:watched, :, 1:] @ k[:watched].mT * q.shape[-1] ** -0.5).softmax(-1)  # (watched, heads, N, 1 + N)
    strayed = -torch.log((weights * close).sum(-1) + 1e-9).mean()
    x = finish(layer, x, F.scaled_dot_product_attention(q, k, v))
    q, k, v = heads_of(attention, layer.layer_norm1(still))
    cls = finish(layer, still[:, :1], F.scaled_dot_product_attention(q[:, :, :1], k, v))
    # Patches see the same CLS, but do not teach it.
    return torch.cat([cls.detach(), x[:, 1:]], dim=1), cls, strayed


def heads_of(attention: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values, (B, heads, tokens, C / heads) each."""
    shape = (attention.num_heads, -1)
    return tuple(
        p(x).unflatten(-1, shape).transpose(1, 2) for p in (attention.q_proj, attention.k_proj, attention.v_proj)
    )


def finish(layer: nn.Module, x: Tensor, mixed: Tensor) -> Tensor:
    """What follows the attention in a layer."""
    x = x + layer.self_attn.out_proj(mixed.transpose(1, 2).flatten(2))
    return x + layer.mlp(layer.layer_norm2(x))


def weight_of(labels: Tensor) -> Tensor:
    """Things count ten times as much as background: (B, N, fields) -> (B, N)."""
    return 0.1 + 0.9 * (labels[..., 0] > 0).float()


def place_loss(said: Tensor, labels: Tensor, waves: Tensor, shown: Tensor | None) -> Tensor:
    """Weighted squared error of where patches are.

    Args:
        said: (B, N or K, PLACE).
        labels: (B, N or K, fields).
        waves: `grid_waves` of the whole image, (N, PLACE).
        shown: as in `watch`.
    """
    target = waves if shown is None else waves[shown]  # (N, PLACE) or (B, K, PLACE)
    weight = weight_of(labels)  # (B, N or K)
    return ((said - target).square().mean(-1) * weight).sum() / weight.sum()


def local_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Weighted cross-entropy over the fields.

    Args:
        logits: (B, N, sum of FIELDS).
        labels: (B, N, fields).

    Returns:
        The loss, and of each field how many patches are right and how many have a label, (fields,) each.
    """
    weight = weight_of(labels)  # (B, N)
    total, right, labelled = logits.new_zeros(()), [], []
    for i, part in enumerate(logits.split(FIELDS, dim=-1)):
        loss = F.cross_entropy(part.transpose(1, 2), labels[..., i], reduction="none")
        total = total + (loss * weight).sum() / weight.sum()
        is_labelled = labels[..., i] > 0
        right.append((part.argmax(-1) == labels[..., i])[is_labelled].sum())
        labelled.append(is_labelled.sum())
    return total, torch.stack(right), torch.stack(labelled)
