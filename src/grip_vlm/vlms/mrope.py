"""Families whose positions have time, row and column (Qwen-VL, GLM-V). The processor gives the grid of each image."""

import inspect
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import grid_places


class MRopeVLM(FrozenVLM):
    """The model itself computes the positions of the full sequence. Kept tokens keep theirs."""

    def positions(self, inputs: dict[str, Any], attention_mask: Tensor) -> Tensor:
        ids = inputs["input_ids"]
        types = inputs.get("mm_token_type_ids")
        if types is None:
            types = self.placeholders(ids, "image").int() + 2 * self.placeholders(ids, "video").int()
        arguments = {**inputs, "mm_token_type_ids": types, "attention_mask": attention_mask}
        get_rope_index = self.model.base_model.get_rope_index
        names = [name for name in inspect.signature(get_rope_index).parameters if name != "kwargs"]
        present = {name: arguments[name] for name in names if arguments.get(name) is not None}
        positions: Tensor = get_rope_index(**present)[0]
        return positions

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        cell = self.model.config.vision_config.spatial_merge_size  # patches per token, in each direction
        grids = inputs[f"{modality}_grid_thw"].tolist()
        places = [grid_places(rows // cell, columns // cell).repeat(time, 1) for time, rows, columns in grids]
        return [len(part) for part in places], torch.cat(places)
