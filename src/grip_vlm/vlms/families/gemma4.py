"""Gemma 4: one grid per image in the image's shape, pooled from patches. The processor gives the patch coordinates."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import grid_places, square_places


class VLM(FrozenVLM):
    bidirectional = True

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        pool = self.model.config.vision_config.pooling_kernel_size
        corners = inputs[f"{modality}_position_ids"].amax(1).tolist()  # (entries, 2) last column and row of patches
        places = []
        for size, (column, row) in zip(output.sizes, corners, strict=False):
            rows, columns = (row + 1) // pool, (column + 1) // pool
            places.append(grid_places(rows, columns) if rows * columns == size else square_places(size))
        return output.sizes, torch.cat(places)
