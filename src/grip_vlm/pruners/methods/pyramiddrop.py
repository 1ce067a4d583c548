"""PyramidDrop (arXiv 2410.17247): at each quarter of the depth, keep the same share of what is left.

As in the published code: rank by the row of the prompt's last token, recomputed from the input of the layer where the
cut is. The paper's share is 0.5; here it follows from the budget. Deviation: tokens keep their original positions (the
code counts them anew), as for all methods here.
"""

from fractions import Fraction

from grip_vlm.pruners.inside import Inside


class Pruner(Inside):
    depths = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))

    def shares(self, scale: float) -> list[float]:
        return [scale, scale**2, scale**3]
