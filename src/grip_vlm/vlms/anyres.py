"""Tokens of an image in tiles (LLaVA-NeXT, LLaVA-OneVision): a base image, then one grid of all tiles with newlines."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from grip_vlm.vlms.encode import TowerOutput
from grip_vlm.vlms.places import grid_places, newline_places, square_places


def anyres_places(
    count: int,
    side: int,
    size: Tensor,
    shape_of: Callable[[list[int]], tuple[int, int]],
    max_tiles: int | None = None,
) -> Tensor:
    """Places of one image's tokens, (count, 2).

    Args:
        count: tokens of the image.
        side: side of one tile's square grid, in tokens.
        size: (2,) height and width of the image in pixels.
        shape_of: the rows and columns of tiles for such a size.
        max_tiles: the model shrinks a grid whose sides exceed those of so many tiles by over a tenth. None: never.
    """
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    if count <= side * side + 1:  # one tile, with or without a newline at its end
        base = grid_places(side, side)
        return torch.cat([base, torch.ones(1, 2)])[:count]
    rows, columns = shape_of(size.tolist())
    height, width = unpad_image(torch.empty(1, rows * side, columns * side), size.tolist()).shape[1:]
    if max_tiles is not None and (ratio := math.sqrt(height * width / (max_tiles * side**2))) > 1.1:
        height, width = int(height // ratio), int(width // ratio)
    places = torch.cat([grid_places(side, side), newline_places(height, width)])
    return places if len(places) == count else square_places(count)


def anyres_patches(model: Any, image_sizes: Tensor, output: TowerOutput, **packing: Any) -> Tensor | None:
    """`Encoder.patches` for such a family. The model packs patch indices exactly as it packs the patches' features.

    Args:
        image_sizes: (images, 2) height and width in pixels.
        output: of the tower.
        packing: further keywords of the model's `pack_image_features`. They must not shrink the grid.

    Returns:
        (T,), or None where the model shrank the tiles, because its tokens are then no longer patches.
    """
    from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

    config = model.config
    tile = config.vision_config.image_size
    side = tile // config.vision_config.patch_size
    sizes = image_sizes.tolist()
    # An image that is not tiled has a newline at its end. A very flat one is tiled, but no row of its tiles is left.
    tiles = [
        1 if tokens == side * side + 1 else image_size_to_num_patches(size, config.image_grid_pinpoints, tile)
        for tokens, size in zip(output.sizes, sizes, strict=True)
    ]
    indices = torch.arange(sum(tiles) * side * side, device=output.features.device).view(-1, side * side, 1)
    newline = torch.tensor([-1], device=indices.device)
    images = torch.split(indices, tiles)
    packed, counts = model.base_model.pack_image_features(images, sizes, image_newline=newline, **packing)
    return torch.cat(packed)[:, 0] if counts.tolist() == output.sizes else None
