"""Evidence: the facts that an answer needs, where each is shown in the image, and how many of them were kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Evidence:
    """The facts that a question needs. Each is shown by any one of its patches."""

    grid: int
    """Patches along each side of the image. They are numbered in raster order."""
    facts: tuple[tuple[int, ...], ...]
    """The patches of each fact. Empty if nothing can be kept that shows the answer, such as an absence."""

    def recall(self, places: ArrayLike, kept: ArrayLike) -> float | None:
        """The share of the facts of which at least one patch is kept, in [0, 1]; None if there are no facts.

        A patch is kept if a kept token shows it: the token whose cell holds the patch's centre, or, on a grid of tokens
        that is finer than the patches, a token whose centre is in the patch.

        Args:
            places: (n, 2) centres of the visual tokens, row and column in [0, 1]; one grid over the image.
            kept: (n,) which tokens are kept.
        """
        if not self.facts:
            return None
        shown = set(self.patches_shown(places, kept))
        return sum(not shown.isdisjoint(fact) for fact in self.facts) / len(self.facts)

    def patches_shown(self, places: ArrayLike, kept: ArrayLike) -> Sequence[int]:
        """The patches that kept tokens show, sorted; see `recall`."""
        tokens, mask = np.asarray(places, dtype=float), np.asarray(kept, dtype=bool)
        shape = [len(set(tokens[:, axis].round(6))) for axis in (0, 1)]  # rows and columns of tokens
        of_tokens = _cell(tokens, [self.grid, self.grid])  # (n,) the patch that each token's centre is in
        centres = (np.stack(np.divmod(np.arange(self.grid**2), self.grid), 1) + 0.5) / self.grid  # (patches, 2)
        by_cell = np.zeros(shape[0] * shape[1], dtype=bool)
        by_cell[_cell(tokens, shape)] = mask
        shown = by_cell[_cell(centres, shape)]  # (patches,)
        shown[of_tokens[mask]] = True
        return [int(patch) for patch in np.flatnonzero(shown)]


def _cell(places: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.intp]:
    """The number of the cell of a (rows, columns) grid that each place (n, 2) is in, (n,), in raster order."""
    row, column = (np.floor(places[:, axis] * size).clip(0, size - 1) for axis, size in enumerate(shape))
    cells: NDArray[np.intp] = (row * shape[1] + column).astype(np.intp)
    return cells
