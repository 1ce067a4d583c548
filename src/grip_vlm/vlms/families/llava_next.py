"""LLaVA-NeXT (1.6): a small base image, then tiles cut to the image's shape. Newline tokens end the tiles' rows."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from grip_vlm.vlms.anyres import anyres_patches, anyres_places
from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM


class VLM(FrozenVLM):
    tower_options: ClassVar[dict[str, Any]] = {"output_hidden_states": True}

    def patches(self, inputs: dict[str, Any], output: TowerOutput) -> Tensor | None:
        return anyres_patches(self.model, inputs["image_sizes"], output, vision_feature_select_strategy="default")

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        config = self.model.config
        tile = config.vision_config.image_size
        side = tile // config.vision_config.patch_size

        def shape_of(size: list[int]) -> tuple[int, int]:
            rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, tile)
            return rows, columns

        sizes = inputs["image_sizes"].cpu()
        places = [anyres_places(n, side, size, shape_of) for n, size in zip(output.sizes, sizes, strict=True)]
        return output.sizes, torch.cat(places)
