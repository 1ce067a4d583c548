"""One stage of training: an estimate first, then steps, a log file, and a state on disk from which it goes on."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from grip_vlm.training.state import has_state, load_state, save_state

CLIP = 1.0  # largest norm of the gradient


@dataclass(frozen=True)
class Plan:
    """How long a stage is, and where it is kept."""

    out: Path
    name: str
    steps: int
    warmup: int = 100
    cooldown: float = 0.3
    """share of the steps in which the rate falls to zero, at the end; it is flat before"""
    save_every: int = 50
    log_every: int = 10

    def rate(self, step: int, fresh: int = 0) -> float:
        """The share of the full learning rate at a step; `fresh` is the step at which the optimizers had no moments."""
        left = (self.steps - step) / max(1, round(self.cooldown * self.steps))
        return min(1.0, (step - fresh + 1) / self.warmup, left)

    @property
    def state(self) -> Path:
        return self.out / f"{self.name}.state"

    def say(self, text: str) -> None:
        """To the terminal and to the stage's log file."""
        line = f"{time.strftime('%H:%M:%S')} {self.name} {text}"
        print(line, flush=True)
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / f"{self.name}.log").open("a", encoding="utf-8") as log:
            log.write(line + "\n")


@dataclass(frozen=True)
class Step:
    """One step's loss, and what the log says of it."""

    loss: Tensor
    note: Callable[[], str]


def run(
    plan: Plan,
    modules: dict[str, nn.Module],
    optimizers: dict[str, torch.optim.Optimizer],
    step_of: Callable[[int], Step],
    check: Callable[[int], str] = lambda step: "",
) -> None:
    """Train to the plan's last step, from the state on disk if there is one.

    Args:
        modules: what the state holds; their trained parameters are in the optimizers.
        optimizers: their learning rates now are the full ones.
        step_of: the loss of step number n, which depends on n and the weights alone.
        check: called when a state has been saved; what it returns is logged.
    """
    base = {name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in optimizers.items()}
    trained = [p for optimizer in optimizers.values() for group in optimizer.param_groups for p in group["params"]]
    first, seconds = 0, 0.0
    if has_state(plan.state):
        counters = load_state(plan.state, modules, optimizers)
        first, seconds = counters["step"], counters["seconds"]
    if first >= plan.steps:
        return
    fresh = 0 if any(optimizer.state for optimizer in optimizers.values()) else first  # a light state has no moments
    plan.say(estimate(plan, first, step_of))
    began = time.monotonic() - seconds
    for step in range(first, plan.steps):
        for name, optimizer in optimizers.items():
            for group, rate in zip(optimizer.param_groups, base[name], strict=True):
                group["lr"] = rate * plan.rate(step, fresh)
            optimizer.zero_grad(set_to_none=True)
        made = step_of(step)
        made.loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(trained, CLIP)
        for optimizer in optimizers.values():
            optimizer.step()
        spent, done = time.monotonic() - began, step + 1
        if done % plan.log_every == 0 or done == plan.steps:
            left = (plan.steps - done) * spent / done / 60
            plan.say(f"{done}/{plan.steps} {spent:.0f}s left {left:.0f}min norm {norm:.2f} {made.note()}")
        if done % plan.save_every == 0 or done == plan.steps:
            save_state(plan.state, modules, optimizers, {"step": done, "seconds": spent})
            noted = check(done)
            if noted:
                plan.say(noted)


def estimate(plan: Plan, first: int, step_of: Callable[[int], Step]) -> str:
    """What the stage will cost, from one step whose gradients are thrown away; the one before it may compile."""
    for _ in range(2):
        began = time.monotonic()
        step_of(first).loss.backward()  # type: ignore[no-untyped-call]
        took = time.monotonic() - began
    minutes = took * (plan.steps - first) / 60
    return f"from step {first} to {plan.steps} at {took:.1f} s a step: about {minutes:.0f} minutes"
