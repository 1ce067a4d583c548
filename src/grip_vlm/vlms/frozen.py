"""A VLM with its processor: prompts from images and questions, and answers from the tokens that are kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from accelerate.utils import align_module_device
from PIL import Image, ImageOps
from torch import Tensor

from grip_vlm import registry
from grip_vlm.allot import allot
from grip_vlm.budget import Budget
from grip_vlm.images import as_rgb
from grip_vlm.mdp import Action
from grip_vlm.vlms import fingerprint
from grip_vlm.vlms.encode import Encoded, Encoder
from grip_vlm.vlms.inside import leaving
from grip_vlm.vlms.loading import first, load_model
from grip_vlm.vlms.places import grid_of
from grip_vlm.vlms.prompts import chat_message, check_length, check_texts, count_new_tokens, two_prompts
from grip_vlm.vlms.question import Template


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
    """run time of vision tower, pruner and language model together"""
    budget: str = "1.0"
    """the budget that was asked for; `kept` is what was given"""


class FrozenVLM(Encoder):
    """A Hugging Face VLM. `vlms.load` freezes its weights; `vlms.wrap` leaves the user's model as it is."""

    def __init__(self, model: Any, processor: Any = None, name: str = "") -> None:
        super().__init__(model)
        self.processor = processor
        self.name = name or type(model).__name__

    @classmethod
    def from_pretrained(cls, source: str, *, name: str, device: str | torch.device | None, **options: Any) -> Self:
        """Load model and processor; `options` go to the model's `from_pretrained`."""
        model, processor = load_model(source, name, device, **options)
        return cls(model, processor, name)

    @cached_property
    def template(self) -> Template:
        """What is known of the words around the user's, from the config and the processor."""
        known = super().template
        tokenizer = getattr(self.processor, "tokenizer", None)
        return known if tokenizer is None else known.with_processor(tokenizer, two_prompts(self.render))

    def fingerprint(self) -> str:
        """See `vlms/fingerprint.py`."""
        return fingerprint.of(self.model.config, self.dim, self._embeddings(fingerprint.ROWS))

    def fits(self, other: str) -> bool:
        """Whether a fingerprint is this checkpoint's."""
        return fingerprint.fits(other, self.model.config, self.dim, self._embeddings(fingerprint.ROWS))

    def _embeddings(self, count: int) -> Tensor:
        """The first rows of the token embeddings, on the CPU."""
        embedding = self.model.get_input_embeddings()
        with align_module_device(embedding):  # brings offloaded weights back for a moment
            rows: Tensor = embedding.weight[:count].detach().cpu()
        return rows

    # ---- prompts -----------------------------------------------------------------------------------------------------

    def inputs(
        self, images: Sequence[Image.Image | str | Path], questions: Sequence[str], answers: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Processor outputs for one image and one question per sample, through the model's chat template.

        With `answers`, each prompt is followed by its answer as the template writes the model's turn, up to and
        including the token that ends the turn. `answer_length` (B,) then counts the tokens after the prompt.

        Raises:
            ValueError: an image, a question or an answer is not one, a prompt is longer than the language model's
                context, or the processor or its chat template fails.
        """
        check_texts("question", questions)
        check_texts("answer", answers or ())
        tokenizer = self.processor.tokenizer
        texts = []
        for question in questions:
            texts.append(self.render([chat_message("user", question, image=True)], add_generation_prompt=True))
        # Some templates write the first special token themselves. The tokenizer must not add it again.
        has_first = bool(tokenizer.bos_token) and texts[0].startswith(tokenizer.bos_token)
        options = {"add_special_tokens": False} if has_first else {}
        lengths = []
        before, after = self._around_answer() if answers else ("", "")
        for i, answer in enumerate(answers or ()):
            prompt, texts[i] = texts[i], texts[i] + before + answer + after
            ids, ids_with_answer = (tokenizer(text, **options).input_ids for text in (prompt, texts[i]))
            lengths.append(count_new_tokens(ids, ids_with_answer))
        out = self.process(images, texts, **options)
        if answers is not None:
            out["answer_length"] = torch.tensor(lengths, device=self.device)
        return out

    def _around_answer(self) -> tuple[str, str]:
        """The template's white space between prompt and answer, and its special token after the answer.

        If the template writes no special token there, it is the tokenizer's end of sequence.
        """
        tokenizer, answer = self.processor.tokenizer, "yes"
        question = chat_message("user", "Is it?", image=True)
        prompt = self.render([question], add_generation_prompt=True)
        conversation = self.render([question, chat_message("assistant", answer)])
        start, _, end = conversation.rpartition(answer)
        space = start[len(start.rstrip()) :].removeprefix(prompt[len(prompt.rstrip()) :])
        special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
        return space, next((token for token in special if end.lstrip().startswith(token)), tokenizer.eos_token)

    def render(self, messages: Sequence[dict[str, Any]], **options: Any) -> str:
        """The chat template's text.

        Raises:
            ValueError: there is no template, or it fails.
        """
        try:
            text: str = self.processor.apply_chat_template(list(messages), **options)
        except Exception as error:  # a template is a program of the checkpoint's
            raise ValueError(f"the chat template of {self.name!r} fails: {first(error)}") from error
        return text

    def process(
        self, images: Sequence[Image.Image | str | Path], texts: Sequence[str], **options: Any
    ) -> dict[str, Any]:
        """The processor's outputs on the model's device, padded on the left.

        Raises:
            ValueError: an image is none, or a prompt is longer than the language model's context.
        """
        nested = [[as_rgb(image)] for image in images]
        out = self.processor(
            images=nested, text=list(texts), return_tensors="pt", padding=True, padding_side="left", **options
        )
        check_length(self.model.config.get_text_config(), out["input_ids"].shape[1], self.name)
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
        image: Image.Image | str | Path,
        question: str,
        pruner: Selector | str | None = None,
        budget: int | float | str | Budget = 1.0,
        max_new_tokens: int = 32,
    ) -> Answer:
        """Answer one question about one image.

        Args:
            image: a Pillow image or the path of a file.
            pruner: an object, or a name as `registry.pruner` takes it. None keeps every visual token.
            budget: how many visual tokens the pruner keeps; see `Budget.parse`.

        Raises:
            ValueError: image or question is not one, the budget is impossible, or the pruner is unknown or does not
                support this VLM.
        """
        parsed = Budget.parse(budget)
        selector: Selector | None = registry.pruner(pruner, self.name) if isinstance(pruner, str) else pruner
        if selector is not None and not hasattr(selector, "select"):
            raise ValueError(f"a pruner is one of grip_vlm.load_pruner, or its name, not {type(pruner).__name__}")
        image = as_rgb(image)
        start = time.perf_counter()
        encoded = self.encode(self.inputs([image], [question]))
        n = int(encoded.state.counts[0])
        action = Action(encoded.state.visual_mask)
        if selector is not None:
            k = allot([parsed], selector, self, encoded, max_new_tokens)
            action = selector.select(self, encoded, k.to(self.device))
        response = self.respond(encoded, action, max_new_tokens)
        self.synchronize()
        seconds = time.perf_counter() - start
        kept = round(float(response.per_layer[0]))
        return Answer(response.texts[0], n, kept, response.reached.indices(), seconds, str(parsed))

    def visible_area(self, image: Image.Image | str | Path, question: str) -> tuple[Image.Image, tuple[int, int]]:
        """The part of an image that the vision tower sees, and the grid of visual tokens over that part.

        The part is the central square if the processor crops, else the whole image.

        Returns:
            The part, and (rows, columns) of the grid.

        Raises:
            ValueError: the visual tokens are not one grid over the image (tiles or pooled features, for example).
        """
        image = as_rgb(image)
        state = self.encode(self.inputs([image], [question])).state
        places = state.places[0, : int(state.counts[0])].cpu()
        grid = grid_of(places)
        if grid is None:
            raise ValueError(f"the {len(places)} visual tokens of {self.name!r} are not one grid over the image")
        crops = getattr(self.processor.image_processor, "do_center_crop", False)
        return ImageOps.fit(image, (min(image.size),) * 2) if crops else image, grid

    def synchronize(self) -> None:
        """Wait for the device. Clocks must be read after this."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
