"""What both stages share: an accelerated, logged, resumable run that ends with the scorer of the best dev score.

Killed at any moment and started again, a run ends with the same weights as an uninterrupted one: every step draws from
a generator seeded by (seed, step, process), and the state holds weights, best weights, optimizer and counters.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from grip_vlm import checkpoint, sequential
from grip_vlm.bank import Bank, build_bank
from grip_vlm.budget import Budget
from grip_vlm.data import load_examples
from grip_vlm.mdp import State
from grip_vlm.resume import has_state, load_state, read_counters, save_state
from grip_vlm.rewards import teacher_forced
from grip_vlm.scorer import Scorer, Scores
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class RunConfig:
    """What every training run is told."""

    out: Path
    """folder for the scorer; the run's state lies beside it in OUT.state, so that the same command goes on"""
    data: str = "scenes"
    """`scenes`, names of composed benchmarks with commas between, or a JSONL file with image, question and answers"""
    examples: int = 6000
    """training examples"""
    dev_examples: int = 600
    """held-out examples that decide which weights are kept"""
    steps: int = 400
    batch: int = 32
    """questions per step, over all processes"""
    rate: float = 1e-3
    """learning rate of AdamW, reached in 20 steps and lowered on a cosine"""
    low: float = 0.01
    """smallest fraction of tokens drawn in training"""
    high: float = 0.35
    """largest"""
    budget: str = ""
    """train for this one budget instead of all of them"""
    label_free: bool = False
    """the target is the VLM's own answer from all tokens; no label is read"""
    seed: int = 0
    dev_every: int = 50
    save_every: int = 25
    precision: Literal["no", "bf16"] = "no"
    """the scorer's mixed precision; the VLM keeps the precision it was loaded in"""
    log: str = ""
    """tracker for the curves, such as `tensorboard`, which are written to OUT.log; empty for none"""

    def __post_init__(self) -> None:
        if min(self.examples, self.dev_examples, self.steps, self.batch, self.dev_every, self.save_every) < 1:
            raise ValueError("examples, dev_examples, steps, batch, dev_every and save_every must be at least 1")
        if not 0 < self.low <= self.high <= 1:
            raise ValueError(f"budgets are drawn in 0 < low <= high <= 1, got low {self.low} and high {self.high}")
        if not 0 < self.rate < 1:
            raise ValueError(f"the learning rate must be between 0 and 1, got {self.rate}")
        if self.budget:
            Budget.parse(self.budget)

    def draw_k(self, rng: np.random.Generator, counts: Tensor) -> Tensor:
        """One budget per question, log-uniform in [low, high], (B,)."""
        if self.budget:
            fixed = Budget.parse(self.budget)
            return fixed.each(counts)
        drawn = np.exp(rng.uniform(math.log(self.low), math.log(self.high), len(counts)))
        fraction = torch.from_numpy(drawn).to(counts.device)
        return (fraction * counts + 0.5).long().clamp(min=1).minimum(counts)


DEV_BUDGETS = (0.02, 0.05, 0.1)


