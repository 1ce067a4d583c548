"""InternVL 3: square tiles and a thumbnail, which stand side by side in the prompt; a video is its frames as images."""

from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import Seen
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.outputs import TensorOutput
from grip_vlm.vlms.places import runs_of, square_places


class VLM(FrozenVLM):
    """How many tiles stand in a row is not in the processor's output: places are those within the tile."""

    output_type = TensorOutput

    def layout(self, inputs: dict[str, Any], modality: str, seen: Seen) -> tuple[list[int], Tensor]:
        images = [last - first for _, first, last in runs_of(self.placeholders(inputs["input_ids"], modality))]
        return images, torch.cat([square_places(size) for size in seen.sizes])
