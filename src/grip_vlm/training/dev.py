"""The dev score: exact match of the greedy subsets on held-out examples, by which the best weights are chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grip_vlm import policy
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.budget import Budget
from grip_vlm.scorer import Scorer
from grip_vlm.training.bank import Bank, build_bank, open_bank
from grip_vlm.training.data import Data
from grip_vlm.training.features import default_folder
from grip_vlm.training.fit import Fit
from grip_vlm.training.log import Log
from grip_vlm.training.rewards import teacher_forced
from grip_vlm.training.settings import RunConfig
from grip_vlm.vlms import FrozenVLM

SIZE = 60  # examples per forward at most


@dataclass(frozen=True)
class DevSet:
    """Held-out examples; calling it with a scorer and budgets gives their dev score."""

    bank: Bank

    @torch.no_grad()
    def __call__(self, scorer: Scorer, budgets: Sequence[str | float]) -> float:
        """Mean exact match over examples and budgets."""

        def matches(part: Tensor) -> list[Tensor]:
            batch = self.bank.batch(part.tolist())
            state = batch.encoded.state
            chosen = [policy.choose(scorer, state, budget.each(state.counts)) for budget in map(Budget.parse, budgets)]
            return [teacher_forced(self.bank.vlm, batch, kept).exact_match for kept in chosen]

        parts = self.bank.fit.parts(torch.arange(len(self.bank)), SIZE, matches)
        return float(torch.cat([match for part in parts for match in part]).mean())


def load_banks(vlm: FrozenVLM, config: RunConfig) -> tuple[Bank, DevSet]:
    """Training and dev examples that `config` names, encoded and held in memory."""
    free = config.label_free
    train = load_examples(config.data, "train", config.examples, labelled=not free)
    dev = load_examples(config.data, "dev", config.dev_examples, labelled=not free)
    return build_bank(vlm, train, free), DevSet(build_bank(vlm, dev, free))


def open_banks(vlm: FrozenVLM, config: RunConfig, data: Data, log: Log) -> tuple[Bank, DevSet]:
    """As `load_banks`, with the encoded examples on disk; raises what `open_bank` raises."""
    fit, folder = Fit(config.micro_batch, log.say), config.features or default_folder(config.out)
    train, dev = (open_bank(vlm, part, folder, data.digest, fit, log) for part in (data.train, data.dev))
    return train, DevSet(dev)
