"""Attention of the language model: its implementation, a bias on its logits, and its weights recomputed."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask


@contextmanager
def attention_implementation(model: Any, name: str) -> Iterator[None]:
    """Inside, the language model uses the attention implementation `name`; afterwards its own again.

    The implementation is the model's, not the thread's: other threads must not run the model meanwhile.
    """
    before = model.config.get_text_config()._attn_implementation
    model.set_attn_implementation({"text_config": name})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})


@contextmanager
def gated_attention(model: Any, bias: Tensor) -> Iterator[None]:
    """Inside, the language model adds `bias` (B, L) to the attention logits of every key.

    The bias comes on top of whatever mask the family builds: causal, sliding or bidirectional. Transformers' own
    registry of attention implementations is used, and the model's implementation is restored afterwards. Training
    alone uses it: other threads must not run the model meanwhile.
    """

    def mask_of(*args: Any, **kwargs: Any) -> Tensor:
        # A mask that may be skipped would leave no place for the bias.
        mask: Tensor = eager_mask(
            *args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
        )
        return (mask + bias[:, None, None].to(mask)).clamp(min=torch.finfo(mask.dtype).min)

    AttentionInterface.register("grip_vlm_gated", sdpa_attention_forward)
    AttentionMaskInterface.register("grip_vlm_gated", mask_of)
    with attention_implementation(model, "grip_vlm_gated"):
        yield


def attention_received(attention: Any, x: Tensor, cos: Tensor, sin: Tensor, valid: Tensor, queries: Tensor) -> Tensor:
    """Attention that every token receives from the query tokens, mean over heads and queries, (B, S).

    It is recomputed for the query rows from the attention module's own weights, so it works with every attention
    implementation.

    Args:
        attention: a decoder layer's attention, with q_proj, k_proj, and norms of heads where it has them.
        x: (B, S, D) its input.
        cos, sin: (B, S, d) rotary embeddings.
        valid: (B, S) bool, False is padding.
        queries: (B, S) bool, at least one in each row.
    """
    count = queries.sum(1)  # (B,)
    rows = queries.int().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]  # (B, Q)
    rotate = sys.modules[type(attention).__module__].apply_rotary_pos_emb  # the family's own
    q, k = heads(attention, "q", take(x, rows)), heads(attention, "k", x)
    q = rotate(q, q, take(cos, rows), take(sin, rows))[0]  # (B, H, Q, d)
    k = rotate(k, k, cos, sin)[0].repeat_interleave(q.shape[1] // k.shape[1], 1)  # (B, H, S, d)
    logits = (q @ k.mT).float() * attention.scaling  # (B, H, Q, S)
    visible = valid[:, None] & (torch.arange(x.shape[1], device=x.device) <= rows[..., None])  # (B, Q, S)
    weights = logits.masked_fill(~visible[:, None], -torch.inf).softmax(-1).mean(1)
    return torch.where(take(queries, rows)[..., None], weights, 0.0).sum(1) / count[:, None]


def heads(attention: Any, name: str, x: Tensor) -> Tensor:
    """Queries ("q") or keys ("k") before rotation, (B, heads, S, d)."""
    states = getattr(attention, f"{name}_proj")(x).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{name}_norm", None)
    out: Tensor = (states if norm is None else norm(states)).transpose(1, 2)
    return out


def take(values: Tensor, columns: Tensor) -> Tensor:
    """Values (B or 1, S, ...) at columns (B, S'), where column -1 is padding and gets anything: (B, S', ...)."""
    row = torch.arange(len(columns), device=values.device)[:, None] % len(values)
    return values[row, columns.clamp(min=0)]
