"""Kept features in the containers that transformers models read: `mm_encoder_outputs` = {"image": ..., "video": ...}.

There is one entry per sample, however many images it has. Beams of ragged batches would be wrong otherwise.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

OLDEST = "5.21"
"""the first transformers that takes `mm_encoder_outputs`; `make test-oldest` tests it"""


@dataclass
class ListOutput(BaseModelOutputWithPooling):  # type: ignore[misc]
    """The container for models that concatenate a list of features, one (k, D) per sample."""

    deepstack_features: Any = None

    def __setattr__(self, name: str, value: Any) -> None:
        # The first write is ours. The second is by `generate`, which expands the features for beams.
        if name == "pooler_output":
            writes = self.__dict__.get("_writes", 0) + 1
            if writes > 2:
                raise ValueError(
                    "an earlier generate() with beams or several sequences has expanded these pruned inputs; "
                    "call prune() again for every such call"
                )
            self.__dict__["_writes"] = writes
        super().__setattr__(name, value)

    def __getattribute__(self, name: str) -> Any:
        if name == "pooler_output":
            refuse_packing(sys._getframe(1).f_locals)
        return super().__getattribute__(name)

    def remember_ends(self, config: Any) -> None:
        """Keep the tokens that end and fill up an answer, for the next turn (`sequence.follow_up`).

        Args:
            config: the model's generation config.
        """
        eos = config.eos_token_id
        ends = [] if eos is None else list(eos) if isinstance(eos, (list, tuple)) else [eos]
        self.__dict__["eos_token_ids"] = ends
        self.__dict__["pad_token_id"] = ends[0] if config.pad_token_id is None and ends else config.pad_token_id

    def forbid_chunks(self) -> None:
        """Refuse a prefill in chunks from now on. It alone reads the features by key."""
        self.__dict__["_chunks_forbidden"] = True

    def __getitem__(self, key: Any) -> Any:
        if "_chunks_forbidden" in self.__dict__ and key == "pooler_output":
            raise ValueError(
                "prefill_chunk_size is wrong for one pruned row under FlashAttention: from the second chunk on "
                "transformers takes gaps between positions for borders of sequences. Leave it out, or load the model "
                "with attn_implementation='sdpa'"
            )
        return super().__getitem__(key)


def refuse_packing(caller: Mapping[str, Any]) -> None:
    """Refuse a call of the model in which transformers would take the kept tokens for several packed sequences.

    Without a 2-D mask and without a cache, transformers takes a gap between positions for the border of two packed
    sequences and cuts attention there. The inputs cannot prevent it, because `generate(use_cache=False)` drops a mask
    of ones. The container of the kept features therefore inspects its caller's frame and raises.

    Args:
        caller: local variables of the function that reads the features; the model's `forward` is one such function.

    Raises:
        ValueError: attention would be cut at a gap between positions.
    """
    if not {"attention_mask", "position_ids", "past_key_values"} <= caller.keys():
        return
    mask, positions = caller["attention_mask"], caller["position_ids"]
    is_safe = caller["past_key_values"] is not None or (isinstance(mask, Tensor) and mask.ndim == 2)
    if is_safe or positions is None or positions.ndim != 2 or positions.shape[1] < 2:
        return
    if bool((positions.diff(dim=1) > 1).any()):
        raise ValueError(
            "pruned inputs without a cache need their attention_mask, which generate(use_cache=False) drops: "
            "transformers would take gaps between positions for borders of sequences. Leave use_cache alone in "
            "generate, or pass every pruned input to forward"
        )


def check_flash(name: str, bidirectional: bool, position_ids: Tensor, outputs: Iterable[ListOutput]) -> None:
    """Refuse what FlashAttention in transformers would compute wrongly.

    It takes gaps between the plain positions of a single row for borders of packed sequences. This is harmless in a
    prefill in one piece, which still counts as one sequence. It is wrong in the later chunks of a prefill.

    Args:
        name: of the model's class, for the message.
        bidirectional: whether tokens of an image attend to each other in both directions.

    Raises:
        ValueError: the model needs attention in both directions.
    """
    if bidirectional:
        raise ValueError(
            f"{name} lets the tokens of an image attend to each other in both directions, but FlashAttention in "
            "transformers does not, pruned or not; load it with attn_implementation='sdpa'"
        )
    if position_ids.ndim == 2 and len(position_ids) == 1 and bool((position_ids.diff(dim=1) > 1).any()):
        for output in outputs:
            output.forbid_chunks()


@dataclass
class TensorOutput(ListOutput):
    """The container for models that expect one tensor. It holds a list that behaves like that tensor."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "pooler_output" and isinstance(value, (list, tuple)):
            value = FeatureList(value)
        super().__setattr__(name, value)


class FeatureList(list[Tensor]):
    """Features (k, D) per sample, which behave like their concatenation (1, all, D)."""

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        return torch.cat(list(self)).unsqueeze(0).to(*args, **kwargs)

    def flatten(self, start: int, end: int) -> Tensor:
        return self.to().flatten(start, end)

    def reshape(self, *shape: int) -> Tensor:
        return self.to().reshape(*shape)
