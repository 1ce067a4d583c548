"""Frozen vision-language models. `families/` has one file per family; the other files handle transformers.

`load` takes the name of a shipped model, a folder or a hub id. `wrap` takes a model that is loaded already. Both choose
the family by the checkpoint's `model_type`.
"""

import os
from pathlib import Path
from typing import Any, cast

import torch

from grip_vlm import literals, registry
from grip_vlm.options import DType
from grip_vlm.vlms.assemble import whole
from grip_vlm.vlms.encode import Encoded
from grip_vlm.vlms.frozen import Answer, FrozenVLM
from grip_vlm.vlms.loading import read_config, unwrap

__all__ = ["Answer", "Encoded", "FrozenVLM", "load", "shipped", "verified", "wrap"]

# These families take `mm_encoder_outputs`, but what they read from it is not one feature per placeholder.
REFUSED = {
    "blip-2": "one layer reads all of its query tokens, so none can be left out",
    "instructblip": "one layer reads all of its query tokens, so none can be left out",
    "fuyu": "it reads patches as `last_hidden_state`",
    "llama4": "it reads `last_hidden_state`, and its chunked attention counts token indices",
    "ovis2": "it reads visual indicator features in addition to the visual tokens",
    "granite4_vision": "it returns its deepstack features in tuples",
}


def verified() -> list[str]:
    """Model types whose pruning the tests verify."""
    return registry.names("vlms.families")


def shipped() -> list[str]:
    """Names of the VLMs that come with the package."""
    return registry.shipped_vlms()


def family_of(config: Any) -> type[FrozenVLM]:
    """The class for a model's configuration. A type without a file gets `FrozenVLM`.

    Raises:
        ValueError: the type is known not to work (the message says why), or its config names no image token.
    """
    kind = config.model_type
    if kind in verified():
        return cast(type[FrozenVLM], registry.load("vlms.families", kind, "family").VLM)
    if kind in REFUSED:
        raise ValueError(f"{kind} cannot be pruned: {REFUSED[kind]}; verified families: {', '.join(verified())}")
    if getattr(config, "image_token_id", None) is None:
        raise ValueError(f"{kind} has no image_token_id; verified families: {', '.join(verified())}")
    return FrozenVLM


def wrap(model: Any, processor: Any = None, name: str = "") -> FrozenVLM:
    """Wrap a transformers model that is loaded already. The model is not changed.

    Args:
        model: may be compiled, wrapped by DDP, FSDP or PEFT, quantised, offloaded, or spread over devices.
        processor: needed for questions and answers in text. Pruning works without it, but a question that stands before
            its image is then told from the template's words less well (`vlms/question.py`).

    Raises:
        ValueError: the model cannot be pruned, or transformers is too old.
    """
    if isinstance(model, FrozenVLM):
        return model
    inner = unwrap(model)
    if not hasattr(inner, "config"):
        raise ValueError(f"{type(inner).__name__} is not a transformers model")
    return family_of(inner.config)(inner, processor, name)


def load(
    name: str,
    *,
    dtype: torch.dtype | DType = torch.float32,
    device: str | torch.device | None = None,
    cache: Path | None = None,
    **options: Any,
) -> FrozenVLM:
    """A frozen VLM from the package, a folder or the hub.

    Args:
        name: a name in `shipped()`, a folder with a Hugging Face checkpoint, or a hub id.
        dtype: precision of the loaded weights; "auto" takes the checkpoint's own.
        device: None means the GPU if there is one, else the CPU. Do not combine it with `device_map`.
        cache: folder in which a VLM shipped in parts is assembled. None means ~/.cache/grip-vlm.
        options: for `from_pretrained`, such as attn_implementation, device_map, quantization_config or
            trust_remote_code. Pickles are not loaded unless use_safetensors is False.

    Raises:
        ValueError: nothing loads under that name, or the family cannot be pruned.
    """
    if not isinstance(dtype, torch.dtype):
        literals.check("dtype", dtype, DType)
    elif not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating-point type, not {dtype}")
    if device is None and "device_map" not in options:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = None if device is None else torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"no device {device!r}: {error}") from error
    name = str(name)
    folder = registry.PACKAGE / "assets" / name if name in shipped() else Path(name)
    source = str(folder) if name in shipped() else name
    if os.path.isfile(folder / "assembly.json"):  # False for names that no file can have, too
        source = str(whole(folder, cache))
    config = read_config(source, name, shipped(), bool(options.get("trust_remote_code")))
    return family_of(config).from_pretrained(source, name=name, dtype=dtype, device=place, **options)
