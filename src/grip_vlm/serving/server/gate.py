"""What a request passes before its body is read: its key, the room in the queue, and the size and time of its body."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from grip_vlm.serving.server.keys import Keys
from grip_vlm.serving.server.metrics import Metrics
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.refusal import Refusal, error_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
BODY_SECONDS = 60.0  # for a whole body to arrive
GONE = 499  # counted for a client that did not wait for its answer


class Gate:
    """ASGI middleware around the application."""

    def __init__(self, app: Any, options: ServerOptions, keys: Keys, metrics: Metrics) -> None:
        self.app, self.options, self.keys, self.metrics = app, options, keys, metrics
        self.room = options.queue + options.batch

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        is_counted = scope["method"] == "POST"
        status = GONE

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self.refusal(dict(scope["headers"]), is_counted)
            if refusal is not None:
                await refused(refusal)(scope, receive, counted)
                return
            self.room -= is_counted
            try:
                await self.app(scope, self.limited(receive), counted)
            finally:
                self.room += is_counted
        finally:
            if is_counted:
                self.metrics.requests.labels(str(status)).inc()

    def refusal(self, headers: dict[bytes, bytes], needs_room: bool) -> Refusal | None:
        """Why a request is refused before its body is read; None if it is not."""
        if not self.keys.open(headers.get(b"authorization", b"").decode("latin-1")):
            return Refusal(401, "this server needs an API key: `Authorization: Bearer KEY`")
        if needs_room and self.room < 1:
            return Refusal(429, f"{self.options.queue} requests are waiting already; try again in a moment")
        return None

    def limited(self, receive: Receive) -> Receive:
        """`receive` of a body that may not be larger, nor slower, than allowed."""
        size, is_complete = 0, False
        end = asyncio.get_running_loop().time() + BODY_SECONDS

        async def checked() -> Message:
            nonlocal size, is_complete
            if is_complete:
                return await receive()
            try:
                async with asyncio.timeout_at(end):
                    message = await receive()
                    size += len(message.get("body", b""))
                    is_complete = not message.get("more_body", False)
                    if size <= self.options.max_bytes:
                        return message
                    # A client reads the refusal only after it has sent its body. The rest is thrown away.
                    while message.get("more_body", False) and size < 4 * self.options.max_bytes:
                        message = await receive()
                        size += len(message.get("body", b""))
            except TimeoutError as error:
                raise Refusal(408, f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from error
            is_complete = True
            raise Refusal(413, f"the body has more than {self.options.max_bytes} bytes")

        return checked


def refused(refusal: Refusal) -> JSONResponse:
    """The answer of a refusal."""
    headers = dict(refusal.headers or {})
    if refusal.status_code == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = error_body(refusal.status_code, refusal.detail, refusal.param)
    return JSONResponse(body, refusal.status_code, headers)
