"""What an early layer of the language model makes of the full prompt, before anything is pruned.

The first layers are run once on the full prompt, and what the layer behind them does is recomputed from its queries and
keys: that costs LAYER layers of a full prefill, and any attention implementation will do.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.attention import heads
from grip_vlm.vlms.encode import Encoded
from grip_vlm.vlms.frozen import FrozenVLM

LAYER = 2  # counted from 0, as PTP and DART read it
KNOWN = ("llama", "mistral", "qwen2")


@dataclass(frozen=True)
class Early:
    """The full prompts in the first layers. A model with fewer layers than LAYER is read at its last."""

    language: Any
    valid: Tensor  # (B, L) columns that are read: neither padding nor left to another budget
    question: list[Tensor]  # (M_b,) columns of the text behind the images, which alone can see them
    entering: list[Tensor]  # (B, L, D) hidden states that enter layer 0, 1, .., LAYER
    rotation: tuple[Tensor, Tensor]

    def heads(self, at: int, name: str) -> Tensor:
        """Queries ("q") or keys ("k") of layer `at` after rotation, (B, heads, L, d)."""
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        layer = self.language.layers[at]
        states = heads(layer.self_attn, name, layer.input_layernorm(self.entering[at]))
        rotated: Tensor = apply_rotary_pos_emb(states, states, *self.rotation)[0]
        return rotated.float()


def early(vlm: FrozenVLM, encoded: Encoded, method: str) -> Early:
    """Run the first layers on the full prompts.

    Raises:
        ValueError: a language model whose layers are not those of Llama.
    """
    language = vlm.model.base_model.language_model
    kind, window = language.config.model_type, getattr(language.config, "sliding_window", None)
    prompt, state = encoded.prompt, encoded.state
    if kind not in KNOWN or (window is not None and window < prompt.input_ids.shape[1]):
        raise ValueError(
            f"{method} reads full attention of {', '.join(KNOWN)}; the language model of {vlm.name!r} is {kind}"
            + (f" with a window of {window}" if window is not None else "")
        )
    images = vlm.placeholders(prompt.input_ids, "image")  # (B, L), those of other budgets included
    row, token = state.visual_mask.nonzero(as_tuple=True)
    own = torch.zeros_like(images)
    own[row, prompt.slots[row, token]] = True
    valid = prompt.attention_mask.bool() & (own | ~images)
    question = [
        int(image.nonzero().max()) + 1 + torch.arange(length, device=valid.device)
        for image, length in zip(images, state.question_mask.sum(1).tolist(), strict=True)
    ]
    embedded = _embedded(vlm, encoded)
    rotation = language.rotary_emb(embedded, position_ids=prompt.position_ids)
    entering = list(_walk(language, embedded, valid, prompt.position_ids, rotation))
    return Early(language, valid, question, entering, rotation)


def asked(vlm: FrozenVLM, encoded: Encoded, method: str) -> Tensor:
    """max over question tokens of the attention to each visual token, mean of heads, (B, N); zeros without a question.

    Raises:
        ValueError: as `early` says.
    """
    read, prompt, state = early(vlm, encoded, method), encoded.prompt, encoded.state
    at = len(read.entering) - 1
    q, k = read.heads(at, "q"), read.heads(at, "k")
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    column = torch.arange(read.valid.shape[1], device=read.valid.device)
    scores = torch.zeros_like(state.visual_mask, dtype=torch.float32)  # (B, N)
    for b, (rows, count) in enumerate(zip(read.question, state.counts.tolist(), strict=True)):
        if len(rows):
            visible = read.valid[b] & (column <= rows[:, None])  # (M_b, L)
            logits = torch.einsum("hid,hjd->hij", q[b, :, rows], k[b]) * q.shape[-1] ** -0.5
            attention = logits.masked_fill(~visible, -torch.inf).softmax(-1).mean(0)  # (M_b, L)
            scores[b, :count] = attention.amax(0)[prompt.slots[b, :count]]
    return scores


def _walk(
    language: Any, x: Tensor, valid: Tensor, positions: Tensor, rotation: tuple[Tensor, Tensor]
) -> Iterator[Tensor]:
    """What enters layer 0, 1, .., LAYER, (B, L, D) each, from embeddings x (B, L, D)."""
    from transformers.masking_utils import create_causal_mask

    yield x
    mask = create_causal_mask(
        config=language.config,
        inputs_embeds=x,
        attention_mask=valid.long(),
        past_key_values=None,
        position_ids=positions,
    )
    for layer in language.layers[: min(LAYER, len(language.layers) - 1)]:
        x = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=rotation)
        yield x


def _embedded(vlm: FrozenVLM, encoded: Encoded) -> Tensor:
    """The full prompts as the first layer reads them, (B, L, D)."""
    prompt, state = encoded.prompt, encoded.state
    x: Tensor = vlm.model.get_input_embeddings()(prompt.input_ids).clone()
    row, token = state.visual_mask.nonzero(as_tuple=True)
    x[row, prompt.slots[row, token]] = prompt.visual[row, token].to(x)
    return x
