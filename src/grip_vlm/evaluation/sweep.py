"""The same questions answered from 1, 2, 3, 4, 6, ... and all visual tokens: what a calibration is made from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from grip_vlm import pruners
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.exact import EXACT
from grip_vlm.benchmarks.items import Items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.pruners.scored import Scored
from grip_vlm.sufficiency import features, steps
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Sweep:
    """Q questions at J counts each. Questions with few visual tokens repeat their last count, all of them."""

    seen: Tensor  # (Q, 2d) `sufficiency.features`
    n: Tensor  # (Q,) visual tokens
    counts: Tensor  # (Q, J) `sufficiency.steps` of each question
    full: Tensor  # (Q,) score of the answer from all tokens
    score: Tensor  # (Q, J) score of the answer from so many tokens
    same: Tensor  # (Q, J) 1.0 where it is the answer from all tokens
    answer_tokens: Tensor  # (Q,) tokens of the answer from all tokens, its end included
    images: list[str]

    def losses(self, label_free: bool) -> Tensor:
        """What each count costs, (Q, J) in [0, 1]: a changed answer, or how much lower it scores."""
        return 1 - self.same if label_free else self.drops().clamp(min=0)

    def drops(self) -> Tensor:
        """How much lower each count scores than all tokens, (Q, J) in [-1, 1]."""
        return self.full[:, None] - self.score


def sweep(
    vlm: FrozenVLM, pruner: Scored, examples: Sequence[Example], name: str, rows_path: Path, batch: int = 32
) -> Sweep:
    """Answer every question from every count; answers that are in the rows already are not computed again.

    Args:
        examples: questions; without answers, only `same` means something.
        name: what the rows call the questions.
        rows_path: JSON lines of `evaluate`.

    Raises:
        ValueError, OSError: see `evaluate`.
    """
    seen, n = read(vlm, pruner, examples, batch)
    ladder = [steps(int(count)) for count in n]
    budgets = sorted({count for counts in ladder for count in counts[:-1]})
    items = Items(name, len(examples), 8 if examples[0].benchmark != EXACT else 32, lambda i: graded(examples[i]))
    chosen = {"full": pruners.load("full"), pruner.name: pruner}
    rows = evaluate(
        vlm, chosen, [items], [Budget(tokens=k) for k in budgets], rows_path, limit=len(examples), batch=batch
    )
    by_budget: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        by_budget.setdefault(row.budget, []).append((row.prediction, row.score))
    full = by_budget["1.0"]
    width = max(map(len, ladder))
    counts = torch.tensor([[*counts, *[counts[-1]] * (width - len(counts))] for counts in ladder])
    answers = [
        [full[i] if count == n[i] else by_budget[str(count)][i] for count in counts[i].tolist()]
        for i in range(len(examples))
    ]
    texts = [vlm.processor.tokenizer(text, add_special_tokens=False).input_ids for text, _ in full]
    return Sweep(
        seen=seen,
        n=n,
        counts=counts,
        full=torch.tensor([score for _, score in full]),
        score=torch.tensor([[score for _, score in row] for row in answers]),
        same=torch.tensor([[float(text == full[i][0]) for text, _ in row] for i, row in enumerate(answers)]),
        answer_tokens=torch.tensor([len(ids) + 1 for ids in texts]),
        images=[example.image_id or example.item for example in map(examples.__getitem__, range(len(examples)))],
    )


@torch.no_grad()
def read(vlm: FrozenVLM, pruner: Scored, examples: Sequence[Example], batch: int) -> tuple[Tensor, Tensor]:
    """What the head sees of each question, (Q, 2d), and its visual tokens, (Q,)."""
    scorer, seen, n = pruner.scorer(vlm), [], []
    for start in range(0, len(examples), batch):
        part = [examples[i] for i in range(start, min(start + batch, len(examples)))]
        state = vlm.encode(vlm.inputs([e.image for e in part], [e.question for e in part])).state
        seen.append(features(scorer.read(state), state).float().cpu())
        n.append(state.counts.cpu())
    return torch.cat(seen), torch.cat(n)


def graded(example: Example) -> Example:
    """An example that can be scored: one without answers gets the empty answer."""
    return example if example.answers else replace(example, answers=("",))
