"""Conversations with any images and videos, answered from pruned prompts with lmms-eval's generation settings."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from grip_vlm.images import as_rgb
from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.checks import PIXELS
from grip_vlm.vlms.loading import first
from grip_vlm.vlms.prompts import check_texts

Conversation = Sequence[Mapping[str, Any]]
"""Messages {"role": ..., "content": [...]}, as `processor.apply_chat_template` reads them."""
Prune = Callable[[dict[str, Any]], dict[str, Any]]
"""A processor's outputs -> inputs for `generate`: `pruner.prune` with all other arguments bound."""
Watch = Callable[[Tensor], Sequence[bool]]
"""The new tokens of all rows so far (B, T) -> which rows end here."""

SAMPLING = ("temperature", "top_p", "top_k")  # settings that apply to sampled answers only
DECODING = ("max_new_tokens", "num_beams", "repetition_penalty")  # settings that apply to all answers


@dataclass(frozen=True)
class Reply:
    """The answer to one conversation, and its cost."""

    text: str
    visual_tokens: int
    """Visual tokens of all images and videos."""
    kept: int
    """Visual tokens that are kept."""
    input_tokens: int
    """Text and visual tokens of the pruned prompt."""
    output_tokens: int
    """Tokens of the answer, without the end token."""
    seconds: float
    """Seconds of vision tower, pruner and language model, divided by the batch size. The processor is not timed."""


@dataclass(frozen=True)
class Generation:
    """How answers are generated. `Generation.parse` reads the settings of an lmms-eval task."""

    until: tuple[str, ...]
    """Stop strings: an answer ends before the first of them."""
    options: dict[str, Any]
    """Arguments of the model's `generate`."""

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> "Generation":
        """Settings as lmms-eval's tasks name them; None means not given.

        Answers are greedy unless `temperature` is above 0, or `do_sample` is true and the temperature is not 0.
        `image_aspect_ratio` is accepted and has no effect, because the checkpoint's processor prepares the images.

        Raises:
            ValueError: a setting is unknown and would be ignored.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        known = ("until", "do_sample", *SAMPLING, *DECODING, "image_aspect_ratio")
        if unknown := sorted(given.keys() - set(known)):
            raise ValueError(f"generation settings {', '.join(unknown)} are unknown here; known: {', '.join(known)}")
        until = given.get("until", ())
        until = (until,) if isinstance(until, str) else tuple(until)
        temperature = given.get("temperature")
        sample = given.get("do_sample", bool(temperature)) and temperature != 0
        names = (*DECODING, *SAMPLING) if sample else DECODING
        options = {"max_new_tokens": 1024, **{name: given[name] for name in names if name in given}}
        return cls(tuple(stop for stop in until if stop), {**options, "do_sample": sample})


def reply(
    vlm: FrozenVLM,
    conversations: Sequence[Conversation],
    prune: Prune,
    generation: Generation,
    num_frames: int | None = None,
) -> list[Reply]:
    """Answer a batch. Conversations without images or videos are not pruned.

    Args:
        num_frames: frames sampled from every video; None leaves it to the checkpoint's processor.

    Raises:
        ValueError: the processor or the pruner does not accept the conversations.
    """
    return reply_to(vlm, processor_inputs(vlm, conversations, num_frames), prune, generation)


@torch.no_grad()
def reply_to(
    vlm: FrozenVLM, inputs: dict[str, Any], prune: Prune, generation: Generation, watch: Watch | None = None
) -> list[Reply]:
    """Answer a batch of `processor_inputs`. Rows without images or videos are not pruned.

    Args:
        watch: sees the tokens of all answers after every step, and says which answers end with them.

    Raises:
        ValueError: the pruner does not accept the batch.
    """
    before = inputs["attention_mask"].sum(1)  # (B,)
    visual = visual_tokens(vlm, inputs)
    start = time.perf_counter()
    pruned = prune(inputs) if visual.any() else inputs
    after = pruned["attention_mask"].sum(1)  # (B,)
    length = pruned["input_ids"].shape[1]
    criteria: list[StoppingCriteria] = []
    if generation.until:
        criteria.append(StopStrings(vlm.processor.tokenizer, generation.until, length))
    if watch is not None:
        criteria.append(Watched(watch, length))
    stop = StoppingCriteriaList(criteria)
    new = vlm.model.generate(**pruned, **generation.options, stopping_criteria=stop)[:, length:]  # (B, T)
    vlm.synchronize()
    seconds = (time.perf_counter() - start) / len(new)
    texts = vlm.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    counts = torch.stack([visual, visual - (before - after), after, answer_lengths(vlm, new)], dim=1).tolist()  # (B, 4)
    return [
        Reply(before_stop(text, generation.until), tokens, kept, input_tokens, output_tokens, seconds)
        for text, (tokens, kept, input_tokens, output_tokens) in zip(texts, counts, strict=True)
    ]


def processor_inputs(vlm: FrozenVLM, conversations: Sequence[Conversation], num_frames: int | None) -> dict[str, Any]:
    """The processor's outputs for the conversations, padded on the left, on the VLM's device."""
    options: dict[str, Any] = {"padding": True, "padding_side": "left"}
    if num_frames is not None and any(
        part["type"] == "video" for messages in conversations for message in messages for part in message["content"]
    ):
        options["num_frames"] = num_frames
    try:
        out = vlm.processor.apply_chat_template(
            [[checked(message) for message in messages] for messages in conversations],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs=options,
        )
    except Exception as error:  # processors and templates are code of the checkpoint's
        raise ValueError(f"the processor does not take the conversations: {first(error)}") from error
    return dict(out.to(vlm.device, vlm.model.dtype))


def checked(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message whose texts are text and whose images are upright and RGB."""
    parts = [dict(part) for part in message["content"]]
    check_texts("message", [part["text"] for part in parts if part["type"] == "text"])
    images = [part for part in parts if isinstance(part.get("image"), Image.Image)]
    for part in images:
        part["image"] = as_rgb(part["image"])
    return {**message, "content": parts}


