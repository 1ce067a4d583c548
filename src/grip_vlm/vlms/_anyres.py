"""Tiles cut to the image's shape (LLaVA-NeXT, LLaVA-OneVision): a base image, then tiles as one grid with newlines."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from grip_vlm.vlms._places import grid_places, newline_places, square_places


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
