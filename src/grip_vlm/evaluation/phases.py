"""One answer to a batch in phases. They follow one another without a gap, so their sum is the whole answer.

Hooks of torch read the clock before and after the scorer and the language model. The first forward of the language
model is the prefill; every later one decodes a token. The hooks change nothing, and are gone after the answer.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from grip_vlm.allot import allot
from grip_vlm.budget import Budget
from grip_vlm.evaluation.timing import PHASES
from grip_vlm.mdp import Action
from grip_vlm.pruners import Pruner
from grip_vlm.pruners.scored import Scored
from grip_vlm.vlms import FrozenVLM

Clock = Callable[[], float]


@dataclass(frozen=True)
class Job:
    """A pruner at a budget, which are called `name` and `budget` in rows."""

    name: str
    pruner: Pruner | None
    """None if the selection is free: any k tokens, chosen and removed before the clock starts."""
    budget: Budget
    budget_text: str


@dataclass(frozen=True)
class Run:
    """What one answer to a batch took."""

    seconds: dict[str, float]
    """Phase -> seconds, in the order of PHASES."""
    tokens: float
    kept: float
    """`tokens` of a question and those `kept` per layer, mean over the batch."""
    kv_bytes: int


class Stopwatch:
    """Reads a clock at the end of each phase. On CUDA it records events, so that nothing waits for the device."""

    def __init__(self, device: torch.device, clock: Clock = time.perf_counter) -> None:
        self.device, self._clock = device, clock
        self._ends: list[tuple[str, Any]] = [("", self._now())]

    def _now(self) -> Any:
        if self.device.type != "cuda":
            return self._clock()
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self.device))
        return event

    def end(self, phase: str) -> None:
        """Everything since the last end belongs to this phase."""
        self._ends.append((phase, self._now()))

    def seconds(self) -> dict[str, float]:
        """Phase -> seconds. A phase may have ended several times. On CUDA it waits for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        total = dict.fromkeys(PHASES, 0.0)
        for (_, start), (phase, end) in zip(self._ends, self._ends[1:], strict=False):
            total[phase] += start.elapsed_time(end) / 1000 if self.device.type == "cuda" else end - start
        return total


@torch.no_grad()
def timed_answer(
    vlm: FrozenVLM,
    job: Job,
    images: Sequence[Image.Image],
    questions: Sequence[str],
    new_tokens: int,
    clock: Clock = time.perf_counter,
) -> Run:
    """Answer a batch with exactly `new_tokens` tokens each, so that no method is faster because it says less.

    Raises:
        ValueError: the pruner does not support the VLM, the batch or the budget.
    """
    ready = _pruned_before(vlm, job.budget, images, questions) if job.pruner is None else None
    vlm.synchronize()
    watch = Stopwatch(vlm.device, clock)
    inputs = vlm.inputs(images, questions)
    watch.end("images")
    encoded = vlm.encode(inputs)
    watch.end("tower")
    if ready is not None:
        with _language_model(vlm, watch) as caches:
            vlm.generate(ready[0], new_tokens, new_tokens)
        per_layer = ready[1]
    else:
        assert job.pruner is not None
        with _scorer(vlm, job.pruner, watch):
            k = allot([job.budget] * len(questions), job.pruner, vlm, encoded, new_tokens)
            action = job.pruner.select(vlm, encoded, k)
        watch.end("choice")
        with _language_model(vlm, watch) as caches:
            per_layer = vlm.respond(encoded, action, new_tokens, new_tokens).per_layer
    watch.end("decode")
    tokens, kept = encoded.state.counts.double().mean(), per_layer.double().mean()
    return Run(watch.seconds(), float(tokens), float(kept), cache_bytes(caches[0]))


def _pruned_before(
    vlm: FrozenVLM, budget: Budget, images: Sequence[Image.Image], questions: Sequence[str]
) -> tuple[dict[str, Any], Tensor]:
    """Inputs of the language model with the first k visual tokens of each question, and their number (B,)."""
    encoded = vlm.encode(vlm.inputs(images, questions))
    mask, k = encoded.state.visual_mask, budget.each(encoded.state.counts)
    kept = Action(mask & (mask.cumsum(1) <= k[:, None]))
    return vlm.pruned(encoded.prompt, kept, forward=False), kept.kept


@contextmanager
def _scorer(vlm: FrozenVLM, pruner: Pruner, watch: Stopwatch) -> Iterator[None]:
    """Inside, forwards of a trained pruner's network are the phase `scorer`, and all between them is `choice`."""
    with ExitStack() as stack:
        if isinstance(pruner, Scored):
            _hook(stack, pruner.scorer(vlm), lambda: watch.end("choice"), lambda output: watch.end("scorer"))
        yield


@contextmanager
def _language_model(vlm: FrozenVLM, watch: Stopwatch) -> Iterator[list[Any]]:
    """Inside, what is before the model's first forward is `inputs`, that is `prefill`, and later ones are `decode`.

    Yields:
        A list of the cache, once there was a forward.
    """
    caches: list[Any] = []

    def before() -> None:
        if not caches:
            watch.end("inputs")

    def after(output: Any) -> None:
        watch.end("decode" if caches else "prefill")
        caches[:] = [getattr(output, "past_key_values", None)]

    with ExitStack() as stack:
        _hook(stack, vlm.model, before, after)
        yield caches


def _hook(stack: ExitStack, module: nn.Module, before: Callable[[], None], after: Callable[[Any], None]) -> None:
    """Call `before` and `after` around each forward of a module until the stack is left."""
    handles = (
        module.register_forward_pre_hook(lambda module, args: before()),
        module.register_forward_hook(lambda module, args, output: after(output)),
    )
    for handle in handles:
        stack.callback(handle.remove)


def cache_bytes(cache: Any) -> int:
    """Bytes of a transformers cache: keys, values and other states of its layers."""

    def of(value: Any) -> int:
        if isinstance(value, Tensor):
            return value.numel() * value.element_size() if value.is_floating_point() else 0
        if isinstance(value, dict):
            return sum(map(of, value.values()))
        return sum(map(of, value)) if isinstance(value, (list, tuple)) else 0

    return sum(of(vars(layer)) for layer in getattr(cache, "layers", ()))
