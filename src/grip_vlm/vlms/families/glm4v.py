"""GLM-4.1V: the placeholders of a video's frames are image tokens."""

from torch import Tensor

from grip_vlm.vlms.mrope import MRopeVLM


class VLM(MRopeVLM):
    video_as_image = True

    def placeholders(self, ids: Tensor, modality: str) -> Tensor:
        return super().placeholders(ids, "image")
