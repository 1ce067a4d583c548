"""`--dry-run`: what a run will cost, from a few examples and a few timed steps on the real VLM."""

import contextlib
import copy
import io
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import psutil
import torch

from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank, encode
from grip_vlm.training.dev import DevSet
from grip_vlm.training.features import bytes_of, default_folder
from grip_vlm.training.fit import Fit
from grip_vlm.training.log import duration
from grip_vlm.training.pixels import too_many
from grip_vlm.training.run import DEV_BUDGETS
from grip_vlm.training.settings import GRPOConfig, RunConfig, WarmupConfig
from grip_vlm.vlms import FrozenVLM

COUNTED, ENCODED, TIMED = 64, 8, 3  # examples whose tokens are counted, examples encoded, steps timed
Train = Callable[[FrozenVLM, Scorer, Bank, Any, Any], object]


class Stage(NamedTuple):
    """A part of a run whose steps cost the same."""

    name: str
    steps: int
    forwards: int
    """prompts that the language model reads in all steps"""
    variant: dict[str, Any]
    """settings with which a run has only such steps"""


@dataclass
class Clock:
    """A dev score that costs nothing and notes when it is called: before the first step and after each."""

    vlm: FrozenVLM
    times: list[float] = field(default_factory=list)

    def __call__(self, scorer: Scorer, budgets: Sequence[str | float]) -> float:
        self.vlm.synchronize()
        self.times.append(time.monotonic())
        return 0.0


def dry_run(config: RunConfig, vlm: FrozenVLM, scorer: Scorer, train: Train) -> str:
    """The cost of a run as text; nothing is written to config.out.

    Args:
        train: see `launch.Training`.
    """
    free, notes = config.label_free, list[str]()
    examples = load_examples(config.data, "train", config.examples, labelled=not free)
    held_out = load_examples(config.data, "dev", config.dev_examples, labelled=not free)
    images = len(examples) + len(held_out)
    tokens = [count_tokens(vlm, example) for example in spread(examples, COUNTED)]
    fit, few = Fit(config.micro_batch, notes.append), spread(examples, ENCODED)
    encode(vlm, few[:1], free, fit)  # the first forward on a device takes longer
    began = time.monotonic()
    bank = Bank(vlm, encode(vlm, few, free, fit), fit=fit)
    vlm.synchronize()
    encoding = (time.monotonic() - began) / len(few) * images
    seconds, forwards = language_model(config, vlm, scorer, bank, train, len(examples), len(held_out))
    seconds = {"encoding": encoding, **seconds}
    per_token = sum(map(bytes_of, bank.entries)) / sum(entry.tokens for entry in bank.entries)
    size = round(per_token * sum(tokens) / len(tokens) * images)
    parts = ", ".join(f"{name} {duration(value)}" for name, value in seconds.items())
    lines = [
        f"images: {len(examples)} for training and {len(held_out)} held out",
        f"tokens per image: median {median(tokens):.0f}, largest {max(tokens)} (of {len(tokens)} images)",
        f"encoded images: {amount(size)} on disk; they are mapped from there, so main memory is bounded",
        f"forwards: {images} images through the vision tower, {forwards} prompts through the language model",
        f"time: about {sum(seconds.values()) / 3600:.2g} h on this machine with one process ({parts})",
        memory(vlm),
        *filter(None, [too_many(vlm, config.max_pixels, tokens)]),
        *notes,
        *too_large(config, size),
    ]
    return "\n".join(lines)


