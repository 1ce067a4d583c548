"""Aya Vision: square tiles, each behind its name, and the whole image last; the same token ends every image."""

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
        ids = inputs["input_ids"]
        runs = runs_of(self.placeholders(ids, modality))  # one per tile
        end = ids[runs[-1][0], runs[-1][2]]  # what follows the last tile of all follows the last of every image
        images = [0]
        for row, first, last in runs:
            images[-1] += last - first
            if ids[row, last] == end:
                images.append(0)
        return images[:-1], torch.cat([square_places(size) for size in seen.sizes])
