"""LLaVA: a square grid of visual tokens per image, plain positions."""

import math
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from vllm.model_executor.models.interfaces import SupportsMRoPE
from vllm.model_executor.models.llava import (
    LlavaDummyInputsBuilder,
    LlavaForConditionalGeneration,
    LlavaMultiModalProcessor,
    LlavaProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.parse import ImageEmbeddingItems, ImageProcessorItems

from grip_vlm.serving.vllm.back import GripModel
from grip_vlm.serving.vllm.front import GripInfo, GripProcessor


class Info(GripInfo, LlavaProcessingInfo):  # type: ignore[misc]
    """See `front.py`."""


class Processor(GripProcessor, LlavaMultiModalProcessor):  # type: ignore[misc]
    """See `front.py`."""

    def grids(self, mm_items: Any, hf_inputs: Any) -> list[tuple[int, int]]:
        """A square if the number of tokens is one, else a line; as `vlms/places.py` has it."""
        if not mm_items.get_all_counts().get("image"):
            return []
        images = mm_items.get_items("image", (ImageEmbeddingItems, ImageProcessorItems))
        counts = []
        for i in range(images.get_count()):
            if isinstance(images, ImageEmbeddingItems):
                counts.append(images.get_feature_size(i))
            else:
                size = images.get_image_size(i)
                counts.append(self.info.get_num_image_tokens(image_width=size.width, image_height=size.height))
        sides = [math.isqrt(count) for count in counts]
        return [(side, side) if side**2 == count else (count, 1) for count, side in zip(counts, sides, strict=True)]


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=LlavaDummyInputsBuilder)
class GripLlava(GripModel, LlavaForConditionalGeneration, SupportsMRoPE):  # type: ignore[misc]
    """See `back.py`. vLLM is told of M-RoPE, because only then it keeps positions of a request's own."""

    def extent(self, rows: int, columns: int) -> int:
        return rows * columns

    def offsets(self, indices: Tensor, columns: int) -> Tensor:
        return indices[:, None].expand(-1, 3)

    def language_positions(self, positions: Tensor) -> Tensor:
        """All three rows are equal, and the language model knows one."""
        return positions[0]

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """As `GripModel.load_weights`, also from files of transformers 5.2x.

        These leave `vision_model.` out of the names of a CLIP or SigLIP tower, where vLLM 0.32 expects it.
        """

        def renamed() -> Iterable[tuple[str, Tensor]]:
            for name, weight in weights:
                has_part = "vision_tower." not in name or "vision_tower.vision_model." in name
                yield (name if has_part else name.replace("vision_tower.", "vision_tower.vision_model.")), weight

        return super().load_weights(renamed())
