"""k tokens chosen uniformly at random: a stronger baseline than it sounds, and in every table."""

import zlib

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.subsets import top_k
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    """The sample depends on the seed and the image's own features (rounded). A batch therefore equals single runs."""

    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        scores = torch.full(encoded.state.visual_mask.shape, -torch.inf)
        for row, count in enumerate(encoded.state.counts.tolist()):
            mean = encoded.state.visual[row, :count].float().mean(0)
            features = (100 * mean).round().int().cpu().numpy().tobytes()
            generator = torch.Generator().manual_seed(zlib.crc32(features, self.seed))
            scores[row, :count] = torch.rand(count, generator=generator)
        return Action(top_k(scores.to(vlm.device), k))
