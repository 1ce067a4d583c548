"""The pruned sequence: placeholders, features, positions and masks of what is kept, for the unmodified model.

Mechanism (transformers >= 5.21): dropped placeholders are removed from `input_ids`, the kept features are passed as
`mm_encoder_outputs`, and every kept token carries its position in the full sequence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grip_vlm.mdp import Action


@dataclass(frozen=True)
class Prompt:
    """A batch of full prompts whose images are encoded but not yet placed."""

    input_ids: Tensor  # (B, L)
    attention_mask: Tensor  # (B, L) int, 0 is padding
    position_ids: Tensor  # (B, L) in the full sequence
    slots: Tensor  # (B, N) where in the row each visual token stands; -1 is padding
    visual: Tensor  # (B, N, D) features after the projector
    pad_token_id: int

    @property
    def visual_mask(self) -> Tensor:
        return self.slots >= 0


def slots_of(is_visual: Tensor) -> Tensor:
    """Where the visual tokens of each row stand, (B, L) bool -> (B, N) with -1 for padding."""
    counts = is_visual.sum(1)
    slots = torch.full((len(is_visual), int(counts.max())), -1, dtype=torch.long, device=is_visual.device)
    row, column = is_visual.nonzero(as_tuple=True)
    rank = (is_visual.cumsum(1) - 1)[row, column]
    slots[row, rank] = column
    return slots


def prune_sequence(
    prompt: Prompt, action: Action, wrap: Callable[[list[Tensor]], Any], rows: Tensor | None = None
) -> dict[str, Any]:
    """Inputs for `model(**inputs)` or `model.generate(**inputs)` with the tokens outside the action really removed.

    Args:
        prompt: B full prompts.
        action: masks (R, N); R is B, or the length of `rows`.
        wrap: puts one (k, D) tensor per row into the model's own encoder-output type.
        rows: (R,) which prompt each mask belongs to, so that a group shares one prompt; None means 0 .. B-1.

    Returns:
        input_ids (R, L'), attention_mask (R, L'), position_ids (R, L') and mm_encoder_outputs; padded on the left.
        The dictionary serves one call: `generate` expands it in place for beams.
    """
    if rows is None:
        rows = torch.arange(len(prompt.input_ids), device=prompt.input_ids.device)
    if action.mask.shape != (len(rows), prompt.slots.shape[1]):
        raise ValueError(f"the action's mask is {tuple(action.mask.shape)}, not {(len(rows), prompt.slots.shape[1])}")
    ids, slots = prompt.input_ids[rows], prompt.slots[rows]
    kept = action.mask & (slots >= 0)  # (R, N)
    stays = prompt.attention_mask[rows].bool()  # (R, L)
    dropped = (slots >= 0) & ~kept
    row, token = dropped.nonzero(as_tuple=True)
    stays[row, slots[row, token]] = False
    lengths = stays.sum(1)
    longest = int(lengths.max())
    row, column = stays.nonzero(as_tuple=True)
    place = (stays.cumsum(1) - 1)[row, column] + (longest - lengths)[row]  # padded on the left
    source = torch.full((len(rows), longest), -1, dtype=torch.long, device=ids.device)  # (R, L')
    source[row, place] = column
    valid = source >= 0
    at = source.clamp(min=0)
    features = prompt.visual if action.features is None else action.features
    chosen = features[rows] if len(features) == len(prompt.input_ids) else features
    counts = kept.sum(1).tolist()
    return {
        "input_ids": ids.gather(1, at).masked_fill(~valid, prompt.pad_token_id),
        "attention_mask": valid.long(),
        "position_ids": prompt.position_ids[rows].gather(1, at).masked_fill(~valid, 0),
        "mm_encoder_outputs": {"image": wrap(list(torch.split(chosen[kept], counts)))},
    }
