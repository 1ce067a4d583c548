"""The language model as it is trained: a frozen Llama whose linear layers have low-rank updates."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig

from smol_llava.lowrank import LowRank

STACKS = {  # the stacks of one layer, each with the layers of a LlamaModel that it holds
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "out": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}


@dataclass(frozen=True)
class Shape:
    """What a layer needs to know besides its weights."""

    heads: int
    groups: int
    eps: float


class Layer(nn.Module):
    """One decoder layer, term for term that of transformers' LlamaModel."""

    def __init__(
        self, weights: dict[str, Tensor], shape: Shape, rank: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.shape = shape
        for stack, names in STACKS.items():
            held = LowRank([weights[f"{name}.weight"] for name in names], rank, scale, generator)
            self.add_module(stack, held)
        self.register_buffer("before_attention", weights["input_layernorm.weight"], persistent=False)
        self.register_buffer("before_mlp", weights["post_attention_layernorm.weight"], persistent=False)

    def merged(self, dtype: torch.dtype) -> list[Tensor]:
        """The weights of this step, one tensor per stack."""
        return [getattr(self, stack).merged(dtype) for stack in STACKS]

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor, merged: list[Tensor]) -> Tensor:
        """(B, L, D) -> (B, L, D); `cos`, `sin` are (B, 1, L, head), `mask` is added to the logits, (B, 1, L, L)."""
        heads, groups = self.shape.heads, self.shape.groups
        normed = rms_norm(x, self.before_attention, self.shape.eps)
        joint = self.qkv(normed, merged[0]).unflatten(-1, (heads + 2 * groups, -1)).transpose(1, 2)
        q, k, v = joint.split([heads, groups, groups], dim=1)  # (B, heads or groups, L, head)
        seen = attend(rotated(q, cos, sin), rotated(k, cos, sin), v, mask)
        x = x + self.out(seen, merged[1])
        gate, up = self.gate_up(rms_norm(x, self.before_mlp, self.shape.eps), merged[2]).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up, merged[3])


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    full = x.float()
    return weight.to(x.dtype) * (full * torch.rsqrt(full.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: the first half of a head is turned against the second."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """(B, L, heads * head) from queries (B, heads, L, head), keys and values (B, groups, L, head).

    Written out, because the backward pass of torch's own attention takes several times as long in bfloat16 on a CPU.
    """
    batch, heads, length, head = q.shape
    groups = k.shape[1]
    together = q.reshape(batch, groups, -1, head)  # (B, groups, heads / groups * L, head)
    logits = (together * head**-0.5) @ k.transpose(-1, -2)
    seen = logits.view(batch, heads, length, length) + mask
    shares = seen.float().softmax(-1).to(q.dtype).view_as(logits)
    return (shares @ v).view(batch, heads, length, head).transpose(1, 2).flatten(2)


class Language(nn.Module):
    """Embeddings, layers and the last norm; the logits are products with the embeddings."""

    def __init__(
        self, config: LlamaConfig, weights: dict[str, Tensor], rank: int, scale: float, seed: int, dtype: torch.dtype
    ) -> None:
        """
        Args:
            weights: those of a LlamaModel, float32.
            dtype: what matrix products are made in; updates and their gradients stay in float32.
        """
        super().__init__()
        self.dtype = dtype
        generator = torch.Generator().manual_seed(seed)
        shape = Shape(config.num_attention_heads, config.num_key_value_heads, config.rms_norm_eps)
        self.layers = nn.ModuleList()
        for i in range(config.num_hidden_layers):
            prefix = f"layers.{i}."
            own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
            self.layers.append(Layer(own, shape, rank, scale, generator))
        self.register_buffer("words", weights["embed_tokens.weight"].to(dtype), persistent=False)  # (vocabulary, D)
        self.register_buffer("last_norm", weights["norm.weight"], persistent=False)
        half = config.head_dim // 2
        speeds = config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
        self.register_buffer("speeds", speeds.repeat(2), persistent=False)  # (head,)

    def embed(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.words)

    def forward(self, sequence: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Hidden states after the last norm, (B, L, D).

        Args:
            sequence: embeddings, (B, L, D).
            positions: (B, L).
            mask: True where row may see column, (B, L, L).
        """
        angles = positions[:, None, :, None] * self.speeds  # (B, 1, L, head)
        cos, sin = angles.cos().to(self.dtype), angles.sin().to(self.dtype)
        added = torch.zeros(mask.shape, dtype=self.dtype).masked_fill_(~mask, -1e4)[:, None]
        x = sequence.to(self.dtype)
        for layer in self.layers:
            x = layer(x, cos, sin, added, layer.merged(self.dtype))
        return rms_norm(x, self.last_norm, self.layers[0].shape.eps)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.words).float()

    def updates(self) -> dict[str, Tensor]:
        """`<layer>.a` and `<layer>.b` of every updated linear layer, named as in a LlamaModel."""
        updates = {}
        for i, layer in enumerate(self.layers):
            for stack, names in STACKS.items():
                held = getattr(layer, stack)
                for name, a, b in zip(names, held.a.split(held.rank), held.b.split(held.outs), strict=True):
                    updates |= {f"layers.{i}.{name}.a": a.detach(), f"layers.{i}.{name}.b": b.detach()}
        return updates
