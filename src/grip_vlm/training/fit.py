"""Micro-batches: forwards of the frozen VLM are split until they fit into memory.

The optimisation batch stays what it is. The rows of a forward do not depend on each other, so the results differ by
float rounding alone. While nothing runs out, every forward is as large as its caller asks.
"""

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from grip_vlm.memory import is_out_of_memory

T = TypeVar("T")
Leaves = tuple[Tensor, ...]


class Fit:
    """How many rows a forward takes at most; halved when memory runs out."""

    def __init__(self, size: int = 0, say: Callable[[str], None] = lambda text: None) -> None:
        """Args: size: rows at most, 0 for as many as the caller asks; say: told when the size is halved."""
        self.size, self.say = size, say

    def splits(self, rows: int) -> bool:
        """Whether a forward of so many rows is run in parts."""
        return 0 < self.size < rows

    def parts(self, rows: Tensor, most: int, forward: Callable[[Tensor], T]) -> list[T]:
        """`forward` of consecutive parts of `rows` (R,), at most `most` and `size` rows each.

        Raises:
            torch.OutOfMemoryError: a single row does not fit.
        """
        results: list[T] = []
        done = 0
        while done < len(rows):
            part = rows[done : done + min(most, self.size or most)]
            try:
                results.append(forward(part))
            except (RuntimeError, MemoryError) as error:
                self._halve(error, len(part))
            else:
                done += len(part)
                continue
            free_memory()  # outside of `except`, where the traceback still holds the tensors
        return results

    def again(self, attempt: Callable[[], T], rows: int) -> T:
        """`attempt` of a step over so many rows, tried again with half the size as often as memory runs out."""
        while True:
            try:
                return attempt()
            except (RuntimeError, MemoryError) as error:
                self._halve(error, min(rows, self.size or rows))
            free_memory()

    def _halve(self, error: RuntimeError | MemoryError, rows: int) -> None:
        """Halve the size, or raise the error if it is another one or the size is 1 already."""
        if not is_out_of_memory(error) or rows < 2:
            raise error
        self.size = rows // 2
        self.say(f"out of memory with {rows} prompts in a forward; going on with {self.size} (--micro-batch)")


def with_gradient(fit: Fit, leaves: Leaves, forward: Callable[[Tensor | None, Leaves], Tensor]) -> Tensor:
    """Values (B,) of rows that each depend on their own row of `leaves`, with gradient in the leaves.

    In parts, the gradient of each part is computed at once, so that only one part's activations are held.

    Args:
        leaves: (B, ...) each.
        forward: (rows (R,) or None for all, the leaves' rows) -> values (R,).
    """
    batch = len(leaves[0])
    if not fit.splits(batch):
        return forward(None, leaves)

    def part(rows: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        own = tuple(leaf[rows].detach().requires_grad_() for leaf in leaves)
        values = forward(rows, own)
        return values.detach(), torch.autograd.grad(values.sum(), own)

    values, gradients = zip(*fit.parts(torch.arange(batch, device=leaves[0].device), batch, part), strict=True)
    total = torch.cat(values)
    for leaf, gradient in zip(leaves, map(torch.cat, zip(*gradients, strict=True)), strict=True):
        # Zero, with the gradient of the values.
        product = (leaf * gradient).flatten(1).sum(1)
        total = total + (product - product.detach()).to(total.dtype)
    return total


def free_memory() -> None:
    """Give back what failed forwards have left on the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
