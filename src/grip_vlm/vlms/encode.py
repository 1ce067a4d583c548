"""What every family does alike: run the vision tower once, place its tokens, and prune. Families override hooks.

A family differs in how many of these it must say: which output its tower gives (`output_type`), where tokens stand
(`layout`), and which positions the language model counts (`positions`). docs/port-a-model.md says how to add one.
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
from grip_vlm.vlms.places import square_places

PIXELS = {"image": "pixel_values", "video": "pixel_values_videos"}
PER_TOKEN = ("token_type_ids", "mm_token_type_ids", "labels")


@dataclass(frozen=True)
class Encoded:
    """A batch after the vision tower: everything pruners, the reward and the model need."""

    prompt: Prompt
    state: State
    pixels: Tensor | None = None  # (images, 3, H, W), for methods that look at the image again
    hidden: tuple[Tensor, ...] | None = None  # tower's states per layer, (runs, 1 + n, C) each, where it has them
    patches: Tensor | None = None  # (T,) the patch that each visual token is, counted over all runs; -1 for newlines


@dataclass(frozen=True)
class Seen:
    """One modality after tower and projector."""

    features: Tensor  # (T, D) in the order of the placeholders
    deepstack: tuple[Tensor, ...]  # (T, D) each
    sizes: list[int]  # tokens of every entry of the tower's output, T in all
    output: Any


class Encoder:
    """A transformers VLM and how its visual tokens are cut out of a prompt and put back."""

    output_type: type[ListOutput] = ListOutput
    """TensorOutput where the tower gives one tensor"""
    video_as_image = False
    """whether frames of a video stand behind the image token, so that their features are passed as an image's"""
    bidirectional = False
    """whether tokens of an image see each other in both directions, which FlashAttention drops in transformers"""
    forward_offset = 0
    """what `forward` expects as position minus what `generate` expects"""
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
        """Which tokens stand for visual tokens, (B, L) bool."""
        return ids == getattr(self.model.config, f"{modality}_token_id", -1)

    def see(self, inputs: dict[str, Any], modality: str) -> Seen:
        """Run the tower and the projector."""
        run = getattr(self.model.base_model, f"get_{modality}_features")
        names = [name for name in inspect.signature(run).parameters if name != "kwargs"]
        output = run(
            **{n: inputs[n] for n in names if inputs.get(n) is not None}, **self.tower_options, return_dict=True
        )
        if isinstance(output.pooler_output, Tensor) != issubclass(self.output_for(modality), TensorOutput):
            raise ValueError(
                f"the tower of {type(self.model).__name__} gives a {type(output.pooler_output).__name__} where its "
                "family file says otherwise; docs/port-a-model.md tells how `output_type` is set"
            )
        entries = [entry.flatten(0, -2) for entry in output.pooler_output]
        layers = getattr(output, "deepstack_features", None) or ()
        if any(not isinstance(layer[0], Tensor) for layer in layers):
            raise ValueError(f"{type(self.model).__name__} lays its deepstack features out in a way unknown here")
        deepstack = tuple(torch.cat(list(layer)) for layer in layers)
        return Seen(torch.cat(entries), deepstack, [len(entry) for entry in entries], output)

    def layout(self, inputs: dict[str, Any], modality: str, seen: Seen) -> tuple[list[int], Tensor]:
        """Tokens of every image (or video) in the order of the placeholders, and their places (T, 2) in it."""
        return seen.sizes, torch.cat([square_places(size) for size in seen.sizes])

    def patches(self, inputs: dict[str, Any], seen: Seen) -> Tensor | None:
        """Which patch of the tower every token of the batch is, (T,), counted over all its runs, and -1 for newline
        tokens; None where tokens are more or less than one patch. Read with `hidden`."""
        return None

    def positions(self, inputs: dict[str, Any], attention: Tensor) -> Tensor:
        """What `generate` would count on the unpruned inputs, (B, L) or (3, B, L)."""
        return (attention.long().cumsum(1) - 1).clamp(min=0)

    def output_for(self, modality: str) -> type[ListOutput]:
        """The container that the model's `forward` reads."""
        return self.output_type

    # ---- encode ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, inputs: dict[str, Any]) -> Encoded:
        """Run the vision tower once and describe the batch as Prompt and State.

        Args:
            inputs: what the processor gave, padded on either side; with `answer_length` (B,), the last tokens of every
                row are its answer.

        Raises:
            ValueError: placeholders and features do not match, or there is no image.
        """
        samples, seen = self.samples(inputs)
        answer_length = inputs.get("answer_length", torch.zeros(len(samples), dtype=torch.long, device=self.device))
        hidden = seen.output.hidden_states if self.tower_options.get("output_hidden_states") else None
        encoded = self.batch(samples, answer_length, inputs.get("pixel_values"))
        return replace(encoded, hidden=hidden, patches=self.patches(inputs, seen))

    @torch.no_grad()
    def samples(self, inputs: dict[str, Any]) -> tuple[list[Sample], Seen]:
        """Every row of the batch by itself, without padding; and what was seen of its first modality."""
        ids = inputs["input_ids"]
        attention = inputs.get("attention_mask")
        attention = torch.ones_like(ids) if attention is None else attention
        present = [modality for modality, name in PIXELS.items() if inputs.get(name) is not None]
        if not present:
            raise ValueError(f"there is no image to prune: the processor gave none of {', '.join(PIXELS.values())}")
        marks = {modality: self.placeholders(ids, modality) for modality in present}
        is_visual = torch.stack(list(marks.values())).any(0)  # (B, L)
        where = {modality: mark[is_visual] for modality, mark in marks.items()}  # (T,) each
        seen = {modality: self._see(inputs, modality, int(mark.sum())) for modality, mark in marks.items()}
        layouts = {modality: self.layout(inputs, modality, seen[modality]) for modality in present}
        layers = range(len(seen[present[0]].deepstack))
        positions = inputs.get("position_ids")
        positions = self.positions(inputs, attention) if positions is None else positions
        extras = {n: inputs[n] for n in PER_TOKEN if isinstance(inputs.get(n), Tensor) and inputs[n].shape == ids.shape}
        flat = {
            "visual": merge(where, {modality: one.features for modality, one in seen.items()}),
            "places": merge(where, {modality: places for modality, (_, places) in layouts.items()}),
            "image": merge(where, numbered({modality: sizes for modality, (sizes, _) in layouts.items()})),
            "is_video": where["video"] if "video" in where and not self.video_as_image else is_visual.new_zeros(1),
        }
        deepstack = [merge(where, {modality: one.deepstack[i] for modality, one in seen.items()}) for i in layers]
        samples, first = [], 0
        for row, count in enumerate(is_visual.sum(1).tolist()):
            told, mine = attention[row].bool(), slice(first, first + count)
            first += count
            samples.append(
                Sample(
                    input_ids=ids[row][told],
                    position_ids=positions[..., row, :][..., told],
                    extras={name: values[row][told] for name, values in extras.items()},
                    slots=is_visual[row][told].nonzero()[:, 0],
                    visual=flat["visual"][mine],
                    deepstack=tuple(layer[mine] for layer in deepstack),
                    is_video=flat["is_video"].expand(len(flat["visual"]))[mine],
                    places=flat["places"][mine],
                    image=torch.unique(flat["image"][mine], return_inverse=True)[1],
                )
            )
        return samples, seen[present[0]]

    def _see(self, inputs: dict[str, Any], modality: str, expected: int) -> Seen:
        seen = self.see(inputs, modality)
        if len(seen.features) != expected:
            raise ValueError(f"{expected} {modality} placeholders in the prompts, but {len(seen.features)} features")
        return seen

    @torch.no_grad()
    def batch(
        self,
        samples: Sequence[Sample],
        answer_length: Tensor,
        pixels: Tensor | None = None,
    ) -> Encoded:
        """Samples as one batch, padded on the left."""
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
        """Embeddings of the text after the last visual token, (B, M, D) and (B, M): the question in every template."""
        length = prompt.input_ids.shape[1]
        column = torch.arange(length, device=prompt.input_ids.device)
        last = prompt.slots.amax(1) if prompt.slots.shape[1] else torch.full_like(answer_length, -1)
        asks = (column > last[:, None]) & (column < length - answer_length[:, None]) & prompt.attention_mask.bool()
        rows = [ids[mask] for ids, mask in zip(prompt.input_ids, asks, strict=True)]
        tokens, told = pad_right(rows), pad_right([torch.ones_like(row, dtype=torch.bool) for row in rows], False)
        return self.model.get_input_embeddings()(tokens) * told[..., None], told

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
        """Inputs for the unmodified model's `forward`, or with `forward=False` its `generate`; see
        `sequence.prune_sequence`. Only PaliGemma counts differently in the two. The dictionary serves one call."""
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
        """FlashAttention in transformers reads gaps between the plain positions of a single row as borders of packed
        sequences. That is harmless (one sequence) until a later chunk of a prefill meets one."""
        if self.bidirectional:
            raise ValueError(
                f"{type(self.model).__name__} lets the tokens of an image see each other in both directions, which "
                "FlashAttention in transformers does not, pruned or not; load it with attn_implementation='sdpa'"
            )
        if position_ids.ndim == 2 and len(position_ids) == 1 and bool((position_ids.diff(dim=1) > 1).any()):
            for output in outputs:
                output.forbid_chunks()


def merge(where: dict[str, Tensor], parts: dict[str, Tensor]) -> Tensor:
    """Values of each modality's own tokens, (T_m, ...), in the order of all placeholders, (T, ...)."""
    first, mark = next(iter(parts.values())), next(iter(where.values()))
    whole = first.new_zeros(len(mark), *first.shape[1:], device=mark.device)
    for modality, values in parts.items():
        whole[where[modality]] = values.to(whole)
    return whole


def numbered(sizes: dict[str, list[int]]) -> dict[str, Tensor]:
    """Tokens per image of each modality -> the number of the image each token belongs to, images before videos."""
    numbers, first = {}, 0
    for modality, counts in sizes.items():
        numbers[modality] = torch.arange(first, first + len(counts)).repeat_interleave(torch.tensor(counts))
        first += len(counts)
    return numbers
