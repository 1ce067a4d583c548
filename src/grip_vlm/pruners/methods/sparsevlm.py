"""SparseVLM (arXiv 2410.04417): before layers 2, 6 and 15 of 32, keep what the question's relevant tokens attend to.

The relevant tokens ("raters") are tokens of the question after the last image, because no earlier one attends to it. A
token is a rater if its similarity to the visual tokens, softmax over the question and mean over the image, is at least
average. The rank is the raters' attention, mean over heads and raters.

Deviations, in addition to those of `pruners/inside.py`:

- Tokens leave before the layer that ranks them. In the authors' code they leave after it, so all tokens pass layer 2.
- The paper has tables of counts for four budgets and no formula. Here the counts fall by the same share at each cut,
  which is near the tables: [334, 194, 112] for 192 of 576, where they have 300, 200, 110.
- Dropped tokens are not clustered and put back. The authors' second version leaves that out as well.
- Of their second version, the original positions are taken, but neither its correction for rotary bias nor its choice
  of heads.
"""

from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor

from grip_vlm.mdp import State
from grip_vlm.pruners.inside import Inside
from grip_vlm.vlms import Encoded


class Pruner(Inside):
    depths = (Fraction(2, 32), Fraction(6, 32), Fraction(15, 32))

    def shares(self, scale: float) -> list[float]:
        return [scale, scale**2, scale**3]

    def queries(self, encoded: Encoded) -> Tensor:
        """The raters."""
        readers = torch.zeros_like(encoded.state.question_mask)  # (B, M)
        readers[encoded.state.question_mask] = encoded.readers[encoded.question]
        queries = torch.zeros_like(encoded.question)  # (B, L)
        queries[encoded.readers] = raters(replace(encoded.state, question_mask=readers))[readers]
        return queries


def raters(state: State) -> Tensor:
    """The question's tokens that are relevant to the image, (B, M) bool, at least one in each row."""
    logits = state.visual.float() @ state.question.float().mT  # (B, N, M)
    share = logits.masked_fill(~state.question_mask[:, None], -torch.inf).softmax(-1)
    relevance = (share * state.visual_mask[..., None]).sum(1) / state.counts[:, None]  # (B, M), a row sums to 1
    # If all values are equal, all are average. Without the margin, rounding could leave no rater.
    average = (1 - 1e-5) / state.question_mask.sum(1, keepdim=True)
    return (relevance >= average) & state.question_mask
