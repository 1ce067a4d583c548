"""Where GRPO spends its rollouts: on questions and budgets whose groups still have different rewards.

Ours: a question that every subset answers, or none, teaches nothing. Questions of the same benchmark, answer length and
octave of the budget form a cell. A cell is sampled in proportion to the recent spread of its groups' rewards.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from grip_vlm.training.bank import Bank

CANDIDATES = 8  # sampled for each question that is used
LEAST = 0.1  # smallest weight as a share of the largest: no cell is forgotten


def sample_questions(
    bank: Bank,
    sample_k: Callable[[np.random.Generator, Tensor], Tensor],
    rng: np.random.Generator,
    size: int,
    spread: dict[str, float],
) -> tuple[list[int], Tensor, Tensor]:
    """Entries (size), their budgets (size,) and their cells (size,).

    Candidates are sampled uniformly, with budgets from `sample_k`. Of these, `size` are sampled in proportion to the
    spread of their cells.

    Args:
        sample_k: (generator, visual tokens (B,)) -> budgets (B,).
        spread: running standard deviation of group rewards by cell; a cell not seen yet counts as the widest.
    """
    chosen = rng.integers(0, len(bank), CANDIDATES * size)
    k = sample_k(rng, torch.tensor([bank.entries[i].tokens for i in chosen]))
    cells = [cell_of(bank, int(i), int(kept)) for i, kept in zip(chosen, k, strict=True)]
    widest = max(spread.values(), default=1.0)
    weight = np.array([max(spread.get(str(cell), widest), LEAST * widest, 1e-9) for cell in cells])
    taken = rng.choice(len(chosen), size, replace=False, p=weight / weight.sum())
    device = bank.vlm.device
    return chosen[taken].tolist(), k[taken].to(device), torch.tensor(cells, device=device)[taken]


def cell_of(bank: Bank, index: int, k: int) -> int:
    """Benchmark, answer length (up to 15) and octave of k / N (down to 2^-15) as one number."""
    entry = bank.entries[index]
    octave = min(15, round(-float(np.log2(k / entry.tokens))))
    return (bank.benchmarks.index(entry.benchmark) * 16 + min(15, entry.answer_length)) * 16 + octave
