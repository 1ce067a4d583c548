"""What a chat completion request may say, and what is answered: OpenAI's fields, and `budget`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from grip_vlm.budget import LONGEST


class Part(BaseModel):
    """Fields that are not known are refused: they would be ignored otherwise."""

    model_config = ConfigDict(extra="forbid")


class TextPart(Part):
    type: Literal["text"]
    text: StrictStr


class ImageURL(Part):
    url: StrictStr
    """`data:image/png;base64,...`; or an address on a host that the server allows"""
    detail: Literal["auto", "low", "high"] = "auto"
    """has no effect; `budget` decides how many visual tokens are kept"""


class ImagePart(Part):
    type: Literal["image_url"]
    image_url: ImageURL


class Message(Part):
    role: Literal["system", "developer", "user", "assistant"]
    content: StrictStr | list[Annotated[TextPart | ImagePart, Field(discriminator="type")]]
    name: StrictStr | None = None
    # Clients send these back with the server's own answers.
    refusal: None = None
    annotations: None = None
    audio: None = None
    function_call: None = None
    tool_calls: None = None


def false(value: Any) -> Any:
    """Refuses 0, which Python counts as False."""
    if value is not None and value is not False:
        raise ValueError("only false is supported")
    return value


No = Annotated[Literal[False], BeforeValidator(false)]
Zero = Annotated[float, Field(strict=True, ge=0, le=0)]


class StreamOptions(Part):
    include_usage: StrictBool = False
    include_obfuscation: No = False


class ChatRequest(Part):
    """Fields with one allowed value are accepted so that clients which always send them work."""

    model: StrictStr | None = None
    messages: list[Message] = Field(min_length=1)
    budget: StrictInt | StrictFloat | Annotated[StrictStr, Field(max_length=LONGEST)] | None = None
    """visual tokens to keep: `64`, `0.1`, `"10%"`"""
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    max_tokens: Annotated[int, Field(strict=True, ge=1)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2, allow_inf_nan=False)] | None = None
    """0 by default: greedy, unlike OpenAI's"""
    top_p: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] | None = None
    seed: Annotated[int, Field(strict=True, ge=-(2**63), lt=2**63)] | None = None
    stop: StrictStr | Annotated[list[StrictStr], Field(max_length=4)] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=1)] | None = None
    frequency_penalty: Zero | None = None
    presence_penalty: Zero | None = None
    logprobs: No | None = None
    response_format: dict[Literal["type"], Literal["text"]] | None = None
    user: StrictStr | None = None
    metadata: dict[StrictStr, StrictStr] | None = None
    store: No | None = None


class Usage(BaseModel):
    prompt_tokens: int
    """text and kept visual tokens: what the language model reads"""
    completion_tokens: int
    total_tokens: int
    visual_tokens: int
    """of all images, before pruning"""
    visual_tokens_asked: int
    """what the budget gives"""
    visual_tokens_kept: int
    """less than asked only under load, with --target-ms"""


class Reply(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class Choice(BaseModel):
    index: int = 0
    message: Reply
    finish_reason: Literal["stop", "length"]
    logprobs: None = None


class Completion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    budget: str
    """the budget of the request, or the server's default"""


class Model(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "grip-vlm"


class Models(BaseModel):
    object: Literal["list"] = "list"
    data: list[Model]


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: int


class Error(BaseModel):
    error: ErrorDetail


class Health(BaseModel):
    status: Literal["ok", "loading"]
    waiting: int
    running: int


def sentence(errors: list[Any]) -> tuple[str, str]:
    """(what is wrong, where) of pydantic's first error."""
    first = errors[0]
    where = ".".join(str(step) for step in first["loc"] if step != "body")
    if first["type"] == "extra_forbidden":
        return f"{where} is not a field that this server knows; it would be ignored", where
    return f"{where or 'the body'}: {first['msg']}", where
