"""A VLM with its processor: prompts from images and questions, answers from whatever tokens are kept."""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from PIL import Image, ImageOps
from torch import Tensor

from grip_vlm.budget import Budget
from grip_vlm.mdp import Action
from grip_vlm.vlms.encode import Encoded, Encoder
from grip_vlm.vlms.inside import leaving
from grip_vlm.vlms.places import grid_places


class Selector(Protocol):
    """What `FrozenVLM.answer` needs of a pruner."""

    def select(self, vlm: "FrozenVLM", encoded: Encoded, k: Tensor) -> Action:
        """The action for budgets k (B,)."""
        ...


@dataclass(frozen=True)
class Response:
    """The VLM's answers to a batch, and the visual tokens they used."""

    texts: list[str]
    reached: Action  # (B, N) the visual tokens that reach the last layer
    entering: Tensor  # (B,) visual tokens that enter the language model
    per_layer: Tensor  # (B,) float64, visual tokens per layer of the language model


@dataclass(frozen=True)
class Answer:
    """The VLM's answer to one question, and the visual tokens it used."""

    text: str
    tokens: int
    """visual tokens of the image"""
    kept: int
    """visual tokens per layer of the language model, rounded where layers differ"""
    kept_indices: list[int]
    """visual tokens that reach the last layer"""
    seconds: float
    """vision tower, pruner and language model together"""


