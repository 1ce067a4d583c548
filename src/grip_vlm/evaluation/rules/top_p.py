"""Cumulative importance: the k most important tokens until they hold a share p of all importance.

    w = softmax(importance)                    adequacy(k) = sum of the k largest w

The idea is nucleus sampling's (Holtzman et al., arXiv 1904.09751), applied to visual tokens. Deviations: w is the
policy's own distribution of its first pick, so it has the policy's temperature and not one of its own. The scorer
depends on the budget; its importance at a stated budget stands for all.
"""

from torch import Tensor


def adequacy(importance: Tensor) -> Tensor:
    """(B, N) importance in logits, -inf for padding -> (B, N) float64. Beyond a question's own tokens it is 1."""
    weights = importance.double().softmax(1).sort(1, descending=True).values
    total = weights.cumsum(1)
    return total / total[:, -1:]  # the last is 1 exactly
