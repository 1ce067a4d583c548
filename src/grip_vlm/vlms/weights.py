"""A digest of a VLM's weights and of its processor's settings, by which rows know what answered.

Every byte of the weights is read, once for each call of `evaluate` and each worker of a pool, because a sample would
miss a change of few of them. That takes one to two seconds per gigabyte and core. Offloaded weights are brought
back for a moment.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from accelerate.utils import align_module_device
from torch import Tensor, nn

from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.prompts import processor_notes


def digest_of_vlm(vlm: FrozenVLM) -> str:
    """Sixteen hexadecimal digits of the weights and of what the processor does to images and texts."""
    notes = json.dumps(processor_notes(vlm.processor), sort_keys=True, default=str)
    return hashlib.sha256(f"{digest_of_weights(vlm.model)} {notes}".encode(errors="surrogatepass")).hexdigest()[:16]


def digest_of_weights(model: nn.Module) -> str:
    """Sixteen hexadecimal digits. Other values, names, shapes or precisions give others; the device does not matter."""
    modules = list(model.named_modules())
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing leaves the interpreter free
        parts = pool.map(_digest_of_module, modules)
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def _digest_of_module(named: tuple[str, nn.Module]) -> bytes:
    """Of a module's own weights, without those of the modules in it."""
    sha, (prefix, module) = hashlib.sha256(), named
    with torch.no_grad(), align_module_device(module):
        own = [*module._parameters.items(), *module._buffers.items()]
        for name, weight in own:
            for part in _plain(weight):
                sha.update(f"{prefix}.{name} {part.dtype} {tuple(part.shape)}".encode())
                if not part.is_meta:
                    content: Any = part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                    sha.update(content)
    return sha.digest()


def _plain(weight: Any) -> Iterator[Tensor]:
    """The plain tensors that a weight consists of: quantised ones consist of several."""
    if weight is None:
        return
    if hasattr(weight, "__tensor_flatten__"):
        for name in weight.__tensor_flatten__()[0]:
            yield from _plain(getattr(weight, name))
    else:
        yield weight.detach()
