"""What one patch's features tell of things elsewhere: a probe, and what the patch may tell by itself.

A small network is asked, from the features of a single patch, for the colour and part of something at least FAR patches
away, and for the number of things in the image. What is on a patch and around it allows a guess: a bar is seldom alone,
and signs of one image differ in colour. So the same network is also given the patch from a spliced image, in which all
that is FAR away or farther was exchanged for another scene's. What the true image tells beyond that is the leak.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPVisionModel

from grip_vlm.benchmarks.spread import GRID, PATCH, Scene, compose
from smol_llava.align import features
from smol_llava.tower import pixels

FAR = 8  # patches between a patch and what it must not know
MARGIN = 0.05  # of accuracy: the most that the true image may tell beyond the spliced one
PART, COLOUR = 0, 2  # fields of a label


@dataclass(frozen=True)
class Probed:
    """Accuracies on scenes that the probe was not trained on."""

    name: str
    single: float
    """from one patch of the true image"""
    spliced: float
    """from the same patch where everything far was exchanged"""
    own: float
    """the colour of the patch itself, to show that the probe can read"""

    @property
    def leak(self) -> float:
        return self.single - self.spliced


def distances(patch: int) -> NDArray[np.int64]:
    """How many rows or columns every patch is away from one, (GRID, GRID)."""
    row, column = divmod(patch, GRID)
    line = np.arange(GRID)
    return np.maximum(abs(line - row)[:, None], abs(line - column))


def spliced(image: NDArray[np.uint8], other: NDArray[np.uint8], patch: int) -> NDArray[np.uint8]:
    """`image` where it is less than FAR from a patch, else `other`; (192, 192, 3) each."""
    close = (distances(patch) < FAR).repeat(PATCH, 0).repeat(PATCH, 1)[..., None]
    return np.where(close, image, other)


def far_patch(scene: Scene, patch: int, rng: np.random.Generator) -> int | None:
    """A patch with a colour, drawn among those at least FAR away; None where there is none."""
    candidates = np.flatnonzero((distances(patch) >= FAR) & (scene.labels[..., COLOUR] > 0))
    return int(rng.choice(candidates)) if len(candidates) else None


@dataclass(frozen=True)
class Sample:
    """Patches of many scenes."""

    true: Tensor  # (n, C) features
    spliced: Tensor  # (n, C) features of the same patches in spliced images
    facts: dict[str, Tensor]  # (n,) each: what is asked


@torch.no_grad()
def sample(tower: CLIPVisionModel, split: str, count: int, each: int = 4) -> Sample:
    """`each` patches with a colour from each of `count` scenes."""
    true, mixed = [], []
    facts: dict[str, list[int]] = {"own colour": [], "far colour": [], "far part": [], "number of things": []}
    for index in range(count):
        scene, other = compose(split, 2 * index, seed=5), compose(split, 2 * index + 1, seed=5)
        rng, flat = np.random.default_rng(index), scene.labels.reshape(GRID * GRID, -1)
        coloured = np.flatnonzero(flat[:, COLOUR] > 0)
        drawn = [(int(p), far_patch(scene, int(p), rng)) for p in rng.permutation(coloured)[:each]]
        pairs = [(patch, far) for patch, far in drawn if far is not None]
        if not pairs:
            continue
        image, strange = scene.pixels, other.pixels
        batch = np.stack([image, *(spliced(image, strange, patch) for patch, _ in pairs)])
        seen = features(tower, pixels(batch))  # (1 + pairs, N, C)
        for at, (patch, far) in enumerate(pairs, start=1):
            true.append(seen[0, patch])
            mixed.append(seen[at, patch])
            values = (flat[patch, COLOUR], flat[far, COLOUR], flat[far, PART], min(len(scene.things) // 3, 5))
            for name, value in zip(facts, values, strict=True):
                facts[name].append(int(value))
    return Sample(torch.stack(true), torch.stack(mixed), {name: torch.tensor(values) for name, values in facts.items()})


def accuracy(train: Tensor, labels: Tensor, test: Tensor, truth: Tensor, steps: int = 400) -> float:
    """Of a network with one hidden layer, trained on (n, C) -> (n,), on others."""
    torch.manual_seed(0)
    mean, deviation = train.mean(0), train.std(0) + 1e-6
    classes = int(torch.cat([labels, truth]).max()) + 1
    net = nn.Sequential(nn.Linear(train.shape[1], 64), nn.GELU(), nn.Linear(64, classes))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.1)
    for _ in range(steps):
        chosen = torch.randint(len(train), (256,))
        loss = F.cross_entropy(net((train[chosen] - mean) / deviation), labels[chosen])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    with torch.no_grad():
        return (net((test - mean) / deviation).argmax(-1) == truth).float().mean().item()


def probe(tower: CLIPVisionModel, scenes: int = 1500, tested: int = 500) -> list[Probed]:
    """What single patches tell of what is far, and of the whole image."""
    train, test = sample(tower, "train", scenes), sample(tower, "dev", tested)
    own = accuracy(train.true, train.facts["own colour"], test.true, test.facts["own colour"])
    results = []
    for name in ("far colour", "far part", "number of things"):
        labels, truth = train.facts[name], test.facts[name]
        single = accuracy(train.true, labels, test.true, truth)
        results.append(Probed(name, single, accuracy(train.spliced, labels, test.spliced, truth), own))
    return results
