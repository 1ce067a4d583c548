"""Kept features in the containers that transformers models read: `mm_encoder_outputs` = {"image": ..., "video": ...}.

One entry per sample, whatever the number of images: beams of ragged batches are right only then.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling


@dataclass
class ListOutput(BaseModelOutputWithPooling):  # type: ignore[misc]
    """For models that concatenate a list of features."""

    deepstack_features: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        # The model's own `generate` writes the features a second time when it expands them for beams.
        if name == "pooler_output":
            times = self.__dict__.get("_times", 0) + 1
            if times > 2:
                raise ValueError(
                    "these pruned inputs were expanded by an earlier generate() with beams or several sequences; "
                    "call prune() again for every such call"
                )
            self.__dict__["_times"] = times
        super().__setattr__(name, value)


@dataclass
class TensorOutput(ListOutput):
    """For models that expect one tensor: a list that answers as one."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "pooler_output" and isinstance(value, (list, tuple)):
            value = FeatureList(value)
        super().__setattr__(name, value)


class FeatureList(list[Tensor]):
    """(k, D) per sample that `.to(...)` turns into (1, all, D) and `.flatten(0, 1)` into (all, D)."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return torch.cat(list(self)).unsqueeze(0).to(*args, **kwargs)

    def flatten(self, start: int, end: int) -> Tensor:
        return self.to().flatten(start, end)
