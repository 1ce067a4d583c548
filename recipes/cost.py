"""Count the scorer's FLOPs beside the VLM's: on tiny-llava, and at LLaVA-1.5-7B's shape without its weights.

python recipes/cost.py        writes results/cost.json
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from grip_vlm import vlms
from grip_vlm.checkpoint import locate, parameters, read_notes
from grip_vlm.evaluation.cost import count_flops
from grip_vlm.files import write_text
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, ScorerConfig


@dataclass(frozen=True)
class Cost:
    """FLOPs of one question about one image. A multiplication and an addition count as two."""

    vision: int
    """Vision tower and projector."""
    language: int
    """Prefill of all visual tokens and the question."""
    scorer: int

    @property
    def full(self) -> int:
        return self.vision + self.language

    @property
    def scorer_share(self) -> float:
        """Share of the full forward."""
        return self.scorer / self.full

    @property
    def language_share(self) -> float:
        return self.language / self.full


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


def llava_cost(model: Any, scorer: Scorer, words: int = 16) -> Cost:
    """The cost of a LLaVA with one image and a question of `words` tokens.

    The model's attention should be `eager`, because the counter knows its matrix products. Model and scorer may be on
    the `meta` device.
    """
    device, vision = model.device, model.config.vision_config
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_size, device=device, dtype=model.dtype)
    n = (vision.image_size // vision.patch_size) ** 2
    dim = model.config.get_text_config().hidden_size
    embeddings = torch.zeros(1, n + words, dim, device=device, dtype=model.dtype)
    # We pass a finished mask, because transformers reads values to make one, and meta tensors have no values.
    mask = torch.zeros(1, 1, n + words, n + words, device=device, dtype=model.dtype)
    positions = torch.arange(n + words, device=device)[None]
    state = State(
        visual=torch.zeros(1, n, dim, device=device),
        visual_mask=torch.ones(1, n, dtype=torch.bool, device=device),
        places=torch.zeros(1, n, 2, device=device),
        image=torch.zeros(1, n, dtype=torch.long, device=device),
        question=torch.zeros(1, words, dim, device=device),
        question_mask=torch.ones(1, words, dtype=torch.bool, device=device),
    )
    k = torch.ones(1, dtype=torch.long, device=device)

    def chosen() -> Tensor:
        """The matrix products of `policy.greedy`, which itself cannot run on the `meta` device."""
        keys: Tensor = scorer(state, k).keys
        return keys @ keys.mT

    return Cost(
        vision=count_flops(lambda: model.get_image_features(pixel_values=pixels, return_dict=True)),
        language=count_flops(
            lambda: model.base_model.language_model(
                inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
            )
        ),
        scorer=count_flops(chosen),
    )


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
