"""What all families share: run the vision tower once, locate its tokens, and prune. Families override hooks.

A family overrides only the hooks in which it differs. `output_type` is the container of the tower's output, `layout`
gives each token's image and place, and `positions` gives the positions that the language model uses.
docs/port-a-model.md shows how to add a family.
"""

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from grip_vlm.mdp import Action, State
from grip_vlm.sequence import Positions, Prompt, Sample, collate, pad_right, prune_sequence
from grip_vlm.vlms.outputs import ListOutput, TensorOutput
from grip_vlm.vlms.places import image_indices, interleave, square_places

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "labels")


@dataclass(frozen=True)
class Encoded:
    """A batch after the vision tower: all that pruners, rewards and the language model need."""

    prompt: Prompt
    state: State
    pixels: Tensor | None = None  # (images, 3, H, W), for methods that run the tower on another image
    hidden: tuple[Tensor, ...] | None = None  # tower's hidden states, (runs, patches and CLS, C) per layer, if given
    patches: Tensor | None = None  # (T,) the patch of each visual token, counted over all runs; -1 for newline tokens


@dataclass(frozen=True)
class TowerOutput:
    """One modality of a batch after tower and projector."""

    features: Tensor  # (T, D) in the order of the placeholders
    deepstack: tuple[Tensor, ...]  # (T, D) each
    sizes: list[int]  # tokens of each entry of the tower's output; they sum to T
    raw: Any  # what the model returned


