"""A frozen linear layer with a low-rank update: merged for the forward, low-rank again for the gradients.

The update B A is added to the weight once a step, so that the forward is one matrix product, and the gradient for the
input another. The gradients of A and B go through the rank; that of W is never made. Layers that read the same input
(queries, keys and values; gate and up) are stacked into one product, each with an update of its own.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LowRank(nn.Module):
    """Stacked linear layers without bias, frozen, and their trained updates in float32."""

    def __init__(self, weights: list[Tensor], rank: int, scale: float, generator: torch.Generator) -> None:
        """
        Args:
            weights: (out, in) each, float32, all of one `in`; kept as they are.
            rank: of every update.
            scale: of the update in the sum W + scale * B A.
        """
        super().__init__()
        self.scale, self.rank = scale, rank
        self.outs = [len(weight) for weight in weights]
        width = weights[0].shape[1]
        self.register_buffer("frozen", torch.cat(weights), persistent=False)  # (sum of out, in)
        draws = [torch.randn(rank, width, generator=generator) * width**-0.5 for _ in weights]
        self.a = nn.Parameter(torch.cat(draws))  # (layers * rank, in)
        self.b = nn.Parameter(torch.zeros(sum(self.outs), rank))  # (sum of out, rank)

    @torch.no_grad()
    def merged(self, dtype: torch.dtype) -> Tensor:
        """(sum of out, in)."""
        pairs = zip(self.b.split(self.outs), self.a.split(self.rank), strict=True)
        update = torch.cat([b @ a for b, a in pairs])
        return torch.add(self.frozen, update, alpha=self.scale).to(dtype)

    def forward(self, x: Tensor, merged: Tensor) -> Tensor:
        """(..., in) -> (..., sum of out); `merged` is what `merged()` gives for the weights of now."""
        out: Tensor = _Merged.apply(x, merged, self.a, self.b, self.outs, self.scale)
        return out


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, merged: Tensor, a: Tensor, b: Tensor, outs: list[int], scale: float) -> Tensor:
        ctx.save_for_backward(x, merged, a, b)
        ctx.outs, ctx.scale = outs, scale
        return F.linear(x, merged)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, merged, a, b = ctx.saved_tensors
        rank = b.shape[1]
        inner = F.linear(x, a.to(x.dtype)).flatten(0, -2)  # (M, layers * rank)
        flat = grad.flatten(0, -2)
        grads = flat.split(ctx.outs, dim=1)
        back = [part @ weight.to(part.dtype) for part, weight in zip(grads, b.split(ctx.outs), strict=True)]
        grad_a = ctx.scale * (torch.cat(back, dim=1).T @ x.flatten(0, -2))
        grad_b = ctx.scale * torch.cat([part.T @ h for part, h in zip(grads, inner.split(rank, dim=1), strict=True)])
        return grad @ merged, None, grad_a.float(), grad_b.float(), None, None
