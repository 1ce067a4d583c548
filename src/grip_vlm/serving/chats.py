"""Conversations answered from pruned prompts: any images and videos, generated as an evaluation asks."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

from grip_vlm.vlms import FrozenVLM
from grip_vlm.vlms.encode import PIXELS

Conversation = Sequence[Mapping[str, Any]]
"""messages {"role": ..., "content": [...]} as `processor.apply_chat_template` reads them"""
Prune = Callable[[dict[str, Any]], dict[str, Any]]
"""a processor's outputs -> inputs for `generate`: `pruner.prune` with all else filled in"""

SAMPLING = ("temperature", "top_p", "top_k")
ALWAYS = ("max_new_tokens", "num_beams", "repetition_penalty")


@dataclass(frozen=True)
class Reply:
    """What the VLM said to one conversation, and what it cost."""

    text: str
    visual_tokens: int
    """of all its images and videos"""
    kept: int
    input_tokens: int
    """of the pruned prompt, text and visual"""
    output_tokens: int
    """without the one that ends the answer"""
    seconds: float
    """an equal share of its batch's: vision tower, pruner and language model, not the processor"""


@dataclass(frozen=True)
class Generation:
    """How answers are generated; `Generation.parse` reads an evaluation's settings."""

    until: tuple[str, ...]
    """an answer ends before the first of these"""
    options: dict[str, Any]
    """for the model's `generate`"""

    @classmethod
    def parse(cls, settings: Mapping[str, Any]) -> "Generation":
        """Settings in the words of lmms-eval's tasks; None means not given.

        Answers are greedy unless `temperature` is above 0, or `do_sample` is true and the temperature not 0.
        `image_aspect_ratio` is accepted and has no effect: a checkpoint's own processor decides what it does to images.

        Raises:
            ValueError: a setting that would have to be ignored.
        """
        given = {name: value for name, value in settings.items() if value is not None}
        known = ("until", "do_sample", *SAMPLING, *ALWAYS, "image_aspect_ratio")
        if unknown := sorted(given.keys() - set(known)):
            raise ValueError(f"generation settings {', '.join(unknown)} are unknown here; known: {', '.join(known)}")
        until = given.get("until", ())
        until = (until,) if isinstance(until, str) else tuple(until)
        temperature = given.get("temperature")
        sample = given.get("do_sample", bool(temperature)) and temperature != 0
        names = (*ALWAYS, *SAMPLING) if sample else ALWAYS
        options = {"max_new_tokens": 1024, **{name: given[name] for name in names if name in given}}
        return cls(tuple(stop for stop in until if stop), {**options, "do_sample": sample})


@torch.no_grad()
def reply(
    vlm: FrozenVLM,
    conversations: Sequence[Conversation],
    prune: Prune,
    generation: Generation,
    num_frames: int | None = None,
) -> list[Reply]:
    """Answer a batch; conversations without images or videos are answered as they are.

    Args:
        num_frames: taken from every video; None leaves it to the checkpoint's processor.

    Raises:
        ValueError: what the processor or the pruner cannot take.
    """
    inputs = processed(vlm, conversations, num_frames)
    before = inputs["attention_mask"].sum(1)  # (B,)
    visual = visual_tokens(vlm, inputs)
    start = time.perf_counter()
    pruned = prune(inputs) if visual.any() else inputs
    after = pruned["attention_mask"].sum(1)  # (B,)
    length = pruned["input_ids"].shape[1]
    stop = StoppingCriteriaList([Said(vlm.processor.tokenizer, generation.until, length)] if generation.until else [])
    new = vlm.model.generate(**pruned, **generation.options, stopping_criteria=stop)[:, length:]  # (B, T)
    vlm.synchronize()
    seconds = (time.perf_counter() - start) / len(conversations)
    texts = vlm.processor.tokenizer.batch_decode(new, skip_special_tokens=True)
    counts = torch.stack([visual, visual - (before - after), after, lengths(vlm, new)], dim=1).tolist()  # (B, 4)
    return [
        Reply(cut(text, generation.until), tokens, kept, read, said, seconds)
        for text, (tokens, kept, read, said) in zip(texts, counts, strict=True)
    ]


def processed(vlm: FrozenVLM, conversations: Sequence[Conversation], num_frames: int | None) -> dict[str, Any]:
    """The processor's outputs for the conversations' own images and videos, padded on the left, on the device."""
    options: dict[str, Any] = {"padding": True, "padding_side": "left"}
    if num_frames is not None and any(
        part["type"] == "video" for messages in conversations for message in messages for part in message["content"]
    ):
        options["num_frames"] = num_frames
    out = vlm.processor.apply_chat_template(
        [list(messages) for messages in conversations],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        processor_kwargs=options,
    )
    return dict(out.to(vlm.device, vlm.model.dtype))


def visual_tokens(vlm: FrozenVLM, inputs: dict[str, Any]) -> Tensor:
    """Visual tokens of each row before pruning, (B,)."""
    ids = inputs["input_ids"]
    marks = [vlm.placeholders(ids, kind) for kind, pixels in PIXELS.items() if inputs.get(pixels) is not None]
    return torch.stack([torch.zeros_like(ids, dtype=torch.bool), *marks]).any(0).sum(1)


def lengths(vlm: FrozenVLM, new: Tensor) -> Tensor:
    """Tokens before the first one that ends or pads an answer, (B,), of those generated (B, T)."""
    config = vlm.model.generation_config
    eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    ends = torch.tensor([token for token in (*eos, config.pad_token_id) if token is not None], device=new.device)
    return (~torch.isin(new, ends)).long().cumprod(1).sum(1)


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the strings that end it."""
    for stop in until:
        text = text.split(stop)[0]
    return text.strip()


class Said(StoppingCriteria):  # type: ignore[misc]
    """Ends answers in which one of the strings stands. transformers' `stop_strings` would find them in prompts too."""

    def __init__(self, tokenizer: Any, strings: Sequence[str], start: int) -> None:
        self.tokenizer, self.strings, self.start = tokenizer, strings, start

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.start :], skip_special_tokens=True)
        return torch.tensor([any(stop in text for stop in self.strings) for text in texts], device=input_ids.device)
