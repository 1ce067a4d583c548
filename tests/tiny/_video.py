"""Stand-ins for video processors, which all need torchvision: frames go through the family's image processor.

They mirror `_preprocess` of the processors named below, for clips whose frames were sampled already. Placeholders and
time stamps are then made by the true processor class.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.video_utils import VideoMetadata

from tiny._tiny import Frames

FPS = 2


def metadata(frames: int) -> VideoMetadata:
    """Of a video that has been sampled whole."""
    return VideoMetadata(total_num_frames=frames, fps=FPS, frames_indices=list(range(frames)))


def flat(videos: list[Any]) -> list[Frames]:
    """Clips of all rows; true video processors too take a list of clips, or one for every row."""
    per_row = any(isinstance(clip, list) for row in videos for clip in row)
    return [clip for row in videos for clip in row] if per_row else videos


class PatchedClips:
    """`Qwen2VLVideoProcessor`, `Qwen3VLVideoProcessor` and `Glm4vVideoProcessor`: frames in pairs, one grid per clip.

    The last frame is repeated to fill a pair. Image processors repeat an image to fill one, so their patches hold the
    frame twice, and two frames' patches put together are a pair's. Resizing does not know the number of frames here.
    """

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor
        self.temporal_patch_size, self.merge_size = image_processor.temporal_patch_size, image_processor.merge_size

    def __call__(self, videos: list[Frames] | list[list[Frames]], **kwargs: Any) -> dict[str, Any]:
        clips = flat(videos)
        pixels, grids = zip(*[self.patches(clip) for clip in clips], strict=True)
        return {
            "pixel_values_videos": torch.cat(pixels),  # (patches, C * pair * patch * patch)
            "video_grid_thw": torch.stack(grids),  # (clips, 3)
            "video_metadata": [metadata(len(clip)) for clip in clips],
        }

    def patches(self, clip: Frames) -> tuple[Tensor, Tensor]:
        pair = self.temporal_patch_size
        clip = clip + clip[-1:] * (-len(clip) % pair)
        out = self.image_processor(clip, return_tensors="pt")
        _, height, width = out["image_grid_thw"][0].tolist()
        twice = out["pixel_values"].view(len(clip) // pair, pair, height * width, 3, pair, -1)  # (T, pair, hw, C, 2, p)
        pairs = twice[..., 0, :].permute(0, 2, 3, 1, 4)  # (T, hw, C, pair, p)
        grid = torch.tensor([len(clip) // pair, height, width])
        return pairs.flatten(0, 1).flatten(1), grid


class StackedClips:
    """`InternVLVideoProcessor` and `LlavaOnevisionVideoProcessor`: every frame one square, clips of equal length."""

    def __init__(self, image_processor: Any) -> None:
        self.image_processor = image_processor

    def __call__(self, videos: list[Frames] | list[list[Frames]], **kwargs: Any) -> dict[str, Any]:
        clips = [self.image_processor(clip, return_tensors="pt")["pixel_values"] for clip in flat(videos)]
        return {
            "pixel_values_videos": torch.stack(clips),  # (clips, F, C, H, W)
            "video_metadata": [metadata(len(clip)) for clip in flat(videos)],
        }
