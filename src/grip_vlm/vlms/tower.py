"""What the vision tower thought of each visual token: attention, keys and features of the layer the projector reads.

All is computed again from the layer's input, so no attention implementation has to give out its maps. The papers take
the layer of `vision_feature_layer` (the last but one of CLIP in LLaVA-1.5), and so do we, whatever it is.

Letters: T runs of the tower (one per image or tile), n patches in each, c = 1 with a CLS token and else 0, C its width.
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

CLS = {"clip_vision_model": 1, "siglip_vision_model": 0}  # towers whose layers are known here: their CLS tokens


@dataclass(frozen=True)
class Tower:
    """The layer whose output the projector reads, and which of its patches are whose visual tokens."""

    vlm: FrozenVLM
    encoded: Encoded
    layer: Any
    read: Tensor  # (T, c + n, C) what its attention reads
    features: Tensor  # (T, n, C) what it gives, which the projector reads
    patches: list[Tensor]  # (n_b,) of every sample: the patches that are its visual tokens, counted over all runs
    tokens: list[Tensor]  # (n_b,) which of the sample's visual tokens they are; the others are newlines

    @property
    def cls(self) -> int:
        """1 where the tower has a CLS token, which comes first, else 0."""
        return self.read.shape[1] - self.features.shape[1]

    def cls_attention(self, heads: int | None = None) -> Tensor:
        """Attention of CLS to the patches, mean of heads, (T, n).

        Args:
            heads: None for the tower's own; 1 for one softmax over queries and keys of full width.
        """
        return self._attention(slice(0, 1), self.read, heads)[:, 0, 1:]

    def maps(self) -> Tensor:
        """Attention of patches (queries) to patches (keys), mean of heads, (T, n, n); without CLS, not renormalised."""
        # One run at a time: the maps of all heads are large.
        rows = [self._attention(slice(self.cls, None), read[None], None)[0] for read in self.read]
        return torch.stack(rows)[:, :, self.cls :]

    def salience(self) -> Tensor:
        """Attention of CLS to the patches or, in a tower without CLS, of all patches on average; (T, n)."""
        return self.cls_attention() if self.cls else self.maps().mean(1)

    def keys(self) -> Tensor:
        """Keys of the patches, (T, n, heads, C / heads)."""
        attention = self.layer.self_attn
        keys: Tensor = attention.k_proj(self.read[:, self.cls :]).unflatten(-1, (attention.num_heads, -1))
        return keys.float()

    def _attention(self, queries: slice, read: Tensor, heads: int | None) -> Tensor:
        """Mean of heads, (runs, queries, c + n)."""
        attention = self.layer.self_attn
        shape = (heads or attention.num_heads, -1)
        q = attention.q_proj(read[:, queries]).unflatten(-1, shape).float()  # (runs, queries, heads, C / heads)
        k = attention.k_proj(read).unflatten(-1, shape).float()
        logits = torch.einsum("tihd,tjhd->thij", q, k) * q.shape[-1] ** -0.5
        mean: Tensor = logits.softmax(-1).mean(1)
        return mean

    def split(self, values: Tensor) -> list[Tensor]:
        """Values of all patches, (T, n, ...) -> those of every sample's, (n_b, ...), in the order of its tokens."""
        flat = values.flatten(0, 1)
        return [flat[patches] for patches in self.patches]

    def most(self, k: Tensor) -> list[int]:
        """How many patches to choose in every sample: k, or all where newline tokens must make up the rest."""
        return [min(keep, len(patches)) for keep, patches in zip(k.tolist(), self.patches, strict=True)]

    def samples(self, k: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
        """(attention of CLS (n_b,), features (n_b, C), patches to choose) of every sample."""
        return zip(self.split(self.cls_attention()), self.split(self.features), self.most(k), strict=True)

    def action(self, chosen: list[Tensor], k: Tensor, merged: list[Tensor] | None = None) -> Action:
        """Keep what was chosen, and newline tokens where k (B,) is more than the patches there are.

        Args:
            chosen: `most(k)` of every sample's patches, as indices into its `patches`.
            merged: (chosen, C) each, what the projector shall read in their places, for methods that merge.
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


def look(
    vlm: FrozenVLM, encoded: Encoded, method: str, needs_cls: bool = False, depth: Fraction | None = None
) -> Tower:
    """The tower's last look at the images of a batch, or that of a layer before.

    Args:
        method: who asks, for the message.
        needs_cls: whether a tower without a CLS token is refused.
        depth: another layer than the one that the projector reads, as a share of the tower's layers.

    Raises:
        ValueError: this VLM's tower has not what the method needs.
    """
    config = vlm.model.config
    if encoded.hidden is None or encoded.patches is None or config.vision_config.model_type not in CLS:
        raise ValueError(
            f"{method} needs a CLIP or SigLIP tower whose patches are the visual tokens one by one, "
            f"which {vlm.name!r} has not (or not for these inputs)"
        )
    kind = config.vision_config.model_type
    if needs_cls and not CLS[kind]:
        raise ValueError(f"{method} needs a vision tower with a CLS token, and that of {vlm.name!r} has none")
    at = config.vision_feature_layer
    if not isinstance(at, int):
        raise ValueError(f"{vlm.name!r} takes features from layers {at}; {method} knows one layer")
    strategy = "default" if CLS[kind] else "full"
    if config.vision_feature_select_strategy != strategy:
        raise ValueError(f"{method} needs vision_feature_select_strategy={strategy!r} with a {kind}")
    at = at % len(encoded.hidden) if depth is None else 1 + round(depth * (len(encoded.hidden) - 1))
    if at == 0:
        raise ValueError(f"{vlm.name!r} takes features from before the first layer; {method} needs one with attention")
    tower = vlm.model.base_model.vision_tower
    layer = getattr(tower, "vision_model", tower).encoder.layers[at - 1]
    whole = torch.split(encoded.patches, encoded.state.counts.tolist())
    return Tower(
        vlm,
        encoded,
        layer,
        read=layer.layer_norm1(encoded.hidden[at - 1]),
        features=encoded.hidden[at][:, CLS[kind] :],
        patches=[patches[patches >= 0] for patches in whole],
        tokens=[(patches >= 0).nonzero()[:, 0] for patches in whole],
    )
