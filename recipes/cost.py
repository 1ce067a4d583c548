"""What the scorer costs beside the VLM it serves: measured on tiny-llava, computed at LLaVA-1.5-7B's shape.

python recipes/cost.py        writes results/cost.json
"""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from grip_vlm import vlms
from grip_vlm.checkpoint import locate, parameters, read_notes
from grip_vlm.cost import Cost, llava_cost
from grip_vlm.files import write_text
from grip_vlm.scorer import Scorer, ScorerConfig


def llava_7b() -> LlavaForConditionalGeneration:
    """LLaVA-1.5-7B's shape without weights."""
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    with torch.device("meta"):
        config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=32064))
        return LlavaForConditionalGeneration._from_config(config, attn_implementation="eager")


def told(name: str, cost: Cost, scorer: Scorer) -> dict[str, object]:
    shares = {"scorer_share": cost.scorer_share, "language_share": cost.language_share}
    return {"vlm": name, "scorer_parameters": parameters(scorer), **asdict(cost), **shares}


def main() -> None:
    tiny = vlms.load("tiny-llava", device="cpu")
    tiny.model.set_attn_implementation("eager")
    shape = ScorerConfig(**read_notes(locate("tiny-llava"))["scorer"])
    small = Scorer(shape)
    with torch.device("meta"):
        large = Scorer(ScorerConfig(dim=4096, width=256, heads=4))
    rows = [
        told("tiny-llava", llava_cost(tiny.model, small), small),
        told("LLaVA-1.5-7B (shape)", llava_cost(llava_7b(), large), large),
    ]
    out = Path(__file__).resolve().parent.parent / "results" / "cost.json"
    write_text(out, json.dumps(rows, indent=2) + "\n")
    print(out.read_text())


if __name__ == "__main__":
    main()
