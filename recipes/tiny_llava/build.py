"""Build the untrained tiny-llava: a true LlavaForConditionalGeneration, its tokenizer, processor and chat template."""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import lessons
from grip_vlm import benchmarks
from grip_vlm.benchmarks.scenes import compose
from grip_vlm.benchmarks.scenes.compose import GRID, PATCH, SIZE

SPECIAL = ("<pad>", "<s>", "</s>", "<image>", "USER:", "ASSISTANT:")
CHAT_TEMPLATE = (
    "<s>{% for message in messages %}{{ message['role'].upper() + ':' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "{% if message['role'] == 'assistant' %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def corpus(scenes: int) -> list[str]:
    """Questions and answers about `scenes` training scenes, for the tokenizer."""
    texts = []
    for index in range(scenes):
        scene, rng = compose("train", index), np.random.default_rng(index)
        for ask in (lessons.ask, lessons.ask, *(benchmarks.load(name).ask for name in benchmarks.composed())):
            question = ask(scene, rng)
            if question is not None:
                texts += [question.text, question.answer]
    return texts


def build_tokenizer(scenes: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text has tokens, with single digits and the six special tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(split)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=512, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(corpus(scenes), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=["USER:", "ASSISTANT:"],
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=1024,
    )


def build_processor(scenes: int = 3000) -> LlavaProcessor:
    """The processor, whose tokenizer is trained on the questions about `scenes` training scenes."""
    size = {"height": SIZE, "width": SIZE}
    images = CLIPImageProcessorPil(size=size, do_center_crop=False, image_mean=[0.4] * 3, image_std=[0.3] * 3)
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(scenes),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def grid_sines(width: int) -> Tensor:
    """Sines and cosines, (196, width): of a patch's row in the first half, of its column in the second."""
    turns = torch.pi * 2 ** torch.linspace(0, 3, width // 4) / GRID  # from half a period across the image to four
    angles = torch.arange(GRID)[:, None] * turns  # (14, width / 4)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([line.repeat_interleave(GRID, 0), line.repeat(GRID, 1)], dim=1)


def build_model(vocabulary: int, seed: int, width: int = 192) -> LlavaForConditionalGeneration:
    """Vision tower 4 x 128, language model 4 x `width`. The width is a multiple of 24: four heads of even width.

    Initialisation differs from transformers' in three ways:

    - Weights have a standard deviation of 1/sqrt(fan-in). At these widths, transformers' 0.02 is too small to connect
      anything.
    - Patch positions are sines. At 0.02 they would drown in the pixels.
    - Key weights are half the query weights, and keys rotate slowly. Attention therefore begins as a search for similar
      content.
    """
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
        projection_dim=128,
    )
    text = LlamaConfig(
        hidden_size=width,
        intermediate_size=8 * width // 3,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=vocabulary,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=3,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        pad_token_id=0,
    )
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(pad_token_id=0, bos_token_id=1, eos_token_id=2, max_new_tokens=8)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
            elif weight.ndim == 4:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
            elif "embed_tokens" in name:
                nn.init.normal_(weight, std=1.0)
        for layer in model.model.language_model.layers:
            layer.self_attn.k_proj.weight.copy_(0.5 * layer.self_attn.q_proj.weight)
        positions = model.model.vision_tower.embeddings.position_embedding.weight  # (1 + 196, 128); CLS comes first
        positions[1:] = grid_sines(positions.shape[1])
    return model
