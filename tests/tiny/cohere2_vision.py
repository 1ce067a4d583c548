"""Command A Vision: tiles of an image and the whole image, each with a line break at its end."""

from transformers import (
    Cohere2Config,
    Cohere2VisionConfig,
    Cohere2VisionForConditionalGeneration,
    Cohere2VisionProcessor,
    SiglipVisionConfig,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer, without_torchvision


class Images(GotOcr2ImageProcessorPil):
    """For `Cohere2VisionImageProcessor`, which needs torchvision: it tiles alike, but has another rule for how many."""

    crop_to_patches = True
    patch_size = 4  # the square root of the tokens of a tile


def build() -> Tiny:
    tok = tokenizer(boi_token="<BOI>", eoi_token="<EOI>", image_token="<image>", img_line_break_token="<BREAK>")
    config = Cohere2VisionConfig(
        vision_config=SiglipVisionConfig(**VISION, image_size=32, patch_size=4, vision_use_head=False),
        text_config=Cohere2Config(**TEXT, vocab_size=len(tok), sliding_window=256, sliding_window_pattern=3),
        image_token_id=tok.image_token_id,
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    processor = without_torchvision(Cohere2VisionProcessor)(
        Images(size={"height": 32, "width": 32}, max_patches=3), tok
    )
    model = Cohere2VisionForConditionalGeneration(config)
    return Tiny("cohere2_vision", model, processor, "<image>", sizes=((64, 32), (32, 32)))  # 3 tiles and 1, of 16
