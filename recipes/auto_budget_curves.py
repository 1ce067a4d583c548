"""Curves of every rule of k for the questions of `auto_budget.py`, which are encoded once and kept on disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.rules import energy, mutual_information, top_p
from grip_vlm.files import new_file
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer
from grip_vlm.sufficiency import Curve, Head, steps, worth
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.early import question_attentions

Array = NDArray[Any]
HEAD = "head (ours)"
Curves = dict[str, Array]  # rule -> (Q, K) adequacy; each of BESIDE -> (Q,)
BESIDE = ("nats", "level", "slope")  # mutual information of question and image, and the curve of the head

BATCH = 32
REFERENCES = ("2%", "10%", "50%")  # the budgets whose importance stands for all budgets in the rule top_p


def read_states(vlm: FrozenVLM, name: str, limit: int, folder: Path) -> Iterator[tuple[State, Tensor]]:
    """The first `limit` test questions of a benchmark in batches, with the information of question and image (B,).

    The first call encodes them and keeps them in `folder` in half precision; what is yielded is read from there.
    """
    path = folder / f"states-{name.replace(':', '-')}-{limit}.pt"
    if not path.is_file():
        items, kept = open_items(name), []
        for start in range(0, limit, BATCH):
            examples = [items.example(i) for i in range(start, min(limit, start + BATCH))]
            encoded = vlm.encode(vlm.inputs([e.image for e in examples], [e.question for e in examples]))
            state = {key: half(value) for key, value in vars(encoded.state).items()}
            kept.append((state, mutual_information.information(question_attentions(vlm, encoded, "the rule"))))
        with new_file(path) as file:
            torch.save(kept, file)
    for state, nats in torch.load(path, weights_only=True):
        yield State(**{key: whole(value) for key, value in state.items()}), nats


def half(values: Tensor) -> Tensor:
    return values.half() if values.is_floating_point() else values


def whole(values: Tensor) -> Tensor:
    return values.float() if values.is_floating_point() else values


@torch.no_grad()
def curves_of(state: State, scorer: Scorer, head: Head, ks: Array) -> Curves:
    """Rule -> adequacy at the numbers of tokens `ks`, (B, K)."""
    places = torch.as_tensor(ks) - 1
    curves = {"energy": energy.adequacy(state.visual, state.visual_mask)}
    for reference in REFERENCES:
        importance = scorer(state, Budget.parse(reference).each(state.counts)).importance
        curves[f"top-p, importance at {reference}"] = top_p.adequacy(importance)
    rivals = {name: curve[:, places].numpy() for name, curve in curves.items()}
    curve = head(scorer.read(state), state)
    beside = {"level": curve.level.numpy(), "slope": curve.slope.numpy()}
    return {HEAD: head_adequacy(curve, ks)} | rivals | beside


def head_adequacy(curve: Curve, ks: Array) -> Array:
    """Minus the most that a larger count is worth per token, (B, K); a count that the rule never gives has the adequacy
    of the one before, so it is never the least."""
    ladder = steps(int(ks[-1]))
    place = np.searchsorted(ladder, ks, side="right") - 1
    return np.asarray(-worth(curve, torch.tensor(ladder)).numpy()[:, place])


@torch.no_grad()
def curves(vlm: FrozenVLM, scorer: Scorer, head: Head, name: str, limit: int, ks: Array, folder: Path) -> Curves:
    """The curves of the benchmark's first `limit` test questions at the numbers of tokens `ks`."""
    parts: dict[str, list[Array]] = {}
    for state, nats in read_states(vlm, name, limit, folder):
        for rule, curve in (curves_of(state, scorer, head, ks) | {"nats": nats.numpy()}).items():
            parts.setdefault(rule, []).append(curve)
    return {rule: np.concatenate(values) for rule, values in parts.items()}