class FrozenVLM(Encoder):
    """A Hugging Face VLM. `vlms.load` freezes it; wrapped by `vlms.wrap`, the user's model stays as it is."""

    def __init__(self, model: Any, processor: Any = None, name: str = "") -> None:
        super().__init__(model)
        self.processor = processor
        self.name = name or type(model).__name__

    @classmethod
    def from_pretrained(cls, source: str, *, name: str, device: str | torch.device | None, **options: Any) -> Self:
        """Load model and processor; `options` go to the model's `from_pretrained`."""
        from transformers import AutoModelForImageTextToText, AutoProcessor

        model = AutoModelForImageTextToText.from_pretrained(source, **options).eval().requires_grad_(False)
        if device is not None:
            model = model.to(device)
        return cls(model, AutoProcessor.from_pretrained(source, backend="pil"), name)

    def fingerprint(self) -> str:
        """Tells checkpoints apart cheaply: type, width, image token and a hash of some token embeddings.

        The embeddings are rounded to bfloat16 first, so that loading in another precision is the same checkpoint.
        """
        rows = self.model.get_input_embeddings().weight[:8].to(torch.bfloat16).float().cpu().numpy().tobytes()
        config = self.model.config
        return f"{config.model_type}-{self.dim}-{config.image_token_id}-{hashlib.sha256(rows).hexdigest()[:16]}"

    # ---- prompts -----------------------------------------------------------------------------------------------------

    def inputs(
        self, images: Sequence[Image.Image], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Processor outputs of one image and one question per sample, through the model's chat template.

        With `answers`, the answer follows the prompt as the template writes the model's turn, up to the token that ends
        it; `answer_length` (B,) counts what follows the prompt.
        """
        tokenizer = self.processor.tokenizer
        texts = []
        for question in questions:
            asked = turn("user", question, image=True)
            texts.append(self.processor.apply_chat_template([asked], add_generation_prompt=True))
        # A template that writes the first token itself must not get it twice.
        bare = {"add_special_tokens": False} if tokenizer.bos_token and texts[0].startswith(tokenizer.bos_token) else {}
        lengths = []
        before, after = self._around_answer() if answers else ("", "")
        for i, answer in enumerate(answers or ()):
            prompt, texts[i] = texts[i], texts[i] + before + answer + after
            lengths.append(new_tokens(tokenizer(prompt, **bare).input_ids, tokenizer(texts[i], **bare).input_ids))
        out = self.process(images, texts, **bare)
        if answers is not None:
            out["answer_length"] = torch.tensor(lengths, device=self.device)
        return out

    def _around_answer(self) -> tuple[str, str]:
        """The space that the template puts between a prompt and an answer, and the special token it puts behind it (the
        tokenizer's end of sequence if it puts none there)."""
        tokenizer, word = self.processor.tokenizer, "yes"
        asked = turn("user", "Is it?", image=True)
        prompt = self.processor.apply_chat_template([asked], add_generation_prompt=True)
        whole = self.processor.apply_chat_template([asked, turn("assistant", word)])
        start, _, end = whole.rpartition(word)
        space = start[len(start.rstrip()) :].removeprefix(prompt[len(prompt.rstrip()) :])
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        return space, next((token for token in special if end.lstrip().startswith(token)), tokenizer.eos_token)

    def process(self, images: Sequence[Image.Image], texts: Sequence[str], **options: Any) -> dict[str, Any]:
        """The processor's outputs on the model's device, padded on the left."""
        nested = [[image.convert("RGB")] for image in images]
        out = self.processor(
            images=nested, text=list(texts), return_tensors="pt", padding=True, padding_side="left", **options
        )
        return {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in out.items()}

    # ---- answer ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(self, inputs: dict[str, Any], max_new_tokens: int, min_new_tokens: int = 0) -> list[str]:
        """Greedy answers, one per row."""
        out = self.model.generate(
            **inputs, max_new_tokens=max_new_tokens, min_new_tokens=min_new_tokens, do_sample=False
        )
        new = out[:, inputs["input_ids"].shape[1] :]
        return [text.strip() for text in self.processor.tokenizer.batch_decode(new, skip_special_tokens=True)]

    @torch.no_grad()
    def respond(self, encoded: Encoded, action: Action, max_new_tokens: int, min_new_tokens: int = 0) -> Response:
        """Greedy answers to a batch from the visual tokens that the action keeps.

        Raises:
            ValueError: the action has a schedule, and this model cannot drop tokens inside its language model.
        """
        schedule, prompt = action.schedule, encoded.prompt
        if schedule is None:
            inputs = self.pruned(prompt, action, forward=False)
            texts = self.generate(inputs, max_new_tokens, min_new_tokens)
            return Response(texts, action, action.kept, action.kept.double())
        prompt = replace(prompt, extras={**prompt.extras, "queries": schedule.queries})
        inputs = self.pruned(prompt, action, forward=False)
        queries, ids = inputs.pop("queries"), inputs["input_ids"]
        visual = self.placeholders(ids, "image") | self.placeholders(ids, "video")  # (B, S)
        with leaving(self.model, encoded.prompt, inputs, visual, queries, schedule) as walk:
            texts = self.generate(inputs, max_new_tokens, min_new_tokens)
        reached = torch.zeros_like(action.mask)
        reached[action.mask] = walk.survivors()[visual]
        layers = self.model.config.get_text_config().num_hidden_layers
        return Response(texts, Action(reached), action.kept, action.kept_per_layer(layers))

    def answer(
        self,
        image: Image.Image,
        question: str,
        pruner: Selector | None = None,
        budget: int | float | str | Budget = 1.0,
        max_new_tokens: int = 32,
    ) -> Answer:
        """Answer one question about one image from `budget` of its visual tokens; without a pruner, from all.

        Raises:
            ValueError: an impossible budget, or a pruner that does not fit this VLM.
        """
        parsed = Budget.parse(budget)
        start = time.perf_counter()
        encoded = self.encode(self.inputs([image], [question]))
        n = int(encoded.state.counts[0])
        action = Action(encoded.state.visual_mask)
        if pruner is not None:
            action = pruner.select(self, encoded, torch.tensor([parsed.k(n)], device=self.device))
        response = self.respond(encoded, action, max_new_tokens)
        self.synchronize()
        seconds = time.perf_counter() - start
        kept = round(float(response.per_layer[0]))
        return Answer(response.texts[0], n, kept, response.reached.indices(), seconds)

    def seen(self, image: Image.Image, question: str) -> tuple[Image.Image, tuple[int, int]]:
        """What of an image the vision tower sees (the middle, where the processor crops to a square), and the rows and
        columns of the grid that its visual tokens form over that.

        Raises:
            ValueError: they are tiles, pooled, or otherwise not one grid over the image.
        """
        state = self.encode(self.inputs([image], [question])).state
        places = state.places[0, : int(state.counts[0])].cpu()
        rows, columns = (len(set(places[:, axis].tolist())) for axis in (0, 1))
        if rows * columns != len(places) or not places.allclose(grid_places(rows, columns)):
            raise ValueError(f"the {len(places)} visual tokens of {self.name!r} are not one grid over the image")
        crops = getattr(self.processor.image_processor, "do_center_crop", False)
        return ImageOps.fit(image, (min(image.size),) * 2) if crops else image, (rows, columns)

    def synchronize(self) -> None:
        """Wait for the device, so that clocks are honest."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def turn(role: str, text: str, image: bool = False) -> dict[str, Any]:
    """One message as chat templates read it."""
    return {"role": role, "content": [*([{"type": "image"}] if image else []), {"type": "text", "text": text}]}


def new_tokens(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens of `after` are not those of `before`, the text it begins with; tokens merged there count."""
    same = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(before))
    return len(after) - same
