"""The parts of smol-llava before any training: configuration, vision tower, projector, processor, chat template."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlavaConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

MEAN, STD = 0.5, 0.3  # of pixels, all channels alike

# Without an image it is SmolLM2's own template, its default system turn included; with one that turn is left out.
CHAT_TEMPLATE = (
    "{% set ns = namespace(image=false) %}"
    "{% for message in messages %}{% if message['content'] is not string %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{% set ns.image = true %}{% endif %}{% endfor %}{% endif %}{% endfor %}"
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' and not ns.image %}<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}{% endif %}"
    "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class TowerSize:
    """The vision tower: `layers` x `width`, and how many patches of `patch` pixels lie along an image's edge."""

    width: int = 192
    layers: int = 6
    heads: int = 6
    grid: int = 24
    patch: int = 8


def tower_config(size: TowerSize) -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=size.width,
        intermediate_size=4 * size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=size.grid * size.patch,
        patch_size=size.patch,
        projection_dim=size.width,
    )


def llava_config(size: TowerSize, text: LlamaConfig, image_token_id: int) -> LlavaConfig:
    """The projector reads the tower's last layer, all patches and not CLS."""
    return LlavaConfig(
        vision_config=tower_config(size),
        text_config=text,
        image_token_id=image_token_id,
        image_seq_length=size.grid**2,
        vision_feature_select_strategy="default",
        vision_feature_layer=-1,
        pad_token_id=text.pad_token_id,
        tie_word_embeddings=True,
    )


def grid_waves(grid: int, width: int) -> Tensor:
    """Sines and cosines of a patch's row in one half, of its column in the other, (grid * grid, width).

    Wave lengths go down to four patches, so that products of two places fall off within a few patches.
    """
    turns = torch.pi * 2 ** torch.linspace(0, 3.6, width // 4) / grid  # half a period over the image to half in two
    angles = torch.arange(grid)[:, None] * turns  # (grid, width / 4)
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.cat([line.repeat_interleave(grid, 0), line.repeat(grid, 1)], dim=1)


def build_tower(size: TowerSize, seed: int) -> CLIPVisionModel:
    """Weights start at 1/sqrt(fan-in), for transformers' 0.02 binds nothing at these widths; places start as waves, and
    keys as half the queries, so that attention begins as a search for what is near and alike."""
    torch.manual_seed(seed)
    tower = CLIPVisionModel(tower_config(size))
    with torch.no_grad():
        for name, weight in tower.named_parameters():
            if weight.ndim == 2 and "embed" not in name:
                nn.init.normal_(weight, std=weight.shape[1] ** -0.5)
            elif weight.ndim == 4:
                nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
        for layer in encoder_layers(tower):
            layer.self_attn.k_proj.weight.copy_(0.5 * layer.self_attn.q_proj.weight)
        positions = embeddings(tower).position_embedding.weight  # (1 + N, C); CLS comes first
        positions[1:] = grid_waves(size.grid, size.width)
    return tower


def encoder_layers(tower: nn.Module) -> nn.ModuleList:
    """The tower's layers, whichever transformers names its inside."""
    inside = getattr(tower, "vision_model", tower)
    layers: nn.ModuleList = inside.encoder.layers
    return layers


def embeddings(tower: nn.Module) -> nn.Module:
    inside = getattr(tower, "vision_model", tower)
    found: nn.Module = inside.embeddings
    return found


def build_projector(config: LlavaConfig, seed: int) -> LlavaMultiModalProjector:
    """Two linear layers, starting at 1/sqrt(fan-in)."""
    torch.manual_seed(seed)
    projector = LlavaMultiModalProjector(config)
    with torch.no_grad():
        for weight in projector.parameters():
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5) if weight.ndim == 2 else nn.init.zeros_(weight)
    return projector


def image_processor(size: TowerSize) -> CLIPImageProcessorPil:
    edge = size.grid * size.patch
    return CLIPImageProcessorPil(
        size={"height": edge, "width": edge}, do_center_crop=False, image_mean=[MEAN] * 3, image_std=[STD] * 3
    )
