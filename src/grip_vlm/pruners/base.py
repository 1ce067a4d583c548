"""The base class of all pruners. `prune` cuts the inputs of any transformers VLM down to a budget in one line."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from grip_vlm import literals, vlms
from grip_vlm.allot import allot
from grip_vlm.budget import COUNTS, Budget
from grip_vlm.goals import Within
from grip_vlm.mdp import Action, State
from grip_vlm.pruners.clock import CostCurve, curve_of
from grip_vlm.sequence import Positions, pad_right
from grip_vlm.vlms import Encoded, FrozenVLM

AnyBudget = int | float | str | Budget


class BasePruner(ABC):
    """Each file of `methods/` defines a class `Pruner` that inherits from this one and takes the keywords of `load`."""

    checkpoint: str
    """the scorer's folder or name, and a digest of its weights; empty for untrained methods"""

    _clock: tuple[Any, CostCurve, int | None] | None = None
    """the model it was measured for, what its answers take, and how long they are"""

    @property
    def name(self) -> str:
        """The name of the method's file."""
        return type(self).__module__.rpartition(".")[2]

    @abstractmethod
    def select(self, vlm: FrozenVLM, encoded: Encoded, k: Tensor) -> Action:
        """Keep k (B,) visual tokens of each sample, in the mean over the language model's layers.

        `full` and `blind` ignore k. `downsample` keeps at most k.

        Raises:
            ValueError: the method does not support the VLM, the batch or the budget.
        """

    def allot(self, vlm: FrozenVLM, encoded: Encoded, budgets: Sequence[Budget], new_tokens: int | None) -> Tensor:
        """Visual tokens for each question, (B,), of budgets of which one is a goal at least; see `allot.allot`.

        Raises:
            ValueError: this method cannot meet a goal.
        """
        k = [self.meet(budget, vlm, encoded, row, new_tokens) for row, budget in enumerate(budgets)]
        return encoded.state.counts.new_tensor(k)

    def meet(self, budget: Budget, vlm: FrozenVLM, encoded: Encoded, row: int, new_tokens: int | None) -> int:
        """Visual tokens for one question of a batch. Raises what `allot` raises."""
        if budget.goal is None:
            return budget.k(int(encoded.state.counts[row]))
        if isinstance(budget.goal, Within):
            return self.in_time(budget.goal, vlm, encoded, row, new_tokens)
        raise ValueError(
            f"the budget {budget} needs a scorer that knows how many tokens are enough, and {self.name} has none; give "
            f"{COUNTS}"
        )

    def in_time(self, goal: Within, vlm: FrozenVLM, encoded: Encoded, row: int, new_tokens: int | None) -> int:
        """The most tokens whose answer, given alone, fits a time. Raises ValueError if not even one fits."""
        clock = self._clock
        if clock is None or clock[0] is not vlm.model:
            clock = self._clock = vlm.model, curve_of(vlm, self), self.answer_tokens()
        _, curve, usual = clock
        lengths = [length for length in (new_tokens, usual) if length is not None]
        if not lengths:
            raise ValueError(
                f"the budget {goal} depends on how long answers are; give new_tokens, the most they may have"
            )
        n = int(encoded.state.counts[row])
        text = int(encoded.prompt.attention_mask[row].sum()) - n
        k = curve.most(float(goal.seconds), n, text, min(lengths))
        if k == 0:
            least = 1000 * curve.seconds(n, text + 1, min(lengths))
            raise ValueError(
                f"the budget {goal} is below what one visual token takes here: {least:.1f} ms for an answer of at most "
                f"{min(lengths)} tokens"
            )
        return k

    def answer_tokens(self) -> int | None:
        """Tokens that few answers exceed, None if that is not known."""
        return None

    def given(self, vlm: FrozenVLM, budget: Budget, counts: Sequence[tuple[int, int]]) -> None:
        """Note what questions before these were given, (tokens, kept) each; only `mean:5%` depends on it."""
        return  # most methods have nothing to note

    def checkpoint_for(self, budget: Budget) -> str:
        """What decides the answers at a budget besides the VLM, as rows carry it: `checkpoint`, or the calibration."""
        return self.checkpoint

    def prune(
        self,
        model: Any,
        inputs: Any,
        budget: AnyBudget | Sequence[AnyBudget],
        *,
        per_image: bool = False,
        min_tokens: int = 1,
        positions: Positions = "original",
        new_tokens: int | None = None,
        forward: bool = False,
    ) -> dict[str, Any]:
        """Inputs for the unmodified `model.generate(**inputs)`, with only the budget's visual tokens left.

        Args:
            model: a transformers VLM or one from `vlms.load`. It is not changed. Where questions stand before images,
                `vlms.wrap(model, processor)` tells them from the words of the chat template (`vlms/question.py`).
            inputs: the processor's output for any batch, padded on either side. Rows may be text alone.
            budget: one for all rows, or one for each row. It covers all images of a row together; a video is one image.
                A goal such as `auto` gives each row a count of its own.
            per_image: apply the budget to each image separately.
            min_tokens: the least number of tokens to keep, where there are so many.
            positions: "original" keeps each token's position in the full prompt; "compact" closes the gaps.
            new_tokens: the most tokens that an answer may have. A time such as `20ms` depends on it; the answers of the
                scorer's calibration stand in for it.
            forward: return inputs for `model(**inputs)`. Only PaliGemma's differ: `forward` counts positions from 1.

        Returns:
            Inputs for one call, padded on the left. `generate` returns the pruned prompt and what follows it.

        Raises:
            ValueError: the budget is impossible, or the model or batch cannot be pruned. Or the method drops tokens
                inside the language model, which inputs cannot express; `vlm.respond` runs such a method.
        """
        vlm = vlms.wrap(model)
        literals.check("positions", positions, Positions)
        if min_tokens < 1:
            raise ValueError(f"min_tokens must be at least 1, got {min_tokens}")
        parsed = parse_budgets(budget)  # before the vision tower runs
        encoded = vlm.encode(dict(inputs) if isinstance(inputs, Mapping) else inputs)
        rows = len(encoded.prompt.input_ids)
        budgets = parsed if isinstance(parsed, list) else [parsed] * rows
        if len(budgets) != rows:
            raise ValueError(f"{len(budgets)} budgets for {rows} rows; give one for all rows, or one for each")
        units = units_of(encoded.state, per_image)
        whole = Action(torch.zeros_like(encoded.state.visual_mask))
        if units:
            part = encoded if len(units) == rows and not per_image else split(encoded, units)
            k = allot([budgets[row] for row, _ in units], self, vlm, part, new_tokens).clamp(min=min_tokens)
            action = self.select(vlm, part, k.minimum(part.state.counts).to(vlm.device))
            if action.schedule is not None:
                raise ValueError(
                    f"{self.name} drops tokens inside the language model, which inputs alone cannot express; use "
                    "vlm.answer(image, question, pruner, budget), or vlm.respond(encoded, pruner.select(...)) in place "
                    "of prune() and generate()"
                )
            whole = joined(action, encoded, units)
        return vlm.pruned(encoded.prompt, whole, positions=positions, forward=forward)


