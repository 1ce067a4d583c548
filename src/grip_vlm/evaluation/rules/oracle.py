"""The oracle: the least k whose answer scores at least as well as the answer from all tokens. No rule can know it.

It reads the scores of the answers, so it bounds what any choice of k can reach with the same selection. It has no
threshold: adequacy is 0 or 1, and not monotone in k, because more tokens may spoil an answer.
"""

import torch
from torch import Tensor


def adequacy(scores: Tensor, full: Tensor) -> Tensor:
    """(B, N) scores of the answers from k = 1 .. N tokens and (B,) from all -> (B, N) of 0 and 1.

    A score of NaN says that this k was not tried; it counts as inadequate. All tokens are adequate.
    """
    adequate = scores >= full[:, None]
    adequate[:, -1] = True
    return adequate.to(torch.float64)