@dataclass
class Run:
    """A scorer being trained. Use `steps()` as the loop and `descend(loss)` inside it."""

    config: RunConfig
    method: str
    vlm: FrozenVLM
    scorer: Scorer
    dev: Bank
    state: dict[str, Any] = field(default_factory=dict)
    """counters of the method itself, saved and resumed"""
    companion: nn.Module | None = None
    """a network that only training needs, such as a critic: trained beside the scorer as `beside`, and not shipped"""
    others: Sequence[FrozenVLM] = ()
    """VLMs that judge beside `vlm`"""

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
            if not self.accelerator.log_with:  # it is left out without a word
                raise ValueError(f"tracker {tracker!r} is not installed; pip install 'grip-vlm[log]' for tensorboard")
            self.accelerator.init_trackers(self.method)
        self.scorer.to(self.vlm.device).train().requires_grad_(True)  # as loaded, it is a frozen one on the CPU
        self.best = copy.deepcopy(self.scorer)
        self._start = digest(self.scorer)
        self.best_score, self.best_step, self.seconds = -1.0, 0, 0.0
        self._weights = [weight for module in self._trained().values() for weight in module.parameters()]
        optimizer = torch.optim.AdamW(self._weights, lr=self.config.rate, weight_decay=0.01)
        self.model, self.optimizer = self.accelerator.prepare(self.scorer, optimizer)
        self.beside: Any = None if self.companion is None else self.accelerator.prepare(self.companion)
        self.console = Console(stderr=True, quiet=not self.accelerator.is_main_process)
        self._metrics: dict[str, float] = {}

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[tuple[int, np.random.Generator, torch.Generator]]:
        """(step, numpy generator, torch generator on the VLM's device) until the run is done; resumes by itself."""
        first = self._resume()
        if self.best_score < 0:  # what a run begins from may be better than all it makes of it
            self.best_score = dev_score(self.vlm, self.scorer, self.dev, self._dev_budgets())
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
        with Progress(*columns, TimeRemainingColumn(), console=self.console) as bar:
            task = bar.add_task(self.method, total=self.config.steps, completed=first)
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
                bar.update(task, completed=step + 1, description=f"{self.method} dev {self.best_score:.3f}")
        self._finish()

    @property
    def local_batch(self) -> int:
        """Questions per step of this process."""
        return max(1, self.config.batch // int(self.accelerator.num_processes))

    def score(self, state: State, k: Tensor, scorer: Scorer | None = None) -> Scores:
        """What a scorer says in the run's precision: the one in training, with gradient, unless another is given."""
        with self.accelerator.autocast():
            return Scores(*(part.float() for part in (scorer or self.model)(state, k)))

    def descend(self, loss: Tensor) -> float:
        """One step of the optimizer; returns the gradient's norm.

        Raises:
            FloatingPointError: the loss or the gradient is not finite.
        """
        self.optimizer.zero_grad()
        # Imitation leaves what the scorer says of repetition alone, but several processes wait for every weight.
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
        """The mean of a scalar over all processes, so that they steer alike."""
        return float(self.accelerator.reduce(value, reduction="mean"))

    def log(self, **metrics: float) -> None:
        """Remember what to log for this step."""
        self._metrics.update(metrics)

    # ---- inside ------------------------------------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return self.config.out.with_name(f"{self.config.out.name}.state")

    def _identity(self) -> dict[str, Any]:
        config = {k: v for k, v in asdict(self.config).items() if k not in ("out", "log", "save_every")}
        world = self.accelerator.num_processes
        begun = {"init": self._start, "scorer": asdict(self.scorer.config)}
        vlms = {"vlm": self.vlm.fingerprint(), "others": self._others()}
        return {"method": self.method, **vlms, "processes": world, **begun, **config}

    def _others(self) -> list[str]:
        return [other.fingerprint() for other in self.others]

    def _trained(self) -> dict[str, nn.Module]:
        return {"scorer": self.scorer, **({} if self.companion is None else {"companion": self.companion})}

    def _modules(self) -> dict[str, nn.Module]:
        return {**self._trained(), "best": self.best}

    def _resume(self) -> int:
        if not has_state(self._folder):
            return 0
        counters = read_counters(self._folder)  # first, since the tensors of other settings do not fit
        old, new = counters["identity"], self._identity()
        if old != new:
            differs = sorted(key for key in old | new if old.get(key) != new.get(key))
            raise ValueError(
                f"{self._folder} holds a run with other settings ({', '.join(differs)}); "
                "give the same settings, another --out, or remove that folder"
            )
        load_state(self._folder, self._modules(), {"adamw": self.optimizer.optimizer})
        self.state.update(counters["state"])
        self.best_score, self.best_step = counters["best_score"], counters["best_step"]
        self.seconds = counters["seconds"]
        self.console.print(f"resuming {self.method} at step {counters['step']} from {self._folder}")
        return int(counters["step"])

    def _finish_step(self, step: int, start: float) -> None:
        self.seconds += time.monotonic() - start
        last = step + 1 == self.config.steps
        if (step + 1) % self.config.dev_every == 0 or last:
            score = dev_score(self.vlm, self.scorer, self.dev, self._dev_budgets())
            self.log(dev=score)
            if score >= self.best_score:  # of equals the later, which has seen more
                self.best_score, self.best_step = score, step + 1
                self.best.load_state_dict(self.scorer.state_dict())
            line = " ".join(f"{name} {value:.3f}" for name, value in self._metrics.items())
            self.console.print(f"{self.method} {step + 1}/{self.config.steps} {self.seconds:.0f}s {line}")
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

    def _dev_budgets(self) -> Sequence[str | float]:
        return (self.config.budget,) if self.config.budget else DEV_BUDGETS

    def _finish(self) -> None:
        if self.accelerator.is_main_process:
            settings = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
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


def banks(vlm: FrozenVLM, config: RunConfig) -> tuple[Bank, Bank]:
    """Training and dev examples as `config` names them, encoded."""
    free = config.label_free
    train = load_examples(config.data, "train", config.examples, labelled=not free)
    dev = load_examples(config.data, "dev", config.dev_examples, labelled=not free)
    return build_bank(vlm, train, free), build_bank(vlm, dev, free)


def digest(module: nn.Module) -> str:
    """Tells weights apart."""
    told = hashlib.sha256()
    for weight in module.state_dict().values():
        told.update(weight.detach().float().cpu().numpy().tobytes())
    return told.hexdigest()[:16]


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    """What `make` makes, with the same weights whenever the seed is the same; the global generator does not move."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def schedule(step: int, steps: int, rise: int = 20) -> float:
    """Linear rise, then cosine to a twentieth."""
    return min(1.0, (step + 1) / rise) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def dev_score(vlm: FrozenVLM, scorer: Scorer, dev: Bank, budgets: Sequence[str | float], size: int = 60) -> float:
    """Mean exact match of the greedy subsets over examples and budgets: what the best weights are chosen by."""
    right = []
    for start in range(0, len(dev), size):
        batch = dev.batch(range(start, min(len(dev), start + size)))
        state = batch.encoded.state
        for budget in map(Budget.parse, budgets):
            k = budget.each(state.counts)
            right.append(teacher_forced(vlm, batch, sequential.choose(scorer, state, k)).exact)
    return float(torch.cat(right).mean())
