"""A pruner with a trained scorer. At inference, all trained methods are this class."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grip_vlm import checkpoint, policy
from grip_vlm.mdp import Action
from grip_vlm.pruners.base import BasePruner
from grip_vlm.scorer import Scorer
from grip_vlm.vlms import Encoded, FrozenVLM


class Scored(BasePruner):
    """Keeps what the scorer chooses. The scorer is loaded on first use, when the VLM is known.

    All trained methods choose by `policy.choose`, which takes importance minus redundancy. A method that does not train
    the redundancy penalty has a fixed one, which is better than the plain top k (docs/log.md).
    """

    def __init__(self, *, scorer: str | Path | None = None, seed: int = 0) -> None:
        if scorer is None:
            raise ValueError(f"pruner {self.name!r} is trained: give the folder of its scorer")
        self.folder = checkpoint.locate(scorer)
        self.checkpoint = f"{scorer}@{checkpoint.digest(self.folder)}"
        self._scorer: tuple[Any, Scorer] | None = None  # with the model that it was loaded for

    def scorer(self, vlm: FrozenVLM) -> Scorer:
        """The network, on the VLM's device.

        Raises:
            ValueError: it was trained on another VLM, or cannot be loaded.
        """
        loaded = self._scorer  # read once: another thread may load it for another model
        if loaded is None or loaded[0] is not vlm.model:
            loaded = self._scorer = vlm.model, checkpoint.load(self.folder, vlm).to(vlm.device)
        return loaded[1]

    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return Action(policy.choose(self.scorer(vlm), encoded.state, k))
