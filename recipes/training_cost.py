"""Compute hours, GPU memory and disk of the two stages for real VLMs, from their shapes and the default settings.

python recipes/training_cost.py        writes results/training-cost.md
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

from grip_vlm.files import write_text
from grip_vlm.training.run import DEV_BUDGETS
from grip_vlm.training.settings import GRPOConfig, WarmupConfig

ROOT = Path(__file__).resolve().parent.parent
TEXT = 60  # tokens of template, question and answer, assumed
PEAK, USED = 312e12, 0.35  # bf16 FLOP/s of an A100 by its data sheet; the share that is reached, assumed
GPU = 80e9  # bytes of an A100
ACTIVATIONS = 34  # bytes per token, layer and unit of width that a backward pass needs (arXiv 2205.05198, in 16 bits)


@dataclass(frozen=True)
class Shape:
    """A VLM's shape, from the config.json of its checkpoint, and how many visual tokens an image has."""

    name: str
    tokens: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    inner: int
    """width inside the MLP"""
    vocabulary: int
    tied: bool
    """whether input and output embeddings are one matrix"""
    vision: float
    """parameters of the vision tower and the projector"""
    patches: int
    """patches that the tower reads per image"""

    @property
    def read(self) -> float:
        """Parameters of the language model that every token is multiplied with."""
        attention = self.width**2 * (2 + 2 * self.kv_heads / self.heads)
        return self.layers * (attention + 3 * self.width * self.inner)

    @property
    def parameters(self) -> float:
        return self.read + self.vocabulary * self.width * (1 if self.tied else 2) + self.vision

    def forward(self, tokens: float) -> float:
        """FLOPs of the language model for one prompt: two per parameter and token, and attention."""
        return 2 * self.read * tokens + 2 * self.layers * self.width * tokens**2

    @property
    def tower(self) -> float:
        """FLOPs of the vision tower for one image, without its attention."""
        return 2 * self.vision * self.patches


SHAPES = [
    Shape("LLaVA-1.5-7B", 576, 32, 4096, 32, 32, 11008, 32064, False, 0.32e9, 577),
    Shape("LLaVA-1.5-13B", 576, 40, 5120, 40, 40, 13824, 32064, False, 0.33e9, 577),
    Shape("Qwen2.5-VL-3B", 1300, 36, 2048, 16, 2, 11008, 151936, True, 0.67e9, 5200),
    Shape("Qwen2.5-VL-7B", 1300, 28, 3584, 28, 4, 18944, 152064, False, 0.68e9, 5200),
    Shape("Qwen2.5-VL-32B", 1300, 64, 5120, 40, 8, 27648, 152064, False, 0.69e9, 5200),
]


def warmup_flops(shape: Shape, config: WarmupConfig) -> float:
    """The language model's FLOPs in stage 1. A step with gradient costs three forwards."""
    full = shape.forward(shape.tokens + TEXT)
    relaxed = config.steps - round(config.attention_share * config.steps)
    return config.looked * full + relaxed * config.batch * 3 * full + dev_flops(shape, config)


def grpo_flops(shape: Shape, config: GRPOConfig) -> float:
    """The language model's FLOPs in stage 2: one pruned prompt per subset."""
    share = (config.high - config.low) / math.log(config.high / config.low)  # the mean of a log-uniform budget
    subset = shape.forward(share * shape.tokens + TEXT)
    return config.steps * config.batch * config.group * subset + dev_flops(shape, config)


def dev_flops(shape: Shape, config: WarmupConfig | GRPOConfig) -> float:
    """The language model's FLOPs in all dev scores."""
    scores = 1 + math.ceil(config.steps / config.dev_every)
    return scores * config.dev_examples * sum(shape.forward(share * shape.tokens + TEXT) for share in DEV_BUDGETS)


def per_prompt(shape: Shape) -> tuple[float, float]:
    """Bytes that one full prompt takes: attention maps of all layers (imitation), activations (relaxation)."""
    length = shape.tokens + TEXT
    return 2 * shape.layers * shape.heads * length**2, ACTIVATIONS * shape.layers * shape.width * length


def row(shape: Shape) -> str:
    warmup, grpo = WarmupConfig(out=Path("run")), GRPOConfig(out=Path("run"))
    images = warmup.examples + warmup.dev_examples
    hours = [flops / (PEAK * USED) / 3600 for flops in (images * shape.tower, warmup_flops(shape, warmup))]
    hours.append(grpo_flops(shape, grpo) / (PEAK * USED) / 3600)
    weights = 2 * shape.parameters
    maps, activations = per_prompt(shape)
    fits = [max(0, int((0.9 * GPU - weights) / each)) for each in (maps, activations)]
    disk = images * shape.tokens * (2 * shape.width + 41)  # features in 16 bits; places, slots, ids, positions
    cells = [shape.name, f"{shape.tokens}", *(f"{value:.2f}" for value in hours), f"{weights / 1e9:.0f} GB"]
    cells += [f"{maps / 1e9:.1f} GB", f"{activations / 1e9:.1f} GB"]
    cells += [f"{min(fits)}" if min(fits) else "none", f"{disk / 1e9:.0f} GB"]
    return f"| {' | '.join(cells)} |"


def table() -> str:
    """The computed table, and the measured runs of the small VLM."""
    head = "| VLM | tokens | encoding, h | warmup, h | train, h | weights | maps a prompt | activations a prompt "
    head += "| micro-batch on 80 GB | features on disk |"
    runs = json.loads((ROOT / "results" / "training.json").read_text(encoding="utf-8"))
    took = [f"| {name} | {runs[name]['steps']} | {runs[name]['seconds']:.0f} s |" for name in ("stage1-0", "grip-0")]
    return "\n".join(
        [
            "Computed, not measured:",
            "",
            head,
            "|---|" + "--:|" * 9,
            *map(row, SHAPES),
            "",
            "Measured: tiny-llava on two CPU cores (results/training.json).",
            "",
            "| run | steps | steps and dev scores |",
            "|---|--:|--:|",
            *took,
            "",
        ]
    )


if __name__ == "__main__":
    write_text(ROOT / "results" / "training-cost.md", table())
    print(table())
