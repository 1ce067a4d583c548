"""Rules for the choice of k that a calibrated budget is compared with: each rates how adequate k tokens are.

A rule gives every question a curve over k = 1 .. N that rises to 1, its adequacy (B, N). The budget of a question at a
threshold is the least k whose adequacy reaches it, so a higher threshold gives every question at least as many tokens.
Which tokens are kept is not a rule's business: the scorer chooses them, for all rules the same.
"""

import torch
from torch import Tensor


def least(adequacy: Tensor, threshold: float) -> Tensor:
    """The least k whose adequacy reaches the threshold: (B, N) -> (B,).

    Raises:
        ValueError: a curve never reaches it.
    """
    reached = adequacy >= threshold  # (B, N)
    if not reached.any(1).all():
        raise ValueError(f"the adequacy of a question stays below {threshold} for every number of tokens")
    return reached.to(torch.uint8).argmax(1) + 1
