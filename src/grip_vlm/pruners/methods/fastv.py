"""FastV (arXiv 2403.06764): after two of 32 layers, keep the tokens to which the prompt's last token attends most.

As in the published code (pkunlp-icler/FastV), tokens are ranked by the attention of the layer before the cut, mean over
heads, in the row of the last token alone. The paper says the mean over all rows. Positions stay the original ones.

Deviations:

- The cut scales with depth: two of 32 layers is layer 1 in a language model of four layers.
- The count after the cut follows from the budget.
- Batches are allowed.
"""

from fractions import Fraction

from grip_vlm.pruners.inside import Inside


class Pruner(Inside):
    depths = (Fraction(2, 32),)
    early = 1

    def shares(self, scale: float) -> list[float]:
        return [scale]
