"""LLaVA: a fixed square grid of visual tokens per image, plain positions; also the family of the shipped tiny-llava."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms._frozen import FrozenVLM


class VLM(FrozenVLM):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower."""

    def encode_pixels(self, inputs: dict[str, Any]) -> tuple[list[Tensor], Any]:
        output = self.model.get_image_features(
            pixel_values=inputs["pixel_values"], output_hidden_states=True, return_dict=True
        )
        return list(output.pooler_output), output

    def places(self, counts: Sequence[int]) -> Tensor:
        return torch.cat([grid_places(count) for count in counts])


def grid_places(count: int) -> Tensor:
    """Cell centres of a square grid of `count` cells in raster order, (count, 2) rows and columns in [0, 1]."""
    side = math.isqrt(count)
    if side * side != count:
        raise ValueError(f"{count} visual tokens do not form a square grid")
    centres = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(centres, centres)
