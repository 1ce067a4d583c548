"""Answer all questions of a file from a fraction of the visual tokens, by workers on this machine or a cluster."""

from dataclasses import dataclass
from pathlib import Path

from grip_vlm.budget import Budget
from grip_vlm.options import PoolOptions, PrunerOptions, VLMOptions


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions, PrunerOptions, PoolOptions):
    """Answer all questions of a file from a fraction of the visual tokens, by workers on this machine or a cluster."""

    data: Path
    """JSON lines or Parquet, or a folder of such files. A row has `image` (a path, a data URI or bytes), `question`,
    and perhaps `budget`. Other columns are kept."""
    out: Path
    """Folder of Parquet files: the columns of the input without image bytes, and `row`, `budget`, `prediction`,
    `tokens`, `kept`, `error`. What is there already is not answered again."""
    budget: str = "0.1"
    """Of rows without a budget of their own: `64`, `0.1`, `10%`, `auto`, `auto:0.02`, `20ms`; `mean:5%` holds within
    each part."""
    workers: int = 1
    """Workers of the pool, which load the VLM once each; 0 answers in this process, without Ray."""
    batch: int = 8
    """Rows answered together."""
    rows_per_part: int = 256
    """Rows of one file of the output; a worker that dies loses no more."""
    max_new_tokens: int = 32
    """Longest answer."""
    seed: int = 0
    """Seed of methods that sample at random."""
    dry_run: bool = False
    """Time one batch, say what the whole will cost, and write nothing."""

    def run(self) -> None:
        if min(self.batch, self.rows_per_part, self.max_new_tokens) < 1:
            raise ValueError("batch, rows_per_part and max_new_tokens must be at least 1")
        self.check(self.workers)
        budget = Budget.parse(self.budget)
        from rich.console import Console

        from grip_vlm.serving.batch.run import Job, run

        job = Job(
            vlm=self.vlm,
            dtype=self.dtype,
            pruner=self.method,
            seed=self.seed,
            budget=str(budget),
            batch=self.batch,
            max_new_tokens=self.max_new_tokens,
            rows_per_part=self.rows_per_part,
        )
        console = Console(stderr=True)
        done = run(self.data, self.out, job, workers=self.workers, options=self, console=console, dry=self.dry_run)
        if not done:
            return
        wrong = f"; {done['errors']} have an error, the first is {done['first']}" if done["errors"] else ""
        print(f"{done['rows']} rows in {self.out}, {done['kept']} of {done['tokens']} visual tokens kept{wrong}")
