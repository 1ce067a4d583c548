"""PyramidDrop (arXiv 2410.17247): at each quarter of the depth, keep the same share of what is left.

As in the published code, tokens are ranked by the row of the prompt's last token. It is recomputed from the input of
the layer where the cut is. The paper's share is 0.5; here it follows from the budget.

Deviation: tokens keep their original positions, as in all methods here. The authors' code renumbers them.
"""

from fractions import Fraction

from grip_vlm.pruners.inside import Inside


class Pruner(Inside):
    depths = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))

    def shares(self, scale: float) -> list[float]:
        return [scale, scale**2, scale**3]