class Encoder:
    """A transformers VLM, with the means to encode a batch and to remove visual tokens from it."""

    output_type: type[ListOutput] = ListOutput
    """TensorOutput for a family whose tower gives one tensor"""
    video_as_image = False
    """whether the image token also stands for frames of a video; their features are then passed as those of images"""
    bidirectional = False
    """whether tokens of an image attend to each other in both directions; FlashAttention does not support it"""
    forward_offset = 0
    """the positions that `forward` expects minus those that `generate` expects"""
    tower_options: ClassVar[dict[str, Any]] = {}
    """keywords for the tower"""

    def __init__(self, model: Any) -> None:
        if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
            import transformers

            raise ValueError(
                f"{type(model).__name__} does not take `mm_encoder_outputs` in transformers "
                f"{transformers.__version__}; grip_vlm needs a model that does, in transformers>=5.21"
            )
        self.model = model

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dim(self) -> int:
        """Width D of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    # ---- hooks -------------------------------------------------------------------------------------------------------

    def placeholders(self, ids: Tensor, modality: str) -> Tensor:
        """Which tokens of ids (B, L) are placeholders of visual tokens, (B, L) bool."""
        return ids == getattr(self.model.config, f"{modality}_token_id", -1)

    def run_tower(self, inputs: dict[str, Any], modality: str) -> TowerOutput:
        """Run the tower and the projector.

        Raises:
            ValueError: the tower's output is not of `output_type`, or its deepstack features have an unknown form.
        """
        run = getattr(self.model.base_model, f"get_{modality}_features")
        names = [name for name in inspect.signature(run).parameters if name != "kwargs"]
        raw = run(**{n: inputs[n] for n in names if inputs.get(n) is not None}, **self.tower_options, return_dict=True)
        if isinstance(raw.pooler_output, Tensor) != issubclass(self.output_for(modality), TensorOutput):
            raise ValueError(
                f"the tower of {type(self.model).__name__} returns a {type(raw.pooler_output).__name__}, which "
                "contradicts `output_type` in its family's file; docs/port-a-model.md explains how to set it"
            )
        entries = [entry.flatten(0, -2) for entry in raw.pooler_output]
        layers = getattr(raw, "deepstack_features", None) or ()
        if any(not isinstance(layer[0], Tensor) for layer in layers):
            raise ValueError(f"{type(self.model).__name__} returns deepstack features in a form that is unknown here")
        deepstack = tuple(torch.cat(list(layer)) for layer in layers)
        return TowerOutput(torch.cat(entries), deepstack, [len(entry) for entry in entries], raw)

    def layout(self, inputs: dict[str, Any], modality: str, output: TowerOutput) -> tuple[list[int], Tensor]:
        """Token counts of the images (or videos) in the order of the placeholders, and all tokens' places (T, 2)."""
        return output.sizes, torch.cat([square_places(size) for size in output.sizes])

    def patches(self, inputs: dict[str, Any], output: TowerOutput) -> Tensor | None:
        """The tower's patch that each token of the batch is, (T,), counted over all runs; -1 for newline tokens.

        None if a token is not exactly one patch. The indices refer to `Encoded.hidden`.
        """
        return None

    def positions(self, inputs: dict[str, Any], attention_mask: Tensor) -> Tensor:
        """The positions that `generate` would give the unpruned inputs, (B, L) or (3, B, L)."""
        return (attention_mask.long().cumsum(1) - 1).clamp(min=0)

    def output_for(self, modality: str) -> type[ListOutput]:
        """The container that the model's `forward` reads for a modality."""
        return self.output_type

    # ---- encode ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, inputs: dict[str, Any]) -> Encoded:
        """Run the vision tower once and describe the batch as Prompt and State.

        Args:
            inputs: the processor's output, padded on either side. With `answer_length` (B,), the last tokens of each
                row are its answer.

        Raises:
            ValueError: placeholders and features do not match, or there is no image.
        """
        samples, output = self.samples(inputs)
        answer_length = inputs.get("answer_length", torch.zeros(len(samples), dtype=torch.long, device=self.device))
        hidden = output.raw.hidden_states if self.tower_options.get("output_hidden_states") else None
        encoded = self.batch(samples, answer_length, inputs.get("pixel_values"))
        return replace(encoded, hidden=hidden, patches=self.patches(inputs, output))

    @torch.no_grad()
    def samples(self, inputs: dict[str, Any]) -> tuple[list[Sample], TowerOutput]:
        """Each row of the batch without padding, and the tower's output for the first modality in the batch.

        Raises:
            ValueError: see `encode`.
        """
        ids = inputs["input_ids"]
        attention_mask = inputs.get("attention_mask")
        attention_mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        present = [modality for modality, name in PIXELS.items() if inputs.get(name) is not None]
        if not present:
            raise ValueError(f"there is no image to prune: the processor gave none of {', '.join(PIXELS.values())}")
        masks = {modality: self.placeholders(ids, modality) for modality in present}  # (B, L) each
        is_visual = torch.stack(list(masks.values())).any(0)  # (B, L)
        where = {modality: mask[is_visual] for modality, mask in masks.items()}  # (T,) each
        outputs = {modality: self._run_tower(inputs, modality, int(mask.sum())) for modality, mask in masks.items()}
        layouts = {modality: self.layout(inputs, modality, outputs[modality]) for modality in present}
        layers = range(len(outputs[present[0]].deepstack))
        positions = inputs.get("position_ids")
        positions = self.positions(inputs, attention_mask) if positions is None else positions
        extras = {n: inputs[n] for n in PER_TOKEN if isinstance(inputs.get(n), Tensor) and inputs[n].shape == ids.shape}
        flat = {
            "visual": interleave(where, {modality: output.features for modality, output in outputs.items()}),
            "places": interleave(where, {modality: places for modality, (_, places) in layouts.items()}),
            "image": interleave(where, image_indices({modality: sizes for modality, (sizes, _) in layouts.items()})),
            "is_video": where["video"] if "video" in where and not self.video_as_image else is_visual.new_zeros(1),
        }
        deepstack = [
            interleave(where, {modality: output.deepstack[i] for modality, output in outputs.items()}) for i in layers
        ]
        samples, first = [], 0
        for row, count in enumerate(is_visual.sum(1).tolist()):
            valid, tokens = attention_mask[row].bool(), slice(first, first + count)
            first += count
            samples.append(
                Sample(
                    input_ids=ids[row][valid],
                    position_ids=positions[..., row, :][..., valid],
                    extras={name: values[row][valid] for name, values in extras.items()},
                    slots=is_visual[row][valid].nonzero()[:, 0],
                    visual=flat["visual"][tokens],
                    deepstack=tuple(layer[tokens] for layer in deepstack),
                    is_video=flat["is_video"].expand(len(flat["visual"]))[tokens],
                    places=flat["places"][tokens],
                    image=torch.unique(flat["image"][tokens], return_inverse=True)[1],
                )
            )
        return samples, outputs[present[0]]

    def _run_tower(self, inputs: dict[str, Any], modality: str, placeholders: int) -> TowerOutput:
        """As `run_tower`, but refuses an output that does not fit the number of placeholders."""
        output = self.run_tower(inputs, modality)
        features = len(output.features)
        if features != placeholders:
            raise ValueError(f"{placeholders} {modality} placeholders in the prompts, but {features} features")
        return output

    @torch.no_grad()
    def batch(
        self,
        samples: Sequence[Sample],
        answer_length: Tensor,
        pixels: Tensor | None = None,
    ) -> Encoded:
        """Samples as one batch, padded on the left; the last answer_length (B,) tokens of each are its answer."""
        prompt = collate(samples, self._pad_token_id())
        question, question_mask = self._question(prompt, answer_length)
        state = State(
            visual=prompt.visual,
            visual_mask=prompt.slots >= 0,
            places=pad_right([sample.places for sample in samples]),
            image=pad_right([sample.image for sample in samples]),
            question=question,
            question_mask=question_mask,
        )
        return Encoded(prompt, state, pixels)

    def _question(self, prompt: Prompt, answer_length: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of the text after the last visual token, (B, M, D), and its mask (B, M).

        In every family's template, this text is the question.
        """
        length = prompt.input_ids.shape[1]
        column = torch.arange(length, device=prompt.input_ids.device)
        last = prompt.slots.amax(1) if prompt.slots.shape[1] else torch.full_like(answer_length, -1)
        before_answer = column < length - answer_length[:, None]
        is_question = (column > last[:, None]) & before_answer & prompt.attention_mask.bool()  # (B, L)
        rows = [ids[mask] for ids, mask in zip(prompt.input_ids, is_question, strict=True)]
        mask = pad_right([torch.ones_like(row, dtype=torch.bool) for row in rows], False)  # (B, M)
        return self.model.get_input_embeddings()(pad_right(rows)) * mask[..., None], mask

    def _pad_token_id(self) -> int:
        for pad in (self.model.generation_config.pad_token_id, self.model.config.get_text_config().pad_token_id):
            if pad is not None:
                return int(pad)
        return 0

    # ---- prune -------------------------------------------------------------------------------------------------------

    def pruned(
        self,
        prompt: Prompt,
        action: Action,
        rows: Tensor | None = None,
        positions: Positions = "original",
        forward: bool = True,
    ) -> dict[str, Any]:
        """Inputs for the unmodified model, with the tokens outside the action removed. They serve one call.

        Args:
            prompt, action, rows, positions: see `sequence.prune_sequence`.
            forward: True for the model's `forward`, False for its `generate`. Only PaliGemma's positions differ.

        Raises:
            ValueError: the model's attention implementation cannot run these inputs exactly.
        """
        kept = prune_sequence(prompt, action, rows, positions)
        is_video = torch.zeros_like(kept.mask) if prompt.is_video is None else prompt.is_video[kept.rows]
        outputs = {}
        for modality, mask in (("image", kept.mask & ~is_video), ("video", kept.mask & is_video)):
            if modality == "image" or prompt.is_video is not None:
                counts = mask.sum(1).tolist()
                deepstack = [list(torch.split(layer[kept.rows][mask], counts)) for layer in prompt.deepstack]
                pooled = list(torch.split(kept.visual[mask], counts))
                outputs[modality] = self.output_for(modality)(
                    pooler_output=pooled, deepstack_features=deepstack or None
                )
        position_ids = kept.inputs["position_ids"]
        if "flash" in (self.model.config.get_text_config()._attn_implementation or ""):
            self._check_flash(position_ids, outputs.values())
        offset = self.forward_offset if forward else 0
        return {**kept.inputs, "position_ids": position_ids + offset, "mm_encoder_outputs": outputs}

    def _check_flash(self, position_ids: Tensor, outputs: Iterable[ListOutput]) -> None:
        """Refuse what FlashAttention in transformers would compute wrongly.

        It takes gaps between the plain positions of a single row for borders of packed sequences. This is harmless in
        a prefill in one piece, which still counts as one sequence. It is wrong in the later chunks of a prefill.
        """
        if self.bidirectional:
            raise ValueError(
                f"{type(self.model).__name__} lets the tokens of an image attend to each other in both directions, but "
                "FlashAttention in transformers does not, pruned or not; load it with attn_implementation='sdpa'"
            )
        if position_ids.ndim == 2 and len(position_ids) == 1 and bool((position_ids.diff(dim=1) > 1).any()):
            for output in outputs:
                output.forbid_chunks()
