"""SmolVLM: Idefics3's tiles with a processor of its own."""

from types import SimpleNamespace
from unittest import mock

from transformers import LlamaConfig, SmolVLMConfig, SmolVLMForConditionalGeneration
from transformers.models.smolvlm import processing_smolvlm
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

from tiny import _idefics as idefics
from tiny._tiny import TEXT, Tiny, without_torchvision


def build() -> Tiny:
    tok = idefics.idefics_tokenizer()
    config = SmolVLMConfig(
        vision_config=idefics.TOWER,
        text_config=LlamaConfig(**TEXT, vocab_size=len(tok)),
        image_token_id=tok.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        pad_token_id=0,
    )
    images = SmolVLMImageProcessorPil(**idefics.TILING)
    clips = SimpleNamespace(num_frames=4, fps=1)  # the chat template asks for these even without video
    with mock.patch.object(processing_smolvlm, "num2words", str):  # a package that only prompts with video need
        processor = without_torchvision(processing_smolvlm.SmolVLMProcessor)(
            images, tok, clips, image_seq_len=idefics.TOKENS_PER_TILE
        )
    return Tiny("smolvlm", SmolVLMForConditionalGeneration(config), processor, "<image>", sizes=idefics.SIZES)
