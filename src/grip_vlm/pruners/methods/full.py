"""No pruning: the reference for every method."""

from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    """Keeps every token, whatever the budget."""

    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return Action(encoded.state.visual_mask)
