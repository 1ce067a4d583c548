"""Peak memory of a run: that of torch's allocator on CUDA, that of the whole process on a CPU.

On a CPU it is the resident memory that Linux counts: Python, libraries and weights are in it, and so is what the
allocator keeps after it was freed. Free memory is therefore given back before the run. The difference of peak and rest
is what the run needed in addition, to within what the allocator rounds up. Other systems do not tell; None says so.
"""

import ctypes
import gc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Memory(NamedTuple):
    """Bytes before a run, and the most during it. None where the system does not tell."""

    resting: int | None
    peak: int | None


def peak_memory(device: torch.device, call: Callable[[], Any]) -> Memory:
    """The memory of a call on a device; what it returns is dropped."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        resting = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return Memory(resting, torch.cuda.max_memory_allocated(device))
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text("5")  # the peak is counted anew from here
        before = _resident("VmRSS")
    except OSError:
        call()
        return Memory(None, None)
    call()
    return Memory(before, _resident("VmHWM"))


def _resident(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])
