"""Where visual tokens stand in their image: rows and columns in [0, 1], and which tokens form one image."""

import math

import torch
from torch import Tensor


def grid_places(rows: int, columns: int) -> Tensor:
    """Cell centres in raster order, (rows * columns, 2)."""
    return torch.cartesian_prod((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns)


def square_places(count: int) -> Tensor:
    """The grid of `count` cells if that is a square, else `count` places on a raster line, (count, 2)."""
    side = math.isqrt(count)
    if side * side == count:
        return grid_places(side, side)
    return torch.stack([(torch.arange(count) + 0.5) / max(count, 1), torch.full((count,), 0.5)], dim=1)


def newline_places(rows: int, columns: int) -> Tensor:
    """A grid whose rows each end with a newline token at the right edge, (rows * (columns + 1), 2)."""
    cells = grid_places(rows, columns).view(rows, columns, 2)
    ends = torch.stack([cells[:, 0, 0], torch.ones(rows)], dim=1)[:, None]  # (rows, 1, 2)
    return torch.cat([cells, ends], dim=1).flatten(0, 1)


def runs_of(where: Tensor) -> list[tuple[int, int, int]]:
    """(row, first, one past the last) of every run of neighbours in a (B, L) mask, in reading order."""
    edges = torch.nn.functional.pad(where.int(), (1, 1)).diff(dim=1)  # (B, L + 1)
    starts, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero().tolist()
    return [(row, first, last) for (row, first), (_, last) in zip(starts, ends, strict=True)]
