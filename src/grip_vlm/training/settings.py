"""The settings of training runs: each dataclass is configuration, command line and help at once.

They are apart from the code that uses them because that code imports torch, and a wrong flag should not wait for it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grip_vlm import literals
from grip_vlm.budget import Budget


@dataclass(frozen=True)
class RunConfig:
    """Settings of every training run."""

    out: Path
    """Folder for the scorer. The state of the run is beside it in OUT.state; the same command resumes from it."""
    data: str = "scenes"
    """`scenes`, `spread` (the larger world), comma-separated names of composed benchmarks, or a JSONL file with image,
    question and answers."""
    examples: int = 6000
    """Training examples."""
    dev_examples: int = 600
    """Held-out examples that decide which weights are kept."""
    steps: int = 400
    """Optimisation steps (GRPO: sampling steps)."""
    batch: int = 32
    """Questions per step, over all processes."""
    rate: float = 1e-3
    """Peak learning rate of AdamW: 20 steps of linear warm-up, then cosine decay."""
    low: float = 0.01
    """Smallest budget sampled in training, as a fraction of the tokens."""
    high: float = 0.35
    """Largest budget sampled in training."""
    budget: str = ""
    """Train for this one budget instead of all budgets between low and high."""
    label_free: bool = False
    """Use the VLM's own answer from all tokens as the target. No label is read."""
    seed: int = 0
    dev_every: int = 50
    """Steps between two dev scores."""
    save_every: int = 25
    """Steps between two saved states."""
    precision: Literal["no", "bf16"] = "no"
    """Mixed precision of the scorer. The VLM keeps the precision it was loaded in."""
    log: str = ""
    """Tracker for the learning curves, such as `tensorboard`, written to OUT.log; empty for none."""
    features: Path | None = None
    """Folder for the encoded images, OUT.features by default. Runs that share it encode an image once."""
    max_pixels: int = 0
    """Larger images are scaled down to so many pixels. 0 leaves the limit to the VLM's processor."""
    micro_batch: int = 0
    """Prompts in one forward of the VLM. 0 takes as many as fit: it is halved when memory runs out. The batch of the
    optimiser stays as it is."""
    dry_run: bool = False
    """Train nothing. Say what the run will cost, from a few timed steps on the real VLM, and what will not fit."""

    def __post_init__(self) -> None:
        literals.check_fields(self)
        if min(self.examples, self.dev_examples, self.steps, self.batch, self.dev_every, self.save_every) < 1:
            raise ValueError("examples, dev_examples, steps, batch, dev_every and save_every must be at least 1")
        if self.max_pixels < 0 or self.micro_batch < 0:
            raise ValueError("max_pixels and micro_batch must be at least 0; 0 sets no limit")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed must be between 0 and 2**63 - 1, got {self.seed}")
        if not 0 < self.low <= self.high <= 1:
            raise ValueError(f"budgets are sampled in 0 < low <= high <= 1, got low {self.low} and high {self.high}")
        if not 0 < self.rate < 1:
            raise ValueError(f"the learning rate must be between 0 and 1, got {self.rate}")
        if self.budget and Budget.parse(self.budget).goal is not None:
            raise ValueError(f"training takes a count, a fraction or a percentage as its budget, not {self.budget!r}")


@dataclass(frozen=True)
class WarmupConfig(RunConfig):
    """Stage 1."""

    steps: int = 400
    attention_share: float = 0.95
    """Share of the steps that imitate attention; 0 trains by a relaxation alone. An imitation step costs a fraction of
    a relaxation step, because attention is computed once per example."""
    looked: int = 1600
    """Training examples whose attention is imitated."""
    dev_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.looked < 1:
            raise ValueError(f"looked must be at least 1, got {self.looked}")
        if not 0 <= self.attention_share <= 1:
            raise ValueError(f"attention_share must be in [0, 1], got {self.attention_share}")


@dataclass(frozen=True)
class GRPOConfig(RunConfig):
    """Stage 2."""

    steps: int = 200
    rate: float = 5e-4
    """Peak learning rate of AdamW, half of the warm-up's: at 1e-3 the first fifty steps undo what imitation gained
    (docs/log.md)."""
    group: int = 8
    """Subsets per question."""
    epochs: int = 2
    """Optimiser steps per group."""
    anchor: float = 0.2
    """Weight of the KL to the warm-up policy, per token kept, on half a batch of uniformly sampled questions."""
    reward: Literal["dense", "exact"] = "dense"
    """`dense`: probability of the answer plus 0.2 for an exact match. `exact`: exact match alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.group < 2 or self.epochs < 1 or not 0 <= self.anchor < float("inf"):
            raise ValueError("a group needs at least 2 subsets, a run at least 1 epoch, and a finite anchor >= 0")
