"""In which number type this machine multiplies matrices fastest: bfloat16 in hardware, or float32."""

import time

import torch

CHOICES = (torch.float32, torch.bfloat16)


def seconds(dtype: torch.dtype, size: int = 1024, tries: int = 3) -> float:
    """The fastest of a few products of two square matrices."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    left @ right
    took = []
    for _ in range(tries):
        began = time.perf_counter()
        left @ right
        took.append(time.perf_counter() - began)
    return min(took)


def fastest() -> tuple[torch.dtype, str]:
    """The type to compute in, and a line that says why.

    bfloat16 must be twice as fast, for it is less exact; without AMX a processor emulates it, several times slower.
    """
    plain, half = (seconds(dtype) for dtype in CHOICES)
    chosen = torch.bfloat16 if half < plain / 2 else torch.float32
    said = f"a product of 1024 x 1024 takes {1000 * plain:.1f} ms in float32, {1000 * half:.1f} ms in bfloat16"
    return chosen, f"{said}: computing in {str(chosen).removeprefix('torch.')}"
