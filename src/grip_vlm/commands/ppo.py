"""The TPRL-like rival: PPO against the frozen VLM, from the scorer of `warmup --imitation bernoulli`."""

from dataclasses import dataclass
from functools import partial

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
        from grip_vlm.training.launch import Training, launch, load_policy
        from grip_vlm.training.run import process_device

        folder = checkpoint.locate(self.init)

        def load() -> vlms.FrozenVLM:
            return vlms.load(self.vlm, dtype=self.dtype, device=process_device())

        print(launch(self.config, Training("tprl", load, partial(load_policy, folder), tprl.train)))
