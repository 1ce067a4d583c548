"""A LLaVA whose language model has a real model's size, with random weights and a random scorer: to measure times with.

    python recipes/larger_llava.py runs/larger

It has the shape of smol-llava (recipes/smol_llava): SmolLM-135M's language model, 30 layers of width 576, behind a
small vision tower, and 576 visual tokens. What a VLM answers does not change its speed. The processor is tiny-llava's.
"""

import json
import shutil
from pathlib import Path

import torch
import tyro
from transformers import LlavaConfig, LlavaForConditionalGeneration

from grip_vlm import checkpoint, vlms
from grip_vlm.registry import PACKAGE
from grip_vlm.scorer import Scorer, ScorerConfig

LANGUAGE = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "head_dim": 64,
    "vocab_size": 49152,
}
PIXELS = 192  # of 8 x 8 to a patch: 576 patches


def main(folder: tyro.conf.Positional[Path]) -> None:
    """Write the checkpoint to a folder, and its scorer to `scorer` in it."""
    torch.manual_seed(0)
    source = PACKAGE / "assets" / "tiny-llava"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("scorer", "*.safetensors"))
    read = json.loads((source / "config.json").read_text())
    read["text_config"] |= LANGUAGE
    read["vision_config"]["image_size"] = PIXELS
    model = LlavaForConditionalGeneration(LlavaConfig(**read))
    model.save_pretrained(folder)
    processor = json.loads((source / "processor_config.json").read_text())
    for size in ("size", "crop_size"):
        processor["image_processor"][size] = {"height": PIXELS, "width": PIXELS}
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2))
    vlm = vlms.load(str(folder))
    untrained = checkpoint.Provenance("larger", vlm.fingerprint(), "none", "none", 0, 0.0, 0)
    checkpoint.save(folder / "scorer", Scorer(ScorerConfig(dim=vlm.dim)), untrained)


if __name__ == "__main__":
    tyro.cli(main)
