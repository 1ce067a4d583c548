"""PaliGemma 1 and 2: a square grid, bidirectional attention in image and question, positions from 1 in `forward`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from grip_vlm.vlms.frozen import FrozenVLM
from grip_vlm.vlms.outputs import TensorOutput
from grip_vlm.vlms.prompts import check_texts


class VLM(FrozenVLM):
    output_type = TensorOutput
    forward_offset = 1
    bidirectional = True

    def inputs(
        self, images: Sequence[Image.Image | str | Path], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """There is no chat template. The answer is the processor's `suffix`, the only part with causal attention."""
        check_texts("question", questions)
        check_texts("answer", answers or ())
        token = self.processor.tokenizer.image_token
        suffix = {} if answers is None else {"suffix": list(answers)}
        out = self.process(images, [token + question for question in questions], **suffix)
        out.pop("labels", None)
        if answers is not None:
            out["answer_length"] = (out["token_type_ids"] * out["attention_mask"]).sum(1)
        return out
