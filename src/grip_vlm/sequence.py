"""The pruned sequence: placeholders, features, positions and masks of what is kept, for the unmodified model.

Mechanism (transformers >= 5.21): dropped placeholders are removed from `input_ids`, the kept features are passed as
`mm_encoder_outputs`, and every kept token carries its position in the full sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from grip_vlm.mdp import Action

Positions = Literal["original", "compact"]


@dataclass(frozen=True)
class Sample:
    """One full prompt whose images and videos are encoded but not yet placed."""

    input_ids: Tensor  # (L,)
    position_ids: Tensor  # (L,) or (3, L) time, row and column
    extras: Mapping[str, Tensor]  # whatever else the model reads per token, (L,) each
    slots: Tensor  # (n,) where in the prompt each visual token stands
    visual: Tensor  # (n, D) features after the projector
    deepstack: tuple[Tensor, ...]  # (n, D) per early layer of the language model that gets features of its own
    is_video: Tensor  # (n,) bool
    places: Tensor  # (n, 2) row and column of each token in its image, in [0, 1]
    image: Tensor  # (n,) which image or video of the sample a token belongs to, 0-based

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Sample":
        """The same on `device`, its features as `dtype`."""
        return Sample(
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            extras={name: values.to(device) for name, values in self.extras.items()},
            slots=self.slots.to(device),
            visual=self.visual.to(device, dtype),
            deepstack=tuple(layer.to(device, dtype) for layer in self.deepstack),
            is_video=self.is_video.to(device),
            places=self.places.to(device),
            image=self.image.to(device),
        )


@dataclass(frozen=True)
class Prompt:
    """A batch of samples, padded on the left."""

    input_ids: Tensor  # (B, L)
    attention_mask: Tensor  # (B, L) int, 0 is padding
    position_ids: Tensor  # (B, L) or (3, B, L) in the full sequence
    slots: Tensor  # (B, N) where in the row each visual token stands; -1 is padding
    visual: Tensor  # (B, N, D) features after the projector
    pad_token_id: int
    extras: Mapping[str, Tensor] = field(default_factory=dict)  # (B, L) each
    deepstack: tuple[Tensor, ...] = ()  # (B, N, D) each
    is_video: Tensor | None = None  # (B, N) bool; None means images only


def pad_left(rows: Sequence[Tensor], fill: int) -> Tensor:
    """Rows (..., L_i) -> (..., B, L): the batch goes before the last dimension."""
    longest = max(row.shape[-1] for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (longest - row.shape[-1], 0), value=fill) for row in rows], dim=-2)


def pad_left_indices(stays: Tensor) -> Tensor:
    """(R, L) bool -> the columns that stay, packed to the right, (R, L'); -1 is padding."""
    lengths = stays.sum(1)
    longest = int(lengths.max())
    row, column = stays.nonzero(as_tuple=True)
    place = (stays.cumsum(1) - 1)[row, column] + (longest - lengths)[row]
    source = torch.full((len(stays), longest), -1, dtype=torch.long, device=stays.device)
    source[row, place] = column
    return source


def pad_right(rows: Sequence[Tensor], fill: float = 0) -> Tensor:
    """Rows (n_i, ...) -> (B, N, ...)."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def collate(samples: Sequence[Sample], pad_token_id: int) -> Prompt:
    """Samples as one batch; what fills the padding is never attended to."""
    lengths = [len(sample.input_ids) for sample in samples]
    ids = pad_left([sample.input_ids for sample in samples], pad_token_id)
    shift = [ids.shape[1] - length for length in lengths]
    extras = {
        name: pad_left([sample.extras[name] for sample in samples], -100 if name == "labels" else 0)
        for name in samples[0].extras
    }
    layers = zip(*(sample.deepstack for sample in samples), strict=True)
    is_video = pad_right([sample.is_video for sample in samples], False)
    return Prompt(
        input_ids=ids,
        attention_mask=pad_left([torch.ones_like(sample.input_ids) for sample in samples], 0),
        position_ids=pad_left([sample.position_ids for sample in samples], 0),
        slots=pad_right([sample.slots + by for sample, by in zip(samples, shift, strict=True)], -1),
        visual=pad_right([sample.visual for sample in samples]),
        pad_token_id=pad_token_id,
        extras=extras,
        deepstack=tuple(pad_right(layer) for layer in layers),
        is_video=is_video if is_video.any() else None,
    )


@dataclass(frozen=True)
class Kept:
    """A pruned batch of R rows, before the features are put into the model's own containers."""

    inputs: dict[str, Tensor]  # input_ids, attention_mask (R, L'), position_ids (R, L') or (4, R, L'), extras
    mask: Tensor  # (R, N) the visual tokens kept
    visual: Tensor  # (R, N, D)
    rows: Tensor  # (R,) the prompt each row came from


def prune_sequence(
    prompt: Prompt, action: Action, rows: Tensor | None = None, positions: Positions = "original"
) -> Kept:
    """The batch with the tokens outside the action really removed; padded on the left.

    Args:
        prompt: B full prompts.
        action: masks (R, N); R is B, or the length of `rows`.
        rows: (R,) which prompt each mask belongs to, so that a group shares one prompt; None means 0 .. B-1.
        positions: "original" gives every token its position in the full sequence, "compact" counts what is kept.
    """
    if rows is None:
        rows = torch.arange(len(prompt.input_ids), device=prompt.input_ids.device)
    if action.mask.shape != (len(rows), prompt.slots.shape[1]):
        raise ValueError(f"the action's mask is {tuple(action.mask.shape)}, not {(len(rows), prompt.slots.shape[1])}")
    slots = prompt.slots[rows]
    kept = action.mask & (slots >= 0)  # (R, N)
    stays = prompt.attention_mask[rows].bool()  # (R, L)
    row, token = ((slots >= 0) & ~kept).nonzero(as_tuple=True)
    stays[row, slots[row, token]] = False
    source = pad_left_indices(stays)  # (R, L')
    valid = source >= 0

    def take(values: Tensor, fill: int) -> Tensor:
        chosen = values[..., rows, :]
        return chosen.gather(-1, source.clamp(min=0).expand(*chosen.shape[:-1], -1)).masked_fill(~valid, fill)

    counted = (valid.long().cumsum(1) - 1).clamp(min=0)  # (R, L')
    spatial = prompt.position_ids.ndim == 3
    if positions == "compact":
        at = counted.expand(4, -1, -1) if spatial else counted
    elif spatial:
        # Row 0 is only read to tell packed sequences apart: it has no gaps.
        at = torch.cat([counted[None], take(prompt.position_ids, 0)])
    else:
        at = take(prompt.position_ids, 0)
    inputs = {
        "input_ids": take(prompt.input_ids, prompt.pad_token_id),
        "attention_mask": valid.long(),
        "position_ids": at,
        **{name: take(values, -100 if name == "labels" else 0) for name, values in prompt.extras.items()},
    }
    return Kept(inputs, kept, prompt.visual[rows] if action.features is None else action.features, rows)


def follow_up(inputs: Mapping[str, Any], sequences: Tensor, turn: Tensor) -> dict[str, Tensor]:
    """Inputs of the next turn on the cache of a pruned one: `model.generate(**these, past_key_values=cache)`.

    Positions go on from the pruned prompt's last one, which the model cannot know by itself.

    Args:
        inputs: what `prune` returned, (B, L').
        sequences: what `generate` returned for them, (B, L' + new).
        turn: text tokens of the next turn, (B, T) without padding.
    """
    ids = torch.cat([sequences, turn.to(sequences.device)], dim=1)
    before = inputs["attention_mask"]
    new = ids.shape[1] - before.shape[1]
    steps = torch.arange(1, new + 1, device=ids.device)
    positions = inputs["position_ids"]
    ahead = positions.amax(-1, keepdim=True) if positions.ndim == 2 else positions[1:].amax((0, -1))[:, None]
    ahead = ahead + steps  # (B, new)
    if positions.ndim == 3:
        text = positions[0].amax(-1, keepdim=True) + steps
        ahead = torch.cat([text[None], ahead.expand(3, -1, -1)])
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([before, before.new_ones(len(ids), new)], dim=1),
        "position_ids": torch.cat([positions, ahead], dim=-1),
    }
