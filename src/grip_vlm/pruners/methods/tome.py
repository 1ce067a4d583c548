"""ToMe (arXiv 2210.09461) on projected tokens: merge the most alike until k are left, whatever the question.

Where it departs from the paper: there a few tokens merge in every block of the tower, by the keys of its attention, and
attention is weighted by token size. Ours merges what the tower and the projector give, by its own cosines, eight pairs
a round however many rounds that takes, and the language model, which stays as it is, does not learn the sizes. A merged
token has the position of the one it was merged into; so have the features some models add in later layers (deepstack).
"""

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.merging import action, merge
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        return action(encoded, k, lambda visual, _, keep: merge(visual, keep))
