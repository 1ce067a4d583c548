"""How many visual tokens to keep: a count, a fraction or a percentage; or a goal, which gives each question a count."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from grip_vlm import goals
from grip_vlm.goals import Auto, Goal, Mean, Within

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 100  # characters; Python refuses to read numbers of thousands of digits
COUNTS = "a whole number of tokens (64), a fraction in (0, 1] (0.1; 1.0 keeps all) or a percentage (10%)"
RULE = f"a budget is {COUNTS}; or {goals.RULES}"


@dataclass(frozen=True)
class Budget:
    """How many of N tokens to keep. Exactly one field is set. `Budget.parse` reads user input.

    `tokens` and `fraction` are exact: the count is a function of N. A `goal` depends on the question, on what a stream
    was given so far, or on the device; `allot.py` turns it into counts.
    """

    tokens: int | None = None
    fraction: Fraction | None = None
    goal: Goal | None = None

    def __post_init__(self) -> None:
        if [self.tokens, self.fraction, self.goal].count(None) != 2:
            raise ValueError(f"give either tokens or fraction or a goal; {RULE}")
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"cannot keep {self.tokens} tokens; {RULE}")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            share = "more than all" if self.fraction > 1 else "nothing or less"
            raise ValueError(f"cannot keep {share} of the tokens; {RULE}")

    @classmethod
    def auto(cls, max_drop: float = 0.02, confidence: float = 0.95) -> "Budget":
        """As few tokens for each question as keep the accuracy: it falls by more than `max_drop` with a probability of
        at most 1 - `confidence`, over the draw of the calibration set (docs/auto-budget.md).

        Raises:
            ValueError: a number is not between 0 and 1.
        """
        return cls(goal=Auto(max_drop, confidence))

    @classmethod
    def mean(cls, share: float | str, window: int = 100) -> "Budget":
        """A share of the tokens in the mean over every `window` consecutive questions, given where they are needed.

        Raises:
            ValueError: the share is not in (0, 1], or the window is empty.
        """
        return cls(goal=Mean(goals.share_of(str(share)), window))

    @classmethod
    def within(cls, seconds: float) -> "Budget":
        """As many tokens as leave the whole answer within a time on this device.

        Raises:
            ValueError: the time is not above 0, or longer than a day.
        """
        return cls(goal=Within(Fraction(str(seconds))))

    @classmethod
    def parse(cls, value: "int | float | str | Budget") -> "Budget":
        """`64` and `"64"` are tokens, `1` is one token. `0.1`, `"0.1"` and `"10%"` are fractions, `1.0` is all tokens.

        Goals are `"auto"`, `"auto:0.02"`, `"mean:5%"` and `"20ms"`; see `goals.parse`.

        Raises:
            ValueError: anything else: 0, a negative, NaN or infinite number, a fraction above 1, other text. The
                message says what is allowed.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"{value!r} is not a budget; {RULE}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{value!r} is not a budget; {RULE}")
        if isinstance(value, int):
            return cls(tokens=value)
        text = value.strip() if isinstance(value, str) else repr(float(value))
        if len(text) > LONGEST:
            raise ValueError(f"a text of {len(text)} characters is not a budget; {RULE}")
        if re.fullmatch(r"[+-]?\d+", text, re.ASCII):
            return cls(tokens=int(text))
        if re.fullmatch(rf"{goals.NUMBER}\s*%?", text, re.ASCII):
            return cls(fraction=goals.share_of(text))
        try:
            goal = goals.parse(text)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a budget: {error}; {RULE}") from error
        if goal is not None:
            return cls(goal=goal)
        raise ValueError(f"{value!r} is not a budget; {RULE}")

    def k(self, n: int) -> int:
        """How many of `n` tokens to keep: 1 <= k <= n, monotone in the budget and in n.

        A fraction of n is computed exactly and rounded to the nearest count, halves up. A budget of more than n tokens
        keeps all.

        Raises:
            ValueError: n is below 1, or the budget is a goal.
        """
        if n < 1:
            raise ValueError(f"a budget needs at least one visual token to choose from, got {n}")
        if self.goal is not None:
            raise ValueError(f"the budget {self} is no function of the number of tokens alone; give {COUNTS} here")
        if self.tokens is not None:
            return min(self.tokens, n)
        assert self.fraction is not None
        return max(1, math.floor(self.fraction * n + Fraction(1, 2)))

    def each(self, counts: "Tensor") -> "Tensor":
        """`k` of every count: (B,) -> (B,) of the same dtype and device."""
        k: Tensor = counts.new_tensor([self.k(int(n)) for n in counts])
        return k

    def __str__(self) -> str:
        """Text that `parse` reads back as the same budget: "64", "0.1", "1.0", "auto:0.02"."""
        if self.goal is not None:
            return str(self.goal)
        return str(self.tokens) if self.tokens is not None else repr(float(self.fraction or 0))
