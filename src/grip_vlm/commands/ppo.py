"""The TPRL-like rival: PPO against the frozen VLM, from the scorer of `warmup --imitation bernoulli`."""

from dataclasses import dataclass

import tyro

from grip_vlm.options import VLMOptions
from grip_vlm.rivals import tprl


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions):
    """The TPRL-like rival: PPO against the frozen VLM, from the scorer of `warmup --imitation bernoulli`."""

    config: tyro.conf.OmitArgPrefixes[tprl.Config]
    init: str
    """Folder of the scorer to start from."""

    def run(self) -> None:
        from grip_vlm import checkpoint, vlms
        from grip_vlm.training.dev import load_banks
        from grip_vlm.training.run import process_device

        folder = checkpoint.locate(self.init)
        frozen = vlms.load(self.vlm, dtype=self.dtype, device=process_device())
        scorer = checkpoint.load(folder, frozen)
        bank, dev = load_banks(frozen, self.config)
        tprl.train(frozen, scorer, bank, dev, self.config)
        print(f"scorer written to {self.config.out}")
