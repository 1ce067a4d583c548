"""An answer that is an error: an HTTP status with a sentence, in the form that OpenAI's clients read."""

from typing import Any

from starlette.exceptions import HTTPException

RETRY = {429: "1", 503: "5"}  # seconds after which a client may try again
KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 500: "server_error"}


class Refusal(HTTPException):
    """A request is refused. FastAPI lets this exception through while it reads a body."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(status, message, {"Retry-After": RETRY[status]} if status in RETRY else None)
        self.param = param


def error_body(status: int, message: str, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error."""
    kind = KINDS.get(status, "server_error" if status > 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}
