"""Train grip with rewards averaged over two frozen VLMs, so that tokens which push one VLM alone earn less.

    python recipes/two_vlms.py --second runs/second_llava/checkpoint      recipes/tiny_llava/README.md trains one
    python recipes/steering.py --second runs/second_llava/checkpoint --trained grip two_vlms warmup

It starts from stage 1 of compare.py and has grip's settings. The second VLM's forwards come on top of grip's time:
about two thirds more. Scorers go to RUNS/two_vlms-SEED. A stopped run resumes with the same command.
"""

from dataclasses import dataclass
from pathlib import Path

import tyro

from compare import Compare, Field, encoder
from grip_vlm import checkpoint, vlms
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.training.bank import Bank, build_bank
from grip_vlm.training.grpo import train
from grip_vlm.training.settings import GRPOConfig


@dataclass(frozen=True)
class TwoVLMs:
    second: str
    """A VLM with the same grid of visual tokens, trained from another seed."""
    seeds: tuple[int, ...] = (0,)
    """Training seeds."""
    vlm: str = "tiny-llava"
    """A shipped VLM or a checkpoint folder."""
    runs: Path = Path("runs/compare")
    """Folder with the runs of recipes/compare.py, and for the runs of this recipe."""
    examples: int = 6000
    """Training examples."""


def trained(field: Field, theirs: Bank, seed: int) -> Path:
    """Train the scorer and return its folder. `theirs` are the training examples as encoded by the second VLM."""
    out, settings = field.compare.runs / f"two_vlms-{seed}", field.plan["grip"].settings
    begun = checkpoint.load(field.scorer("stage1", seed), field.vlm)
    config = GRPOConfig(out=out, seed=seed, examples=field.compare.examples, **settings)
    train(field.vlm, begun, *field.banks("scenes", False), config, [theirs])
    return out


def main(told: TwoVLMs) -> None:
    compare = Compare(vlm=told.vlm, runs=told.runs, examples=told.examples)
    vlm, second = vlms.load(told.vlm), vlms.load(told.second)
    field = Field(compare, vlm, encoder(vlm, compare))
    theirs = build_bank(second, load_examples("scenes", "train", told.examples))
    for seed in told.seeds:
        print(trained(field, theirs, seed))


if __name__ == "__main__":
    main(tyro.cli(TwoVLMs))
