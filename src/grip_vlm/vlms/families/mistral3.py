"""Mistral 3 (Small 3.1 and later): one grid per image in the image's shape. Row breaks are text and always stay."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import grid_places


class VLM(FrozenVLM):
    closing = 1  # [IMG_END]
    tail = 3  # [IMG_END] and [/INST], with white space; a default system prompt stands before the images

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        cell = self.model.config.vision_config.patch_size * self.model.config.spatial_merge_size
        shapes = (inputs["image_sizes"] // cell).tolist()
        return output.sizes, torch.cat([grid_places(rows, columns) for rows, columns in shapes])
