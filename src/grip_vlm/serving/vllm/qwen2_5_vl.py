"""Qwen2.5-VL: a grid of visual tokens that follows the image's size, positions with time, row and column."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from grip_vlm.serving.vllm.back import GripModel
from grip_vlm.serving.vllm.front import GripInfo, GripProcessor


class GridInfo(GripInfo):
    """Families that know videos, which are refused: scorers are trained on images."""

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        return {"image": None, "video": 0}


class GridProcessor(GripProcessor):
    """Families whose processor gives the grid of each image in patches."""

    def grids(self, mm_items: Any, hf_inputs: Any) -> list[tuple[int, int]]:
        cell = self.info.get_hf_config().vision_config.spatial_merge_size  # patches per token, in each direction
        grids = hf_inputs.get("image_grid_thw")
        return [] if grids is None else [(int(rows) // cell, int(columns) // cell) for _, rows, columns in grids]


class GridModel(GripModel):
    """Families with M-RoPE: an image stands at one time, and its tokens at their rows and columns."""

    def extent(self, rows: int, columns: int) -> int:
        return max(rows, columns)

    def offsets(self, indices: Tensor, columns: int) -> Tensor:
        return torch.stack([torch.zeros_like(indices), indices // columns, indices % columns], dim=1)


class Info(GridInfo, Qwen2_5_VLProcessingInfo):  # type: ignore[misc]
    """See `front.py`."""


class Processor(GridProcessor, Qwen2_5_VLMultiModalProcessor):  # type: ignore[misc]
    """See `front.py`."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=Qwen2_5_VLDummyInputsBuilder)
class GripQwen2_5VL(GridModel, Qwen2_5_VLForConditionalGeneration):  # type: ignore[misc]  # noqa: N801
    """See `back.py`."""
