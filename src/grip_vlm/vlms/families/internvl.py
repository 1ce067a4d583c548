"""InternVL 3: square tiles and a thumbnail, side by side in the prompt. The frames of a video count as images."""

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
    closing = 2  # the mark that closes an image, and a line break

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        images = [last - first for _, first, last in runs_of(self.placeholders(inputs["input_ids"], modality))]
        return images, torch.cat([square_places(size) for size in output.sizes])
