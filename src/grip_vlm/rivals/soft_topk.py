"""Soft top-k (VisionSelector, arXiv 2510.16598): the same scorer trained through soft top-k gates alone.

The loss is `training.gates.soft_top_k_loss`. VisionSelector's `params.py` weighs the distance to hard gates by 0.1 to
2.0, as here; its shipped script goes to 3.0. Its gate multiplies embeddings; ours acts on attention, because an RMSNorm
undoes most of a scale. Its scorer sees no question and keeps the plain top k; ours sees it and discounts redundancy,
which makes it the stronger rival.
"""

from dataclasses import dataclass

from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank
from grip_vlm.training.gates import SOFT_TOP_K, Relaxation
from grip_vlm.training.run import DevScore
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import warmup
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Config(WarmupConfig):
    """The soft top-k rival."""

    attention_share: float = 0.0


def relaxation(vlm: FrozenVLM, seed: int) -> Relaxation:
    """The relaxation for `warmup(relax=...)`."""
    return SOFT_TOP_K


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: Config) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, which are saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="soft_topk", relax=SOFT_TOP_K)
