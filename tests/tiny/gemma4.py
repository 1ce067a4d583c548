"""Gemma 4: inputs per layer come from the token ids, and only sliding layers see an image both ways."""

from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4Processor
from transformers.models.gemma4.image_processing_pil_gemma4 import Gemma4ImageProcessorPil

from tiny._tiny import TEXT, VISION, Tiny, tokenizer, without_torchvision


def build() -> Tiny:
    tok = tokenizer(
        ["<|video|>"],
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    config = Gemma4Config(
        text_config={
            **TEXT,
            "num_hidden_layers": 4,
            "vocab_size": len(tok),
            "vocab_size_per_layer_input": len(tok),
            "hidden_size_per_layer_input": 8,
            "head_dim": 16,
            "global_head_dim": 16,
            "sliding_window": 256,
            "use_bidirectional_attention": "vision",
            "layer_types": ["sliding_attention", "full_attention"] * 2,
        },
        vision_config={
            **VISION,
            "num_key_value_heads": 2,
            "head_dim": 16,
            "patch_size": 2,
            "pooling_kernel_size": 2,
            "position_embedding_size": 64,
        },
        audio_config=None,
        boi_token_id=tok.boi_token_id,
        eoi_token_id=tok.eoi_token_id,
        image_token_id=tok.image_token_id,
        video_token_id=tok.convert_tokens_to_ids("<|video|>"),
        audio_token_id=tok.audio_token_id,
        boa_token_id=tok.boa_token_id,
        eoa_token_index=tok.eoa_token_id,
    )
    images = Gemma4ImageProcessorPil(patch_size=2, max_soft_tokens=70, pooling_kernel_size=2)  # 70 is the least
    processor = without_torchvision(Gemma4Processor)(None, images, tok, None)
    model = Gemma4ForConditionalGeneration(config)
    return Tiny("gemma4", model, processor, "<|image|>", sizes=((32, 32), (40, 24)))
