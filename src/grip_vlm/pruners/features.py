"""Projected features of one sample at a time, their cosines, and their relevance to the question."""

from collections.abc import Iterator

import torch
from torch import Tensor

from grip_vlm.mdp import State


def samples(state: State, k: Tensor) -> Iterator[tuple[int, Tensor, Tensor, int]]:
    """(row, visual tokens (n, D), question tokens (m, D), tokens to keep) of each sample, in float32, without padding.

    Raises:
        ValueError: a sample is to keep no token, or more tokens than it has.
    """
    sizes = zip(state.counts.tolist(), state.question_mask.sum(1).tolist(), k.tolist(), strict=True)
    for row, (n, m, keep) in enumerate(sizes):
        if not 1 <= keep <= n:
            raise ValueError(f"cannot keep {keep} of {n} visual tokens; keep between 1 and {n}")
        yield row, state.visual[row, :n].float(), state.question[row, :m].float(), keep


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines of (n, D) with (m, D), (n, m) in float32. A vector of zeros has cosine 0 with every other."""
    normalize = torch.nn.functional.normalize
    return normalize(a.float(), dim=-1) @ normalize(b.float(), dim=-1).T


def relevance(visual: Tensor, question: Tensor) -> Tensor:
    """Relevance of each visual token (n, D) to the question (m, D), (n,): its mean cosine with the question's tokens.

    Ours. The papers take relevance from a text tower or from attention that not every VLM has. The projector maps
    visual tokens into the space of the language model's word embeddings, so the two can be compared there. The question
    includes words of the chat template (`vlms/question.py`).

    Raises:
        ValueError: the question has no tokens.
    """
    if not len(question):
        raise ValueError("relevance to the question needs text, and this prompt has none")
    return cosines(visual, question).mean(1)
