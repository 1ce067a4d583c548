"""The one way from budgets to counts: how many visual tokens each question of a batch gets."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from grip_vlm.budget import COUNTS, Budget


def allot(
    budgets: Sequence[Budget], selector: Any, vlm: Any, encoded: Any, new_tokens: int | None = None
) -> Tensor:  # (B,)
    """Visual tokens to keep for each question of an encoded batch, (B,).

    Exact budgets are functions of the question's number of visual tokens. Goals (`auto`, `mean:5%`, `20ms`) are the
    selector's to meet, with a method `allot` as `pruners.Pruner` has it.

    Args:
        budgets: one for each question.
        selector: what will select the tokens.
        new_tokens: the most tokens an answer may have; None if it is not known. Only times depend on it.

    Raises:
        ValueError: a goal cannot be met with this selector; the message says what would do.
    """
    counts: Tensor = encoded.state.counts
    if len(budgets) != len(counts):
        raise ValueError(f"{len(budgets)} budgets for {len(counts)} questions; give one for each")
    goals = [budget for budget in budgets if budget.goal is not None]
    if not goals:
        return counts.new_tensor([budget.k(int(n)) for budget, n in zip(budgets, counts, strict=True)])
    if not hasattr(selector, "allot"):
        raise ValueError(
            f"{type(selector).__name__} has only `select`, which cannot meet the budget {goals[0]}; give {COUNTS}, "
            "or a pruner of grip_vlm.load_pruner"
        )
    met: Tensor = selector.allot(vlm, encoded, budgets, new_tokens)
    return met
