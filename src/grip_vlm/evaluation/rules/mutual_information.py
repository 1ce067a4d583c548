"""Mutual information of question and image: the more the question's words agree on where to look, the fewer tokens.

    p(m, i) = attention of question token m to visual token i, scaled to sum to 1
    I = sum p(m, i) log( p(m, i) / (p(m) p(i)) )                                     in nats
    z = (I - centre) / scale
    k / N = sigmoid(logit(threshold) - slope z),  so  adequacy(k) = sigmoid(logit(k / N) + slope z)

Source: AutoPrune, Each Complexity Deserves a Pruning Policy (arXiv 2509.23931), of which the abstract was read: the
mutual information between visual and textual tokens is mapped to a logistic curve of retention over the layers, under a
budget that all questions share. Deviations: there, a question decides at which layers its tokens leave; here, how many
enter. The logistic curve is over the threshold, not over layers. Its slope, and centre and scale of the information,
come from training questions. The attention is that of `vlms/early.py`, mean over heads.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


def information(attentions: Sequence[Tensor]) -> Tensor:
    """The mutual information of B times (M, n) attention weights, in nats: (B,) float64. It is 0 without a question."""
    values = []
    for attention in attentions:
        joint = attention.double() / attention.double().sum().clamp(min=1e-300)  # (M, n)
        independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        values.append(torch.where(joint > 0, joint * (joint / independent).log(), 0).sum())
    return torch.stack(values)


def adequacy(information: Tensor, counts: Tensor, centre: float, scale: float, slope: float) -> Tensor:
    """(B,) nats and (B,) visual tokens -> (B, N) float64.

    Args:
        centre: mean information of training questions.
        scale: its standard deviation, above 0.
        slope: logits of retained share lost per standard deviation. Below 0, more information keeps more tokens.
    """
    z = (information - centre) / scale  # (B,)
    k = torch.arange(1, int(counts.max()) + 1, device=counts.device, dtype=torch.float64)
    share = (k / counts[:, None]).clamp(max=1)  # (B, N)
    return torch.sigmoid(torch.logit(share) + slope * z[:, None])
