"""The first layers of the language model on the full prompt, before anything is pruned.

We run the first LAYER layers once on the full prompt. The queries and keys of the layer after them are recomputed from
its input, so this works with every attention implementation. The cost is LAYER layers of a full prefill.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.attention import heads
from grip_vlm.vlms.encode import Encoded
from grip_vlm.vlms.frozen import FrozenVLM

LAYER = 2  # counted from 0, for PTP and DART; not scaled with the model's depth
SUPPORTED = ("llama", "mistral", "qwen2")  # language models whose layers are those of Llama


@dataclass(frozen=True)
class EarlyLayers:
    """The first layers' inputs for the full prompts. In a model with at most LAYER layers, the last one is read."""

    language: Any  # the language model
    attention_mask: Tensor  # (B, L) bool, False is padding and visual tokens that are outside `encoded.state`
    question: list[Tensor]  # (M_b,) columns of the question
    readers: list[Tensor]  # those of them after the last image; no earlier text can attend to all images
    inputs: list[Tensor]  # (B, L, D) hidden states that enter layer 0, 1, .., LAYER
    rotation: tuple[Tensor, Tensor]  # rotary embeddings

    def heads(self, index: int, name: str) -> Tensor:
        """Queries ("q") or keys ("k") of layer `index` after rotation, (B, heads, L, d)."""
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        layer = self.language.layers[index]
        states = heads(layer.self_attn, name, layer.input_layernorm(self.inputs[index]))
        rotated: Tensor = apply_rotary_pos_emb(states, states, *self.rotation)[0]
        return rotated.float()


def read_early_layers(vlm: FrozenVLM, encoded: Encoded, method: str) -> EarlyLayers:
    """Run the first layers on the full prompts.

    Args:
        method: name of the pruner, for the message.

    Raises:
        ValueError: the language model's layers are not those of Llama, or its window is shorter than the prompt.
    """
    language = vlm.model.base_model.language_model
    kind, window = language.config.model_type, getattr(language.config, "sliding_window", None)
    prompt, state = encoded.prompt, encoded.state
    if kind not in SUPPORTED or (window is not None and window < prompt.input_ids.shape[1]):
        raise ValueError(
            f"{method} reads full attention of {', '.join(SUPPORTED)}; the language model of {vlm.name!r} is {kind}"
            + (f" with a window of {window}" if window is not None else "")
        )
    images = vlm.placeholders(prompt.input_ids, "image")  # (B, L), including images that have a budget of their own
    row, token = state.visual_mask.nonzero(as_tuple=True)
    in_state = torch.zeros_like(images)
    in_state[row, prompt.slots[row, token]] = True
    attention_mask = prompt.attention_mask.bool() & (in_state | ~images)
    question, readers = ([row.nonzero()[:, 0] for row in rows] for rows in (encoded.question, encoded.readers))
    embeddings = _embeddings(vlm, encoded)
    rotation = language.rotary_emb(embeddings, position_ids=prompt.position_ids)
    inputs = list(_layer_inputs(language, embeddings, attention_mask, prompt.position_ids, rotation))
    return EarlyLayers(language, attention_mask, question, readers, inputs, rotation)


def question_attention(vlm: FrozenVLM, encoded: Encoded, method: str) -> Tensor:
    """The highest attention of a question's token to each visual token, (B, N).

    Raises:
        ValueError: see `read_early_layers`; or a prompt has no text after its last image.
    """
    scores = torch.zeros_like(encoded.state.visual_mask, dtype=torch.float32)  # (B, N)
    for row, attention in zip(scores, question_attentions(vlm, encoded, method), strict=True):
        if not len(attention):
            raise ValueError(f"{method} ranks by the attention of text after the last image, and a prompt has none")
        row[: attention.shape[1]] = attention.amax(0)
    return scores


def question_attentions(vlm: FrozenVLM, encoded: Encoded, method: str) -> list[Tensor]:
    """Attention of each question's tokens to its visual tokens in layer LAYER: B times (M_b, n), mean over heads.

    The tokens are those after the last image. Where the question stands before the image, these are the template's
    last words, which attend to the question as well. Without a question, M_b is 0.

    Raises:
        ValueError: see `read_early_layers`.
    """
    early, prompt, state = read_early_layers(vlm, encoded, method), encoded.prompt, encoded.state
    last = len(early.inputs) - 1
    q, k = early.heads(last, "q"), early.heads(last, "k")
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    column = torch.arange(early.attention_mask.shape[1], device=early.attention_mask.device)
    attentions = []
    for b, (rows, count) in enumerate(zip(early.readers, state.counts.tolist(), strict=True)):
        visible = early.attention_mask[b] & (column <= rows[:, None])  # (M_b, L)
        logits = torch.einsum("hid,hjd->hij", q[b, :, rows], k[b]) * q.shape[-1] ** -0.5
        attention = logits.masked_fill(~visible, -torch.inf).softmax(-1).mean(0)  # (M_b, L)
        attentions.append(attention[:, prompt.slots[b, :count]])
    return attentions


def _layer_inputs(
    language: Any, x: Tensor, attention_mask: Tensor, positions: Tensor, rotation: tuple[Tensor, Tensor]
) -> Iterator[Tensor]:
    """The input of layer 0, 1, .., LAYER, (B, L, D) each, from embeddings x (B, L, D)."""
    from transformers.masking_utils import create_causal_mask

    yield x
    mask = create_causal_mask(
        config=language.config,
        inputs_embeds=x,
        attention_mask=attention_mask.long(),
        past_key_values=None,
        position_ids=positions,
    )
    for layer in language.layers[: min(LAYER, len(language.layers) - 1)]:
        x = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=rotation)
        yield x


def _embeddings(vlm: FrozenVLM, encoded: Encoded) -> Tensor:
    """The full prompts as the first layer reads them, (B, L, D)."""
    prompt, state = encoded.prompt, encoded.state
    x: Tensor = vlm.model.get_input_embeddings()(prompt.input_ids).clone()
    row, token = state.visual_mask.nonzero(as_tuple=True)
    x[row, prompt.slots[row, token]] = prompt.visual[row, token].to(x)
    return x
