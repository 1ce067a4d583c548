"""Is it really faster? Time answers in phases, all methods in turns, beside the limits that no method can beat."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grip_vlm.budget import Budget
from grip_vlm.options import VLMOptions

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions):
    """Is it really faster? Time answers in phases, all methods in turns, beside the limits that no method can beat."""

    out: Path
    """JSON lines; one row per timed answer is appended. A stopped run goes on with the same command."""
    pruners: str = "grip,divprune,random"
    """Comma-separated methods; `name=DIR` gives a trained method its scorer. Two limits are timed with them: `full`,
    and `free` for each budget, a sequence that was pruned before the clock started."""
    budgets: str = "0.05,0.2"
    """Comma-separated budgets."""
    batch: str = "1"
    """Comma-separated numbers of questions that are answered together."""
    new_tokens: int = 8
    """Tokens of every answer, whatever the model says."""
    repeats: int = 10
    """Timed rounds; the median counts."""
    data: str = "scenes"
    """What is asked, of the dev split: `scenes`, `spread`, comma-separated parts of them, or a JSONL file of yours."""
    image: Path | None = None
    """An image to ask about in place of `data`; needs `question`."""
    question: str | None = None
    """The question about `image`; every question of a batch is this one."""
    size: int | None = None
    """Scale images so that their longer side has this many pixels."""
    accuracy: tuple[Path, ...] = ()
    """Rows of `evaluate`; adds the time at equal accuracy of all pruners that are in them and timed."""
    table: Path | None = None
    """Markdown file for the tables."""
    figure: Path | None = None
    """Figure of stacked bars (.svg, .png, .pdf)."""

    def run(self) -> None:
        batches = _numbers(self.batch)
        if self.repeats < 1 or self.new_tokens < 1 or (self.size is not None and self.size < 1):
            raise ValueError("repeats, new_tokens and size must be at least 1")
        if (self.image is None) != (self.question is None):
            raise ValueError("--image and --question belong together; give both or neither")
        budgets = list(dict.fromkeys(Budget.parse(budget) for budget in self.budgets.split(",")))
        from rich.console import Console

        from grip_vlm import pruners, report, vlms
        from grip_vlm.evaluation import latency, timing
        from grip_vlm.files import refuse_no_file

        for path in (self.out, self.table, self.figure):
            if path is not None:
                refuse_no_file(path)
        if self.figure is not None:
            from grip_vlm.report import figures

            figures.check_ending(self.figure)
        timing.read(self.out)  # before a large VLM is loaded: what cannot be added to is refused
        measured = report.read_rows(self.accuracy) if self.accuracy else []
        pairs = [pruners.parse(name, self.vlm, 0) for name in self.pruners.split(",")]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a pruner is named twice; time its scorers into two files")
        asked = self._questions(max(batches))
        frozen = vlms.load(self.vlm, dtype=self.dtype)
        jobs = latency.jobs_of({"full": pruners.load("full"), **dict(pairs)}, budgets)
        tell = Console(stderr=True)
        rows = []
        for size in batches:
            batch = latency.Batch([image for image, _ in asked[:size]], [question for _, question in asked[:size]])
            rows += latency.measure(
                frozen,
                jobs,
                batch,
                self.out,
                repeats=self.repeats,
                new_tokens=self.new_tokens,
                tell=lambda text: tell.print(text, soft_wrap=True),
            )
        print(report.write_timings(rows, self.table, self.figure, measured))
        print(f"{len(rows)} rows in {self.out}")

    def _questions(self, count: int) -> "list[tuple[Image.Image, str]]":
        """`count` images with their questions."""
        from grip_vlm.benchmarks.data import load_examples
        from grip_vlm.images import as_rgb, scaled

        if self.image is not None and self.question is not None:
            pairs = [(as_rgb(self.image), self.question)] * count
        else:
            examples = load_examples(self.data, "dev", count, labelled=False)
            pairs = [(example.image, example.question) for example in examples]
            if len(pairs) < count:
                raise ValueError(
                    f"{self.data} has {len(pairs)} questions for dev, and a batch of {count} was asked for"
                )
        return [(scaled(image, self.size) if self.size else image, question) for image, question in pairs]


def _numbers(text: str) -> list[int]:
    """Batch sizes in their order, each of them once."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 7 and int(word) for word in words):
        raise ValueError(f"batch is one or more numbers from 1 on, such as 1,16, not {text!r}")
    return list(dict.fromkeys(map(int, words)))
