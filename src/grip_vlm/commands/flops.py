"""Count the FLOPs of an answer with every pruner at every budget, on one question of each benchmark."""

import json
from dataclasses import dataclass
from pathlib import Path

from grip_vlm.budget import Budget


@dataclass(frozen=True, kw_only=True)
class Command:
    """Count the FLOPs of an answer with every pruner at every budget, on one question of each benchmark."""

    out: Path
    """JSON for `pareto --flops`."""
    vlm: str = "tiny-llava"
    """A shipped VLM, a checkpoint folder or a hub id."""
    pruners: str = "full,grip,random,uniform,cls_attention,blind"
    """Comma-separated methods; `name=DIR` gives a trained method its scorer."""
    budgets: str = "0.02,0.05,0.1,0.25"
    """Comma-separated budgets."""

    def run(self) -> None:
        budgets = [Budget.parse(budget) for budget in self.budgets.split(",")]
        from grip_vlm import benchmarks, pruners, vlms
        from grip_vlm.evaluation.cost import answer_flops
        from grip_vlm.files import refuse_no_file, write_text

        pairs = [pruners.parse(name, self.vlm, 0) for name in self.pruners.split(",")]
        chosen = dict(pairs)
        if len(chosen) < len(pairs):
            raise ValueError("a pruner is named twice; count the FLOPs of its scorers into two files")
        refuse_no_file(self.out)  # before anything is counted
        frozen = vlms.load(self.vlm)
        frozen.model.set_attn_implementation("eager")  # the counter does not know all kernels of the others
        examples = [benchmarks.example(name, "dev", 0) for name in benchmarks.composed()]
        counted = {"vlm": frozen.name, "flops": answer_flops(frozen, chosen, budgets, examples)}
        write_text(self.out, json.dumps(counted, indent=2) + "\n")
        print(f"FLOPs of {len(chosen)} pruners in {self.out}")
