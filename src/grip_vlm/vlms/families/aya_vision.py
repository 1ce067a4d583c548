"""Aya Vision: square tiles, each after its name, then the whole image. The same token ends every image."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.outputs import TensorOutput
from grip_vlm.vlms.places import runs_of, square_places


class VLM(FrozenVLM):
    """The processor's output does not give the grid of tiles. A token's place is therefore that within its tile."""

    output_type = TensorOutput
    closing = 1  # the mark that closes an image

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        ids = inputs["input_ids"]
        runs = runs_of(self.placeholders(ids, modality))  # one per tile
        end = ids[runs[-1][0], runs[-1][2]]  # the token after the last tile of each image
        images = [0]
        for row, first, last in runs:
            images[-1] += last - first
            if ids[row, last] == end:
                images.append(0)
        return images[:-1], torch.cat([square_places(size) for size in output.sizes])
