"""No image at all: how much the language model answers without one."""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    """Keeps no token, whatever the budget."""

    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return Action(torch.zeros_like(encoded.state.visual_mask))
