"""Attention, keys and features of the vision tower, read at the layer whose output goes to the projector.

Everything is recomputed from the layer's input, so it works with every attention implementation. The layer is that of
the config's `vision_feature_layer`, as in the papers (the last but one of CLIP in LLaVA-1.5).

Letters: T runs of the tower (one per image or tile), n patches in each, C its width. c is 1 for a tower with a CLS
token, else 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from grip_vlm.mdp import Action
from grip_vlm.vlms.encode import Encoded
from grip_vlm.vlms.frozen import FrozenVLM

CLS_TOKENS = {"clip_vision_model": 1, "siglip_vision_model": 0}  # how many; towers not listed are not supported


@dataclass(frozen=True)
class Tower:
    """One layer of the tower for a batch, and the visual token that each patch becomes."""

    vlm: FrozenVLM
    encoded: Encoded
    layer: Any
    attention_input: Tensor  # (T, c + n, C) what the layer's attention reads
    features: Tensor  # (T, n, C) the layer's output, which the projector reads
    patches: list[Tensor]  # (n_b,) per sample: the patches that are its visual tokens, counted over all runs
    tokens: list[Tensor]  # (n_b,) per sample: the visual tokens that these patches are; the others are newlines

    @property
    def cls(self) -> int:
        """1 if the tower has a CLS token, which comes first, else 0."""
        return self.attention_input.shape[1] - self.features.shape[1]

    def cls_attention(self, heads: int | None = None) -> Tensor:
        """Attention of CLS to the patches, mean over heads, (T, n).

        Args:
            heads: None for the tower's own number; 1 for a single softmax over queries and keys of full width.
        """
        return self._attention(slice(0, 1), self.attention_input, heads)[:, 0, 1:]

    def maps(self) -> Tensor:
        """Attention of patches (queries) to patches (keys), mean over heads, (T, n, n). Columns of CLS are cut off."""
        # One run at a time: the maps of all heads are large.
        rows = [self._attention(slice(self.cls, None), run[None], None)[0] for run in self.attention_input]
        return torch.stack(rows)[:, :, self.cls :]

    def salience(self) -> Tensor:
        """Attention of CLS to the patches, (T, n). In a tower without CLS, the mean attention of all patches."""
        return self.cls_attention() if self.cls else self.maps().mean(1)

    def keys(self) -> Tensor:
        """Keys of the patches, (T, n, heads, C / heads)."""
        attention = self.layer.self_attn
        keys: Tensor = attention.k_proj(self.attention_input[:, self.cls :]).unflatten(-1, (attention.num_heads, -1))
        return keys.float()

    def _attention(self, queries: slice, x: Tensor, heads: int | None) -> Tensor:
        """Attention of the rows `queries` of x (runs, c + n, C), mean over heads, (runs, queries, c + n)."""
        attention = self.layer.self_attn
        shape = (heads or attention.num_heads, -1)
        q = attention.q_proj(x[:, queries]).unflatten(-1, shape).float()  # (runs, queries, heads, C / heads)
        k = attention.k_proj(x).unflatten(-1, shape).float()
        logits = torch.einsum("tihd,tjhd->thij", q, k) * q.shape[-1] ** -0.5
        mean: Tensor = logits.softmax(-1).mean(1)
        return mean

    def split(self, values: Tensor) -> list[Tensor]:
        """Values of all patches, (T, n, ...) -> those of each sample, (n_b, ...), in the order of its tokens."""
        flat = values.flatten(0, 1)
        return [flat[patches] for patches in self.patches]

    def patches_to_keep(self, k: Tensor) -> list[int]:
        """How many patches to keep per sample: k (B,), or all if it has fewer and newline tokens make up the rest."""
        return [min(keep, len(patches)) for keep, patches in zip(k.tolist(), self.patches, strict=True)]

    def samples(self, k: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """(attention of CLS (n_b,), features (n_b, C), patches to keep) of each sample, for budgets k (B,)."""
        return zip(self.split(self.cls_attention()), self.split(self.features), self.patches_to_keep(k), strict=True)

    def action(self, chosen: list[Tensor], k: Tensor, merged: list[Tensor] | None = None) -> Action:
        """Keep the chosen patches. A sample with fewer than k (B,) patches also keeps its first newline tokens.

        Args:
            chosen: per sample, indices into its `patches`, as many as `patches_to_keep(k)` says.
            merged: per sample (chosen, C), for methods that merge: what the projector reads in place of the chosen.
        """
        mask = torch.zeros_like(self.encoded.state.visual_mask)  # (B, N)
        features = None if merged is None else self.encoded.prompt.visual.clone()  # (B, N, D)
        for row, (choice, keep) in enumerate(zip(chosen, k.tolist(), strict=True)):
            mask[row, self.tokens[row][choice]] = True
            newline = self.encoded.state.visual_mask[row].clone()
            newline[self.tokens[row]] = False
            mask[row, newline.nonzero()[: keep - len(choice), 0]] = True
            if merged is not None and features is not None:
                projected = self.vlm.model.base_model.multi_modal_projector(merged[row].to(self.features.dtype))
                features[row, self.tokens[row][choice]] = projected.to(features)
        return Action(mask, features)


def read_tower(
    vlm: FrozenVLM, encoded: Encoded, method: str, needs_cls: bool = False, depth: Fraction | None = None
) -> Tower:
    """Read the tower's layer that feeds the projector, or the layer at another depth.

    Args:
        method: name of the pruner, for the message.
        needs_cls: whether to refuse a tower without a CLS token.
        depth: None for the layer that feeds the projector, else a share of the tower's layers.

    Raises:
        ValueError: the VLM's tower lacks what the method needs.
    """
    config = vlm.model.config
    if encoded.hidden is None or encoded.patches is None or config.vision_config.model_type not in CLS_TOKENS:
        raise ValueError(
            f"{method} needs a CLIP or SigLIP tower whose patches are the visual tokens one by one; {vlm.name!r} has "
            "none (or not for these inputs)"
        )
    kind = config.vision_config.model_type
    if needs_cls and not CLS_TOKENS[kind]:
        raise ValueError(f"{method} needs a vision tower with a CLS token, and that of {vlm.name!r} has none")
    index = config.vision_feature_layer
    if not isinstance(index, int):
        raise ValueError(f"{vlm.name!r} takes features from layers {index}; {method} supports a single layer")
    strategy = "default" if CLS_TOKENS[kind] else "full"
    if config.vision_feature_select_strategy != strategy:
        raise ValueError(f"{method} needs vision_feature_select_strategy={strategy!r} with a {kind}")
    index = index % len(encoded.hidden) if depth is None else 1 + round(depth * (len(encoded.hidden) - 1))
    if index == 0:
        raise ValueError(f"{vlm.name!r} takes features from before the first layer; {method} needs one with attention")
    tower = vlm.model.base_model.vision_tower
    layer = getattr(tower, "vision_model", tower).encoder.layers[index - 1]
    per_sample = torch.split(encoded.patches, encoded.state.counts.tolist())
    return Tower(
        vlm,
        encoded,
        layer,
        attention_input=layer.layer_norm1(encoded.hidden[index - 1]),
        features=encoded.hidden[index][:, CLS_TOKENS[kind] :],
        patches=[patches[patches >= 0] for patches in per_sample],
        tokens=[(patches >= 0).nonzero()[:, 0] for patches in per_sample],
    )
