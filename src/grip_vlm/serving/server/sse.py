"""An answer as server-sent events: the chunks that OpenAI's clients read."""

import json
from collections.abc import Iterator
from typing import Any

from grip_vlm.serving.server.messages import Done, Failed, Piece
from grip_vlm.serving.server.refusal import error_body
from grip_vlm.serving.server.schema import Usage


class Stream:
    """The state of one streamed answer."""

    def __init__(self, number: str, created: int, model: str, budget: str) -> None:
        self.fields: dict[str, Any] = {"id": number, "created": created, "model": model, "budget": budget}
        self.text = ""
        """what has been sent"""
        self.has_begun = False

    def chunks(self, event: Piece | Done | Failed, with_usage: bool) -> Iterator[str]:
        """The chunks of an event. A worker that was replaced begins an answer again; what was sent is not repeated."""
        if isinstance(event, Failed):
            yield data(error_body(event.status, event.message))
            return
        if not self.has_begun:
            yield self.chunk({"role": "assistant", "content": ""})
            self.has_begun = True
        if isinstance(event, Piece) and self.text.startswith(event.text):
            return
        if not event.text.startswith(self.text):
            yield data(error_body(500, "a worker ended, and the answer begun again differs; please ask again"))
            return
        if event.text != self.text:
            yield self.chunk({"content": event.text[len(self.text) :]})
            self.text = event.text
        if isinstance(event, Done):
            yield self.chunk({}, event.finish_reason)
            usage = usage_of(event).model_dump()
            if with_usage:
                yield data({**self.fields, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            yield "data: [DONE]\n\n"

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        """One chunk."""
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return data({**self.fields, "object": "chat.completion.chunk", "choices": [choice]})


def data(value: dict[str, Any]) -> str:
    """One event."""
    return f"data: {json.dumps(value)}\n\n"


def usage_of(done: Done) -> Usage:
    """The tokens of an answer."""
    return Usage(
        prompt_tokens=done.prompt_tokens,
        completion_tokens=done.completion_tokens,
        total_tokens=done.prompt_tokens + done.completion_tokens,
        visual_tokens=done.visual_tokens,
        visual_tokens_asked=done.asked,
        visual_tokens_kept=done.kept,
    )
