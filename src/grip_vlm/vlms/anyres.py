"""Tiles cut to the image's shape (LLaVA-NeXT, LLaVA-OneVision): a base image, then tiles as one grid with newlines."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import Seen
from grip_vlm.vlms.places import grid_places, newline_places, square_places


def anyres_places(
    count: int,
    side: int,
    size: Tensor,
    shape_of: Callable[[list[int]], tuple[int, int]],
    most: int | None = None,
) -> Tensor:
    """Places of one image's tokens, (count, 2).

    Args:
        count: its tokens; side: of the square grid of one tile, in tokens.
        size: (2,) height and width of the image in pixels.
        shape_of: rows and columns of tiles for a size.
        most: tiles' worth of tokens above which the grid is shrunk; None where it never is.
    """
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    if count <= side * side + 1:  # one tile, with or without a newline at its end
        whole = grid_places(side, side)
        return torch.cat([whole, torch.ones(1, 2)])[:count]
    rows, columns = shape_of(size.tolist())
    height, width = unpad_image(torch.empty(1, rows * side, columns * side), size.tolist()).shape[1:]
    if most is not None and (ratio := math.sqrt(height * width / (most * side**2))) > 1.1:
        height, width = int(height // ratio), int(width // ratio)
    places = torch.cat([grid_places(side, side), newline_places(height, width)])
    return places if len(places) == count else square_places(count)


def anyres_patches(model: Any, image_sizes: Tensor, seen: Seen, **packing: Any) -> Tensor | None:
    """`Encoder.patches` of such a family: the model itself packs the patches' numbers as it packs their features.

    Args:
        image_sizes: (images, 2) height and width in pixels.
        packing: further keywords of the model's `pack_image_features`; they must not shrink.

    Returns:
        (T,), or None where the model shrank the tiles, so that its tokens are no patches.
    """
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    config = model.config
    tile = config.vision_config.image_size
    side = tile // config.vision_config.patch_size
    sizes = image_sizes.tolist()
    tiles = [
        1 if tokens <= side * side + 1 else image_size_to_num_patches(size, config.image_grid_pinpoints, tile)
        for tokens, size in zip(seen.sizes, sizes, strict=True)
    ]
    numbers = torch.arange(sum(tiles) * side * side, device=seen.features.device).view(-1, side * side, 1)
    newline = torch.tensor([-1], device=numbers.device)
    images = torch.split(numbers, tiles)
    packed, counts = model.base_model.pack_image_features(images, sizes, image_newline=newline, **packing)
    return torch.cat(packed)[:, 0] if counts.tolist() == seen.sizes else None
