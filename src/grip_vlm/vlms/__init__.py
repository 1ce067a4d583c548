"""Frozen vision-language models. `families/` has one file per family; the other files handle transformers.

`load` takes the name of a shipped model, a folder or a hub id. `wrap` takes a model that is loaded already. Both choose
the family by the checkpoint's `model_type`.
"""

from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError

from grip_vlm import registry
from grip_vlm.vlms.assemble import whole
from grip_vlm.vlms.encode import Encoded
from grip_vlm.vlms.frozen import Answer, FrozenVLM

__all__ = ["Answer", "Encoded", "FrozenVLM", "load", "shipped", "verified", "wrap"]

# These families take `mm_encoder_outputs`, but what they read from it is not one feature per placeholder.
REFUSED = {
    "blip_2": "one layer reads all of its query tokens, so none can be left out",
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
        model: may be wrapped by PEFT, quantised, or spread over devices.
        processor: needed for questions and answers in text, not for pruning.

    Raises:
        ValueError: the model cannot be pruned, or transformers is too old.
    """
    if isinstance(model, FrozenVLM):
        return model
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return family_of(inner.config)(inner, processor, name)


def load(
    name: str,
    *,
    dtype: torch.dtype | str = torch.float32,
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
        options: for `from_pretrained`, such as attn_implementation, device_map or quantization_config.

    Raises:
        ValueError: nothing loads under that name, or the family cannot be pruned.
    """
    from transformers import AutoConfig

    folder = registry.PACKAGE / "assets" / name if name in shipped() else Path(name)
    source = str(whole(folder, cache)) if folder.is_dir() else name
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        known = ", ".join(shipped())
        message = (
            f"no VLM {name!r}: neither shipped ({known}), nor a checkpoint folder, nor a hub id that can be reached"
        )
        raise ValueError(message) from error
    if device is None and "device_map" not in options:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return family_of(config).from_pretrained(source, name=name, dtype=dtype, device=device, **options)
    except (ImportError, OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {name!r} does not load: {error}") from error
