"""Mistral 3: rows of image tokens end in a break token, which is text."""

from typing import Any

from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
    ProcessorMixin,
)
from transformers.models.pixtral.image_processing_pil_pixtral import PixtralImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer

TOKEN_PIXELS = 8  # two patches of 4


class Processor(ProcessorMixin):
    """`PixtralProcessor`, whose module wants torchvision: what an image token is expanded to."""

    def __init__(self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template)
        self.image_token = "[IMG]"
        self.image_token_id = tokenizer.convert_tokens_to_ids("[IMG]")

    def replace_image_token(self, image_inputs: dict[str, Any], image_idx: int, **kwargs: Any) -> str:
        rows, columns = (int(side) // TOKEN_PIXELS for side in image_inputs["image_sizes"][image_idx])
        return "[IMG_BREAK]".join(["[IMG]" * columns] * rows) + "[IMG_END]"


def build() -> Tiny:
    tok: PreTrainedTokenizerFast = tokenizer(["[IMG]", "[IMG_BREAK]", "[IMG_END]"])
    config = Mistral3Config(
        vision_config=PixtralVisionConfig(**VISION, image_size=64, patch_size=4, head_dim=16),
        text_config=MistralConfig(**TEXT, head_dim=16, vocab_size=len(tok), sliding_window=None),
        image_token_index=tok.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    images = PixtralImageProcessorPil(
        size={"longest_edge": 64}, patch_size={"height": TOKEN_PIXELS, "width": TOKEN_PIXELS}
    )
    model = Mistral3ForConditionalGeneration(config)
    return Tiny("mistral3", model, Processor(images, tok), "[IMG]", sizes=((48, 32), (24, 40)))  # 24 and 15 tokens
