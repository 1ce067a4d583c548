"""LLaVA: a fixed square grid of visual tokens per image, plain positions. The shipped tiny-llava is of this family."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.frozen import FrozenVLM


class VLM(FrozenVLM):
    """`LlavaForConditionalGeneration` with a CLIP or SigLIP tower, whose hidden states some methods read."""

    tower_options: ClassVar[dict[str, Any]] = {"output_hidden_states": True}

    def patches(self, inputs: dict[str, Any], output: TowerOutput) -> Tensor | None:
        return torch.arange(len(output.features), device=output.features.device)
