"""Frozen vision-language models: one file per family, and the folder is the registry of families.

`load` takes the shipped model's name, a folder or a hub id, and picks the family by the checkpoint's `model_type`.
"""

from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import iter_modules
from typing import cast

import torch
from safetensors import SafetensorError

from grip_vlm.vlms._frozen import Answer, Encoded, FrozenVLM

__all__ = ["Answer", "Encoded", "FrozenVLM", "families", "load", "shipped"]


def families() -> list[str]:
    """Model types with a verified adapter."""
    return sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))


def shipped() -> list[str]:
    """Names of the VLMs that come with the package."""
    folder = Path(str(files("grip_vlm"))) / "assets"
    return sorted(path.parent.name for path in folder.glob("*/config.json"))


def load(name: str, *, dtype: torch.dtype | str = torch.float32, device: str | torch.device | None = None) -> FrozenVLM:
    """A frozen VLM from the package, a folder or the hub.

    Args:
        name: a name in `shipped()`, a folder with a Hugging Face checkpoint, or a hub id.
        dtype: what the weights are loaded as; "auto" takes the checkpoint's own.
        device: None means the GPU if there is one, else the CPU.

    Raises:
        ValueError: nothing loadable under that name, or a family without an adapter.
    """
    from transformers import AutoConfig

    packaged = Path(str(files("grip_vlm"))) / "assets" / name
    source = str(packaged) if name in shipped() else name
    try:
        config = AutoConfig.from_pretrained(source)
    except (OSError, ValueError) as error:
        known = ", ".join(shipped())
        message = (
            f"no VLM {name!r}: neither shipped ({known}), nor a checkpoint folder, nor a hub id that can be reached"
        )
        raise ValueError(message) from error
    if config.model_type not in families():
        raise ValueError(f"{name!r} is a {config.model_type}; families with an adapter: {', '.join(families())}")
    family = cast(type[FrozenVLM], import_module(f"{__name__}.{config.model_type}").VLM)
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return family.from_pretrained(source, name=name, dtype=dtype, device=device)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"the checkpoint {name!r} does not load: {error}") from error
