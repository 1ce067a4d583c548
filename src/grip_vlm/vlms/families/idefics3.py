"""Idefics3: rows of tiles, each after <fake> and its name, then the whole image after <fake> and <global-img>."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import runs_of, square_places


class VLM(FrozenVLM):
    closing = 1  # the mark that closes an image

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        ids = inputs["input_ids"]
        images: list[list[list[int]]] = []  # image -> row of tiles -> tokens of each tile
        previous = (-1, 0)  # (row, one past the last token) of the previous tile
        for row, first, last in runs_of(self.placeholders(ids, modality)):
            # One <fake> separates tiles of an image; two or more separate images. A line break ends a row of tiles.
            between = ids[row, previous[1] : first] if previous[0] == row else ids[row, :first]
            fakes = int((between == ids[row, first - 2]).sum())
            if previous[0] != row or fakes > 1:
                images.append([[]])
            elif len(between) > 2:
                images[-1].append([])
            images[-1][-1].append(last - first)
            previous = (row, last)
        return [sum(map(sum, image)) for image in images], torch.cat([tile_places(image) for image in images])


def tile_places(image: list[list[int]]) -> Tensor:
    """Places in the whole image of all its tokens: those of its rows of tiles, then those of the whole image."""
    rows = image[:-1]
    parts = []
    for i, tiles in enumerate(rows):
        for j, size in enumerate(tiles):
            corner = torch.tensor([i, j])
            parts.append((square_places(size) + corner) / torch.tensor([len(rows), len(tiles)]))
    return torch.cat([*parts, *(square_places(size) for size in image[-1])])
