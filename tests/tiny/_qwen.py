"""What the Qwen families share: four special tokens, the image processor, and two sizes to show it."""

from typing import Any

from transformers import PreTrainedTokenizerFast
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tiny._tiny import TEXT, Tiny, tokenizer, without_torchvision
from tiny._video import PatchedClips

SPECIALS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
PATCH = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2}
VISION = {"depth": 2, "hidden_size": 32, "out_hidden_size": 64, "num_heads": 2, "intermediate_size": 48, **PATCH}
QWEN3_VISION = {**VISION, "depth": 3, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}


def qwen_tokenizer() -> PreTrainedTokenizerFast:
    return tokenizer(list(SPECIALS.values()))


def token_ids(tok: PreTrainedTokenizerFast) -> dict[str, int]:
    return {key: tok.convert_tokens_to_ids(token) for key, token in SPECIALS.items()}


def text(tok: PreTrainedTokenizerFast, **rope: Any) -> dict[str, Any]:
    """The text config; `rope` is what a family adds to its rotary parameters."""
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 2, 2], **rope}
    return {**TEXT, "vocab_size": len(tok), "rope_parameters": rope}


def tiny(name: str, model: Any, processor_class: type, tok: PreTrainedTokenizerFast) -> Tiny:
    images = Qwen2VLImageProcessorPil(
        size={"shortest_edge": 16 * 16, "longest_edge": 64 * 64}, patch_size=4, temporal_patch_size=2, merge_size=2
    )
    return Tiny(
        name,
        model,
        without_torchvision(processor_class)(images, tok, PatchedClips(images)),
        image_token="<|vision_start|><|image_pad|><|vision_end|>",
        video_token="<|vision_start|><|video_pad|><|vision_end|>",
        sizes=((48, 32), (24, 40)),  # 24 and 15 tokens
        clips=(4, 5),
    )
