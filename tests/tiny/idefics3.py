"""Idefics3: the features of all tiles of a sample come as one."""

from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from tiny import _idefics as idefics
from tiny._tiny import TEXT, Tiny


def build() -> Tiny:
    tok = idefics.idefics_tokenizer()
    config = Idefics3Config(
        vision_config=idefics.TOWER,
        text_config=LlamaConfig(**TEXT, vocab_size=len(tok)),
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    images = Idefics3ImageProcessorPil(**idefics.TILING)
    processor = Idefics3Processor(images, tok, image_seq_len=idefics.TOKENS_PER_TILE)
    return Tiny("idefics3", Idefics3ForConditionalGeneration(config), processor, "<image>", sizes=idefics.SIZES)
