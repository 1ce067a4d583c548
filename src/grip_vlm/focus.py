"""Which questions, at which budgets, GRPO spends its rollouts on: those whose groups still differ.

Ours: a question that every subset answers, or none, teaches nothing. Questions of the same benchmark, answer length and
octave of the budget form a cell; a cell is drawn in proportion to how much its groups' rewards have differed of late.
"""

import numpy as np
import torch
from torch import Tensor

from grip_vlm.bank import Bank
from grip_vlm.training import RunConfig

CANDIDATES = 8  # drawn for each question that is taken
LEAST = 0.1  # of the highest weight: no cell is forgotten


def draw(
    bank: Bank, config: RunConfig, rng: np.random.Generator, size: int, spread: dict[str, float]
) -> tuple[list[int], Tensor, Tensor]:
    """Entries (size), their budgets (size,) and their cells (size,): candidates are drawn evenly and budgets as
    `config` says, then `size` of them are taken in proportion to their cell's spread.

    Args:
        spread: running standard deviation of group rewards by cell; a cell not seen yet counts as the widest.
    """
    chosen = rng.integers(0, len(bank), CANDIDATES * size)
    k = config.draw_k(rng, torch.tensor([bank.entries[i].tokens for i in chosen]))
    cells = [cell(bank, int(i), int(kept)) for i, kept in zip(chosen, k, strict=True)]
    widest = max(spread.values(), default=1.0)
    weight = np.array([max(spread.get(str(at), widest), LEAST * widest, 1e-9) for at in cells])
    taken = rng.choice(len(chosen), size, replace=False, p=weight / weight.sum())
    device = bank.vlm.device
    return chosen[taken].tolist(), k[taken].to(device), torch.tensor(cells, device=device)[taken]


def cell(bank: Bank, index: int, k: int) -> int:
    """Benchmark, answer length (up to 15) and octave of k / N (down to 2^-15) as one number."""
    entry = bank.entries[index]
    octave = min(15, round(-float(np.log2(k / entry.tokens))))
    return (bank.benchmarks.index(entry.benchmark) * 16 + min(15, entry.answer_length)) * 16 + octave


def update(spread: dict[str, float], cells: Tensor, sigma: Tensor, rate: float = 0.2) -> None:
    """Move each cell's running spread a share `rate` of the way to the mean of what was just seen."""
    for at in set(cells.tolist()):
        seen = float(sigma[cells == at].mean())
        spread[str(at)] = (1 - rate) * spread.get(str(at), seen) + rate * seen
