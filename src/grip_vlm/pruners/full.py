"""No pruning: the reference that every method is measured against."""

from typing import TYPE_CHECKING

from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners._untrained import Untrained

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    """Keeps every token, whatever the budget."""

    def select(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> Action:
        return Action(encoded.state.visual_mask)
