"""How much the question looks at each visual token, in an early layer of the language model, before anything is pruned.

The first layers are run once on the full prompt, and the rows of the question recomputed from the queries and keys of
the layer behind them: that costs LAYER layers of a full prefill, and any attention implementation will do.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from grip_vlm.vlms import Encoded, FrozenVLM

LAYER = 2  # counted from 0, as PTP reads it
KNOWN = ("llama", "mistral", "qwen2")


def asked(vlm: "FrozenVLM", encoded: "Encoded", method: str) -> Tensor:
    """max over question tokens of the attention to each visual token, mean of heads, (B, N); zeros without a question.

    A model with fewer layers is read at its last. The question is the text behind the images; what stands before them
    cannot see them.

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
    q, k = queries_and_keys(language, _embedded(vlm, encoded), valid, prompt.position_ids)
    column = torch.arange(valid.shape[1], device=valid.device)
    scores = torch.zeros_like(state.visual_mask, dtype=torch.float32)  # (B, N)
    for b, (length, count) in enumerate(zip(state.question_mask.sum(1).tolist(), state.counts.tolist(), strict=True)):
        rows = int(images[b].nonzero().max()) + 1 + torch.arange(length, device=valid.device)  # (M_b,)
        if length:
            visible = valid[b] & (column <= rows[:, None])  # (M_b, L)
            logits = torch.einsum("hid,hjd->hij", q[b, :, rows], k[b]) * q.shape[-1] ** -0.5
            attention = logits.masked_fill(~visible, -torch.inf).softmax(-1).mean(0)  # (M_b, L)
            scores[b, :count] = attention.amax(0)[prompt.slots[b, :count]]
    return scores


def queries_and_keys(language: Any, x: Tensor, valid: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Queries and keys of layer LAYER after rotation, (B, heads, L, d) each, from embeddings x (B, L, D)."""
    from transformers.masking_utils import create_causal_mask
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, repeat_kv

    mask = create_causal_mask(
        config=language.config,
        inputs_embeds=x,
        attention_mask=valid.long(),
        past_key_values=None,
        position_ids=positions,
    )
    rotation = language.rotary_emb(x, position_ids=positions)
    at = min(LAYER, len(language.layers) - 1)
    for layer in language.layers[:at]:
        x = layer(x, attention_mask=mask, position_ids=positions, position_embeddings=rotation)
    attention = language.layers[at].self_attn
    x = language.layers[at].input_layernorm(x)
    q = attention.q_proj(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    k = attention.k_proj(x).unflatten(-1, (-1, attention.head_dim)).transpose(1, 2)
    q, k = apply_rotary_pos_emb(q, k, *rotation)
    return q.float(), repeat_kv(k, attention.num_key_value_groups).float()


def _embedded(vlm: "FrozenVLM", encoded: "Encoded") -> Tensor:
    """The full prompts as the first layer reads them, (B, L, D)."""
    prompt, state = encoded.prompt, encoded.state
    x: Tensor = vlm.model.get_input_embeddings()(prompt.input_ids).clone()
    row, token = state.visual_mask.nonzero(as_tuple=True)
    x[row, prompt.slots[row, token]] = prompt.visual[row, token].to(x)
    return x
