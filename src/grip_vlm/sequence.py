"""The pruned sequence: placeholders, features, positions and masks of the kept tokens, for the unmodified model.

Mechanism (transformers >= 5.21): dropped placeholders are removed from `input_ids`. The kept features are passed as
`mm_encoder_outputs`. Every kept token carries its position in the full sequence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from grip_vlm import literals
from grip_vlm.mdp import Action

Positions = Literal["original", "compact"]


@dataclass(frozen=True)
class Sample:
    """One full prompt. Its images and videos are encoded, but not yet inserted at their placeholders."""

    input_ids: Tensor  # (L,)
    position_ids: Tensor  # (L,), or (3, L) for time, row and column
    extras: Mapping[str, Tensor]  # other inputs that the model reads per token, (L,) each
    slots: Tensor  # (n,) index of each visual token in the prompt
    visual: Tensor  # (n, D) features after the projector
    deepstack: tuple[Tensor, ...]  # (n, D) for each early layer of the language model that receives its own features
    is_video: Tensor  # (n,) bool
    places: Tensor  # (n, 2) row and column of each token in its image, in [0, 1]
    image: Tensor  # (n,) which image or video of the sample a token belongs to, 0-based

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "Sample":
        """The sample on `device`, with its features in `dtype`."""
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
    slots: Tensor  # (B, N) index of each visual token in its row; -1 is padding
    visual: Tensor  # (B, N, D) features after the projector
    pad_token_id: int
    extras: Mapping[str, Tensor] = field(default_factory=dict)  # (B, L) each
    deepstack: tuple[Tensor, ...] = ()  # (B, N, D) each
    is_video: Tensor | None = None  # (B, N) bool; None means images only


def pad_left(rows: Sequence[Tensor], fill: int) -> Tensor:
    """B rows (..., L_i) -> (..., B, L), padded on the left. The batch dimension is the last but one."""
    longest = max(row.shape[-1] for row in rows)
    return torch.stack([torch.nn.functional.pad(row, (longest - row.shape[-1], 0), value=fill) for row in rows], dim=-2)


def pad_left_indices(mask: Tensor) -> Tensor:
    """(R, L) bool -> the indices of its True columns, aligned to the right, (R, L'); -1 is padding."""
    lengths = mask.sum(1)
    longest = int(lengths.max())
    row, column = mask.nonzero(as_tuple=True)
    target = (mask.cumsum(1) - 1)[row, column] + (longest - lengths)[row]
    source = torch.full((len(mask), longest), -1, dtype=torch.long, device=mask.device)
    source[row, target] = column
    return source


def pad_right(rows: Sequence[Tensor], fill: float = 0) -> Tensor:
    """B rows (n_i, ...) -> (B, N, ...), padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)


def collate(samples: Sequence[Sample], pad_token_id: int) -> Prompt:
    """Samples as one batch. Padding is never attended to, so its values do not matter."""
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
class PrunedBatch:
    """A pruned batch of R rows, before its features are put into the containers that the model reads."""

    inputs: dict[str, Tensor]  # input_ids, attention_mask (R, L'), position_ids (R, L') or (4, R, L'), extras
    mask: Tensor  # (R, N) the visual tokens kept
    visual: Tensor  # (R, N, D)
    rows: Tensor  # (R,) the prompt each row came from


def prune_sequence(
    prompt: Prompt, action: Action, rows: Tensor | None = None, positions: Positions = "original"
) -> PrunedBatch:
    """The batch without the tokens outside the action, padded on the left.

    Args:
        prompt: B full prompts.
        action: masks (R, N). R is B, or the length of `rows`.
        rows: (R,) the prompt of each mask, which lets a group share one prompt. None means 0 .. B-1.
        positions: "original" gives every token its position in the full sequence, "compact" its position among the
            kept tokens.

    Raises:
        ValueError: the action's mask has another shape, or `positions` is neither.
    """
    literals.check("positions", positions, Positions)
    if rows is None:
        rows = torch.arange(len(prompt.input_ids), device=prompt.input_ids.device)
    if action.mask.shape != (len(rows), prompt.slots.shape[1]):
        raise ValueError(f"the action's mask is {tuple(action.mask.shape)}, not {(len(rows), prompt.slots.shape[1])}")
    slots = prompt.slots[rows]
    kept = action.mask & (slots >= 0)  # (R, N)
    remains = prompt.attention_mask[rows].bool()  # (R, L)
    row, token = ((slots >= 0) & ~kept).nonzero(as_tuple=True)
    remains[row, slots[row, token]] = False
    source = pad_left_indices(remains)  # (R, L')
    valid = source >= 0

    def take(values: Tensor, fill: int) -> Tensor:
        chosen = values[..., rows, :]
        return chosen.gather(-1, source.clamp(min=0).expand(*chosen.shape[:-1], -1)).masked_fill(~valid, fill)

    compact = (valid.long().cumsum(1) - 1).clamp(min=0)  # (R, L')
    spatial = prompt.position_ids.ndim == 3
    if positions == "compact":
        position_ids = compact.expand(4, -1, -1) if spatial else compact
    elif spatial:
        # The model reads row 0 only to detect packed sequences, so it must have no gaps.
        position_ids = torch.cat([compact[None], take(prompt.position_ids, 0)])
    else:
        position_ids = take(prompt.position_ids, 0)
    inputs = {
        "input_ids": take(prompt.input_ids, prompt.pad_token_id),
        "attention_mask": valid.long(),
        "position_ids": position_ids,
        **{name: take(values, -100 if name == "labels" else 0) for name, values in prompt.extras.items()},
    }
    return PrunedBatch(inputs, kept, prompt.visual[rows] if action.features is None else action.features, rows)


def follow_up(
    inputs: Mapping[str, Any], sequences: Tensor, turn: Tensor, eos_token_id: int | Sequence[int] | None = None
) -> dict[str, Tensor]:
    """Inputs of the next turn on the cache of a pruned prompt: `model.generate(**inputs, past_key_values=cache)`.

    Positions continue from the last position of the pruned prompt, which the model itself does not know. In a batch,
    answers that end early are padded by `generate`: that padding is masked, and the row's positions continue from its
    own last token. Recurrent layers have read the padding all the same; there, give every row a turn of its own.

    Args:
        inputs: the inputs that `prune` returned, (B, L').
        sequences: the tokens that `generate` returned for them, (B, L' + new).
        turn: text tokens of the next turn, (B, T), without padding.
        eos_token_id: tokens that end an answer, if `generate` was called with others than the model's own. None for the
            model's own, which `inputs` carry.

    Returns:
        `input_ids`, `attention_mask` and `position_ids` of the whole conversation.
    """
    ids = torch.cat([sequences, turn.to(sequences.device)], dim=1)
    attention_mask = inputs["attention_mask"]
    answers = sequences[:, attention_mask.shape[1] :]  # (B, new)
    if eos_token_id is None:
        output = inputs.get("mm_encoder_outputs", {}).get("image")
        is_written = written(answers, getattr(output, "eos_token_ids", ()), getattr(output, "pad_token_id", None))
    else:
        is_written = written(answers, [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id), None)
    valid = torch.cat([is_written, torch.ones_like(turn, dtype=torch.bool, device=ids.device)], dim=1)  # (B, new + T)
    steps = valid.long().cumsum(1)
    positions = inputs["position_ids"]
    last = positions.amax(-1, keepdim=True) if positions.ndim == 2 else positions[1:].amax((0, -1))[:, None]
    following = last + steps
    if positions.ndim == 3:
        row_0 = positions[0].amax(-1, keepdim=True) + steps
        following = torch.cat([row_0[None], following.expand(3, -1, -1)])
    return {
        "input_ids": ids,
        "attention_mask": torch.cat([attention_mask, valid.to(attention_mask)], dim=1),
        "position_ids": torch.cat([positions, following], dim=-1),
    }


def written(answers: Tensor, ends: Sequence[int], pad: int | None) -> Tensor:
    """Which tokens of generated answers (B, T) are not padding, (B, T) bool.

    Args:
        ends: tokens that end an answer; the first one is the answer's last token.
        pad: what follows it, and what fills up answers that other criteria ended. None: anything.
    """
    if not ends:  # then `generate` pads nothing
        return torch.ones_like(answers, dtype=torch.bool)
    is_end = torch.isin(answers, torch.tensor(list(ends), dtype=torch.long, device=answers.device))
    is_after = is_end.long().cumsum(1) - is_end.long() > 0  # behind the first end
    if pad is None:
        return ~is_after
    fills = (answers != pad).flip(1).long().cumsum(1).flip(1) == 0  # nothing but padding from here on
    # `generate` stops when all rows have ended: a column of padding alone was generated. A row with other
    # tokens behind an end was generated without that end.
    return ~(fills & torch.where(is_end.any(1, keepdim=True), is_after, ~fills.all(0)))
