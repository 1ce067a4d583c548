"""Command A Vision: square tiles, then the whole image, each ended by one line break. More text separates images."""

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
    closing = 2  # the line break of the last tile, and the mark that closes an image

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        images: list[int] = []
        line_break = (-1, 0)  # (row, column) of the token after the previous tile
        for row, first, last in runs_of(self.placeholders(inputs["input_ids"], modality)):
            if (row, first - 1) != line_break:
                images.append(0)
            images[-1] += last - first
            line_break = (row, last)
        return images, torch.cat([square_places(size) for size in output.sizes])
