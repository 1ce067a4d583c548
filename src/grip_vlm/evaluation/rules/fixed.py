"""Fixed: every question gets the same share of its tokens. adequacy(k) = k / N."""

import torch
from torch import Tensor


def adequacy(counts: Tensor) -> Tensor:
    """(B,) visual tokens of each question -> (B, N) for the largest N; a count beyond a question's own has 1."""
    k = torch.arange(1, int(counts.max()) + 1, device=counts.device, dtype=torch.float64)
    return (k / counts[:, None]).clamp(max=1)
