"""What an answer costs in FLOPs: vision tower, language model and scorer, counted on the real modules.

`meta` tensors have shapes and no memory, so models too large for this machine are counted as exactly as small ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from grip_vlm.benchmarks import Example
from grip_vlm.budget import Budget
from grip_vlm.evaluate import jobs
from grip_vlm.mdp import State
from grip_vlm.pruners import Pruner
from grip_vlm.rows import FIXED
from grip_vlm.scorer import Scorer
from grip_vlm.vlms import FrozenVLM


@dataclass(frozen=True)
class Cost:
    """FLOPs of one question about one image; a multiplication and an addition are two."""

    vision: int
    """tower and projector"""
    language: int
    """prefill of all visual tokens and the question"""
    scorer: int

    @property
    def full(self) -> int:
        return self.vision + self.language

    @property
    def scorer_share(self) -> float:
        """Of the full forward."""
        return self.scorer / self.full

    @property
    def language_share(self) -> float:
        return self.language / self.full


def count(call: Callable[[], Any]) -> int:
    """FLOPs of matrix products, convolutions and attention inside `call`."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def answer_flops(
    vlm: FrozenVLM, pruners: dict[str, Pruner], budgets: Sequence[Budget], examples: Sequence[Example]
) -> dict[str, dict[str, float]]:
    """FLOPs up to the first word of an answer: vision tower, pruner and language model, counted in the calls that
    `evaluate` makes. Later words, which cost all methods about the same, are left out.

    Args:
        vlm: its attention should be `eager`, whose products the counter knows.

    Returns:
        pruner -> budget -> mean over the examples.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in pruners}
    for name, budget in jobs(pruners, budgets):
        wanted = Budget(tokens=1) if name in FIXED else Budget.parse(budget)

        def answer(example: Example, pruner: Pruner = pruners[name], wanted: Budget = wanted) -> None:
            encoded = vlm.encode(vlm.inputs([example.image], [example.question]))
            k = torch.tensor([wanted.k(int(encoded.state.counts[0]))], device=vlm.device)
            vlm.generate(vlm.pruned(encoded.prompt, pruner.select(vlm, encoded, k), forward=False), 1)

        found[name][budget] = sum(count(partial(answer, example)) for example in examples) / len(examples)
    return found


def llava_cost(model: Any, scorer: Scorer, words: int = 16) -> Cost:
    """The cost of a LLaVA with one image and a question of `words` tokens.

    The model's attention should be `eager`, whose products the counter knows; model and scorer may be on `meta`.
    """
    device, vision = model.device, model.config.vision_config
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_size, device=device, dtype=model.dtype)
    n = (vision.image_size // vision.patch_size) ** 2
    dim = model.config.get_text_config().hidden_size
    embeddings = torch.zeros(1, n + words, dim, device=device, dtype=model.dtype)
    # A ready mask, since making one looks at values, and meta tensors have none.
    mask = torch.zeros(1, 1, n + words, n + words, device=device, dtype=model.dtype)
    positions = torch.arange(n + words, device=device)[None]
    state = State(
        visual=torch.zeros(1, n, dim, device=device),
        visual_mask=torch.ones(1, n, dtype=torch.bool, device=device),
        places=torch.zeros(1, n, 2, device=device),
        image=torch.zeros(1, n, dtype=torch.long, device=device),
        question=torch.zeros(1, words, dim, device=device),
        question_mask=torch.ones(1, words, dtype=torch.bool, device=device),
    )
    k = torch.ones(1, dtype=torch.long, device=device)

    def chosen() -> Tensor:
        """What `sequential.greedy` multiplies, which a tensor on `meta` cannot go through."""
        keys: Tensor = scorer(state, k).keys
        return keys @ keys.mT

    return Cost(
        vision=count(lambda: model.get_image_features(pixel_values=pixels, return_dict=True)),
        language=count(
            lambda: model.base_model.language_model(
                inputs_embeds=embeddings, attention_mask=mask, position_ids=positions, use_cache=False
            )
        ),
        scorer=count(chosen),
    )
