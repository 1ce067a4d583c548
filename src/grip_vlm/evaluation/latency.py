"""Seconds of answers in phases. Methods and budgets take turns, so that all are timed under the same machine load."""

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from grip_vlm import checkpoint
from grip_vlm.benchmarks.digests import digest_of_all, digest_of_image, digest_of_text
from grip_vlm.budget import Budget
from grip_vlm.evaluation import timing
from grip_vlm.evaluation.evaluate import jobs
from grip_vlm.evaluation.peak import Memory, peak_memory
from grip_vlm.evaluation.phases import Clock, Job, Run, timed_answer
from grip_vlm.evaluation.row import FIXED
from grip_vlm.evaluation.timing import FREE, Timing
from grip_vlm.files import exclusive
from grip_vlm.pruners import Pruner
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Batch:
    """The questions that every job answers together."""

    images: Sequence[Image.Image]
    questions: Sequence[str]

    @property
    def size(self) -> int:
        return len(self.questions)

    @property
    def digest(self) -> str:
        """Tells the images and questions from others."""
        return digest_of_all([*map(digest_of_image, self.images), digest_of_text(*self.questions)])


def measure(
    vlm: FrozenVLM,
    jobs: Sequence[Job],
    batch: Batch,
    out: Path,
    *,
    repeats: int = 10,
    new_tokens: int = 8,
    clock: Clock = time.perf_counter,
    tell: Callable[[str], None] = lambda text: None,
) -> list[Timing]:
    """Time every job `repeats` times on one batch, in turns, and append each run to `out` when it has ended.

    Before the first round each job runs twice: to warm up, and to measure its memory. Runs that are in `out` already
    are not repeated. A budget that a pruner cannot reach is left out, and `tell` is given the reason.

    Args:
        clock: returns seconds; on CUDA, events take its place.
        tell: is given the cost, first as a number of runs, then in minutes.

    Returns:
        The rows of all jobs and rounds, old and new, in their order.

    Raises:
        ValueError: a pruner does not support the VLM, the batch or any of its budgets; `out` holds something else than
            rows of this setting; or another process writes to it.
        OSError: `out` cannot be written.
    """
    with exclusive(out):
        rows = {row.key: row for row in timing.repair(out)}
        common = {**_setting(vlm), "batch": batch.size, "new_tokens": new_tokens, "questions": batch.digest}
        timing.check_setting([*rows.values(), *(replace(row, **common) for row in [*rows.values()][:1])], str(out))
        left = [turn for turn in turns(len(jobs), repeats) if _key(jobs[turn[1]], batch.size, turn[0]) not in rows]
        memory: dict[int, Memory] = {}
        if left:
            tell(f"{len(jobs)} jobs on batches of {batch.size}: {2 * len(jobs)} runs to warm up, {len(left)} timed")
            start = time.perf_counter()
            memory = _warm_up(vlm, jobs, batch, new_tokens, tell)
            left = [turn for turn in left if turn[1] in memory]
            each = (time.perf_counter() - start) / 2 / len(memory)
            tell(f"about {len(left) * each / 60:.1f} minutes are left")
        bars = Console(stderr=True)
        for round_, number in track(left, "timing", console=bars, transient=True, disable=not bars.is_terminal):
            job = jobs[number]
            run = timed_answer(vlm, job, batch.images, batch.questions, new_tokens, clock)
            row = Timing(
                pruner=job.name,
                checkpoint=_scorer_of(job),
                budget=job.budget_text,
                round=round_,
                **_measured(run, memory[number]),
                **common,
            )
            rows[row.key] = row
            timing.append(out, row)
        wanted = (_key(job, batch.size, round_) for job in jobs for round_ in range(repeats))
        return [rows[key] for key in wanted if key in rows]


def jobs_of(pruners: dict[str, Pruner], budgets: Sequence[Budget]) -> list[Job]:
    """The job of every pruner at every budget, and the lower limit of each budget. `full` and `blind` appear once.

    A goal, such as `auto`, has no lower limit, because only a pruner decides how many tokens it is.
    """
    chosen = [
        Job(name, pruners[name], Budget(tokens=1) if name in FIXED else Budget.parse(budget), budget)
        for name, budget in jobs(pruners, budgets)
    ]
    return chosen + [Job(FREE, None, budget, str(budget)) for budget in budgets if budget.goal is None]


def turns(jobs: int, repeats: int) -> Iterator[tuple[int, int]]:
    """(round, job) of every run. Each round starts at another job, so none always runs after the same one."""
    for round_ in range(repeats):
        first = (round_ + 1) % jobs
        yield from ((round_, job) for job in (*range(first, jobs), *range(first)))


def _warm_up(
    vlm: FrozenVLM, jobs: Sequence[Job], batch: Batch, new_tokens: int, tell: Callable[[str], None]
) -> dict[int, Memory]:
    """Run each job once for nothing, then once for its memory. Those whose budget is impossible are left out.

    Raises:
        ValueError: a pruner refuses all of its budgets.
    """
    refused: dict[int, ValueError] = {}
    for number, job in enumerate(jobs):
        try:
            timed_answer(vlm, job, batch.images, batch.questions, new_tokens)
        except ValueError as error:
            refused[number] = error
    for number, reason in refused.items():
        if all(other in refused for other, job in enumerate(jobs) if job.name == jobs[number].name):
            raise reason
        tell(f"{jobs[number].name} at {jobs[number].budget_text} is left out: {reason}")

    def measured(job: Job) -> Memory:
        return peak_memory(vlm.device, lambda: timed_answer(vlm, job, batch.images, batch.questions, new_tokens))

    return {number: measured(job) for number, job in enumerate(jobs) if number not in refused}


def _measured(run: Run, memory: Memory) -> dict[str, Any]:
    return {
        "tokens": round(run.tokens, 3),
        "kept": round(run.kept, 3),
        **{phase: round(seconds, 7) for phase, seconds in run.seconds.items()},
        "kv_bytes": run.kv_bytes,
        "resting_bytes": memory.resting,
        "peak_bytes": memory.peak,
    }


def _key(job: Job, batch: int, round_: int) -> tuple[str, str, str, int, int]:
    return job.name, _scorer_of(job), job.budget_text, batch, round_


def _scorer_of(job: Job) -> str:
    return "" if job.pruner is None else job.pruner.checkpoint


def _setting(vlm: FrozenVLM) -> dict[str, Any]:
    """The fields that all rows of a call share."""
    import transformers

    on_cuda = vlm.device.type == "cuda"
    return {
        "vlm": vlm.name,
        "device": vlm.device.type,
        "machine": torch.cuda.get_device_name(vlm.device) if on_cuda else _processor(),
        "threads": torch.get_num_threads(),
        "precision": str(vlm.model.dtype).removeprefix("torch."),
        "attention": str(vlm.model.config.get_text_config()._attn_implementation),
        "commit": checkpoint.commit(),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
    }


def _processor() -> str:
    """The processor's name and the cores that this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{named[0] if named else platform.processor() or platform.machine()}, {cores} cores"
