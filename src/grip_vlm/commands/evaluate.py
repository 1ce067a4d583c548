"""Answer benchmark items with every pruner at every budget; rows that are already there are not computed again."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from grip_vlm.budget import Budget
from grip_vlm.options import PoolOptions, VLMOptions


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions, PoolOptions):
    """Answer benchmark items with every pruner at every budget; rows that are already there are not computed again."""

    out: Path
    """JSON lines; rows are appended. Rows of data, weights or scorers that have changed since are refused."""
    pruners: str = "full,grip,random,uniform,cls_attention,blind"
    """Comma-separated methods; `name=DIR` gives a trained method its scorer."""
    benchmarks: str = "scenes"
    """Comma-separated benchmarks, variants such as `textvqa:ocr` or `reading:crowded`, your own JSONL files,
    `scenes` for the six composed benchmarks, or `spread` for the same six in the larger world (docs/world.md)."""
    data_root: Path | None = None
    """Folder with copies of published benchmarks (pope.parquet, mme.jsonl, gqa/ ...); by default the hub."""
    split: Literal["train", "dev", "test", "all"] = "test"
    """Split of the composed benchmarks and of your own files. In these, rows of a tenth of the images are for test, and
    no training reads them; `all` takes every row. Published benchmarks have a test split only."""
    budgets: str = "0.02,0.05,0.1,0.25"
    """Comma-separated budgets: `64`, `0.1`, `10%`, `auto`, `auto:0.02`, `mean:5%`, `mean:5%/32`, `20ms`."""
    limit: int = 100
    """Items per benchmark."""
    shard: str = "1/1"
    """`i/n` answers the i-th of n parts of the items; `pareto` takes the rows of all parts together."""
    seed: int = 0
    """Seed of methods that sample at random."""
    batch: int = 32
    """Items answered together."""
    ray: int = 0
    """Workers of a Ray pool that share the items, in place of shards by hand; 0 answers in this process."""

    def run(self) -> None:
        if self.limit < 1 or self.batch < 1:
            raise ValueError("limit and batch must be at least 1")
        self.check(self.ray)
        budgets = [Budget.parse(budget) for budget in self.budgets.split(",")]
        from grip_vlm import report, vlms
        from grip_vlm.benchmarks.items import named, open_items
        from grip_vlm.evaluation import output
        from grip_vlm.evaluation.evaluate import evaluate, parse_shard
        from grip_vlm.evaluation.pooled import evaluate_pooled, named_pruners

        shard = parse_shard(self.shard)
        names = named(self.benchmarks.split(","))
        words = self.pruners.split(",")
        chosen = named_pruners(words, self.vlm, self.seed)
        # Before a large VLM is loaded: an unreadable benchmark and rows that cannot be added to are refused.
        items = [open_items(name, self.split, self.data_root) for name in names]
        output.refuse(self.out)
        if self.ray:
            if shard != (1, 1):
                raise ValueError("give --ray or --shard: the workers of a pool share all items")
            rows = evaluate_pooled(
                {
                    "vlm": self.vlm,
                    "dtype": self.dtype,
                    "pruners": words,
                    "seed": self.seed,
                    "benchmarks": names,
                    "split": self.split,
                    "data_root": None if self.data_root is None else str(self.data_root),
                    "budgets": [str(budget) for budget in budgets],
                },
                {each.name: min(self.limit, each.count) for each in items},
                self.out,
                batch=self.batch,
                workers=self.ray,
                options=self,
            )
        else:
            rows = evaluate(
                vlms.load(self.vlm, dtype=self.dtype),
                chosen,
                items,
                budgets,
                self.out,
                limit=self.limit,
                shard=shard,
                seed=self.seed,
                batch=self.batch,
            )
        print(report.table(rows) + report.metrics.markdown(rows))
        print(f"{len(rows)} rows in {self.out}")
