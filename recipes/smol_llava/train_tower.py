"""Stage a as it is run: batches of fresh scenes, Muon for the matrices inside the layers, accuracy on dev."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import VOCABULARIES, compose
from grip_vlm.benchmarks.spread.labels import present
from smol_llava.build import TowerSize, build_tower, grid_waves
from smol_llava.loop import Plan, Step, run
from smol_llava.tower import (
    FIELDS,
    PLACE,
    Heads,
    crops,
    layer_step,
    local_loss,
    near,
    pixels,
    place_loss,
    varied,
    watch,
)
from tiny_llava.muon import Muon

RATE = 3e-3
FAR = 1.0  # weight of attention to what is far
WHERE = 1.0  # weight of the patch's own place
CLS = 0.3  # weight of what CLS says
CROPPED = 0.85  # share of the steps, the first ones, that show quarters of images


def batch(split: str, first: int, count: int) -> tuple[np.ndarray, Tensor, Tensor]:
    """Scenes first, first + 1, ...: images (B, 192, 192, 3), labels (B, 576, fields), what is anywhere (B, present)."""
    scenes = [compose(split, index) for index in range(first, first + count)]
    labels = np.stack([scene.labels for scene in scenes]).reshape(count, -1, len(FIELDS))
    anywhere = torch.from_numpy(np.stack([scene.present for scene in scenes])).float()
    return np.stack([scene.pixels for scene in scenes]), torch.from_numpy(labels).long(), anywhere


def optimizers(modules: dict[str, nn.Module]) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    named = [(name, p) for module in modules.values() for name, p in module.named_parameters() if p.requires_grad]
    inner = [p for name, p in named if p.ndim == 2 and ".layers." in name]
    outer = [p for name, p in named if not (p.ndim == 2 and ".layers." in name)]
    adamw = torch.optim.AdamW(outer, lr=RATE, betas=(0.9, 0.95), weight_decay=0.01)
    return {"muon": Muon(inner, lr=RATE), "adamw": adamw}


def train_tower(plan: Plan, size: TowerSize, images: int, seed: int, fast: bool = True) -> CLIPVisionModel:
    """The trained tower; goes on where the plan's state is.

    Most steps show a quarter of each image, which costs a quarter and is enough for what is local; the others show half
    as many images whole.

    Args:
        images: in a batch; the attention of an eighth of them is looked at.
        fast: compile the layers, which takes a minute first.
    """
    tower, heads = build_tower(size, seed), Heads(size.width)
    for name, parameter in tower.named_parameters():
        if "post_layernorm" in name:  # nothing reads it
            parameter.requires_grad_(False)
    layer = torch.compile(layer_step, dynamic=False) if fast else layer_step
    part, window, whole = size.grid // 2, near(size.grid // 2), near(size.grid)
    waves = grid_waves(size.grid, PLACE)  # (N, PLACE)

    def step_of(number: int) -> Step:
        rng, cropped = np.random.default_rng([seed, 1, number]), number < CROPPED * plan.steps
        count = images if cropped else images // 2
        values, labels, anywhere = batch("train", number * images, count)
        shown = None
        if cropped:
            shown = crops(labels, size.grid, part, rng)
            labels = labels.gather(1, shown[..., None].expand(-1, -1, len(FIELDS)))
            anywhere = torch.from_numpy(np.stack([present(one) for one in labels.numpy()])).float()
        seen = watch(
            tower, varied(pixels(values, rng), rng), max(1, images // 8), window if cropped else whole, layer, shown
        )
        loss, right, labelled = local_loss(heads.local(seen.patches), labels)
        cls = F.binary_cross_entropy_with_logits(heads.anywhere(seen.cls), anywhere)
        place = place_loss(heads.place(seen.patches), labels, waves, shown)
        far = seen.far.mean()
        fields = " ".join(shares(right, labelled))
        total = loss + WHERE * place + CLS * cls + FAR * far
        return Step(total, lambda: f"local {loss:.3f} place {place:.4f} cls {cls:.4f} far {far:.5f} {fields}")

    modules: dict[str, nn.Module] = {"tower": tower, "heads": heads}
    run(plan, modules, optimizers(modules), step_of, lambda number: accuracy(tower, heads, "dev", 48))
    return tower.eval().requires_grad_(False)


def shares(right: Tensor, labelled: Tensor) -> Iterator[str]:
    """The accuracy of each field."""
    for name, good, of in zip(VOCABULARIES, right.tolist(), labelled.tolist(), strict=True):
        yield f"{name}={good / max(of, 1):.3f}"


@torch.no_grad()
def accuracy(tower: CLIPVisionModel, heads: Heads, split: str, count: int, each: int = 24) -> str:
    """Accuracy of local labels on patches that have one, by field and over all; and how well CLS says what is there."""
    right, labelled = torch.zeros(len(FIELDS)), torch.zeros(len(FIELDS))
    hits = torch.zeros(3)  # there and predicted, predicted, there
    for first in range(0, count, each):
        values, labels, anywhere = batch(split, first, each)
        hidden = tower(pixels(values), output_hidden_states=True).hidden_states[-1]  # (B, 1 + N, C)
        _, good, of = local_loss(heads.local(hidden[:, 1:]), labels)
        right, labelled = right + good, labelled + of
        predicted = heads.anywhere(hidden[:, 0]) > 0
        hits += torch.stack([(predicted * anywhere).sum(), predicted.sum(), anywhere.sum()])
    mean = right[:-1].sum() / labelled[:-1].sum()  # the ground is not of interest
    cls = f"CLS precision {hits[0] / hits[1]:.3f} recall {hits[0] / hits[2]:.3f}"
    return f"{split} labels {mean:.4f} {' '.join(shares(right, labelled))} {cls}"
