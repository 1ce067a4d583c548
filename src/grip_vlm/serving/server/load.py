"""Budgets under load: the share of each that lets the last request in the queue be answered in time."""

import math

MEMORY = 0.9  # weight of everything before, when one batch is added; about the last ten batches count
RIDGE = 1e-9


class Load:
    """A linear model of a batch's time, a * rows + b * kept tokens, fitted to the last batches; and what follows."""

    def __init__(self, target: float) -> None:
        """
        Args:
            target: seconds that an answer may take, waiting included; 0 for no target.
        """
        self.target = target
        self.rr = self.rk = self.kk = self.rs = self.ks = 0.0  # sums of rows, kept tokens and seconds, multiplied
        self.rows = self.asked = 0.0

    def add(self, rows: int, asked: int, kept: int, seconds: float) -> None:
        """A batch was answered: its rows, the tokens that their budgets gave, those kept, and its time."""
        if not rows:
            return
        new = (rows * rows, rows * kept, kept * kept, rows * seconds, kept * seconds, rows, asked)
        old = (self.rr, self.rk, self.kk, self.rs, self.ks, self.rows, self.asked)
        mixed = (MEMORY * before + value for before, value in zip(old, new, strict=True))
        self.rr, self.rk, self.kk, self.rs, self.ks, self.rows, self.asked = mixed

    def costs(self) -> tuple[float, float]:
        """(seconds per row, seconds per kept token), neither below 0; the least squares fit."""
        if not self.rr:
            return 0.0, 0.0
        determinant = self.rr * self.kk - self.rk**2
        if determinant > RIDGE * self.rr * max(self.kk, 1.0):
            per_row = (self.rs * self.kk - self.ks * self.rk) / determinant
            per_token = (self.ks * self.rr - self.rs * self.rk) / determinant
            if per_row >= 0 and per_token >= 0:
                return per_row, per_token
            if per_token < 0:
                return self.rs / self.rr, 0.0
        # Batches that are all alike tell the two apart in no way; all time is then the tokens', and a budget that falls
        # makes the batches differ.
        return (0.0, self.ks / self.kk) if self.kk else (self.rs / self.rr, 0.0)

    def share(self, waiting: int, batch: int, waited: float = 0.0) -> float:
        """What each budget is multiplied by, in [0, 1], when a batch begins.

        Args:
            waiting: requests that are not yet answered, those of this batch included.
            batch: requests answered together, at most.
            waited: seconds that the first of them has waited.
        """
        per_row, per_token = self.costs()
        if not self.target or not self.rows:
            return 1.0
        rounds = math.ceil(waiting / batch)
        rows = min(waiting, batch)
        left = max(self.target - waited, 0.0) / rounds - per_row * rows  # seconds for the tokens of one batch
        needed = per_token * rows * self.asked / self.rows
        if left >= needed:
            return 1.0
        return max(left, 0.0) / needed if needed else 0.0
