"""Energy of singular values: as many tokens as directions hold a share of the visual features' energy.

    adequacy(k) = sum_{i <= k} s_i^2 / sum_i s_i^2          s: singular values of the visual features (N, D)

Source: E-AdaPrune, Energy-Driven Adaptive Visual Token Pruning (arXiv 2603.05950), of which the abstract was read: the
budget keeps a proportion of the energy in the spectrum of the visual features, and does not depend on the question.
Deviations: the features are the projector's output, which the scorer reads too; the decomposition is exact, not
randomised; the budget has no lower or upper bound. Features are not centred.
"""

import torch
from torch import Tensor


def adequacy(visual: Tensor, mask: Tensor) -> Tensor:
    """(B, N, D) features and (B, N) which are tokens -> (B, N) float64. From min(N, D) tokens on it is 1."""
    features = visual.double() * mask[..., None]
    values = torch.linalg.svdvals(features)  # (B, min(N, D)), descending
    energy = values.square().cumsum(1)
    shares = torch.ones(mask.shape, dtype=torch.float64, device=mask.device)
    shares[:, : energy.shape[1]] = energy / energy[:, -1:]
    return shares
