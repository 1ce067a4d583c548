"""Stage 1, supervised: first imitate where the answer looks, then a relaxation through the frozen VLM.

Ours, after the notes cited in docs/paper.md: (a) the teacher is the attention from the answer's tokens to the visual
tokens over all layers, freed of its mean over the batch; the loss is the k-subset Gibbs likelihood of
the teacher's top k plus a cross-entropy to its distribution. (b) soft top-k gates through the frozen VLM with the
answer's likelihood and a growing pull towards hard gates.

Rivals are parts of this. `attention_distill`: (a) alone, and of it the cross-entropy alone, as attention is distilled
elsewhere; the budget is still the scorer's input, though the target does not know it. `soft_topk`, `st_gumbel`,
`dynamicvit` and `noise_gate`: (b) alone, each by its own relaxation. The start of the TPRL-like rival (ppo.py): (a)
alone, with the likelihood of independent keeps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from grip_vlm import bernoulli, policy, relaxation, sequential
from grip_vlm.bank import Bank, Batch
from grip_vlm.keep_drop import keep_drop_loss
from grip_vlm.mdp import Action
from grip_vlm.noise_gate import Denoiser, noise_gate_loss
from grip_vlm.scorer import Scorer
from grip_vlm.training import Run, RunConfig, seeded
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class WarmupConfig(RunConfig):
    """Stage 1, or a rival that is trained by a relaxation alone."""

    steps: int = 400
    attention_share: float = 0.95
    """share of the steps that imitate attention; 0 for a rival that is a relaxation alone. Steps that imitate cost a
    fraction of the others, since every example is looked at once only"""
    looked: int = 1600
    """training examples that are imitated"""
    imitation: Literal["subset", "distribution", "bernoulli"] = "subset"
    """what imitation follows: the teacher's top k and its distribution, the latter alone (`attention_distill`), or the
    top k by independent keeps (the start of `tprl`)"""
    relaxation: Literal["soft_topk", "st_gumbel", "dynamicvit", "noise_gate"] = "soft_topk"
    """what the remaining steps do"""
    dev_every: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.looked < 1:
            raise ValueError(f"looked must be at least 1, got {self.looked}")
        if not 0 <= self.attention_share <= 1:
            raise ValueError(f"attention_share must be in [0, 1], got {self.attention_share}")
        if self.imitation != "subset" and self.attention_share != 1:
            raise ValueError(f"imitation {self.imitation!r} is a rival's whole training: give attention_share 1")


def warmup(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev: Bank, config: WarmupConfig) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, saved in config.out."""
    imitated = {"subset": "warmup", "distribution": "attention_distill", "bernoulli": "tprl_start"}[config.imitation]
    imitate = round(config.attention_share * config.steps)
    denoiser = None
    if config.relaxation == "noise_gate" and imitate < config.steps:
        denoiser = seeded(config.seed, lambda: Denoiser(vlm.dim)).to(vlm.device)
    method = imitated if config.attention_share > 0 else config.relaxation
    run = Run(config, method, vlm, scorer, dev, companion=denoiser)
    looks: list[Tensor] = []
    for step, rng, generator in run.steps():
        if step < imitate:
            looks = looks or all_looks(vlm, bank, config.looked, config.batch)
        chosen = rng.integers(0, len(looks) if step < imitate else len(bank), run.local_batch).tolist()
        batch = bank.batch(chosen)
        state = batch.encoded.state
        k = config.draw_k(rng, state.counts)
        if step < imitate:
            teacher = beyond_habit([looks[i] for i in chosen], state.visual_mask)
            # A teacher repeats itself: importance alone is imitated.
            loss = imitation_loss(run.score(state, k).importance, k, teacher, config.imitation)
        else:
            progress = (step - imitate) / max(1, config.steps - imitate)
            scores = sequential.discounted(run.score(state, k))
            loss = relaxed_loss(run, batch, scores, k, config.relaxation, progress, generator)
        run.descend(loss)
        run.log(loss=loss.item())
    return run.best