class Untrained(BasePruner):
    """A method without a scorer. It refuses one, and stores the seed."""

    checkpoint = ""

    def __init__(self, *, scorer: str | Path | None = None, seed: int = 0) -> None:
        if scorer is not None:
            raise ValueError(f"pruner {self.name!r} has no scorer; leave out {str(scorer)!r}")
        self.seed = seed


def parse_budgets(budget: AnyBudget | Sequence[AnyBudget]) -> Budget | list[Budget]:
    """The budget of all rows, or a list with one for each row. Raises ValueError if one of them is impossible."""
    if isinstance(budget, Sequence) and not isinstance(budget, str):
        return [Budget.parse(each) for each in budget]
    return Budget.parse(budget)


def units_of(state: State, per_image: bool) -> list[tuple[int, Tensor]]:
    """(row, its tokens (n,)) of each unit that has its own budget: a row, or an image. Text-only rows have none."""
    units = []
    for row, (mask, image) in enumerate(zip(state.visual_mask, state.image, strict=True)):
        unit = torch.where(mask, image if per_image else torch.zeros_like(image), -1)  # (N,) of each token
        units += [(row, (unit == i).nonzero()[:, 0]) for i in range(int(unit.max()) + 1 if mask.any() else 0)]
    return units


def joined(action: Action, encoded: Encoded, units: Sequence[tuple[int, Tensor]]) -> Action:
    """The action on a batch from the one on its units, each of which is a row there."""
    mask = torch.zeros_like(encoded.state.visual_mask)
    features = None if action.features is None else encoded.prompt.visual.clone()
    for unit, (row, tokens) in enumerate(units):
        mask[row, tokens] = action.mask[unit, : len(tokens)]
        if features is not None and action.features is not None:
            features[row, tokens] = action.features[unit, : len(tokens)]
    return Action(mask, features)


def split(encoded: Encoded, units: Sequence[tuple[int, Tensor]]) -> Encoded:
    """The batch with one row for each unit."""
    state, prompt = encoded.state, encoded.prompt
    rows = torch.tensor([row for row, _ in units], device=state.image.device)

    def of(values: Tensor, fill: float = 0) -> Tensor:
        return pad_right([values[row, tokens] for row, tokens in units], fill)

    unit_state = State(
        visual=of(state.visual),
        visual_mask=of(state.visual_mask, False),
        places=of(state.places),
        image=of(state.image),
        question=state.question[rows],
        question_mask=state.question_mask[rows],
    )
    unit_prompt = replace(
        prompt,
        input_ids=prompt.input_ids[rows],
        attention_mask=prompt.attention_mask[rows],
        position_ids=prompt.position_ids[..., rows, :],
        slots=of(prompt.slots, -1),
        visual=unit_state.visual,
        extras={name: values[rows] for name, values in prompt.extras.items()},
        deepstack=tuple(of(layer) for layer in prompt.deepstack),
        is_video=None if prompt.is_video is None else of(prompt.is_video, False),
    )
    question, readers = encoded.question[rows], encoded.readers[rows]
    return replace(encoded, prompt=unit_prompt, state=unit_state, question=question, readers=readers)
