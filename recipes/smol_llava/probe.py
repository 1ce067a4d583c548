"""What one patch's features tell of things elsewhere: a probe, and what is called chance.

A small network is asked, from the features of a single patch, for something that stands at least FAR patches away or
concerns the whole image. Chance is what the same network reaches when it is given a patch of another image: the base
rate, and whatever the network makes of noise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import GRID, Scene, compose
from smol_llava.align import features
from smol_llava.tower import pixels

FAR = 8  # patches between a patch and what it must not know
MARGIN = 0.05  # of accuracy above chance: what the tower may know at most


@dataclass(frozen=True)
class Probed:
    """Accuracies on scenes that the probe was not trained on."""

    name: str
    single: float
    """from one patch"""
    chance: float
    """from a patch of another image"""
    own: float
    """the same question about the patch itself, to show that the probe can read"""

    @property
    def leak(self) -> float:
        return self.single - self.chance


def farthest(scene: Scene, patch: int, rng: np.random.Generator) -> int | None:
    """The patch of a thing with a colour, drawn among those at least FAR away from `patch`."""
    row, column = divmod(patch, GRID)
    rows, columns = np.divmod(np.arange(GRID * GRID), GRID)
    away = np.maximum(abs(rows - row), abs(columns - column)) >= FAR
    found = np.flatnonzero(away & (scene.labels.reshape(GRID * GRID, -1)[:, 2] > 0))
    return int(rng.choice(found)) if len(found) else None


@dataclass(frozen=True)
class Sample:
    """One patch of each of many scenes."""

    features: Tensor  # (n, C)
    own: Tensor  # (n,) the colour of the patch
    far_colour: Tensor  # (n,) the colour of a patch far away
    far_part: Tensor  # (n,) what is on it
    things: Tensor  # (n,) how many things the scene has, in five bins


@torch.no_grad()
def sample(tower: CLIPVisionModel, split: str, count: int, each: int = 4) -> Sample:
    """`each` patches with a colour from each of `count` scenes, and what is far from them."""
    rows: list[tuple[Tensor, int, int, int, int]] = []
    for index in range(count):
        scene, rng = compose(split, index, seed=5), np.random.default_rng(index)
        labels = scene.labels.reshape(GRID * GRID, -1)
        seen = features(tower, pixels(scene.pixels[None]))[0]
        coloured = np.flatnonzero(labels[:, 2] > 0)
        for patch in rng.choice(coloured, min(each, len(coloured)), replace=False):
            other = farthest(scene, int(patch), rng)
            if other is not None:
                things = min(len(scene.things) // 4, 4)
                rows.append((seen[patch], labels[patch, 2], labels[other, 2], labels[other, 0], things))
    told = [torch.tensor([int(row[i]) for row in rows]) for i in range(1, 5)]
    return Sample(torch.stack([row[0] for row in rows]), *told)


def accuracy(train: Tensor, said: Tensor, test: Tensor, truth: Tensor, steps: int = 400) -> float:
    """Of a network with one hidden layer, trained on (n, C) -> (n,), on others."""
    torch.manual_seed(0)
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    classes = int(torch.cat([said, truth]).max()) + 1
    net = nn.Sequential(nn.Linear(train.shape[1], 64), nn.GELU(), nn.Linear(64, classes))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(train), (256,))
        loss = F.cross_entropy(net((train[chosen] - mean) / deviation), said[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return (net((test - mean) / deviation).argmax(-1) == truth).float().mean().item()


def probe(tower: CLIPVisionModel, scenes: int = 1500, tested: int = 500) -> list[Probed]:
    """The colour and part of something far away, and the number of things, from single patches."""
    train, test = sample(tower, "train", scenes), sample(tower, "dev", tested)
    shuffled = torch.randperm(len(train.features), generator=torch.Generator().manual_seed(1))
    mixed = torch.randperm(len(test.features), generator=torch.Generator().manual_seed(2))
    own = accuracy(train.features, train.own, test.features, test.own)
    found = []
    for name in ("far_colour", "far_part", "things"):
        said, truth = getattr(train, name), getattr(test, name)
        single = accuracy(train.features, said, test.features, truth)
        chance = accuracy(train.features[shuffled], said, test.features[mixed], truth)
        found.append(Probed(name, single, chance, own))
    return found
