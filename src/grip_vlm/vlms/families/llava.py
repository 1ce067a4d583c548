"""LLaVA: a fixed square grid of visual tokens per image, plain positions; also the family of the shipped tiny-llava."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from grip_vlm.vlms.encode import Seen
from grip_vlm.vlms.frozen import FrozenVLM


class VLM(FrozenVLM):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower, whose states CLS methods read."""

    tower_options: ClassVar[dict[str, Any]] = {"output_hidden_states": True}

    def patches(self, inputs: dict[str, Any], seen: Seen) -> Tensor | None:
        return torch.arange(len(seen.features), device=seen.features.device)
