"""Write what was trained as the parts that the package ships: bfloat16 weights, and the files that belong to them."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CLIPVisionModel,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)

from grip_vlm.vlms.assemble import Assembly
from smol_llava.build import CHAT_TEMPLATE, TowerSize, image_processor, llava_config


def write_parts(
    folder: Path,
    size: TowerSize,
    text: LlamaConfig,
    tokenizer: PreTrainedTokenizerBase,
    assembly: Assembly,
    weights: Mapping[str, Tensor],
) -> None:
    """The folder that `vlms.load` assembles.

    Args:
        text: the language model's configuration, as the GGUF file gives it.
        tokenizer: the language model's, with <image>; only the processor's settings are written of it.
        weights: `vision_tower.*`, `multi_modal_projector.*` and, for every updated linear layer of the language model,
            `<name>.a` (rank, in) and `<name>.b` (out, rank).
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = llava_config(size, text, tokenizer.convert_tokens_to_ids("<image>"))
    config.architectures = ["LlavaForConditionalGeneration"]
    config.save_pretrained(folder)
    ends = {"bos_token_id": text.bos_token_id, "eos_token_id": text.eos_token_id, "pad_token_id": text.pad_token_id}
    GenerationConfig(**ends).save_pretrained(folder)
    processor = LlavaProcessor(
        image_processor=image_processor(size),
        tokenizer=tokenizer,
        patch_size=size.patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )
    (folder / "processor_config.json").write_text(processor.to_json_string(), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    (folder / "assembly.json").write_text(json.dumps(asdict(assembly), indent=2) + "\n", encoding="utf-8")
    parts = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in weights.items()}
    save_file(parts, folder / "parts.safetensors", metadata={"format": "pt"})


def read_tower(folder: Path) -> CLIPVisionModel:
    """The vision tower of shipped parts, in float32."""
    tower = CLIPVisionModel(LlavaConfig.from_pretrained(folder).vision_config)
    prefix, parts = "vision_tower.", load_file(folder / "parts.safetensors")
    own = {name.removeprefix(prefix): w.float() for name, w in parts.items() if name.startswith(prefix)}
    tower.load_state_dict(own)
    return tower.eval().requires_grad_(False)


def part_weights(tower: nn.Module, projector: Mapping[str, Tensor], updates: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names as `write_parts` wants them, from the tower, a plain projector's weights and `<layer>.a`, `<layer>.b`."""
    return {
        **{f"vision_tower.{name}": weight for name, weight in tower.state_dict().items()},
        **{f"multi_modal_projector.{name}": weight for name, weight in projector.items()},
        **updates,
    }