def imitation_loss(scores: Tensor, k: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """`subset_loss` plus `distribution_loss`; the latter alone; or -log of the probability that independent keeps give
    the teacher's top k, per token kept. Means over the batch; `teacher` is (B, N), `kind` as in `WarmupConfig`."""
    if kind == "distribution":
        return distribution_loss(scores, teacher).mean()
    chosen = policy.greedy(torch.where(torch.isfinite(scores), teacher, -torch.inf), k)
    if kind == "bernoulli":
        return -(bernoulli.log_prob(bernoulli.logits(scores, k), chosen) / k).mean()
    return (subset_loss(scores, k, chosen) + distribution_loss(scores, teacher)).mean()


def subset_loss(scores: Tensor, k: Tensor, chosen: Tensor) -> Tensor:
    """-log pi_k(chosen) per token kept, (B,), of a mask (B, N) under the k-subset Gibbs distribution."""
    law = policy.gibbs(scores, k)
    gradient = (law.inclusion - chosen.double()) / k[:, None]  # d(-log pi) / d theta / k
    finite = torch.where(torch.isfinite(scores), scores, 0.0)
    likelihood = (finite * gradient.to(scores.dtype)).sum(1)
    # A surrogate with that gradient; its value is replaced by the true one, so that what is logged means something.
    true = -policy.log_prob(law, chosen[:, None])[:, 0] / k
    return likelihood + (true.to(scores.dtype) - likelihood).detach()


def distribution_loss(scores: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of softmax(scores) to the positive part of `teacher` (B, N), scaled to sum to one, (B,)."""
    valid = torch.isfinite(scores)
    teacher = (teacher.clamp(min=0) + 1e-6) * valid
    target = teacher / teacher.sum(1, keepdim=True).clamp(min=1e-9)
    return -(target * scores.masked_fill(~valid, -1e4).log_softmax(1)).sum(1)


def relaxed_loss(
    run: Run, batch: Batch, scores: Tensor, k: Tensor, kind: str, progress: float, generator: torch.Generator
) -> Tensor:
    """Answer's negative log-likelihood through gates; for soft top-k plus 0.1 .. 2 times the distance to hard gates."""
    vlm = run.vlm
    if kind == "dynamicvit":
        return keep_drop_loss(vlm, batch, scores, k, generator)
    if kind == "noise_gate":
        return noise_gate_loss(vlm, batch, scores, k, run.beside, generator)
    if kind == "st_gumbel":
        valid = torch.isfinite(scores)
        temperature = 1.0 - 0.7 * progress
        gate = relaxation.straight_through_gate(scores, k, generator, temperature).masked_fill(~valid, 0.0)
        return -relaxation.gated_log_likelihood(vlm, batch, gate).mean()
    gate, gap = relaxation.soft_gate(scores, k)
    return -relaxation.gated_log_likelihood(vlm, batch, gate).mean() + (0.1 + 1.9 * progress) * gap


def all_looks(vlm: FrozenVLM, bank: Bank, count: int, size: int) -> list[Tensor]:
    """`answer_attention` of the first `count` entries, (n,) each, `size` at a time: always the same batches, so that
    a resumed run gets the same numbers to the bit."""
    looks: list[Tensor] = []
    count = min(count, len(bank))
    for start in range(0, count, size):
        looks += answer_attention(vlm, bank.batch(range(start, min(start + size, count))))
    return looks


def beyond_habit(looks: list[Tensor], mask: Tensor) -> Tensor:
    """(n,) per sample -> (B, N): what each sample is looked at more than the other samples are in the same place."""
    attention = torch.zeros(mask.shape, device=mask.device).masked_scatter(mask, torch.cat(looks))
    others = attention.sum(0, keepdim=True) - attention
    habit = others / (mask.sum(0, keepdim=True) - mask.long()).clamp(min=1)  # (B, N); zero for a batch of one
    return (attention - habit) * mask


@torch.no_grad()
def answer_attention(vlm: FrozenVLM, batch: Batch) -> list[Tensor]:
    """How much the answer's tokens look at each visual token, (n,) per sample: mean over heads, layers and those
    tokens."""
    inputs = vlm.pruned(batch.encoded.prompt, Action(batch.encoded.state.visual_mask))
    with eager_attention(vlm.model):
        maps = vlm.model(**inputs, output_attentions=True, use_cache=False, logits_to_keep=1).attentions
    mean = torch.stack([layer.float().mean(1) for layer in maps]).mean(0)  # (B, L, L)
    length = inputs["input_ids"].shape[1]
    # The rows that predict the answer's tokens are those just before them.
    column = torch.arange(length, device=mean.device)
    asks = (column >= length - 1 - batch.answer_length[:, None]) & (column < length - 1)  # (B, L)
    looked = torch.einsum("bl,blj->bj", asks.float() / asks.sum(1, keepdim=True), mean)  # (B, L)
    # Keep-all is the prompt itself, so its slots are the columns.
    return [row[slots[slots >= 0]] for row, slots in zip(looked, batch.encoded.prompt.slots, strict=True)]


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """Attention maps need the eager implementation; the model's own is back afterwards."""
    before = model.config.get_text_config()._attn_implementation
    model.set_attn_implementation({"text_config": "eager"})
    try:
        yield
    finally:
        model.set_attn_implementation({"text_config": before})
