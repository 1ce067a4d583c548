"""Qwen3-VL: as Qwen2.5-VL; its early layers get features of their own, which are pruned with the tokens."""

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from grip_vlm.serving.vllm.qwen2_5_vl import GridInfo, GridModel, GridProcessor


class Info(GridInfo, Qwen3VLProcessingInfo):  # type: ignore[misc]
    """See `front.py`."""


class Processor(GridProcessor, Qwen3VLMultiModalProcessor):  # type: ignore[misc]
    """See `front.py`."""


@MULTIMODAL_REGISTRY.register_processor(Processor, info=Info, dummy_inputs=Qwen3VLDummyInputsBuilder)
class GripQwen3VL(GridModel, Qwen3VLForConditionalGeneration):  # type: ignore[misc]
    """See `back.py`."""
