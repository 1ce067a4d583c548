"""Families that count positions in time, rows and columns (Qwen-VL, GLM-V): grids as the processor gives them."""

import inspect
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import Seen
from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.places import grid_places


class MRopeVLM(FrozenVLM):
    """Positions are the model's own for the full sequence; what is kept keeps them."""

    def positions(self, inputs: dict[str, Any], attention: Tensor) -> Tensor:
        ids = inputs["input_ids"]
        types = inputs.get("mm_token_type_ids")
        if types is None:
            types = self.placeholders(ids, "image").int() + 2 * self.placeholders(ids, "video").int()
        given = {**inputs, "mm_token_type_ids": types, "attention_mask": attention}
        count = self.model.base_model.get_rope_index
        names = [name for name in inspect.signature(count).parameters if name != "kwargs"]
        positions: Tensor = count(**{name: given[name] for name in names if given.get(name) is not None})[0]
        return positions

    def layout(self, inputs: dict[str, Any], modality: str, seen: Seen) -> tuple[list[int], Tensor]:
        merge = self.model.config.vision_config.spatial_merge_size
        grids = inputs[f"{modality}_grid_thw"].tolist()
        places = [grid_places(rows // merge, columns // merge).repeat(time, 1) for time, rows, columns in grids]
        return [len(part) for part in places], torch.cat(places)
