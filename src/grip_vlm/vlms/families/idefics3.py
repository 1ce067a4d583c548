"""Idefics3: tiles in rows, each behind <fake> and its name, then the whole image behind <fake> and <global-img>."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import Seen
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import runs_of, square_places


class VLM(FrozenVLM):
    def layout(self, inputs: dict[str, Any], modality: str, seen: Seen) -> tuple[list[int], Tensor]:
        ids = inputs["input_ids"]
        images: list[list[list[int]]] = []  # image -> row of tiles -> tokens of each tile
        before = (-1, 0)
        for row, first, last in runs_of(self.placeholders(ids, modality)):
            # Between tiles of one image stands one <fake>, between images two or more; a row ends with a line break.
            between = ids[row, before[1] : first] if before[0] == row else ids[row, :first]
            fakes = int((between == ids[row, first - 2]).sum())
            if before[0] != row or fakes > 1:
                images.append([[]])
            elif len(between) > 2:
                images[-1].append([])
            images[-1][-1].append(last - first)
            before = (row, last)
        return [sum(map(sum, image)) for image in images], torch.cat([tile_places(image) for image in images])


def tile_places(image: list[list[int]]) -> Tensor:
    """Rows of tiles and, behind them, the whole image again: places of all tokens in the whole image."""
    rows = image[:-1]
    parts = []
    for i, tiles in enumerate(rows):
        for j, size in enumerate(tiles):
            corner = torch.tensor([i, j])
            parts.append((square_places(size) + corner) / torch.tensor([len(rows), len(tiles)]))
    return torch.cat([*parts, *(square_places(size) for size in image[-1])])
