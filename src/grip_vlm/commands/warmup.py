"""Stage 1: train a new scorer by supervision, or a rival by a relaxation alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tyro

from grip_vlm.options import VLMOptions
from grip_vlm.training.settings import WarmupConfig

if TYPE_CHECKING:
    from grip_vlm.training.bank import Bank
    from grip_vlm.training.run import DevScore


@dataclass(frozen=True)
class Settings(WarmupConfig):
    """The settings of stage 1, and which parts of it to replace by a rival's."""

    imitation: Literal["subset", "distribution", "bernoulli"] = "subset"
    """Imitation loss. `subset`: likelihood of the teacher's top k plus cross-entropy to its distribution.
    `distribution`: the cross-entropy alone (`attention_distill`). `bernoulli`: the top k as independent keep/drop
    labels (the start of `tprl`)."""
    relaxation: Literal["soft_topk", "st_gumbel", "dynamicvit", "noise_gate"] = "soft_topk"
    """Relaxation of the steps that do not imitate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.imitation != "subset" and self.attention_share != 1:
            raise ValueError(f"imitation {self.imitation!r} is a rival's whole training: give attention_share 1")


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions):
    """Stage 1: train a new scorer by supervision, or a rival by a relaxation alone."""

    config: tyro.conf.OmitArgPrefixes[Settings]
    init: str = ""
    """Folder of a scorer to start from, as relaxations do in recipes/compare.py; by default a new scorer."""
    width: int = 96
    """Width of a new scorer."""

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 2**14 or self.width % 2:
            raise ValueError(f"width must be an even number from 2 to {2**14}, got {self.width}")

    def run(self) -> None:
        import torch

        from grip_vlm import checkpoint, rivals, vlms
        from grip_vlm.scorer import Scorer, ScorerConfig
        from grip_vlm.training.launch import Training, launch
        from grip_vlm.training.run import process_device
        from grip_vlm.training.warmup import subset_imitation, warmup

        folder = checkpoint.locate(self.init) if self.init else None
        method, imitate = {
            "subset": ("warmup", subset_imitation),
            "distribution": ("attention_distill", rivals.load("attention_distill").distribution_imitation),
            "bernoulli": ("tprl_start", rivals.load("tprl").bernoulli_imitation),
        }[self.config.imitation]
        method = method if self.config.attention_share else self.config.relaxation

        def start(frozen: vlms.FrozenVLM) -> Scorer:
            torch.manual_seed(self.config.seed)
            # Trained by a relaxation alone, the scorer only ever saw redundancy over all pairs at once, so it also
            # selects best in one pass.
            shape = ScorerConfig(dim=frozen.dim, width=self.width, one_pass=self.config.attention_share == 0)
            return checkpoint.load(folder, frozen) if folder else Scorer(shape)

        def train(frozen: vlms.FrozenVLM, scorer: Scorer, bank: "Bank", dev: "DevScore", config: Settings) -> Scorer:
            relax = rivals.load(config.relaxation).relaxation(frozen, config.seed)
            return warmup(frozen, scorer, bank, dev, config, method=method, imitate=imitate, relax=relax)

        def load() -> vlms.FrozenVLM:
            return vlms.load(self.vlm, dtype=self.dtype, device=process_device())

        print(launch(self.config, Training(method, load, start, train)))
