"""Teach a scorer how many tokens are enough for a question, and find what `--budget auto` may promise with it."""

from dataclasses import dataclass
from pathlib import Path

from grip_vlm.options import VLMOptions


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions):
    """Teach a scorer how many tokens are enough for a question, and find what `--budget auto` may promise with it."""

    scorer: str
    """Folder of the scorer, or the name of a shipped one. Its calibration is written into this folder."""
    data: str = "scenes"
    """`scenes`, some of its benchmarks, or your JSONL file. The head learns on its train part, the promises are found
    on its dev part."""
    max_drop: str = "0.02"
    """Comma-separated drops in accuracy to promise, each as a fraction or a percentage. The first is that of `auto`."""
    confidence: float = 0.95
    """Probability, over the draw of the dev part, that a promised drop is not exceeded."""
    train_examples: int = 1500
    """Questions that the head learns on."""
    examples: int = 1500
    """Questions that the promises are found on; more of them promise fewer tokens."""
    label_free: bool = False
    """Read no answers: a loss is any change of the VLM's own answer, which is never less than a drop in accuracy."""
    signed: bool = False
    """Promise the accuracy itself: answers that pruning corrects make up for answers that it spoils. That keeps fewer
    tokens."""
    rows: Path | None = None
    """Rows of all answers, by which a stopped calibration goes on; by default beside the scorer's folder."""
    seed: int = 1
    """Seed of the composed data; 0 is that of the scorer's own training."""
    batch: int = 32
    """Questions answered together."""

    def run(self) -> None:
        from grip_vlm import checkpoint, vlms
        from grip_vlm.benchmarks.data import load_examples
        from grip_vlm.evaluation.promises import Settings, calibrate, drops
        from grip_vlm.files import refuse_no_file

        folder = checkpoint.locate(self.scorer)
        settings = Settings(drops(self.max_drop), self.confidence, self.label_free, self.data, self.signed)
        if min(self.train_examples, self.examples, self.batch) < 1:
            raise ValueError("train_examples, examples and batch must be at least 1")
        labelled = not self.label_free
        train = load_examples(self.data, "train", self.train_examples, self.seed, labelled)
        dev = load_examples(self.data, "dev", self.examples, self.seed, labelled)
        settings.refuse_few(dev)
        rows = self.rows or folder.with_name(f"{folder.name}.sweep.jsonl")
        refuse_no_file(rows)
        vlm = vlms.load(self.vlm, dtype=self.dtype)
        made = calibrate(vlm, folder, train, dev, settings, rows, self.batch)
        for promise in made.promised():
            print(
                f"{promise}  {promise.method}  loss {promise.loss:.4f}  keeps {100 * promise.kept:.1f} % of the tokens"
            )
        print(f"calibration of {folder} on {made.items} questions about {made.images} images")
