"""An accelerated, logged, resumable training run, which ends with the scorer of the best dev score.

A run that is killed at any moment and started again ends with the same weights as an uninterrupted one. Every step uses
generators seeded by (seed, step, process), and the state holds weights, best weights, optimizer and counters.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from accelerate import Accelerator, PartialState
from torch import Tensor, nn

from grip_vlm import checkpoint
from grip_vlm.budget import Budget
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer, Scores
from grip_vlm.training.identity import digest, of_settings, refuse_other, state_folder
from grip_vlm.training.log import Log, duration
from grip_vlm.training.settings import RunConfig
from grip_vlm.training.state import has_state, load_state, save_state
from grip_vlm.vlms import FrozenVLM

DEV_BUDGETS = (0.02, 0.05, 0.1)
NOTE_EVERY = 10  # steps between two lines in the log file, which also gets one a minute

Config = TypeVar("Config", bound=RunConfig)
DevScore = Callable[[Scorer, Sequence[str | float]], float]
"""(scorer, budgets) -> the score that decides which weights are kept; `dev.DevSet` is one."""


@dataclass
class Run(Generic[Config]):
    """A scorer in training. Use `steps()` as the loop and `descend(loss)` inside it."""

    config: Config
    method: str
    vlm: FrozenVLM
    scorer: Scorer
    dev_score: DevScore
    state: dict[str, Any] = field(default_factory=dict)
    """the method's own counters, saved and resumed"""
    auxiliary: nn.Module | None = None
    """a network used only in training (PPO's critic, for example): optimised with the scorer, never shipped"""
    others: Sequence[FrozenVLM] = ()
    """further VLMs whose rewards are averaged with those of `vlm`"""
    data: str = ""
    """digest of the examples"""

    def __post_init__(self) -> None:
        checkpoint.refuse_foreign(self.config.out)
        tracker = self.config.log or None
        self.accelerator = Accelerator(
            mixed_precision=self.config.precision,
            cpu=self.vlm.device.type == "cpu",
            log_with=tracker,
            project_dir=str(self.config.out.with_name(f"{self.config.out.name}.log")),  # OUT is replaced as a whole
        )
        if tracker:
            if not self.accelerator.log_with:  # accelerate drops an unknown tracker silently
                raise ValueError(f"tracker {tracker!r} is not installed; pip install 'grip-vlm[log]' for tensorboard")
            self.accelerator.init_trackers(self.method)
        self.scorer.to(self.vlm.device).train().requires_grad_(True)  # a loaded scorer is frozen and on the CPU
        self.best = copy.deepcopy(self.scorer)
        self._start = digest(self.scorer)
        self.best_score, self.best_step, self.seconds = -1.0, 0, 0.0
        self._weights = [weight for module in self._trained().values() for weight in module.parameters()]
        optimizer = torch.optim.AdamW(self._weights, lr=self.config.rate, weight_decay=0.01)
        self.model, self.optimizer = self.accelerator.prepare(self.scorer, optimizer)
        self.auxiliary_model: Any = None if self.auxiliary is None else self.accelerator.prepare(self.auxiliary)
        self.logged = Log(log_file(self.config.out), quiet=not self.accelerator.is_main_process)
        self._noted = 0.0  # when the last line went into the log
        self._metrics: dict[str, float] = {}

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[tuple[int, np.random.Generator, torch.Generator]]:
        """(step, numpy generator, torch generator on the VLM's device) to the end; resumes from a saved state."""
        first = self._resume()
        if self.best_score < 0:  # the initial weights may be better than all that follow
            self.best_score = self.dev_score(self.scorer, self._dev_budgets())
        with self.logged.bar(self.method, self.config.steps, first) as bar:
            for step in range(first, self.config.steps):
                start = time.monotonic()
                for group in self.optimizer.param_groups:
                    group["lr"] = self.config.rate * schedule(step, self.config.steps)
                seed = [self.config.seed, step, self.accelerator.process_index]
                generator = torch.Generator(self.vlm.device).manual_seed(
                    int(np.random.SeedSequence(seed).generate_state(1)[0])
                )
                yield step, np.random.default_rng(seed), generator
                self._finish_step(step, start)
                bar.at(step + 1, f"{self.method} dev {self.best_score:.3f}")
        self._finish()

    @property
    def local_batch(self) -> int:
        """Questions per step of this process."""
        return max(1, self.config.batch // int(self.accelerator.num_processes))

    def score(self, state: State, k: Tensor, scorer: Scorer | None = None) -> Scores:
        """The scores in the run's precision: of the scorer in training, with gradient, unless another is given."""
        with self.accelerator.autocast():
            return Scores(*(part.float() for part in (scorer or self.model)(state, k)))

    def descend(self, loss: Tensor) -> float:
        """One step of the optimizer; returns the gradient's norm.

        Raises:
            FloatingPointError: the loss or the gradient is not finite.
        """
        self.optimizer.zero_grad()
        # Imitation gives the redundancy head no gradient, but DDP waits for one from every parameter.
        # Adding 0 x sum(weights) provides it.
        self.accelerator.backward(loss + 0.0 * torch.stack([weight.sum() for weight in self._weights]).sum())
        norm = self.accelerator.clip_grad_norm_(self._weights, 1.0)
        if not torch.isfinite(loss) or norm is None or not torch.isfinite(norm):
            saved = f"the last good state is in {self._folder}; " if has_state(self._folder) else ""
            raise FloatingPointError(
                f"{self.method} diverged: loss {loss.item():g}, gradient {float(norm or math.nan):g}; {saved}"
                "try a lower --rate"
            )
        self.optimizer.step()
        return float(norm)

    def mean(self, value: Tensor) -> float:
        """The mean of a scalar over all processes, so that all of them adapt alike."""
        return float(self.accelerator.reduce(value, reduction="mean"))

    def log(self, **metrics: float) -> None:
        """Collect metrics to log for this step."""
        self._metrics.update(metrics)

    def sample_k(self, rng: np.random.Generator, counts: Tensor) -> Tensor:
        """One budget per question, log-uniform in [low, high] of its tokens `counts` (B,): (B,)."""
        config = self.config
        if config.budget:
            return Budget.parse(config.budget).each(counts)
        fractions = np.exp(rng.uniform(math.log(config.low), math.log(config.high), len(counts)))
        fraction = torch.from_numpy(fractions).to(counts.device)
        return (fraction * counts + 0.5).long().clamp(min=1).minimum(counts)

    # ---- inside ------------------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return state_folder(self.config.out)

    def _identity(self) -> dict[str, Any]:
        start = {"init": self._start, "scorer": asdict(self.scorer.config)}
        vlms = {"vlm": self.vlm.fingerprint(), "dtype": str(self.vlm.model.dtype), "others": self._others()}
        processes = self.accelerator.num_processes
        known = {"method": self.method, "data": self.data, **vlms, "processes": processes, **start}
        return {**known, **of_settings(self.config)}

    def _others(self) -> list[str]:
        return [other.fingerprint() for other in self.others]

    def _trained(self) -> dict[str, nn.Module]:
        return {"scorer": self.scorer, **({} if self.auxiliary is None else {"auxiliary": self.auxiliary})}

    def _modules(self) -> dict[str, nn.Module]:
        return {**self._trained(), "best": self.best}

    def _resume(self) -> int:
        counters = refuse_other(self.config.out, self._identity())  # first: tensors of other settings do not fit
        if counters is None:
            return 0
        load_state(self._folder, self._modules(), {"adamw": self.optimizer.optimizer})
        self.state.update(counters["state"])
        self.best_score, self.best_step = counters["best_score"], counters["best_step"]
        self.seconds = counters["seconds"]
        self.logged.say(f"resuming {self.method} at step {counters['step']} from {self._folder}")
        return int(counters["step"])

    def _finish_step(self, step: int, start: float) -> None:
        self.seconds += time.monotonic() - start
        last = step + 1 == self.config.steps
        line = f"{self.method} {step + 1}/{self.config.steps} {self.seconds:.0f}s"
        if (step + 1) % self.config.dev_every == 0 or last:
            score = self.dev_score(self.scorer, self._dev_budgets())
            self.log(dev=score)
            if score >= self.best_score:  # of equal scores the later weights, which have seen more
                self.best_score, self.best_step = score, step + 1
                self.best.load_state_dict(self.scorer.state_dict())
            self.logged.say(f"{line} {self._said()}")
        elif (step + 1) % NOTE_EVERY == 0 or time.monotonic() - self._noted > 60:
            left = self.seconds / (step + 1) * (self.config.steps - step - 1)
            self.logged.note(f"{line} {self._said()} best dev {self.best_score:.3f}, about {duration(left)} left")
            self._noted = time.monotonic()
        if self._metrics:
            self.accelerator.log(self._metrics, step=step)
        self._metrics = {}
        if ((step + 1) % self.config.save_every == 0 or last) and self.accelerator.is_main_process:
            counters = {
                "step": step + 1,
                "seconds": self.seconds,
                "best_score": self.best_score,
                "best_step": self.best_step,
                "state": self.state,
                "identity": self._identity(),
            }
            save_state(self._folder, self._modules(), {"adamw": self.optimizer.optimizer}, counters)
        self.accelerator.wait_for_everyone()

    def _said(self) -> str:
        return " ".join(f"{name} {value:.3f}" for name, value in self._metrics.items())

    def _dev_budgets(self) -> Sequence[str | float]:
        return (self.config.budget,) if self.config.budget else DEV_BUDGETS

    def _finish(self) -> None:
        if self.accelerator.is_main_process:
            settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
            settings.pop("dry_run")  # false wherever there is a scorer
            provenance = checkpoint.Provenance(
                vlm=self.vlm.name,
                fingerprint=self.vlm.fingerprint(),
                data=self.config.data,
                method=self.method,
                steps=self.config.steps,
                seconds=round(self.seconds, 1),
                seed=self.config.seed,
                settings={**settings, "others": self._others(), "best_step": self.best_step, "dev": self.best_score},
                commit=checkpoint.commit(),
                versions=checkpoint.versions(),
            )
            checkpoint.save(self.config.out, self.best, provenance)
        self.accelerator.end_training()


def log_file(out: Path) -> Path:
    """Where a run that writes `out` tells what it does. OUT.log belongs to trackers."""
    return out.with_name(f"{out.name}.log.txt")


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """A module with weights that depend on the seed alone; the global generator does not move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def schedule(step: int, steps: int, rise: int = 20) -> float:
    """Learning rate as a share of its peak: linear warm-up, then cosine decay to a twentieth."""
    return min(1.0, (step + 1) / rise) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def process_device() -> torch.device:
    """This process's own device, under `torchrun` as well."""
    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device


def pick_in_turn(scorer: Scorer) -> None:
    """Let a scorer select one token after another, as policies are trained; one trained by a relaxation does not."""
    scorer.config = replace(scorer.config, one_pass=False)
