"""Straight-through Gumbel top-k: the same scorer trained through hard gates with soft gradients.

    hard = top k of (theta + Gumbel noise) / tau,   gates hard + (g - stop(g)),   g = sigmoid(./tau + lambda) with sum k

Straight-through as in Jang et al. (arXiv 1611.01144), the noise's top k as in Kool et al. (arXiv 1903.06059). Ours: the
soft part is `soft_topk`'s; tau falls from 1 to 0.3; theta, start and learning rate as there.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
