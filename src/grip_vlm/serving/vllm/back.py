"""The model's side: which tokens of each image are kept, and where they stand in the full prompt.

Nothing here may raise while requests run, because that would end the engine for everybody. What can be wrong with a
request is refused in `front.py`; what can be wrong with a server, in `config.py` and while weights load.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from grip_vlm import checkpoint, policy
from grip_vlm.mdp import State
from grip_vlm.scorer import Scorer
from grip_vlm.sequence import pad_right
from grip_vlm.serving.vllm.placement import Span, attach, detach, prompt_positions
from grip_vlm.serving.vllm.settings import Settings
from grip_vlm.vlms import fingerprint
from grip_vlm.vlms.places import grid_places

LARGEST = 1e6
"""of a feature that the scorer reads; squares of larger ones would overflow in its norms"""


class GripModel:
    """Before vLLM's model of a family, which adds `extent` and `offsets`."""

    config: Any
    language_model: Any
    scorer: Scorer | None

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)  # type: ignore[call-arg]
        self.settings = Settings.of(self.config)
        self.dim = int(vllm_config.model_config.hf_text_config.hidden_size)
        self.name = str(vllm_config.model_config.model)
        self.moves: tuple[Tensor, Tensor] | None = None
        """of this step: which tokens are visual (T,), and how far each is from its image's first place (v, 3)"""
        self.__dict__["scorer"] = None

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def extent(self, rows: int, columns: int) -> int:
        """By how much an image's grid makes positions grow."""
        raise NotImplementedError

    def offsets(self, indices: Tensor, columns: int) -> Tensor:
        """Time, row and column of tokens (k,) of a grid, counted from the image's first place: (k, 3)."""
        raise NotImplementedError

    # ---- weights -----------------------------------------------------------------------------------------------------

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The VLM's weights, and then the scorer, which refuses another VLM than its own."""
        loaded: set[str] = super().load_weights(weights)  # type: ignore[misc]
        if self.settings.scorer is not None:
            precision = torch.get_default_dtype()
            device = next(self.parameters()).device  # type: ignore[attr-defined]
            torch.set_default_dtype(torch.float32)  # vLLM has set the model's; a scorer computes in float32
            try:
                with torch.device("cpu"):
                    scorer = checkpoint.load(checkpoint.locate(self.settings.scorer), self)
            finally:
                torch.set_default_dtype(precision)
            # Not a submodule: vLLM would look for its weights in the VLM's checkpoint.
            self.__dict__["scorer"] = scorer.to(device)
        return loaded

    def fingerprint(self) -> str:
        """As `FrozenVLM.fingerprint`."""
        return fingerprint.of(self.config, self.dim, self._embeddings())

    def fits(self, other: str) -> bool:
        """As `FrozenVLM.fits`."""
        return fingerprint.fits(other, self.config, self.dim, self._embeddings())

    @torch.no_grad()
    def _embeddings(self) -> Tensor:
        """The first token embeddings on the CPU. Each rank of a tensor-parallel model has a part of them."""
        device = next(self.parameters()).device  # type: ignore[attr-defined]
        ids = torch.arange(min(fingerprint.ROWS, self.config.get_text_config().vocab_size), device=device)
        rows: Tensor = self.language_model.embed_input_ids(ids)
        return rows.cpu()

    # ---- which tokens ------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def embed_multimodal(self, **kwargs: Any) -> list[Tensor]:
        """Features of each image's kept tokens in raster order, with their places: (k, D' + 6) each.

        Images of several requests come together. D' is D, and more where early layers get features of their own.
        """
        features = super().embed_multimodal(**without_fields(kwargs))  # type: ignore[misc]
        if not len(features):
            return []
        grids = [[int(value) for value in grid] for grid in kwargs["grip_grid"]]
        indices = [torch.arange(len(part), device=part.device) for part in features]
        pruned = [i for i, (_, _, k) in enumerate(grids) if k < len(features[i])]
        if pruned and self.scorer is not None:
            questions = [kwargs["grip_question"][i] for i in pruned]
            masks = self.choose([features[i] for i in pruned], [grids[i] for i in pruned], questions)
            for i, mask in zip(pruned, masks, strict=True):
                indices[i] = mask[: len(features[i])].nonzero()[:, 0]
        return [
            attach(part[index], self.offsets(index, columns))
            for part, index, (_, columns, _) in zip(features, indices, grids, strict=True)
        ]

    def choose(self, features: Sequence[Tensor], grids: Sequence[Sequence[int]], questions: Sequence[Tensor]) -> Tensor:
        """Which tokens the scorer keeps of B images, (B, N) bool. It sees each image by itself.

        Args:
            features: (n, at least D) per image.
            grids: rows, columns and k per image.
            questions: token ids (M,) per image; -1 is no token.
        """
        assert self.scorer is not None
        device = features[0].device
        visual = pad_right([part[:, : self.dim].float() for part in features])  # (B, N, D)
        counts = torch.tensor([len(part) for part in features], device=device)
        ids = pad_right([question.to(device) for question in questions], -1)  # (B, M)
        is_token = ids >= 0
        state = State(
            visual=visual.nan_to_num(0.0, LARGEST, -LARGEST).clamp(-LARGEST, LARGEST),
            visual_mask=torch.arange(visual.shape[1], device=device) < counts[:, None],
            places=pad_right([grid_places(rows, columns) for rows, columns, _ in grids]).to(device),
            image=torch.zeros(visual.shape[:2], dtype=torch.long, device=device),
            question=self.language_model.embed_input_ids(ids.clamp(min=0)) * is_token[..., None],
            question_mask=is_token,
        )
        return policy.choose(self.scorer, state, torch.tensor([k for _, _, k in grids], device=device))

    # ---- where they stand --------------------------------------------------------------------------------------------

    def get_mrope_input_positions(self, input_tokens: list[int], mm_features: Sequence[Any]) -> tuple[Tensor, int]:
        """Positions of a request in its full prompt, (3, L), and the lead of its answer's; see `placement.py`."""
        spans = []
        for feature in mm_features:
            rows, columns, _ = feature.data["grip_grid"].data.tolist()
            place = feature.mm_position
            spans.append(Span(place.offset, place.length, self.extent(rows, columns)))
        return prompt_positions(len(input_tokens), spans)

    def embed_input_ids(
        self, input_ids: Tensor, multimodal_embeddings: Any = None, *, is_multimodal: Tensor | None = None
    ) -> Tensor:
        """vLLM calls it before `forward` in each step, with the step's visual tokens and where they stand in it."""
        self.moves = None
        if multimodal_embeddings is not None and len(multimodal_embeddings) and is_multimodal is not None:
            features, offsets = zip(*(detach(part) for part in multimodal_embeddings), strict=True)
            self.moves = is_multimodal, torch.cat(offsets)
            multimodal_embeddings = list(features)
        embedded: Tensor = super().embed_input_ids(  # type: ignore[misc]
            input_ids, multimodal_embeddings, is_multimodal=is_multimodal
        )
        return embedded

    def forward(self, input_ids: Any, positions: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Give the visual tokens of this step their places, and run the language model."""
        if self.moves is not None:
            is_visual, offsets = self.moves
            self.moves = None
            # In place: CUDA graphs read the runner's own buffer, which it fills anew at each step.
            positions[:, is_visual.nonzero()[:, 0].to(positions.device)] += offsets.T.to(positions)
        return super().forward(input_ids, self.language_positions(positions), *args, **kwargs)  # type: ignore[misc]

    def language_positions(self, positions: Tensor) -> Tensor:
        """The positions (3, T) in the shape that the language model reads."""
        return positions


def without_fields(keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords that are for the family's own model."""
    return {name: value for name, value in keywords.items() if name not in ("grip_grid", "grip_question")}
