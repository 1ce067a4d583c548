"""Visual tokens that leave inside the language model, before chosen layers; decoding goes on from a ragged cache.

Mechanism: a hook before each decoder layer, put on for one `generate` and taken off after it. At the prompt, hidden
states of tokens that leave are cut out of the layer's input, and the layer gets rotary embeddings and a mask of what is
left, each token with its position in the full prompt. Nothing else differs, so each layer's cache holds what the layer
saw; at later steps, layers with a shorter cache get a mask of their own, since the model makes one for all.

Why hooks (ours): a walk of our own over the layers would repeat what each family does around them, and a cache alone
cannot say which of its keys are padding, which differs between layers in a ragged batch.

Exact in this sense: every step equals the full sequence without a cache in which a token that leaves before layer l is
masked as a key from layer l on (`tests/test_inside.py`).
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.masking_utils import create_causal_mask

from grip_vlm import policy
from grip_vlm.sequence import Prompt, pad_left_indices


@dataclass(frozen=True)
class Schedule:
    """Before which layers visual tokens leave, how many stay, and who ranks them."""

    keep: dict[int, Tensor]  # layer, at least 1 -> (B,) visual tokens that enter it and the layers after it
    asks: Tensor  # (B, S) bool, the prompt's tokens whose attention is the visual tokens' rank
    early: int = 0
    """the rank is read this many layers before the one that tokens do not enter any more"""


class Walk:
    """One prompt on its way through the layers; `left` says what each layer saw."""

    def __init__(self, config: Any, attention_mask: Tensor, visual: Tensor, schedule: Schedule) -> None:
        self.config, self.visual, self.schedule = config, visual, schedule
        column = torch.arange(visual.shape[1], device=visual.device)
        self.prompt = torch.where(attention_mask.bool(), column, -1)  # (B, S)
        self.left: list[Tensor] = []  # (B, S_l) of each layer: the prompt's columns that enter it, -1 is padding
        self._rank = torch.empty(0)  # (B, S_l) the attention that tokens before the next cut receive
        self._given: dict[str, Any] = {}  # what the layers since the last cut get in place of the model's arguments

    def enter(self, index: int, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The hook before layer `index`: its arguments, as they are or for fewer tokens."""
        hidden, cache = args[0], kwargs.get("past_key_values")
        if cache is None:
            raise ValueError("tokens that leave inside the language model need its cache: do not pass use_cache=False")
        at_prompt = cache.get_seq_length(index) == 0
        if index == 0:
            self._given = {}
            self.left = [] if at_prompt else self.left
            if at_prompt and hidden.shape[:2] != self.visual.shape:
                raise ValueError(
                    f"the prompt reaches the language model as {tuple(hidden.shape[:2])}, not as "
                    f"{tuple(self.visual.shape)}: beams and prompts in chunks cannot lose tokens inside"
                )
        if at_prompt:
            hidden = self._cut(index, layer, hidden, kwargs["position_embeddings"])
        if index in self.schedule.keep:
            self._given = self._arguments(index, hidden, kwargs)
        return (hidden, *args[1:]), {**kwargs, **self._given}

    def _cut(self, index: int, layer: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The layer's input without the tokens that leave before it, (B, S_l, D)."""
        at = self.left[-1] if self.left else self.prompt
        early = self.schedule.early
        if index in self.schedule.keep:
            rank = self._rank if early else self._ranked(layer, hidden, at, rotary)
            visual = take(self.visual, at) & (at >= 0)
            stays = policy.greedy(rank.masked_fill(~visual, -torch.inf), self.schedule.keep[index])
            source = pad_left_indices((at >= 0) & (stays | ~visual))  # (B, S_l)
            hidden, at = take(hidden, source), take(at, source).masked_fill(source < 0, -1)
        self.left.append(at)
        if early and index + early in self.schedule.keep:
            self._rank = self._ranked(layer, hidden, at, rotary)
        return hidden

    def _ranked(self, layer: Any, hidden: Tensor, at: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        cos, sin = (take(part, at) for part in rotary)
        asks = take(self.schedule.asks, at) & (at >= 0)
        return attention_received(layer.self_attn, layer.input_layernorm(hidden), cos, sin, at >= 0, asks)

    def _arguments(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Mask, and at the prompt positions, for the layers from `index` to the next cut."""
        at, cache = self.left[index], kwargs["past_key_values"]
        before = cache.get_seq_length(index)
        told = F.pad(at >= 0, (0, before + hidden.shape[1] - at.shape[1]), value=True)  # (B, keys)
        given = {"attention_mask": create_causal_mask(self.config, hidden, told.long(), cache, layer_idx=index)}
        if before == 0:
            given["position_embeddings"] = tuple(take(part, at) for part in kwargs["position_embeddings"])
            if kwargs.get("position_ids") is not None:
                given["position_ids"] = take(kwargs["position_ids"], at)
        return given

    def survivors(self) -> Tensor:
        """Which columns of the prompt the last layer saw, (B, S) bool."""
        seen = torch.zeros(self.visual.shape[0], self.visual.shape[1] + 1, dtype=torch.bool, device=self.visual.device)
        return seen.scatter(1, self.left[-1] % seen.shape[1], True)[:, :-1]  # padding falls off the end


@contextmanager
def leaving(model: Any, prompt: Prompt, inputs: dict[str, Any], visual: Tensor, schedule: Schedule) -> Iterator[Walk]:
    """Inside, one `model.generate(**inputs)` without beams loses visual tokens as the schedule says. Afterwards the
    model is as it was.

    Args:
        prompt: what `inputs` were made of.
        inputs: padded on the left.
        visual: (B, S) bool, which tokens of `inputs` are visual.

    Raises:
        ValueError: a model where leaving tokens out is not exact, with the reason.
    """
    decoder = model.base_model.get_decoder()
    refuse(type(model).__name__, decoder, prompt)
    walk = Walk(decoder.config, inputs["attention_mask"], visual, schedule)
    hooks = [
        layer.register_forward_pre_hook(partial(walk.enter, index), with_kwargs=True)
        for index, layer in enumerate(decoder.layers)
    ]
    try:
        yield walk
    finally:
        for hook in hooks:
            hook.remove()


def refuse(name: str, decoder: Any, prompt: Prompt) -> None:
    """Raise a ValueError where a token that leaves would not be as good as a masked one, or no rank can be read."""
    config = decoder.config
    other = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention"})
    reason = ""
    if other or getattr(config, "sliding_window", None):
        reason = f"its layers of type {', '.join(other) or 'sliding_attention'} count or carry the tokens that left"
    elif prompt.deepstack:
        reason = "its first layers are given features for all visual tokens (deepstack)"
    elif getattr(config, "use_bidirectional_attention", None) or "token_type_ids" in prompt.extras:
        reason = "its visual tokens see each other in both directions"
    else:
        attention = decoder.layers[0].self_attn
        width = config.num_attention_heads * attention.head_dim
        if getattr(getattr(attention, "q_proj", None), "out_features", 0) != width:
            reason = "its attention has no plain projection of queries to rank tokens by"
    if reason:
        raise ValueError(f"{name} cannot lose tokens inside its language model: {reason}; choose a method before it")


def attention_received(attention: Any, x: Tensor, cos: Tensor, sin: Tensor, valid: Tensor, asks: Tensor) -> Tensor:
    """Attention that every token receives from those that ask, mean of heads and of askers, (B, S).

    Recomputed for the asking rows from the attention module's own weights, so that no implementation has to give out
    its maps.

    Args:
        attention: a decoder layer's attention, with q_proj, k_proj, and norms of heads where it has them.
        x: (B, S, D) its input.
        cos, sin: (B, S, d) rotary embeddings.
        valid: (B, S) bool, False is padding.
        asks: (B, S) bool, at least one in each row.
    """
    count = asks.sum(1)  # (B,)
    rows = asks.int().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]  # (B, Q)
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb  # the family's own
    q, k = heads(attention, "q", take(x, rows)), heads(attention, "k", x)
    q = rotate(q, q, take(cos, rows), take(sin, rows))[0]  # (B, H, Q, d)
    k = rotate(k, k, cos, sin)[0].repeat_interleave(q.shape[1] // k.shape[1], 1)  # (B, H, S, d)
    logits = (q @ k.mT).float() * attention.scaling  # (B, H, Q, S)
    sees = valid[:, None] & (torch.arange(x.shape[1], device=x.device) <= rows[..., None])  # (B, Q, S)
    weights = logits.masked_fill(~sees[:, None], -torch.inf).softmax(-1).mean(1)
    return torch.where(take(asks, rows)[..., None], weights, 0.0).sum(1) / count[:, None]


def heads(attention: Any, name: str, x: Tensor) -> Tensor:
    """Queries ("q") or keys ("k") before rotation, (B, heads, S, d)."""
    states = getattr(attention, f"{name}_proj")(x).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{name}_norm", None)
    out: Tensor = (states if norm is None else norm(states)).transpose(1, 2)
    return out


def take(values: Tensor, columns: Tensor) -> Tensor:
    """(B or 1, S, ...) at columns (B, S'), -1 being padding that gets anything: (B, S', ...)."""
    row = torch.arange(len(columns), device=values.device)[:, None] % len(values)
    return values[row, columns.clamp(min=0)]
