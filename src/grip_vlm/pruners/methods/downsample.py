"""A smaller image with as many tokens: the control that many published methods do not beat.

The image is resized until the tower has at most k patches, and the tower interpolates its position embeddings. The
s x s tokens take the places of the nearest tokens of an s x s grid.
"""

import math

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.pruners.base import Untrained
from grip_vlm.pruners.methods.uniform import grid, nearest
from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        if encoded.patches is None or encoded.pixels is None or encoded.pixels.shape[:-3] != k.shape:
            raise ValueError(
                "downsample needs exactly one image per sample, and a vision tower with one token per patch"
            )
        mask = torch.zeros_like(encoded.state.visual_mask)
        features = torch.zeros_like(encoded.prompt.visual)
        patch = vlm.model.config.vision_config.patch_size
        for row, keep in enumerate(k.tolist()):
            side = math.isqrt(min(keep, int(encoded.state.counts[row])))
            small = torch.nn.functional.interpolate(
                encoded.pixels[row : row + 1].float(), size=(side * patch,) * 2, mode="bicubic", antialias=True
            ).to(encoded.pixels.dtype)
            output = vlm.model.get_image_features(pixel_values=small, interpolate_pos_encoding=True, return_dict=True)
            chosen = nearest(encoded.state.places[row, : encoded.state.counts[row]], grid(side * side))
            mask[row, chosen] = True
            features[row, chosen] = output.pooler_output[0].to(features.dtype)
        return Action(mask, features)