def visual_tokens(vlm: FrozenVLM, inputs: dict[str, Any]) -> Tensor:
    """Visual tokens of each row before pruning, (B,)."""
    ids = inputs["input_ids"]
    masks = [vlm.placeholders(ids, kind) for kind, pixels in PIXELS.items() if inputs.get(pixels) is not None]
    return torch.stack([torch.zeros_like(ids, dtype=torch.bool), *masks]).any(0).sum(1)


def answer_lengths(vlm: FrozenVLM, new: Tensor) -> Tensor:
    """Tokens before the first end or padding token of generated answers (B, T): (B,)."""
    ends = torch.tensor(sorted(end_tokens(vlm)), device=new.device)
    return (~torch.isin(new, ends)).long().cumprod(1).sum(1)


def end_tokens(vlm: FrozenVLM) -> set[int]:
    """Tokens that end an answer or fill its row."""
    config = vlm.model.generation_config
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return {token for token in (*eos, config.pad_token_id) if token is not None}


def before_stop(text: str, until: Sequence[str]) -> str:
    """The text before the first stop string, stripped."""
    for stop in until:
        text = text.split(stop)[0]
    return text.strip()


class StopStrings(StoppingCriteria):  # type: ignore[misc]
    """Ends an answer that contains a stop string. transformers' `stop_strings` also searches the prompt."""

    def __init__(self, tokenizer: Any, strings: Sequence[str], start: int) -> None:
        self.tokenizer, self.strings, self.start = tokenizer, strings, start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        return torch.tensor([any(stop in text for stop in self.strings) for text in texts], device=input_ids.device)


class Watched(StoppingCriteria):  # type: ignore[misc]
    """Ends the answers that a `Watch` names."""

    def __init__(self, watch: Watch, start: int) -> None:
        self.watch, self.start = watch, start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        return torch.tensor(list(self.watch(input_ids[:, self.start :])), device=input_ids.device)
