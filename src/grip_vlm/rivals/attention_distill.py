"""Attention distillation: the warm-up's imitation alone, and of its loss the cross-entropy alone.

This is how attention is distilled elsewhere. The budget is still an input of the scorer, though the target does not
depend on it.
"""

from dataclasses import dataclass

from torch import Tensor

from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank
from grip_vlm.training.run import DevScore
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import distribution_loss, warmup
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Config(WarmupConfig):
    """The attention-distillation rival."""

    attention_share: float = 1.0


def distribution_imitation(importance: Tensor, k: Tensor, teacher: Tensor) -> Tensor:
    """Cross-entropy of softmax(importance) to the teacher's distribution, mean over the batch."""
    return distribution_loss(importance, teacher).mean()


def train(vlm: FrozenVLM, scorer: Scorer, bank: Bank, dev_score: DevScore, config: Config) -> Scorer:
    """Train `scorer` in place; returns the weights of the best dev score, which are saved in config.out."""
    return warmup(vlm, scorer, bank, dev_score, config, method="attention_distill", imitate=distribution_imitation)
