"""Stage 2: GRPO against the frozen VLM, from a warm-up's scorer."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import tyro

from grip_vlm.options import VLMOptions
from grip_vlm.training.settings import GRPOConfig


@dataclass(frozen=True)
class Settings(GRPOConfig):
    """The settings of stage 2, and how subsets are sampled."""

    policy: Literal["sequential", "gibbs", "plackett_luce", "textbook"] = "sequential"
    """How subsets are sampled. `sequential`: one token at a time, penalising redundancy. `gibbs`: whole subsets.
    `plackett_luce`: one token at a time, no redundancy. `textbook`: `plackett_luce` with standard GRPO, the `grip_like`
    baseline with `--reward exact --anchor 0.04`."""


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions):
    """Stage 2: GRPO against the frozen VLM, from a warm-up's scorer."""

    config: tyro.conf.OmitArgPrefixes[Settings]
    init: str
    """Folder of the scorer to start from."""

    def run(self) -> None:
        from grip_vlm import checkpoint, rivals, vlms
        from grip_vlm.training import grpo
        from grip_vlm.training.grpo_sets import gibbs_step
        from grip_vlm.training.launch import Training, launch, load_policy
        from grip_vlm.training.run import process_device

        folder = checkpoint.locate(self.init)
        steps = {
            "sequential": grpo.sequential_step,
            "gibbs": gibbs_step,
            "plackett_luce": grpo.plackett_luce_step,
        }
        if self.config.policy == "textbook":
            method, train = "grip_like", rivals.load("grip_like").train
        else:
            method, train = "grip", partial(grpo.train, step=steps[self.config.policy])

        def load() -> vlms.FrozenVLM:
            return vlms.load(self.vlm, dtype=self.dtype, device=process_device())

        print(launch(self.config, Training(method, load, partial(load_policy, folder), train)))
