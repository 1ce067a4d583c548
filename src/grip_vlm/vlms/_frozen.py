"""The contract of a frozen VLM: encode images once, prune, and run the unmodified model on what is kept."""

import hashlib
import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from PIL import Image
from torch import Tensor

from grip_vlm.budget import Budget
from grip_vlm.mdp import Action, State
from grip_vlm.sequence import Prompt, prune_sequence, slots_of

if TYPE_CHECKING:
    from grip_vlm.pruners import Pruner


@dataclass(frozen=True)
class Encoded:
    """A batch after the vision tower: everything pruners, the reward and the model need."""

    prompt: Prompt
    state: State
    pixels: Tensor | None  # (images, 3, H, W), for methods that look at the image again
    hidden: tuple[Tensor, ...] | None  # vision tower states per layer, each (images, 1 + n, d), where it has them


@dataclass(frozen=True)
class Answer:
    """What the VLM said, and from how many visual tokens."""

    text: str
    tokens: int
    """visual tokens of the image"""
    kept: int
    kept_indices: list[int]
    seconds: float
    """vision tower, pruner and language model together"""


class FrozenVLM:
    """A Hugging Face VLM whose weights never move. Families subclass this and define the few things that differ."""

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        if "mm_encoder_outputs" not in inspect.signature(model.forward).parameters:
            raise ValueError(
                f"{type(model).__name__} does not take `mm_encoder_outputs`; grip_vlm needs transformers>=5.21"
            )
        self.model = model.eval().requires_grad_(False)
        self.processor = processor
        self.name = name

    @classmethod
    def from_pretrained(cls, source: str, *, name: str, dtype: torch.dtype | str, device: str | torch.device) -> Self:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        model = AutoModelForImageTextToText.from_pretrained(source, dtype=dtype)
        return cls(model.to(device), AutoProcessor.from_pretrained(source, backend="pil"), name)

    @property
    def device(self) -> torch.device:
        return torch.device(self.model.device)

    @property
    def dim(self) -> int:
        """Width D of the language model."""
        return int(self.model.config.get_text_config().hidden_size)

    def fingerprint(self) -> str:
        """Tells checkpoints apart cheaply: type, width, image token and a hash of some token embeddings.

        The embeddings are rounded to bfloat16 first, so that loading in another precision is the same checkpoint.
        """
        rows = self.model.get_input_embeddings().weight[:8].to(torch.bfloat16).float().cpu().numpy().tobytes()
        config = self.model.config
        return f"{config.model_type}-{self.dim}-{config.image_token_id}-{hashlib.sha256(rows).hexdigest()[:16]}"

    # ---- what a family may override ----------------------------------------------------------------------------------

    def encode_pixels(self, inputs: dict[str, Any]) -> tuple[list[Tensor], Any]:
        """Features of every image, one (n, D) tensor each, and the model's own output object."""
        raise NotImplementedError

    def places(self, counts: Sequence[int]) -> Tensor:
        """Row and column in [0, 1] of the tokens of one image after another, (sum of counts, 2)."""
        raise NotImplementedError

    # ---- prompts -----------------------------------------------------------------------------------------------------

    def inputs(
        self, images: Sequence[Image.Image], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Processor outputs of one image and one question per sample, through the model's chat template.

        With `answers`, the answer and the end-of-sequence token follow the prompt; `answer_length` (B,) counts both.
        """
        tokenizer = self.processor.tokenizer
        texts = []
        for question in questions:
            content = [{"type": "image"}, {"type": "text", "text": question}]
            messages = [{"role": "user", "content": content}]
            texts.append(self.processor.apply_chat_template(messages, add_generation_prompt=True))
        lengths = []
        for i, answer in enumerate(answers or ()):
            texts[i] += answer + tokenizer.eos_token
            lengths.append(len(tokenizer(answer, add_special_tokens=False).input_ids) + 1)
        rgb = [image.convert("RGB") for image in images]
        out = dict(self.processor(images=rgb, text=texts, return_tensors="pt", padding=True, padding_side="left"))
        out = {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in out.items()}
        if answers is not None:
            out["answer_length"] = torch.tensor(lengths, device=self.device)
        return out

    # ---- encode ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, inputs: dict[str, Any], features: list[Tensor] | None = None) -> Encoded:
        """Run the vision tower once and describe the batch as Prompt and State.

        Args:
            inputs: processor outputs.
            features: what the tower and projector made of each image earlier, (n, D) each; None runs them.

        Raises:
            ValueError: placeholders and features do not match, or there is no image.
        """
        output = None
        if features is None:
            if inputs.get("pixel_values") is None:
                raise ValueError("there is no image to prune: the processor's output has no pixel_values")
            features, output = self.encode_pixels(inputs)
        ids = inputs["input_ids"]
        attention = inputs.get("attention_mask")
        attention = torch.ones_like(ids) if attention is None else attention
        is_visual = ids == self.model.config.image_token_id
        slots = slots_of(is_visual)
        counts = is_visual.sum(1)
        per_image = [len(feature) for feature in features]
        if sum(per_image) != int(counts.sum()):
            raise ValueError(f"{int(counts.sum())} image placeholders in the prompts, but {sum(per_image)} features")
        visual = self._by_sample(torch.cat(features), slots)
        owner = torch.arange(len(per_image), device=ids.device).repeat_interleave(
            torch.tensor(per_image, device=ids.device)
        )
        image = self._by_sample(owner, slots)
        positions = inputs.get("position_ids")
        positions = (attention.cumsum(1) - 1).clamp(min=0) if positions is None else positions
        prompt = Prompt(ids, attention, positions, slots, visual, self._pad_token_id())
        answer_length = inputs.get("answer_length", torch.zeros(len(ids), dtype=torch.long, device=ids.device))
        question, question_mask = self._question(ids, attention, is_visual, answer_length)
        state = State(
            visual=visual,
            visual_mask=slots >= 0,
            places=self._by_sample(self.places(per_image).to(ids.device), slots),
            image=image - image.masked_fill(slots < 0, len(per_image)).amin(1, keepdim=True),
            question=question,
            question_mask=question_mask,
        )
        return Encoded(prompt, state, inputs.get("pixel_values"), getattr(output, "hidden_states", None))

    @staticmethod
    def _by_sample(flat: Tensor, slots: Tensor) -> Tensor:
        """(T, ...) in placeholder order -> (B, N, ...), zeros where padded."""
        out = flat.new_zeros((*slots.shape, *flat.shape[1:]))
        out[slots >= 0] = flat
        return out

    def _question(
        self, ids: Tensor, attention: Tensor, is_visual: Tensor, answer_length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embeddings of the text after the last image, (B, M, D) and (B, M): what the question is in every template."""
        column = torch.arange(ids.shape[1], device=ids.device)
        last = torch.where(is_visual, column, -1).amax(1, keepdim=True)  # (B, 1)
        end = ids.shape[1] - answer_length[:, None]  # (B, 1): with an answer behind it, a prompt is padded on the left
        slots = slots_of((column > last) & (column < end) & attention.bool())
        tokens = ids.gather(1, slots.clamp(min=0))
        embedded = self.model.get_input_embeddings()(tokens)
        return embedded * (slots >= 0)[..., None], slots >= 0

    def _pad_token_id(self) -> int:
        for pad in (self.model.generation_config.pad_token_id, self.model.config.get_text_config().pad_token_id):
            if pad is not None:
                return int(pad)
        return 0

    # ---- prune and run -----------------------------------------------------------------------------------------------

    def pruned(self, prompt: Prompt, action: Action, rows: Tensor | None = None) -> dict[str, Any]:
        """Inputs for the unmodified model's `forward` or `generate`; see `sequence.prune_sequence`."""
        from transformers.modeling_outputs import BaseModelOutputWithPooling

        return prune_sequence(prompt, action, lambda kept: BaseModelOutputWithPooling(pooler_output=kept), rows)

    @torch.no_grad()
    def generate(self, inputs: dict[str, Any], max_new_tokens: int) -> list[str]:
        """Greedy answers, one per row."""
        out = self.model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        new = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)]

    def answer(
        self,
        image: Image.Image,
        question: str,
        pruner: "Pruner | None" = None,
        budget: "int | float | str | Budget" = 1.0,
        max_new_tokens: int = 32,
    ) -> Answer:
        """Answer one question about one image from `budget` of its visual tokens; without a pruner, from all.

        Raises:
            ValueError: an impossible budget, or a pruner that does not fit this VLM.
        """
        wanted = Budget.parse(budget)
        start = time.perf_counter()
        encoded = self.encode(self.inputs([image], [question]))
        n = int(encoded.state.counts[0])
        if pruner is None:
            action = Action(encoded.state.visual_mask)
        else:
            action = pruner.select(self, encoded, torch.tensor([wanted.k(n)], device=self.device))
        text = self.generate(self.pruned(encoded.prompt, action), max_new_tokens)[0]
        self.synchronize()
        seconds = time.perf_counter() - start
        return Answer(text, n, int(action.kept[0]), action.indices(), seconds)

    def synchronize(self) -> None:
        """Wait for the device, so that clocks are honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
