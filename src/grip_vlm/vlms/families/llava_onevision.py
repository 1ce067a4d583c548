"""LLaVA-OneVision: tiles as in LLaVA-NeXT, shrunk if there are many. A video is pooled frames and one newline."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from grip_vlm.vlms.anyres import anyres_patches, anyres_places
from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.outputs import ListOutput, TensorOutput
from grip_vlm.vlms.places import grid_places


class VLM(FrozenVLM):
    tower_options: ClassVar[dict[str, Any]] = {"output_hidden_states": True}

    def patches(self, inputs: dict[str, Any], output: TowerOutput) -> Tensor | None:
        if inputs.get("pixel_values_videos") is not None:
            return None  # frames are pooled
        return anyres_patches(self.model, inputs["image_sizes"], output, vision_aspect_ratio="anyres_max_9999")

    def output_for(self, modality: str) -> type[ListOutput]:
        return TensorOutput if modality == "video" else ListOutput

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

        config = self.model.config
        tile = config.vision_config.image_size
        side = tile // config.vision_config.patch_size
        if modality == "video":
            half = (side + 1) // 2
            frames = [(size - 1) // (half * half) for size in output.sizes]
            end = torch.ones(1, 2)
            return output.sizes, torch.cat([torch.cat([grid_places(half, half).repeat(f, 1), end]) for f in frames])

        def shape_of(size: list[int]) -> tuple[int, int]:
            rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, tile)
            return rows, columns

        max_tiles = int(config.vision_aspect_ratio.removeprefix("anyres_max_"))
        sizes = inputs["image_sizes"].cpu()
        places = [
            anyres_places(n, side, size, shape_of, max_tiles) for n, size in zip(output.sizes, sizes, strict=True)
        ]
        return output.sizes, torch.cat(places)
