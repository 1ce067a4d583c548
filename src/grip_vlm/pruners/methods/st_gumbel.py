"""Straight-through Gumbel top-k: the same scorer, trained through hard gates with soft gradients.

    hard = top k of (theta + Gumbel noise) / tau,   gates hard + (g - stop(g)),   g = sigmoid(./tau + lambda) with sum k

Straight-through is as in Jang et al. (arXiv 1611.01144), and the top k of noisy scores as in Kool et al. (arXiv
1903.06059). Ours: the soft part is that of `soft_topk`, and tau falls from 1 to 0.3. theta, start and learning rate are
as in `soft_topk`. Training: `grip_vlm/rivals/st_gumbel.py`.
"""

from grip_vlm.pruners.scored import Scored


class Pruner(Scored):
    """Keeps what its scorer chooses."""
