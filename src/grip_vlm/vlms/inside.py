"""Visual tokens that leave inside the language model, before chosen layers; decoding goes on from a ragged cache.

Mechanism: every decoder layer gets a forward pre-hook for the duration of one `generate`. While the prompt is read, the
hook cuts the hidden states of the tokens that leave out of the layer's input. The layer then gets rotary embeddings and
a mask of the remaining tokens, each with its position in the full prompt. Each layer's cache therefore holds exactly
what the layer saw. While decoding, layers with a shorter cache get a mask of their own, because the model makes one
mask for all layers.

Why hooks (ours): our own loop over the layers would repeat what each family does around them. A cache alone cannot tell
which of its keys are padding, and that differs between layers in a ragged batch.

Threads: a hook acts only in the thread that set it. Other threads may answer with the same model meanwhile, with or
without hooks of their own.

Exactness: every step equals the full sequence without a cache in which a token that leaves before layer l is masked as
a key from layer l on (`tests/vlms/test_inside.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.masking_utils import create_causal_mask

from grip_vlm.mdp import Schedule
from grip_vlm.sequence import Prompt, pad_left_indices
from grip_vlm.subsets import top_k
from grip_vlm.vlms.attention import attention_received, take


class Walk:
    """One prompt on its way through the layers; `columns` records what each layer saw."""

    def __init__(
        self, config: Any, attention_mask: Tensor, visual: Tensor, queries: Tensor, schedule: Schedule
    ) -> None:
        self.config, self.visual, self.queries, self.schedule = config, visual, queries, schedule
        column = torch.arange(visual.shape[1], device=visual.device)
        self.prompt = torch.where(attention_mask.bool(), column, -1)  # (B, S)
        self.columns: list[Tensor] = []  # (B, S_l) per layer: the prompt's columns that enter it, -1 is padding
        self._thread = get_ident()
        self._rank = torch.empty(0)  # (B, S_l) the attention that tokens before the next cut receive
        self._replaced: dict[str, Any] = {}  # arguments of the layers since the last cut, in place of the model's

    def enter(self, index: int, layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> Any:
        """The hook before layer `index`: returns the layer's arguments, unchanged or for fewer tokens.

        torch may still call a hook without keywords in another thread, while this one removes it.
        """
        if kwargs is None or get_ident() != self._thread:
            return None
        hidden, cache = args[0], kwargs.get("past_key_values")
        if cache is None:
            raise ValueError("tokens that leave inside the language model need its cache: do not pass use_cache=False")
        at_prompt = cache.get_seq_length(index) == 0
        if index == 0:
            self._replaced = {}
            self.columns = [] if at_prompt else self.columns
            if at_prompt and hidden.shape[:2] != self.visual.shape:
                raise ValueError(
                    f"the prompt reaches the language model as {tuple(hidden.shape[:2])}, not as "
                    f"{tuple(self.visual.shape)}: beams and prompts in chunks cannot lose tokens inside"
                )
        if at_prompt:
            hidden = self._cut(index, layer, hidden, kwargs["position_embeddings"])
        if index in self.schedule.keep:
            self._replaced = self._arguments(index, hidden, kwargs)
        return (hidden, *args[1:]), {**kwargs, **self._replaced}

    def _cut(self, index: int, layer: Any, hidden: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The layer's input without the tokens that leave before it, (B, S_l, D)."""
        columns = self.columns[-1] if self.columns else self.prompt
        early = self.schedule.early
        if index in self.schedule.keep:
            rank = self._rank if early else self._ranked(layer, hidden, columns, rotary)
            visual = take(self.visual, columns) & (columns >= 0)
            stays = top_k(rank.masked_fill(~visual, -torch.inf), self.schedule.keep[index])
            source = pad_left_indices((columns >= 0) & (stays | ~visual))  # (B, S_l)
            hidden, columns = take(hidden, source), take(columns, source).masked_fill(source < 0, -1)
        self.columns.append(columns)
        if early and index + early in self.schedule.keep:
            self._rank = self._ranked(layer, hidden, columns, rotary)
        return hidden

    def _ranked(self, layer: Any, hidden: Tensor, columns: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """The attention that each token of the layer's input receives from the queries, (B, S_l)."""
        cos, sin = (take(part, columns) for part in rotary)
        valid = columns >= 0
        queries = take(self.queries, columns) & valid
        return attention_received(layer.self_attn, layer.input_layernorm(hidden), cos, sin, valid, queries)

    def _arguments(self, index: int, hidden: Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The mask for the layers from `index` to the next cut; while the prompt is read, their positions as well."""
        columns, cache = self.columns[index], kwargs["past_key_values"]
        before = cache.get_seq_length(index)
        decoded = before + hidden.shape[1] - columns.shape[1]
        attention_mask = F.pad(columns >= 0, (0, decoded), value=True).long()  # (B, keys)
        arguments = {"attention_mask": create_causal_mask(self.config, hidden, attention_mask, cache, layer_idx=index)}
        if before == 0:
            arguments["position_embeddings"] = tuple(take(part, columns) for part in kwargs["position_embeddings"])
            if kwargs.get("position_ids") is not None:
                arguments["position_ids"] = take(kwargs["position_ids"], columns)
        return arguments

    def survivors(self) -> Tensor:
        """Which columns of the prompt the last layer saw, (B, S) bool."""
        b, s = self.visual.shape
        present = torch.zeros(b, s + 1, dtype=torch.bool, device=self.visual.device)
        return present.scatter(1, self.columns[-1] % (s + 1), True)[:, :-1]  # padding falls into the last column


@contextmanager
def leaving(
    model: Any, prompt: Prompt, inputs: dict[str, Any], visual: Tensor, queries: Tensor, schedule: Schedule
) -> Iterator[Walk]:
    """Inside, one `model.generate(**inputs)` without beams drops visual tokens by the schedule. Afterwards the model is
    as it was.

    Args:
        prompt: the full prompts that `inputs` were made of.
        inputs: padded on the left.
        visual: (B, S) bool, which tokens of `inputs` are visual.
        queries: (B, S) bool, the schedule's queries among the tokens of `inputs`.

    Raises:
        ValueError: dropping tokens is not exact in this model; the message says why.
    """
    decoder = model.base_model.get_decoder()
    refuse(type(model).__name__, decoder, prompt)
    walk = Walk(decoder.config, inputs["attention_mask"], visual, queries, schedule)
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
    """Raise a ValueError if dropping a token would differ from masking it, or if no rank can be read."""
    config = decoder.config
    other = sorted(set(getattr(config, "layer_types", None) or []) - {"full_attention"})
    reason = ""
    if other or getattr(config, "sliding_window", None):
        reason = f"its layers of type {', '.join(other) or 'sliding_attention'} count or carry the tokens that left"
    elif prompt.deepstack:
        reason = "its first layers are given features for all visual tokens (deepstack)"
    elif getattr(config, "use_bidirectional_attention", None) or "token_type_ids" in prompt.extras:
        reason = "its visual tokens attend to each other in both directions"
    else:
        attention = decoder.layers[0].self_attn
        width = config.num_attention_heads * attention.head_dim
        if getattr(getattr(attention, "q_proj", None), "out_features", 0) != width:
            reason = "its attention has no plain projection of queries to rank tokens by"
    if reason:
        raise ValueError(f"{name} cannot drop tokens inside its language model: {reason}; choose a method before it")
