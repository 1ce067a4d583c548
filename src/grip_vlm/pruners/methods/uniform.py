"""An even grid over the image: the k tokens nearest to the cells of a grid with k cells. Several images share k."""

import math

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.choosing import allot
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        mask = torch.zeros_like(encoded.state.visual_mask)
        for row, (count, keep) in enumerate(zip(encoded.state.counts.tolist(), k.tolist(), strict=True)):
            images = encoded.state.image[row, :count]
            parts = [(images == image).nonzero()[:, 0] for image in range(int(images.max()) + 1)]
            sizes = torch.tensor([len(part) for part in parts])
            for part, share in zip(parts, allot(sizes, sizes, keep), strict=True):
                mask[row, part[nearest(encoded.state.places[row, part], grid(share))]] = True
        return Action(mask)


def grid(k: int) -> Tensor:
    """k >= 0 points spread evenly over the unit square, (k, 2): about sqrt(k) rows of equal length, give or take 1."""
    rows = max(1, round(math.sqrt(k)))
    ends = [round(k * (row + 1) / rows) for row in range(rows)]
    lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    points = torch.tensor(
        [((row + 0.5) / rows, (i + 0.5) / length) for row, length in enumerate(lengths) for i in range(length)]
    )
    return points.view(k, 2)


def nearest(places: Tensor, points: Tensor) -> Tensor:
    """For each of (k, 2) points, the nearest of (n, 2) places that no earlier point has taken; (k,) indices."""
    distance = torch.cdist(points.to(places.device), places.float())  # (k, n)
    chosen: list[int] = []
    for row in distance:
        row = row.clone()
        row[chosen] = torch.inf
        chosen.append(int(row.argmin()))
    return torch.tensor(chosen, dtype=torch.long, device=places.device)
