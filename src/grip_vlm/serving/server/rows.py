"""The rows of a running batch: each ends at its own limits, and its text is passed on as it becomes certain."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

from torch import Tensor

from grip_vlm.serving.chats import before_stop
from grip_vlm.serving.server.messages import Ask, Piece


class Rows:
    """A `chats.Watch` that ends each row by its own stop strings and length, or when nobody waits for it."""

    def __init__(
        self,
        asks: Sequence[Ask],
        tokenizer: Any,
        ends: Collection[int],
        send: Callable[[Piece], None],
        cancelled: Callable[[], Collection[int]],
    ) -> None:
        """
        Args:
            ends: tokens that end an answer.
            send: takes the growing text of requests that are streamed.
            cancelled: ids of requests for which nobody waits any more.
        """
        self.asks, self.tokenizer, self.ends, self.send, self.cancelled = asks, tokenizer, ends, send, cancelled
        self.texts = [""] * len(asks)
        self.lengths = [0] * len(asks)
        self.reasons = [""] * len(asks)

    def __call__(self, new: Tensor) -> list[bool]:
        gone = self.cancelled()
        for row, ask in enumerate(self.asks):
            if not self.reasons[row]:
                self._look(row, ask, new[row].tolist())
                if ask.id in gone:
                    self.reasons[row] = "cancelled"
        return [bool(reason) for reason in self.reasons]

    def _look(self, row: int, ask: Ask, tokens: list[int]) -> None:
        """Take in the last token of a row."""
        is_end = tokens[-1] in self.ends
        self.lengths[row] = len(tokens) - is_end
        reason = "stop" if is_end else "length" if len(tokens) >= ask.max_new_tokens else ""
        if reason or ask.until or ask.stream:
            text = self.tokenizer.decode(tokens, skip_special_tokens=True)
            if any(stop in text for stop in ask.until):
                reason = "stop"
            self.texts[row] = before_stop(text, ask.until)
            if ask.stream and not reason:
                certain = certain_part(text, ask.until)
                if certain:
                    self.send(Piece(ask.id, certain))
        self.reasons[row] = reason


def certain_part(text: str, until: Sequence[str]) -> str:
    """The part of a growing text that no further token changes.

    White space at both ends is stripped from whole answers, the last character may be half of one, and the end may be
    the beginning of a stop string.
    """
    if text.endswith("\N{REPLACEMENT CHARACTER}"):
        text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    held = max((n for stop in until for n in range(1, len(stop)) if text.endswith(stop[:n])), default=0)
    return text[: len(text) - held].strip()
