"""The fingerprint of a VLM's checkpoint: it identifies the VLM that a scorer was trained for, without its weights."""

import hashlib
from typing import Any

import torch
from torch import Tensor

ROWS = 64
"""token embeddings that are read"""


def of(config: Any, dim: int, rows: Tensor) -> str:
    """Type, width, image token and a hash of the signs of some token embeddings, which no precision changes.

    Args:
        rows: the first ROWS token embeddings, or as many as there are, on the CPU.
    """
    return _text(config, dim, rows.signbit())


def fits(fingerprint: str, config: Any, dim: int, rows: Tensor) -> bool:
    """Whether a fingerprint is this checkpoint's. Scorers of older versions carry a hash of values in bfloat16."""
    older = rows[:8].to(torch.bfloat16).float()
    return fingerprint in (of(config, dim, rows), _text(config, dim, older))


def _text(config: Any, dim: int, values: Tensor) -> str:
    digest = hashlib.sha256(values.contiguous().numpy().tobytes()).hexdigest()[:16]
    return f"{config.model_type}-{dim}-{config.image_token_id}-{digest}"
