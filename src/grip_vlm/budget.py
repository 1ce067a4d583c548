"""How many visual tokens to keep: a count, a fraction or a percentage."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

LONGEST = 100  # characters; Python refuses to read numbers of thousands of digits
RULE = "a budget is a whole number of tokens (64), a fraction in (0, 1] (0.1; 1.0 keeps all) or a percentage (10%)"


@dataclass(frozen=True)
class Budget:
    """How many of N tokens to keep. Exactly one of `tokens` and `fraction` is set. `Budget.parse` reads user input."""

    tokens: int | None = None
    fraction: Fraction | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.fraction is None):
            raise ValueError(f"give either tokens or fraction; {RULE}")
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"cannot keep {self.tokens} tokens; {RULE}")
        if self.fraction is not None and not 0 < self.fraction <= 1:
            share = "more than all" if self.fraction > 1 else "nothing or less"
            raise ValueError(f"cannot keep {share} of the tokens; {RULE}")

    @classmethod
    def parse(cls, value: "int | float | str | Budget") -> "Budget":
        """`64` and `"64"` are tokens, `1` is one token. `0.1`, `"0.1"` and `"10%"` are fractions, `1.0` is all tokens.

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
        number = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?"
        if re.fullmatch(number, text, re.ASCII):
            return cls(fraction=Fraction(text))
        if re.fullmatch(number + r"\s*%", text, re.ASCII):
            return cls(fraction=Fraction(text[:-1].strip()) / 100)
        raise ValueError(f"{value!r} is not a budget; {RULE}")

    def k(self, n: int) -> int:
        """How many of `n` tokens to keep: 1 <= k <= n, monotone in the budget and in n.

        A fraction of n is computed exactly and rounded to the nearest count, halves up. A budget of more than n tokens
        keeps all.

        Raises:
            ValueError: n is below 1.
        """
        if n < 1:
            raise ValueError(f"a budget needs at least one visual token to choose from, got {n}")
        if self.tokens is not None:
            return min(self.tokens, n)
        assert self.fraction is not None
        return max(1, math.floor(self.fraction * n + Fraction(1, 2)))

    def each(self, counts: "Tensor") -> "Tensor":
        """`k` of every count: (B,) -> (B,) of the same dtype and device."""
        k: Tensor = counts.new_tensor([self.k(int(n)) for n in counts])
        return k

    def __str__(self) -> str:
        """Text that `parse` reads back as the same budget: "64", "0.1", "1.0"."""
        return str(self.tokens) if self.tokens is not None else repr(float(self.fraction or 0))
