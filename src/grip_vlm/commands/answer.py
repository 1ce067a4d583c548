"""Answer one question about one image from a fraction of its visual tokens."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from grip_vlm.budget import Budget
from grip_vlm.options import PrunerOptions, VLMOptions


@dataclass(frozen=True, kw_only=True)
class Command(VLMOptions, PrunerOptions):
    """Answer one question about one image from a fraction of its visual tokens."""

    image: Path
    question: str
    budget: str = "0.1"
    """Tokens to keep: `64`, `0.1` or `10%`; or a goal: `auto`, `auto:0.02` or `20ms` (docs/auto-budget.md)."""
    json: bool = False
    """Print one JSON object."""
    draw: Path | None = None
    """Write the image with the kept tokens as a PNG."""
    seed: int = 0
    """Seed of methods that sample at random."""

    def run(self) -> None:
        budget = Budget.parse(self.budget)
        from grip_vlm import draw, images, pruners, vlms
        from grip_vlm.vlms.prompts import check_texts

        pruner = pruners.parse(self.method, self.vlm, self.seed)[1]
        check_texts("question", [self.question])
        image = images.open_image(self.image)
        vlm = vlms.load(self.vlm, dtype=self.dtype)
        answer = vlm.answer(image, self.question, pruner, budget)
        if self.json:
            print(json.dumps(asdict(answer)))
        else:
            print(f"{answer.text}\n({answer.kept} of {answer.tokens} visual tokens, {1000 * answer.seconds:.0f} ms)")
        if self.draw is not None:
            part, grid = vlm.visible_area(image, self.question)
            draw.save(draw.draw_kept(part, answer.kept_indices, grid), self.draw)
