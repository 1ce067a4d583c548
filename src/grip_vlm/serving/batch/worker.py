"""A worker of a batch job: loads the VLM once, then answers parts and writes them."""

from pathlib import Path
from time import perf_counter
from typing import Any

from PIL import Image

from grip_vlm import pruners, vlms
from grip_vlm.budget import Budget
from grip_vlm.goals import Mean
from grip_vlm.options import DType
from grip_vlm.pruners import Pruner
from grip_vlm.serving.batch import columns, output, source
from grip_vlm.serving.batch.answers import answered
from grip_vlm.serving.batch.source import Part
from grip_vlm.vlms.weights import digest_of_vlm


class Worker:
    """Answers parts.

    Args:
        vlm: a shipped VLM, a checkpoint folder or a hub id.
        pruner: `NAME` or `NAME=DIR`.
        folder: of the input, where relative paths of images start.
        out: folder of the output.
        schema: of the output, serialised by pyarrow, in hexadecimal digits.
        weights: digest of the VLM that answered earlier parts, "" if there is none.

    Raises:
        ValueError: VLM or pruner do not load, do not fit each other or the budget, or are not what answered earlier.
    """

    def __init__(
        self,
        *,
        vlm: str,
        dtype: DType,
        pruner: str,
        seed: int,
        budget: str,
        batch: int,
        max_new_tokens: int,
        folder: str,
        out: str,
        schema: str,
        weights: str,
    ) -> None:
        import pyarrow as pa

        self.vlm = vlms.load(vlm, dtype=dtype)
        self.weights = digest_of_vlm(self.vlm)
        if weights and weights != self.weights:
            raise ValueError(f"{out} has answers of other weights of {vlm}; give another --out")
        self.name, self.seed, self.budget = pruner, seed, Budget.parse(budget)
        self.batch, self.max_new_tokens = batch, max_new_tokens
        self.folder, self.out = Path(folder), Path(out)
        self.schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(schema)))
        # What fails for every row is said before the first, and is no row's error.
        self.vlm.answer(Image.new("RGB", (224, 224)), "What is it?", self._new_pruner(), self.budget, 1)
        self.pruner = self._new_pruner()

    def _new_pruner(self) -> Pruner:
        return pruners.parse(self.name, self.vlm.name, self.seed)[1]

    def answers(self, part: Part) -> Any:
        """The `pyarrow.Table` of a part. It depends on the part alone, whoever answers it and after what."""
        rows = source.rows_of(part)
        # A mean over a stream is one over each part: a pruner of its own has seen nothing else.
        budgets = {str(row.get("budget")) for row in rows if isinstance(row, dict)}
        streams = isinstance(self.budget.goal, Mean) or any(budget.lstrip().startswith("mean") for budget in budgets)
        pruner = self._new_pruner() if streams else self.pruner
        outcomes = answered(
            self.vlm, pruner, rows, self.folder, self.budget, batch=self.batch, max_new_tokens=self.max_new_tokens
        )
        return columns.table_of(self.schema, part.first, rows, outcomes)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Answer and write the part that a job is."""
        start, part = perf_counter(), Part(**job)
        output.write(self.out, part, self.answers(part), self.weights)
        return {"rows": part.count, "seconds": perf_counter() - start}
