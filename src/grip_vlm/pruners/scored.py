"""A pruner with a trained scorer. At inference, all trained methods are this class."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grip_vlm import calibration, checkpoint, policy
from grip_vlm.budget import Budget
from grip_vlm.goals import Auto, Mean
from grip_vlm.mdp import Action, State
from grip_vlm.pruners.base import BasePruner
from grip_vlm.pruners.enough import Enough
from grip_vlm.scorer import Reading, Scorer
from grip_vlm.vlms import Encoded, FrozenVLM


class Scored(BasePruner):
    """Keeps what the scorer chooses. The scorer is loaded on first use, when the VLM is known.

    All trained methods choose by `policy.choose`, which takes importance minus redundancy. A method that does not train
    the redundancy penalty has a fixed one, which is better than the plain top k (docs/log.md).
    """

    def __init__(self, *, scorer: str | Path | None = None, seed: int = 0) -> None:
        if scorer is None:
            raise ValueError(f"pruner {self.name!r} is trained: give the folder of its scorer")
        self.folder = checkpoint.locate(scorer)
        self.checkpoint = f"{scorer}@{checkpoint.digest(self.folder)}"
        self._scorer: tuple[Any, Scorer] | None = None  # with the model that it was loaded for
        self._enough: Enough | None = None
        self._read: tuple[State, Reading] | None = None  # of the batch that `allot` saw last, until `select` sees it

    @torch.no_grad()
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        read, self._read = self._read, None
        reading = read[1] if read is not None and read[0] is encoded.state else None
        return Action(policy.choose(self.scorer(vlm), encoded.state, k, reading))

    @torch.no_grad()
    def allot(self, vlm: FrozenVLM, encoded: Encoded, budgets: Sequence[Budget], new_tokens: int | None) -> Tensor:
        goals = [budget.goal for budget in budgets if isinstance(budget.goal, Auto | Mean)]
        if not goals:
            return super().allot(vlm, encoded, budgets, new_tokens)
        enough, state = self.enough(vlm, goals[0]), encoded.state
        for goal in goals:  # before a stream counts any question of this batch
            if isinstance(goal, Auto):
                enough.price(goal)
        self._read = state, (reading := self.scorer(vlm).read(state))
        curve = enough.curve(reading, state)
        return state.counts.new_tensor(
            [
                enough.tokens(budget.goal, n, curve.row(row))
                if isinstance(budget.goal, Auto | Mean)
                else self.meet(budget, vlm, encoded, row, new_tokens)
                for row, (budget, n) in enumerate(zip(budgets, state.counts.tolist(), strict=True))
            ]
        )

    def answer_tokens(self) -> int | None:
        notes = calibration.read_notes(self.folder)
        return None if notes is None else notes.answer_tokens

    def given(self, vlm: FrozenVLM, budget: Budget, counts: Sequence[tuple[int, int]]) -> None:
        if isinstance(budget.goal, Mean):
            stream = self.enough(vlm, budget.goal).stream(budget.goal)
            for n, k in counts:
                stream.given(n, k)

    def checkpoint_for(self, budget: Budget) -> str:
        if budget.goal is None:
            return self.checkpoint
        folder, _, digest = self.checkpoint.rpartition("@")
        return f"{folder}/calibration@{digest}{calibration.digest(self.folder)}"

    def scorer(self, vlm: FrozenVLM) -> Scorer:
        """The network, on the VLM's device.

        Raises:
            ValueError: it was trained on another VLM, or cannot be loaded.
        """
        loaded = self._scorer  # read once: another thread may load it for another model
        if loaded is None or loaded[0] is not vlm.model:
            loaded = self._scorer = vlm.model, checkpoint.load(self.folder, vlm).to(vlm.device)
        return loaded[1]

    def enough(self, vlm: FrozenVLM, goal: Auto | Mean) -> Enough:
        """The calibration, loaded for this VLM. Raises ValueError if there is none for it."""
        loaded = self._enough
        if loaded is None or loaded.model is not vlm.model:
            loaded = self._enough = Enough(self.folder, vlm, goal)
        return loaded
