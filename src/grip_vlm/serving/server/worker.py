"""The worker process: it owns the VLM and answers one batch after another until the front process ends."""

import signal
import sys
import time
import traceback
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from grip_vlm import pruners, vlms
from grip_vlm.budget import COUNTS, Budget
from grip_vlm.errors import LocalError
from grip_vlm.images import open_image
from grip_vlm.memory import is_out_of_memory
from grip_vlm.serving.chats import Generation, end_tokens, processor_inputs, reply_to
from grip_vlm.serving.server.lowered import Lowered
from grip_vlm.serving.server.messages import Ask, Batch, Broken, Cancel, Done, Event, Failed, Finished, Ready
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.rows import Rows
from grip_vlm.vlms.prompts import check_length


def work(link: Connection, options: ServerOptions) -> None:
    """Load, then answer batches. The process ends when the other end of the link closes."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the front process decides when to end, after what has begun
        signal.signal(number, signal.SIG_IGN)
    try:
        answerer = Answerer(link, options)
    except Exception as error:  # whatever a checkpoint's code raises
        if not isinstance(error, (ValueError, OSError)):
            traceback.print_exc()
        link.send(Broken(" ".join(str(error).split()) or type(error).__name__))
        return
    link.send(Ready(answerer.name))
    try:
        while True:
            message = link.recv()
            if isinstance(message, Batch):
                answerer.run(message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


class Answerer:
    """A VLM with a pruner, behind a link."""

    def __init__(self, link: Connection, options: ServerOptions) -> None:
        """
        Raises:
            ValueError: VLM or pruner cannot be loaded, or do not answer together.
        """
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.pruner = pruners.parse(options.method, options.vlm, 0)[1]
        self.vlm = vlms.load(options.vlm, dtype=options.dtype)
        folder = Path(options.vlm)
        # What clients call the VLM. Where a folder lies is not theirs to know.
        self.name = folder.resolve().name if folder.is_dir() else options.vlm
        self.least = Budget.parse(options.least)
        self.link = link
        self.gone: set[int] = set()
        image = Image.new("RGB", (64, 64), "grey")
        content = [{"type": "image", "image": image}, {"type": "text", "text": "What is this?"}]
        ask = Ask(0, [{"role": "user", "content": content}], options.budget, (), 1)
        self.answers([ask], 1.0)  # what cannot be answered at all is known before the first request
        self.pruner = pruners.parse(options.method, options.vlm, 0)[1]  # a stream of `mean:5%` has no question yet

    def run(self, batch: Batch) -> None:
        """Answer a batch. Every request gets `Done` or `Failed`, unless it was cancelled."""
        self.gone.clear()
        start = time.perf_counter()
        asks = [ask for each in batch.asks if (ask := self.opened(each)) is not None]
        done = self.answered(asks, batch.share) if asks else []
        for each in done:
            self.send(each)
        asked, kept = sum(each.asked for each in done), sum(each.kept for each in done)
        self.send(Finished(len(done), asked, kept, time.perf_counter() - start))

    def answered(self, asks: list[Ask], share: float) -> list[Done]:
        """Answers together; if that fails, each by itself, so that only those fail that cannot be answered."""
        try:
            return self.answers(asks, share)
        except Exception as error:  # processors, templates and models are code of the checkpoint's
            if len(asks) > 1:
                return [done for ask in asks for done in self.answered([ask], share)]
            self.send(failure(asks[0].id, error))
            return []

    def opened(self, ask: Ask) -> Ask | None:
        """The request with its images open; None, after `Failed`, if one of them is none or a text is refused."""
        try:
            messages = [{**message, "content": [self.part(p) for p in message["content"]]} for message in ask.messages]
        except ValueError as error:
            self.send(Failed(ask.id, 400, str(error)))
            return None
        return Ask(**{**vars(ask), "messages": messages})

    def part(self, part: dict[str, Any]) -> dict[str, Any]:
        """A part of a message with its image open."""
        if part["type"] == "image":
            return {"type": "image", "image": open_image(part["name"], content=part["image"])}
        for name in ("image_token", "video_token"):
            # An image of another row would be taken for it.
            token = getattr(self.vlm.processor, name, None)
            if isinstance(token, str) and token and token in part["text"]:
                raise ValueError(f"the text has {token!r}, which stands for an image in prompts of {self.name!r}")
        return part

    def answers(self, asks: Sequence[Ask], share: float) -> list[Done]:
        """Answers to requests whose images are open, without those that were cancelled."""
        inputs = processor_inputs(self.vlm, [ask.messages for ask in asks], None)
        longest = max(ask.max_new_tokens for ask in asks)
        config = self.vlm.model.config.get_text_config()
        for row, ask in zip(inputs["attention_mask"], asks, strict=True):
            check_length(config, int(row.sum()) + ask.max_new_tokens - 1, self.name)
        pruner = Lowered(self.pruner, share, self.least)
        budgets = [Budget.parse(ask.budget) for ask in asks]
        rows = Rows(asks, self.vlm.processor.tokenizer, end_tokens(self.vlm), self.send, self.cancelled)
        generation = Generation.parse({"max_new_tokens": longest, **asks[0].sampling})
        with torch.random.fork_rng(enabled=bool(asks[0].sampling)):
            if asks[0].sampling:
                torch.manual_seed(asks[0].seed)
            replies = reply_to(
                self.vlm,
                inputs,
                lambda given: pruner.prune(self.vlm, given, budgets, new_tokens=longest),
                generation,
                rows,
            )
        asked = iter(pruner.asked)
        done = []
        for i, (ask, reply) in enumerate(zip(asks, replies, strict=True)):
            wanted = next(asked) if reply.visual_tokens else 0
            if rows.reasons[i] != "cancelled":
                counts = (reply.visual_tokens, wanted, reply.kept, reply.input_tokens, rows.lengths[i])
                done.append(Done(ask.id, rows.texts[i], rows.reasons[i], *counts))
        return done

    def cancelled(self) -> set[int]:
        """Requests of this batch for which nobody waits any more."""
        while self.link.poll():
            message = self.link.recv()
            if isinstance(message, Cancel):
                self.gone.add(message.id)
        return self.gone

    def send(self, event: Event) -> None:
        self.link.send(event)


def failure(number: int, error: Exception) -> Failed:
    """What a request is told whose answer raised an error. The log has what clients should not know."""
    if isinstance(error, LocalError):
        print(error, file=sys.stderr, flush=True)
        return Failed(number, 400, f"{error.plain}; give {COUNTS}")
    if isinstance(error, ValueError):
        return Failed(number, 400, str(error))
    if is_out_of_memory(error):
        return Failed(number, 503, "there is not enough memory for this request; make its images or its text smaller")
    traceback.print_exception(error)
    return Failed(number, 500, "this request cannot be answered, for a reason that the server's log names")
