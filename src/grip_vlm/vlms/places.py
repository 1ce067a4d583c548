"""Places of visual tokens in their image, as row and column in [0, 1]; and the order of placeholders in a batch."""

import math

import torch
from torch import Tensor


def grid_places(rows: int, columns: int) -> Tensor:
    """Centres of a grid's cells in raster order, (rows * columns, 2)."""
    return torch.cartesian_prod((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns)


def grid_of(places: Tensor) -> tuple[int, int] | None:
    """(rows, columns) of the one grid that places (n, 2) are in raster order, or None if they are something else."""
    rows, columns = (len(set(places[:, axis].tolist())) for axis in (0, 1))
    if rows * columns != len(places) or not places.allclose(grid_places(rows, columns)):
        return None
    return rows, columns


def square_places(count: int) -> Tensor:
    """Places of `count` tokens, (count, 2): a square grid if `count` is a square, else a vertical line."""
    side = math.isqrt(count)
    if side * side == count:
        return grid_places(side, side)
    return torch.stack([(torch.arange(count) + 0.5) / max(count, 1), torch.full((count,), 0.5)], dim=1)


def newline_places(rows: int, columns: int) -> Tensor:
    """Places of a grid whose rows each end with a newline token at the right edge, (rows * (columns + 1), 2)."""
    cells = grid_places(rows, columns).view(rows, columns, 2)  # a very narrow image has no columns
    ends = torch.stack([(torch.arange(rows) + 0.5) / rows, torch.ones(rows)], dim=1)[:, None]  # (rows, 1, 2)
    return torch.cat([cells, ends], dim=1).flatten(0, 1)


def runs_of(where: Tensor) -> list[tuple[int, int, int]]:
    """(row, first, one past the last) of every run of True in a (B, L) mask, in reading order."""
    edges = torch.nn.functional.pad(where.int(), (1, 1)).diff(dim=1)  # (B, L + 1)
    starts, ends = (edges == 1).nonzero().tolist(), (edges == -1).nonzero().tolist()
    return [(row, first, last) for (row, first), (_, last) in zip(starts, ends, strict=True)]


def interleave(where: dict[str, Tensor], parts: dict[str, Tensor]) -> Tensor:
    """Values of each modality's tokens, (T_m, ...), in the order of all placeholders, (T, ...).

    `where` has one mask (T,) per modality.
    """
    first, mask = next(iter(parts.values())), next(iter(where.values()))
    values = first.new_zeros(len(mask), *first.shape[1:], device=mask.device)
    for modality, part in parts.items():
        values[where[modality]] = part.to(values)
    return values


def image_indices(sizes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Token counts of each modality's images -> the image that each token belongs to. Videos come after all images."""
    indices, first = {}, 0
    for modality, counts in sizes.items():
        indices[modality] = torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))
        first += len(counts)
    return indices
