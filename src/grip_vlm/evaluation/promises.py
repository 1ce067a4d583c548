"""Scorer, questions -> calibration: trains the head, then finds the highest price per token that keeps each promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from grip_vlm import calibration, checkpoint, goals
from grip_vlm.benchmarks import Example
from grip_vlm.benchmarks.digests import digest_of_all
from grip_vlm.calibration import Calibration, Method, Promise
from grip_vlm.evaluation import calibrate as statistics
from grip_vlm.evaluation.sweep import Sweep, sweep
from grip_vlm.pruners.methods.grip import Pruner as Grip
from grip_vlm.sufficiency import Curve, steps, worth
from grip_vlm.training import sufficiency
from grip_vlm.training.data import Part
from grip_vlm.vlms import FrozenVLM

# Prices per token, from all tokens to the fewest. The grid is fixed beforehand, as the tests need it.
PRICES = (0.0, *np.logspace(-6, 0, 61).tolist())


@dataclass(frozen=True)
class Settings:
    """What is to be promised."""

    max_drops: tuple[float, ...]
    confidence: float
    label_free: bool
    data: str
    signed: bool = False
    """Answers that pruning corrects make up for answers that it spoils."""

    def __post_init__(self) -> None:
        if self.signed and self.label_free:
            raise ValueError("without labels nobody knows which answers pruning corrects: signed needs labels")
        for drop in self.max_drops:
            statistics.fewest(drop, self.confidence)  # refuses what is not between 0 and 1

    def refuse_few(self, examples: Sequence[Example]) -> None:
        """Raise a ValueError if the questions are too few for any promise, whatever the answers."""
        images = len({example.image_id or example.item for example in map(examples.__getitem__, range(len(examples)))})
        for drop in self.max_drops:
            if images < (least := statistics.fewest(drop, self.confidence, self.signed)):
                raise ValueError(
                    f"{images} images are too few to promise a drop of at most {drop:g} with confidence "
                    f"{self.confidence:g}; it takes at least {least}, and many more to promise it with few tokens"
                )


def drops(text: str) -> tuple[float, ...]:
    """`0.02,1%` -> (0.02, 0.01). Raises ValueError if a part is no number."""
    try:
        return tuple(float(goals.share_of(part.strip())) for part in text.split(","))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"drops are numbers such as 0.02 or 2%, separated by commas, not {text!r}") from None


def calibrate(
    vlm: FrozenVLM,
    folder: Path,
    train: Sequence[Example],
    dev: Sequence[Example],
    settings: Settings,
    rows: Path,
    batch: int = 32,
) -> Calibration:
    """Make the calibration of the scorer in `folder` and write it there.

    Promises of an earlier calibration by the same head on the same questions stay.

    Args:
        train: questions the head learns on.
        dev: questions the promises are found on; none of them may have been used to train.
        rows: file for all answers, by which a stopped calibration goes on.

    Raises:
        ValueError: the scorer is not for this VLM, or no price keeps a promise.
        OSError: a file cannot be written.
    """
    pruner, note = Grip(scorer=folder), Console(stderr=True)
    answers = (len(train) + len(dev)) * len(steps(pruner_tokens(vlm, dev[0])))
    note.print(f"{len(train)} + {len(dev)} questions, about {answers} answers; stopped, the same command goes on")
    learned = sweep(vlm, pruner, train, f"{settings.data}:train", rows, batch)
    good = 1 - learned.losses(settings.label_free)
    head = sufficiency.fit(learned.seen, learned.counts, learned.n, good, learned.images)
    held = sweep(vlm, pruner, dev, f"{settings.data}:dev", rows, batch)
    with torch.no_grad():
        curve = head.curve(held.seen)
    notes = Calibration(
        scorer=checkpoint.digest(folder),
        head="",
        vlm=vlm.name,
        fingerprint=vlm.fingerprint(),
        data=settings.data,
        split="dev",
        data_digest=digest_of_all(Part(dev, settings.label_free).digests),
        items=len(dev),
        images=len(set(held.images)),
        trained_on=len(train),
        label_free=settings.label_free,
        answer_tokens=int(torch.quantile(held.answer_tokens.double(), 0.99, interpolation="higher")),
        promises=[],
    )
    return calibration.write(folder, head, some(curve), notes.with_promises(promises(held, curve, settings)))


def pruner_tokens(vlm: FrozenVLM, example: Example) -> int:
    """Visual tokens of an example."""
    return int(vlm.encode(vlm.inputs([example.image], [example.question])).state.counts[0])


def promises(held: Sweep, curve: Curve, settings: Settings) -> list[Promise]:
    """The promises that the questions of a sweep allow.

    Raises:
        ValueError: no price keeps one of them.
    """
    at_count = held.drops() if settings.signed else held.losses(settings.label_free)  # (Q, J)
    costs, kept = by_price(at_count, held, curve)  # (Q, T) each
    clustered = by_image(costs, held.images)  # (images, T)
    method: Method = "betting" if settings.signed else "learn_then_test"
    made = []
    for drop in settings.max_drops:
        tested = statistics.learn_then_test(clustered, drop, settings.confidence, signed=settings.signed)
        if tested is None:
            raise ValueError(f"no price keeps the drop within {drop:g} with confidence {settings.confidence:g}")
        made.append(promise(drop, settings.confidence, method, tested, clustered, kept))
        controlled = None if settings.signed else statistics.conformal_risk_control(clustered, drop)
        if controlled is not None:
            made.append(promise(drop, None, "conformal_risk_control", controlled, clustered, kept))
    return made


def promise(
    drop: float, confidence: float | None, method: Method, place: int, costs: np.ndarray, kept: np.ndarray
) -> Promise:
    """The promise of the price at a place of the grid, from the costs and shares (., T) at all prices."""
    return Promise(drop, confidence, PRICES[place], method, float(costs[:, place].mean()), float(kept[:, place].mean()))


def by_price(at_count: Tensor, held: Sweep, curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """What every price costs each question, from what every count does (Q, J), and the share of tokens it keeps.

    Returns:
        (Q, T) each.
    """
    places = torch.stack([place_of(curve, held, price) for price in PRICES], dim=1)  # (Q, T)
    share = held.counts.gather(1, places) / held.n[:, None]
    return at_count.gather(1, places).double().numpy(), share.double().numpy()


def place_of(curve: Curve, held: Sweep, price: float) -> Tensor:
    """The place in its row of counts of what each question gets at a price, (Q,)."""
    places = torch.zeros_like(held.n)
    for n in sorted(set(held.n.tolist())):
        rows = (held.n == n).nonzero()[:, 0]
        ladder = torch.tensor(steps(n))
        places[rows] = (worth(Curve(curve.level[rows], curve.slope[rows]), ladder) >= price).sum(1)
    return places


def by_image(costs: np.ndarray, images: Sequence[str]) -> np.ndarray:
    """The mean cost of each image's questions, (images, T): questions about one image are no independent draws."""
    _, of = np.unique(np.array(images), return_inverse=True)
    sums = np.zeros((of.max() + 1, costs.shape[1]))
    np.add.at(sums, of, costs)
    return sums / np.bincount(of)[:, None]


def some(curve: Curve, most: int = 512) -> Curve:
    """Evenly spaced rows of the curves, at most so many."""
    rows = torch.linspace(0, len(curve.level) - 1, min(most, len(curve.level))).round().long()
    return Curve(curve.level[rows], curve.slope[rows])
