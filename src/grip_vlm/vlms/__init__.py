"""Frozen vision-language models: one file per family, and the folder is the registry of families.

`load` takes the shipped model's name, a folder or a hub id; `wrap` a model that is loaded already. Both pick the family
by the checkpoint's `model_type`.
"""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, cast

import torch
from safetensors import SafetensorError

from grip_vlm.vlms._assemble import whole
from grip_vlm.vlms._encode import Encoded
from grip_vlm.vlms._frozen import Answer, FrozenVLM

__all__ = ["Answer", "Encoded", "FrozenVLM", "families", "load", "shipped", "wrap"]

# Families that take `mm_encoder_outputs` but read something from it that is not one feature per placeholder.
REFUSED = {
    "blip_2": "its query tokens are all read by one layer; there is nothing to leave out",
    "instructblip": "its query tokens are all read by one layer; there is nothing to leave out",
    "fuyu": "it reads patches as `last_hidden_state`",
    "llama4": "it reads `last_hidden_state`, and its chunked attention counts indices",
    "ovis2": "it reads visual indicator features beside the tokens",
    "granite4_vision": "its deepstack features are laid out in tuples",
}


def families() -> list[str]:
    """Model types whose pruning is verified by tests."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def shipped() -> list[str]:
    """Names of the VLMs that come with the package."""
    folder = Path(str(files("grip_vlm"))) / "assets"
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


def family_of(config: Any) -> type[FrozenVLM]:
    """The class for a model's configuration; for types without a file, the generic one.

    Raises:
        ValueError: a type that is known not to work, with the reason.
    """
    kind = config.model_type
    if kind in families():
        return cast(type[FrozenVLM], import_module(f"{__name__}.{kind}").VLM)
    if kind in REFUSED:
        raise ValueError(f"{kind} cannot be pruned: {REFUSED[kind]}; verified families: {', '.join(families())}")
    if getattr(config, "image_token_id", None) is None:
        raise ValueError(f"{kind} has no image_token_id; verified families: {', '.join(families())}")
    return FrozenVLM


def wrap(model: Any, processor: Any = None, name: str = "") -> FrozenVLM:
    """A transformers model that is loaded already; nothing is changed on it.

    Args:
        model: may be wrapped by PEFT, quantised, or spread over devices.
        processor: needed for questions and answers in text, not for pruning.

    Raises:
        ValueError: not a VLM that can be pruned, or a transformers that is too old.
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
        dtype: what the weights are loaded as; "auto" takes the checkpoint's own.
        device: None means the GPU if there is one, else the CPU; not together with `device_map`.
        cache: where a VLM shipped in parts is assembled, None for ~/.cache/grip-vlm.
        options: for `from_pretrained`, such as attn_implementation, device_map or quantization_config.

    Raises:
        ValueError: nothing loadable under that name, or a family that cannot be pruned.
    """
    from transformers import AutoConfig

    packaged = Path(str(files("grip_vlm"))) / "assets" / name
    source = str(whole(packaged, cache)) if name in shipped() else name
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
