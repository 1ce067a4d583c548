"""Kept features in the containers that transformers models read: `mm_encoder_outputs` = {"image": ..., "video": ...}.

One entry per sample, whatever the number of images: beams of ragged batches are right only then.
"""

import sys
from collections.abc import Mapping
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

    def __getattribute__(self, name: str) -> Any:
        if name == "pooler_output":
            refuse_packing(sys._getframe(1).f_locals)
        return super().__getattribute__(name)

    def forbid_chunks(self) -> None:
        """Refuse to be cut for a prefill in chunks, which reads features by key, as nothing else does."""
        self.__dict__["_chunks_forbidden"] = True

    def __getitem__(self, key: Any) -> Any:
        if "_chunks_forbidden" in self.__dict__ and key == "pooler_output":
            raise ValueError(
                "prefill_chunk_size is wrong for one pruned row under FlashAttention: from the second chunk on "
                "transformers takes the gaps between positions for several sequences. Leave it out, or load the model "
                "with attn_implementation='sdpa'"
            )
        return super().__getitem__(key)


def refuse_packing(reader: Mapping[str, Any]) -> None:
    """Where neither a 2-D mask nor a cache is at hand, transformers takes a gap between positions for the border of two
    packed sequences, and cuts attention there. The inputs cannot prevent it: `generate(use_cache=False)` drops a mask
    of ones. So the features look at who reads them, and refuse.

    Args:
        reader: the local variables of the reading function, the model's `forward` among them.
    """
    if not {"attention_mask", "position_ids", "past_key_values"} <= reader.keys():
        return
    mask, positions = reader["attention_mask"], reader["position_ids"]
    covered = reader["past_key_values"] is not None or (isinstance(mask, Tensor) and mask.ndim == 2)
    if covered or positions is None or positions.ndim != 2 or positions.shape[1] < 2:
        return
    if bool((positions.diff(dim=1) > 1).any()):
        raise ValueError(
            "pruned inputs without a cache need their attention_mask, which generate(use_cache=False) drops: "
            "transformers would take the gaps between positions for several sequences in a row. Leave use_cache alone "
            "in generate, or pass every pruned input to forward"
        )


@dataclass
class TensorOutput(ListOutput):
    """For models that expect one tensor: a list that answers as one."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "pooler_output" and isinstance(value, (list, tuple)):
            value = FeatureList(value)
        super().__setattr__(name, value)


class FeatureList(list[Tensor]):
    """(k, D) per sample that answers like the (1, all, D) tensor of all."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return torch.cat(list(self)).unsqueeze(0).to(*args, **kwargs)

    def flatten(self, start: int, end: int) -> Tensor:
        return self.to().flatten(start, end)

    def reshape(self, *shape: int) -> Tensor:
        return self.to().reshape(*shape)
