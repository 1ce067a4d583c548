"""Parts of prompts: messages, what a text must be before a processor reads it, and what the processor does to it."""

from collections.abc import Callable, Sequence
from typing import Any


def chat_message(role: str, text: str, image: bool = False) -> dict[str, Any]:
    """One message in the form that chat templates read."""
    return {"role": role, "content": [*([{"type": "image"}] if image else []), {"type": "text", "text": text}]}


def two_prompts(render: Callable[..., str]) -> list[str]:
    """Prompts of a chat template whose user says "yes" and "no", for `Template.with_processor`; none if it has no such.

    Args:
        render: messages and options of a chat template -> text, with a ValueError where there is none.
    """
    try:
        return [render([chat_message("user", word)], add_generation_prompt=True) for word in ("yes", "no")]
    except ValueError:  # PaliGemma has no template
        return []


def count_new_tokens(before: Sequence[int], after: Sequence[int]) -> int:
    """How many tokens of a text `after` differ from those of `before`, the text that it begins with.

    If the tokenizer merges characters across the border, the merged token counts as new.
    """
    same = next((i for i, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(before))
    return len(after) - same


def check_texts(what: str, texts: Sequence[str]) -> None:
    """Raises ValueError if one of the texts is not text. `what` is how the message calls it."""
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f"the {what} must be text, not {type(text).__name__}: {text!r}")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"the {what} {text!r} is not text: character {error.start} is half of one") from error


def check_length(config: Any, length: int, name: str) -> None:
    """Raises ValueError if a prompt of `length` tokens leaves no room for an answer in the language model's context.

    Args:
        config: of the language model.
    """
    context = getattr(config, "max_position_embeddings", None)
    # Some checkpoints reach further by scaled rotary positions.
    rope = getattr(config, "rope_parameters", None) or {}
    factor = rope.get("factor") if isinstance(rope, dict) else None
    if context and length >= context * (factor or 1):
        raise ValueError(
            f"image and question are {length} tokens, but the context of {name!r} is {int(context * (factor or 1))}; "
            "shorten the question"
        )


def processor_notes(processor: Any) -> dict[str, Any]:
    """What a processor does to images and texts, as JSON can hold it."""
    tokenizer, images = processor.tokenizer, processor.image_processor
    settings = images.to_dict() if hasattr(images, "to_dict") else {}
    template = getattr(processor, "chat_template", None) or getattr(tokenizer, "chat_template", None)
    return {"images": settings, "template": template, "vocabulary": tokenizer.get_vocab()}
