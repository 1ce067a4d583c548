"""What all families share: run the vision tower once, locate its tokens, and prune. Families override hooks.

A family overrides only the hooks in which it differs. `output_type` is the container of the tower's output, `layout`
gives each token's image and place, and `positions` gives the positions that the language model uses.
docs/port-a-model.md shows how to add a family.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from accelerate.utils import align_module_device
from torch import Tensor

from grip_vlm.mdp import Action, State
from grip_vlm.sequence import Positions, Prompt, Sample, collate, pad_right, prune_sequence
from grip_vlm.vlms.checks import PIXELS, check_inputs
from grip_vlm.vlms.outputs import OLDEST, ListOutput, TensorOutput, check_flash
from grip_vlm.vlms.places import image_indices, interleave, square_places
from grip_vlm.vlms.question import Template, question_columns

PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "labels")


@dataclass(frozen=True)
class Encoded:
    """A batch after the vision tower: all that pruners, rewards and the language model need."""

    prompt: Prompt
    state: State
    pixels: Tensor | None = None  # (images, 3, H, W), for methods that run the tower on another image
    hidden: tuple[Tensor, ...] | None = None  # tower's hidden states, (runs, patches and CLS, C) per layer, if given
    patches: Tensor | None = None  # (T,) the patch of each visual token, counted over all runs; -1 for newline tokens
    question: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))  # (B, L) its tokens
    readers: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.bool))  # (B, L) see below
    """the question's tokens after the last visual token, the only ones whose attention reaches every visual token"""


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
    closing = 0
    """tokens that close an image and that the config does not name, at most; see `vlms/question.py`"""
    tail = 6
    """tokens that follow the last image where neither a word of the user nor a token that ends a turn does, at most"""

    def __init__(self, model: Any) -> None:
        if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
            import transformers

            raise ValueError(
                f"{type(model).__name__} does not take `mm_encoder_outputs` in transformers "
                f"{transformers.__version__}; grip_vlm needs a model that does, in transformers>={OLDEST}"
            )
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where inputs belong. An offloaded model's weights are nowhere, but its layers know where they run."""
        device = torch.device(self.model.device)
        return self._offload_device if device.type == "meta" else device

    @cached_property
    def _offload_device(self) -> torch.device:
        embedded: Tensor = self.model.get_input_embeddings()(torch.zeros(1, dtype=torch.long))
        return embedded.device

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
            ValueError: the inputs are not a processor's output with images, or their placeholders do not match.
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
        check_inputs(inputs, self.model, self.device)
        ids = inputs["input_ids"]
        attention_mask = inputs.get("attention_mask")
        attention_mask = torch.ones_like(ids) if attention_mask is None else attention_mask
        present = [modality for modality, name in PIXELS.items() if inputs.get(name) is not None]
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
        with align_module_device(self.model.base_model):  # weights of its own, such as newlines, may be offloaded
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
        question = self._question(prompt, answer_length)  # (B, L)
        rows = [ids[mask] for ids, mask in zip(prompt.input_ids, question, strict=True)]
        question_mask = pad_right([torch.ones_like(row, dtype=torch.bool) for row in rows], False)  # (B, M)
        state = State(
            visual=prompt.visual,
            visual_mask=prompt.slots >= 0,
            places=pad_right([sample.places for sample in samples]),
            image=pad_right([sample.image for sample in samples]),
            question=self.model.get_input_embeddings()(pad_right(rows)) * question_mask[..., None],
            question_mask=question_mask,
        )
        column = torch.arange(question.shape[1], device=question.device)
        last = prompt.slots.amax(1) if prompt.slots.shape[1] else torch.full_like(answer_length, -1)
        return Encoded(prompt, state, pixels, question=question, readers=question & (column > last[:, None]))

    @cached_property
    def template(self) -> Template:
        """What is known of the words around the user's. `FrozenVLM` adds what its processor tells."""
        return Template.of_model(self.model, self.closing, self.tail)

    def _question(self, prompt: Prompt, answer_length: Tensor) -> Tensor:
        """Which tokens of the prompts are the question, (B, L) bool; see `vlms/question.py`."""
        question = torch.zeros_like(prompt.attention_mask, dtype=torch.bool)
        length = question.shape[1]
        answers, padding = answer_length.tolist(), (prompt.attention_mask == 0).sum(1).tolist()
        for row, (first, last) in enumerate(zip(padding, answers, strict=True)):
            slots = prompt.slots[row]
            visual = (slots[slots >= 0] - first).tolist()
            ids = prompt.input_ids[row, first : length - last].tolist()
            question[row, [first + column for column in question_columns(ids, visual, self.template)]] = True
        return question

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
        outputs["image"].remember_ends(self.model.generation_config)
        position_ids = kept.inputs["position_ids"] + (self.forward_offset if forward else 0)
        if "flash" in (self.model.config.get_text_config()._attn_implementation or ""):
            check_flash(type(self.model).__name__, self.bidirectional, position_ids, outputs.values())
        return {**kept.inputs, "position_ids": position_ids, "mm_encoder_outputs": outputs}
