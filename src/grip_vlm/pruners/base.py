"""What every pruner can do: cut the inputs of any transformers VLM down to a budget, in one line."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grip_vlm import vlms
from grip_vlm.budget import Budget
from grip_vlm.mdp import Action, State
from grip_vlm.sequence import Positions, pad_right
from grip_vlm.vlms import Encoded, FrozenVLM

AnyBudget = int | float | str | Budget


class BasePruner(ABC):
    """Files of this folder define a class `Pruner` that inherits from this one and takes the keywords of `load`."""

    checkpoint: str
    """the scorer's folder or name and a digest of its weights; empty for methods without training"""

    @property
    def name(self) -> str:
        """The name of the method's file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        """Keep k (B,) tokens per layer of the language model.

        `full` and `blind` ignore k, and `downsample` keeps at most k.

        Raises:
            ValueError: a VLM, batch or budget that the method does not support.
        """

    def prune(
        self,
        model: Any,
        inputs: Any,
        budget: AnyBudget | Sequence[AnyBudget],
        *,
        per_image: bool = False,
        min_tokens: int = 1,
        positions: Positions = "original",
        forward: bool = False,
    ) -> dict[str, Any]:
        """Inputs for the unmodified `model.generate(**...)`, with all but the budget's visual tokens removed.

        Args:
            model: a transformers VLM, which is left as it is, or one from `vlms.load`.
            inputs: what its processor gave: any batch, padded on either side; some rows may be text alone.
            budget: for all rows, or one for each; over all images of a row together, a video being one of them.
            per_image: give every image its own budget instead.
            min_tokens: kept at least, where there are as many.
            positions: "original" keeps every token where it was in the full prompt; "compact" closes the gaps.
            forward: for `model(**...)` instead; the two differ for PaliGemma alone, which counts positions from 1.

        Returns:
            Inputs of one call, padded on the left; `generate` returns the pruned prompt and what follows it.

        Raises:
            ValueError: an impossible budget, a model or batch that cannot be pruned, or a method that drops tokens
                inside the language model, which inputs cannot express: `vlm.respond` runs it.
        """
        vlm = vlms.wrap(model)
        encoded = vlm.encode(dict(inputs))
        rows = len(encoded.prompt.input_ids)
        given = budget if isinstance(budget, Sequence) and not isinstance(budget, str) else [budget] * rows
        budgets = [Budget.parse(one) for one in given]
        if len(budgets) != rows:
            raise ValueError(f"{len(budgets)} budgets for {rows} rows; give one, or one for each row")
        if min_tokens < 1:
            raise ValueError(f"min_tokens must be at least 1, got {min_tokens}")
        units = units_of(encoded.state, per_image)
        mask = torch.zeros_like(encoded.state.visual_mask)
        features = None
        if units:
            part = encoded if len(units) == rows and not per_image else split(encoded, units)
            k = [min(max(budgets[row].k(len(at)), min_tokens), len(at)) for row, at in units]
            action = self.select(vlm, part, torch.tensor(k, device=vlm.device))
            if action.schedule is not None:
                raise ValueError(
                    f"{self.name} drops tokens inside the language model, which inputs alone cannot express; use "
                    "vlm.answer(image, question, pruner, budget), or vlm.respond(encoded, pruner.select(...)) in place "
                    "of prune() and generate()"
                )
            if action.features is not None:
                features = encoded.prompt.visual.clone()
            for unit, (row, at) in enumerate(units):
                mask[row, at] = action.mask[unit, : len(at)]
                if features is not None and action.features is not None:
                    features[row, at] = action.features[unit, : len(at)]
        return vlm.pruned(encoded.prompt, Action(mask, features), positions=positions, forward=forward)


class Untrained(BasePruner):
    """A method without a scorer: it refuses one, and remembers the seed."""

    checkpoint = ""

    def __init__(self, *, scorer: str | Path | None = None, seed: int = 0) -> None:
        if scorer is not None:
            raise ValueError(f"pruner {self.name!r} has no scorer; leave out {str(scorer)!r}")
        self.seed = seed


def units_of(state: State, per_image: bool) -> list[tuple[int, Tensor]]:
    """(row, its tokens (n,)) of everything that has a budget of its own; rows without images have none."""
    units = []
    for row, (mask, image) in enumerate(zip(state.visual_mask, state.image, strict=True)):
        own = torch.where(mask, image if per_image else torch.zeros_like(image), -1)
        units += [(row, (own == i).nonzero()[:, 0]) for i in range(int(own.max()) + 1 if mask.any() else 0)]
    return units


def split(encoded: Encoded, units: Sequence[tuple[int, Tensor]]) -> Encoded:
    """One row for every unit."""
    state, prompt = encoded.state, encoded.prompt
    rows = torch.tensor([row for row, _ in units], device=state.image.device)

    def of(values: Tensor, fill: float = 0) -> Tensor:
        return pad_right([values[row, at] for row, at in units], fill)

    part = State(
        visual=of(state.visual),
        visual_mask=of(state.visual_mask, False),
        places=of(state.places),
        image=of(state.image),
        question=state.question[rows],
        question_mask=state.question_mask[rows],
    )
    own = replace(
        prompt,
        input_ids=prompt.input_ids[rows],
        attention_mask=prompt.attention_mask[rows],
        position_ids=prompt.position_ids[..., rows, :],
        slots=of(prompt.slots, -1),
        visual=part.visual,
        extras={name: values[rows] for name, values in prompt.extras.items()},
        deepstack=tuple(of(layer) for layer in prompt.deepstack),
        is_video=None if prompt.is_video is None else of(prompt.is_video, False),
    )
    return replace(encoded, prompt=own, state=part)
