"""How much of the answer the scorer alone knows: linear probes on its hidden state, its scores and its mask.

The language model takes no part. There are three controls:

- the most frequent answer;
- a scorer of random weights, whose hidden state holds what the frozen tower's features say linearly;
- `kept`, a probe on the VLM's own features of the kept tokens. A scorer that merely keeps the right tokens has the
  answer in those features. It worked out itself only what its hidden state gives beyond `kept`.

The mask is the only output of a scorer that reaches the VLM.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from grip_vlm import benchmarks, checkpoint, policy
from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.mdp import State
from grip_vlm.pruners.scored import Scored
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.vlms import FrozenVLM

TASKS = ("presence", "perception", "choice", "diagram")  # their answers come from a small closed set
RANDOM = "random weights"
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)  # of the probe: scikit-learn's C
Features = dict[str, NDArray[np.float32]]


@torch.no_grad()
def outputs(scorer: Scorer, state: State, k: Tensor) -> dict[str, Tensor]:
    """The scorer's features for the probes, for each sample.

    Returns:
        hidden: (B, 2d) the last hidden state, averaged over all tokens and over the kept tokens.
        scores: (B, 2N) the score of each position minus the mean score, then the same values in descending order.
        kept: (B, D) the VLM's own features, averaged over the kept tokens.
        mask: (B, N) 1 where a token is kept.
    """
    held: list[Tensor] = []
    hook = scorer.head.register_forward_pre_hook(lambda _, inputs: held.append(inputs[0]))
    try:
        scores = scorer(state, k)
    finally:
        hook.remove()
    (hidden,) = held  # (B, N, d)
    mask = policy.pick(scores, k, scorer.config.one_pass)

    def over_kept(tokens: Tensor) -> Tensor:
        return (tokens * mask[..., None]).sum(1) / k[:, None]

    value = policy.discounted(scores)  # (B, N)
    centred = value - value.mean(1, keepdim=True)
    return {
        "hidden": torch.cat([hidden.mean(1), over_kept(hidden)], dim=1),
        "scores": torch.cat([centred, centred.sort(dim=1, descending=True).values], dim=1),
        "kept": over_kept(state.visual.float()),
        "mask": mask.float(),
    }


def features(
    vlm: FrozenVLM, scorers: Mapping[str, Scorer], examples: Sequence[Example], budget: Budget, size: int = 100
) -> dict[str, Features]:
    """Scorer -> its `outputs` for every example. The vision tower runs once for all scorers."""
    parts: dict[str, list[dict[str, Tensor]]] = {name: [] for name in scorers}
    for start in range(0, len(examples), size):
        part = examples[start : start + size]
        state = vlm.encode(vlm.inputs([e.image for e in part], [e.question for e in part])).state
        k = budget.each(state.counts)
        for name, scorer in scorers.items():
            parts[name].append(outputs(scorer, state, k))
    return {
        name: {kind: torch.cat([part[kind] for part in found]).cpu().numpy() for kind in found[0]}
        for name, found in parts.items()
    }


def accuracy(train: NDArray[np.float32], told: Sequence[str], test: NDArray[np.float32], truth: Sequence[str]) -> float:
    """Share of test answers that a logistic regression fitted on the train rows gets right.

    Its regularisation is chosen on the last quarter of the train rows.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(strength: float, upto: int):  # type: ignore[no-untyped-def]
        # Positions that are never kept have zero variance. The scaler leaves them as they are.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=300))
        return model.fit(train[:upto], list(told[:upto]))

    split = len(told) * 3 // 4
    held = [fitted(strength, split).score(train[split:], list(told[split:])) for strength in STRENGTHS]
    best = STRENGTHS[int(np.argmax(held))]  # the most regularised one of equals
    return float(fitted(best, len(told)).score(test, list(truth)))


def majority(told: Sequence[str], truth: Sequence[str]) -> float:
    """Share of test answers that equal the most frequent train answer."""
    return float(np.mean([answer == max(sorted(set(told)), key=list(told).count) for answer in truth]))


def probe_task(
    vlm: FrozenVLM, pruners: Mapping[str, Scored], task: str, budget: Budget, train: int, test: int
) -> dict[str, float]:
    """Accuracy of every probe on a task's test items: `majority`, and `SCORER KIND` for each kind of `outputs`."""
    torch.manual_seed(0)
    scorers = {RANDOM: Scorer(ScorerConfig(dim=vlm.dim)).eval().to(vlm.device)}
    scorers |= {name: checkpoint.load(pruner.folder, vlm).to(vlm.device) for name, pruner in pruners.items()}
    learnt, asked = ([benchmarks.example(task, s, i) for i in range(n)] for s, n in (("train", train), ("test", test)))
    told, truth = [e.answers[0] for e in learnt], [e.answers[0] for e in asked]
    known, new = features(vlm, scorers, learnt, budget), features(vlm, scorers, asked, budget)
    found = {
        f"{name} {kind}": accuracy(known[name][kind], told, new[name][kind], truth)
        for name in scorers
        for kind in known[name]
    }
    return {"majority": majority(told, truth), **found}
