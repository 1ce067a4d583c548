"""FasterVLM (arXiv 2412.01818): keep the tokens that the tower's CLS token attends to most, whatever the question."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.mdp import Action
from grip_vlm.pruners._untrained import Untrained

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM


class Pruner(Untrained):
    @torch.no_grad()
    def select(self, vlm: "FrozenVLM", encoded: "Encoded", k: Tensor) -> Action:
        if encoded.hidden is None:
            raise ValueError(f"cls_attention needs the vision tower's hidden states, and {vlm.name!r} gave none")
        attention = cls_row(vlm, encoded.hidden)  # (images, n)
        if attention.numel() != int(encoded.state.counts.sum()):
            raise ValueError(f"cls_attention needs a vision tower with a CLS token, and that of {vlm.name!r} has none")
        scores = torch.full(encoded.state.visual_mask.shape, -torch.inf, device=vlm.device)
        scores[encoded.state.visual_mask] = attention.flatten().float()
        return Action(policy.greedy(scores, k))


def cls_row(vlm: "FrozenVLM", hidden: tuple[Tensor, ...], at: int | None = None) -> Tensor:
    """Attention of CLS to the patches in one layer of the tower, mean of heads, (images, n).

    One row is recomputed from the layer's input, so no attention implementation has to give out its maps.

    Args:
        hidden: the tower's states, (images, 1 + n, d) each, the first before all layers.
        at: which of these the layer makes; None is the one that feeds the language model.
    """
    tower = vlm.model.base_model.vision_tower
    layers = getattr(tower, "vision_model", tower).encoder.layers
    at = vlm.model.config.vision_feature_layer if at is None else at
    if not isinstance(at, int):
        raise ValueError(f"{vlm.name!r} takes features from layers {at}; cls_attention knows one layer")
    layer = layers[(at if at >= 0 else len(hidden) + at) - 1]
    x = layer.layer_norm1(hidden[(at if at >= 0 else len(hidden) + at) - 1])  # (images, 1 + n, d)
    heads = layer.self_attn.num_heads
    q = layer.self_attn.q_proj(x[:, :1]).unflatten(-1, (heads, -1))  # (images, 1, heads, d / heads)
    key = layer.self_attn.k_proj(x).unflatten(-1, (heads, -1))
    logits = torch.einsum("bihd,bjhd->bhj", q, key) * q.shape[-1] ** -0.5
    row: Tensor = logits.softmax(-1).mean(1)[:, 1:]
    return row
