"""From a request's body to what the worker is asked, within the server's limits."""

import secrets
from typing import Any

from grip_vlm.budget import Budget
from grip_vlm.serving.server.messages import Ask
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.refusal import Refusal
from grip_vlm.serving.server.schema import ChatRequest, Message
from grip_vlm.serving.server.sources import Sources

COLDEST = 0.01  # logits divided by less may overflow


async def to_ask(body: ChatRequest, number: int, name: str, options: ServerOptions, sources: Sources) -> Ask:
    """The worker's form of a request.

    Args:
        number: identifies the request.
        name: of the VLM.

    Raises:
        Refusal: 400, 404 or 413.
    """
    if body.model not in (None, name):
        raise Refusal(404, f"there is no model {body.model!r} here, only {name!r}", "model")
    limit = body.max_completion_tokens or body.max_tokens or options.max_tokens
    if limit > options.max_tokens:
        raise Refusal(
            400, f"max_tokens is {limit}; this server's answers have at most {options.max_tokens}", "max_tokens"
        )
    check_size(body, options)
    value = options.budget if body.budget is None else body.budget
    try:
        Budget.parse(value)
    except ValueError as error:
        raise Refusal(400, str(error), "budget") from error
    stops = [body.stop] if isinstance(body.stop, str) else body.stop or []
    sampling: dict[str, float] = {}
    if body.temperature:
        if body.temperature < COLDEST:
            raise Refusal(400, f"temperature is 0, for the likeliest answer, or at least {COLDEST}", "temperature")
        sampling = {"temperature": body.temperature, "top_p": body.top_p or 1.0, "top_k": 0}
    seed = secrets.randbits(32) if body.seed is None else body.seed
    messages = [await to_message(message, i, sources) for i, message in enumerate(body.messages)]
    until = tuple(stop for stop in stops if stop)
    return Ask(number, messages, value, until, limit, sampling, seed, bool(body.stream))


def texts(message: Message) -> list[str]:
    """All texts of a message."""
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content if part.type == "text"]


def check_size(body: ChatRequest, options: ServerOptions) -> None:
    """Refuse too much text, and too many images."""
    characters = sum(len(text) for message in body.messages for text in texts(message))
    if characters > options.max_prompt:
        raise Refusal(413, f"the texts have {characters} characters; {options.max_prompt} are allowed", "messages")
    parts = [part for message in body.messages if not isinstance(message.content, str) for part in message.content]
    images = sum(part.type == "image_url" for part in parts)
    if images > options.max_images:
        raise Refusal(400, f"the request has {images} images; {options.max_images} are allowed", "messages")


async def to_message(message: Message, number: int, sources: Sources) -> dict[str, Any]:
    """A message as chat templates read it, with the bytes of its images."""
    role = "system" if message.role == "developer" else message.role
    if isinstance(message.content, str):
        return {"role": role, "content": [{"type": "text", "text": message.content}]}
    content: list[dict[str, Any]] = []
    for i, part in enumerate(message.content):
        if part.type == "text":
            content.append({"type": "text", "text": part.text})
        else:
            where = f"messages.{number}.content.{i}.image_url"
            content.append({"type": "image", "image": await sources.read(part.image_url.url, where), "name": where})
    return {"role": role, "content": content}
