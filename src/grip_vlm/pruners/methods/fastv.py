"""FastV (arXiv 2403.06764): after two of 32 layers, keep the tokens that the last token of the prompt attends to most.

As in the published code (methods.md 1A): rank by the attention of the layer before the cut, mean of heads, the row of
the last token alone (the paper says mean of all rows); positions stay the original ones. Deviations: the cut scales
with depth; the count after it follows from the budget, and batches are allowed.
"""

from fractions import Fraction

from grip_vlm.pruners.inside import Inside


class Pruner(Inside):
    depths = (Fraction(2, 32),)
    early = 1

    def shares(self, scale: float) -> list[float]:
        return [scale]