def language_model(
    config: RunConfig, vlm: FrozenVLM, scorer: Scorer, bank: Bank, train: Train, examples: int, held_out: int
) -> tuple[dict[str, float], int]:
    """Seconds of each part of a run after the encoding, and prompts that the language model reads in it."""
    if vlm.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(vlm.device)
    seconds, forwards = {}, 0
    for stage in stages_of(config):
        first, step = time_steps(config, stage, vlm, scorer, bank, train)
        if stage.name == "imitation" and isinstance(config, WarmupConfig):
            looked = min(config.looked, examples)
            seconds["attention"] = first / len(bank) * looked
            forwards += looked
        seconds[stage.name] = step * stage.steps
        forwards += stage.forwards
    budgets = (config.budget,) if config.budget else DEV_BUDGETS
    dev, scored = DevSet(bank), (1 + math.ceil(config.steps / config.dev_every)) * held_out
    dev(scorer.to(vlm.device), budgets)
    began = time.monotonic()
    dev(scorer, budgets)
    vlm.synchronize()
    seconds["dev scores"] = (time.monotonic() - began) / len(bank) * scored
    return seconds, forwards + scored * len(budgets)


def time_steps(
    config: RunConfig, stage: Stage, vlm: FrozenVLM, scorer: Scorer, bank: Bank, train: Train
) -> tuple[float, float]:
    """Seconds that the first step takes longer than the others, and seconds of a step, with the run's own batch."""
    clock = Clock(vlm)
    few = {"steps": TIMED, "dev_every": 1, "save_every": TIMED, "log": "", "features": None, **stage.variant}
    with TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        train(vlm, copy.deepcopy(scorer), bank, clock, replace(config, out=Path(folder) / "run", **few))
    took = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)]
    step = median(took[1:])
    return max(0.0, took[0] - step), step


def spread(examples: Sequence[Example], count: int) -> list[Example]:
    """At most `count` examples, evenly over all."""
    some = min(count, len(examples))
    return [examples[place * len(examples) // some] for place in range(some)]


def count_tokens(vlm: FrozenVLM, example: Example) -> int:
    """Visual tokens of one example; the vision tower is not run."""
    ids = vlm.inputs([example.image], [example.question])["input_ids"]
    return int(vlm.placeholders(ids, "image").sum())


def stages_of(config: RunConfig) -> list[Stage]:
    """The stages of a run, in their order."""
    if isinstance(config, WarmupConfig):
        imitated = round(config.attention_share * config.steps)
        relaxed = config.steps - imitated
        imitation = Stage("imitation", imitated, 0, {"attention_share": 1.0})
        relaxation = Stage("relaxation", relaxed, relaxed * config.batch, {"attention_share": 0.0})
        return [stage for stage in (imitation, relaxation) if stage.steps]
    group = config.group if isinstance(config, GRPOConfig) else 1
    return [Stage("steps", config.steps, config.steps * config.batch * group, {})]


def amount(size: float) -> str:
    """Bytes in words: `12.3 MB`, `61 GB`."""
    return f"{size / 1e6:.3g} MB" if size < 1e9 else f"{size / 1e9:.3g} GB"


def memory(vlm: FrozenVLM) -> str:
    """How much of the device's memory the steps took."""
    if vlm.device.type != "cuda":
        own, all_of_it = psutil.Process().memory_info().rss, psutil.virtual_memory().total
        return f"main memory: {amount(own)} after the timed steps, of {amount(all_of_it)}"
    peak, (free, total) = torch.cuda.max_memory_allocated(vlm.device), torch.cuda.mem_get_info(vlm.device)
    return f"GPU memory: {amount(peak)} at most in the timed steps; {amount(free)} of {amount(total)} are free now"


def too_large(config: RunConfig, size: int) -> list[str]:
    """What does not fit, in sentences."""
    folder = (config.features or default_folder(config.out)).absolute()
    place = next(parent for parent in (folder, *folder.parents) if parent.is_dir())
    free, available = shutil.disk_usage(place).free, psutil.virtual_memory().available
    lines = []
    if size > free:
        hint = "give --features on a larger disk, a smaller --max-pixels, or fewer --examples"
        lines.append(f"does not fit: the encoded images take {amount(size)}, {place} has {amount(free)} free; {hint}")
    if size > available:
        room = f"main memory has {amount(available)} for the encoded images"
        lines.append(f"slower than measured: {room}, so some are read from the disk again at every step")
    return lines or ["everything fits"]
