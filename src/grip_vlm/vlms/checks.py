"""What a processor's output must be before it is encoded."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}


def check_inputs(inputs: Any, model: Any, device: torch.device) -> None:
    """Refuse what is not a processor's output for at least one image or video.

    Args:
        model: if it is spread over devices, the inputs may be on any of them.
        device: where a model on one device is.

    Raises:
        ValueError: the message says what would be right.
    """
    if not isinstance(inputs, Mapping):
        raise ValueError(f"inputs are the processor's output, with input_ids and pixels; not {type(inputs).__name__}")
    right = 'they come from processor(images=..., text=..., return_tensors="pt")'
    ids = inputs.get("input_ids")
    if ids is None:
        raise ValueError(f"the inputs have no input_ids (only {', '.join(map(str, inputs)) or 'nothing'}); {right}")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point():
        raise ValueError(f"input_ids must be a tensor of integers, (batch, length); {right}")
    if not ids.numel():
        raise ValueError(f"input_ids are empty, {tuple(ids.shape)}: there is no prompt")
    mask = inputs.get("attention_mask")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != ids.shape):
        raise ValueError(f"attention_mask must be a tensor of input_ids' shape {tuple(ids.shape)}; {right}")
    present = {name: inputs[name] for name in PIXELS.values() if inputs.get(name) is not None}
    if not present:
        raise ValueError(
            f"there is no image to prune: the processor gave none of {', '.join(PIXELS.values())}; give prompts of "
            "text alone to the model as they are"
        )
    for name, value in present.items():
        if not isinstance(value, Tensor):
            raise ValueError(f"{name} must be a tensor, not {type(value).__name__}; {right}")
    is_spread = hasattr(model, "hf_device_map") or hasattr(model, "_hf_hook")
    for name, value in {"input_ids": ids, "attention_mask": mask, **present}.items():
        if isinstance(value, Tensor) and value.device != device and not (is_spread and value.device.type != "meta"):
            raise ValueError(
                f"{name} is on device {value.device}, but the model on {device}; move them: inputs.to({str(device)!r})"
            )
