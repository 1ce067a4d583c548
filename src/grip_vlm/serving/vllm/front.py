"""The front end: a request's budget and question become the number of placeholders in its prompt.

A count is a function of the image's size and the budget alone, so vLLM can plan before the vision tower runs. Errors
are raised here, where each is the answer to one request; in the model they would end the engine for everybody.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from vllm.multimodal.inputs import MultiModalFieldConfig

from grip_vlm.budget import Budget
from grip_vlm.serving.vllm.question import Reader
from grip_vlm.serving.vllm.request import Request
from grip_vlm.serving.vllm.settings import Settings

OURS = "grip"
"""keyword under which a checked request travels inside vLLM; it enters the hash of each image"""


class GripInfo:
    """Before vLLM's `ProcessingInfo` of a family."""

    def get_hf_processor(self, **kwargs: object) -> Any:
        """The checkpoint's processor, with the image processor that the package itself uses.

        That one is Pillow's: torchvision resizes a little differently. Processors of videos have no such choice.
        """
        processor = copy(super().get_hf_processor(**without_ours(kwargs)))  # type: ignore[misc]
        processor.image_processor = self.image_processor
        return processor

    @cached_property
    def image_processor(self) -> Any:
        """Pillow's."""
        from transformers import AutoImageProcessor

        model: Any = self.ctx.model_config  # type: ignore[attr-defined]
        trust = model.trust_remote_code
        return AutoImageProcessor.from_pretrained(
            model.model, revision=model.revision, trust_remote_code=trust, backend="pil"
        )

    @cached_property
    def settings(self) -> Settings:
        """Of the server."""
        return Settings.of(self.get_hf_config())  # type: ignore[attr-defined]

    @cached_property
    def reader(self) -> Reader:
        """Reads questions."""
        context: Any = self.ctx  # type: ignore[attr-defined]
        generation = context.model_config.try_get_generation_config()
        return Reader(self.get_hf_config(), generation, self.get_hf_processor())  # type: ignore[attr-defined]


class GripProcessor:
    """Before vLLM's `MultiModalProcessor` of a family, which adds `grids`."""

    info: Any

    def grids(self, mm_items: Any, hf_inputs: Any) -> list[tuple[int, int]]:
        """Rows and columns of the visual tokens of each image, before pruning."""
        raise NotImplementedError

    def get_dummy_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """Memory is measured with all tokens, whatever the server's budget is."""
        dummy = super().get_dummy_inputs(*args, **kwargs)  # type: ignore[misc]
        return replace(dummy, hf_processor_mm_kwargs={"budget": "100%"})

    def apply(self, inputs: Any, timing_ctx: Any) -> Any:
        """Check the request. Its budget and question become keywords of the processor.

        vLLM hashes these with each image, so its caches keep apart what differs. A request that keeps all says nothing:
        its hash is that of the image alone, whatever it asks.

        Raises:
            ValueError: see `Request.parse`.
        """
        settings: Settings = self.info.settings
        request = Request.parse(inputs.hf_processor_mm_kwargs, settings.budget, settings.scorer is not None)
        keywords: dict[str, object] = {}
        if request.budget is not None:
            reader: Reader = self.info.reader
            text = request.question
            question = reader.of_prompt(inputs.prompt) if text is None else reader.of_text(text)
            keywords[OURS] = {"budget": str(request.budget), "question": question}
        return super().apply(replace(inputs, hf_processor_mm_kwargs=keywords), timing_ctx)  # type: ignore[misc]

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, Any]) -> Any:
        """Add what the model must know of each image.

        Every image has both fields, pruned or not, because vLLM puts only images with equal fields into one batch.
        `mm_items` are those that the cache lacks, perhaps none.
        """
        out = super()._apply_hf_processor_main(mm_items, without_ours(hf_kwargs))  # type: ignore[misc]
        grids = self.grids(mm_items, out)
        if grids:
            out["grip_grid"] = grid_field(grids, hf_kwargs.get(OURS))
            question = (hf_kwargs.get(OURS) or {}).get("question") or [-1]  # -1: no question
            out["grip_question"] = torch.tensor([question] * len(grids))  # (images, M)
        return out

    def _get_mm_fields_config(self, hf_inputs: Any, hf_processor_mm_kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
        return {
            **super()._get_mm_fields_config(hf_inputs, without_ours(hf_processor_mm_kwargs)),  # type: ignore[misc]
            "grip_grid": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
            "grip_question": MultiModalFieldConfig.batched("image", keep_on_cpu=True),
        }

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, Any], out_mm_kwargs: Any
    ) -> Sequence[Any]:
        updates = super()._get_prompt_updates(  # type: ignore[misc]
            mm_items, without_ours(hf_processor_mm_kwargs), out_mm_kwargs
        )
        ours = hf_processor_mm_kwargs.get(OURS)

        def shorter(full: Callable[[int], list[int]]) -> Callable[[int], list[int]]:
            return lambda item: (ids := full(item))[: kept(len(ids), ours)]

        return [replace(update, replacement=shorter(update.replacement)) for update in updates]


def without_ours(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that are for the family's own processor."""
    return {name: value for name, value in keywords.items() if name != OURS}


def kept(n: int, ours: Mapping[str, Any] | None) -> int:
    """How many of n tokens a request keeps. The placeholders and the model's features follow this one count."""
    return n if ours is None else Budget.parse(ours["budget"]).k(n)


def grid_field(grids: Sequence[tuple[int, int]], ours: Mapping[str, Any] | None) -> Tensor:
    """Rows and columns of each image, and how many of its tokens are kept, (images, 3)."""
    return torch.tensor([[rows, columns, kept(rows * columns, ours)] for rows, columns in grids])
