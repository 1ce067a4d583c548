"""The HTTP interface: OpenAI's chat completions and models, health and metrics."""

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from grip_vlm import __version__
from grip_vlm.budget import Budget
from grip_vlm.serving.server.asking import to_ask
from grip_vlm.serving.server.dispatch import Dispatcher, Job
from grip_vlm.serving.server.gate import GONE, Gate, refused
from grip_vlm.serving.server.keys import Keys
from grip_vlm.serving.server.messages import Done, Failed, Piece
from grip_vlm.serving.server.metrics import Metrics
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.refusal import Refusal
from grip_vlm.serving.server.schema import (
    ChatRequest,
    Choice,
    Completion,
    Error,
    Health,
    Model,
    Models,
    Reply,
    sentence,
)
from grip_vlm.serving.server.sources import Sources
from grip_vlm.serving.server.sse import Stream, usage_of

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": Error} for status in (400, 401, 404, 408, 413, 429, 500, 503)
}

STREAM: dict[str, Any] = {"content": {"text/event-stream": {}}}


def build(options: ServerOptions, keys: Keys, metrics: Metrics, dispatcher: Dispatcher, name: str) -> FastAPI:
    """The application.

    Args:
        name: of the VLM.
    """
    app = FastAPI(title="grip-vlm", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(Gate, options=options, keys=keys, metrics=metrics)
    add_errors(app)
    sources = Sources(options.image_hosts, options.max_bytes, options.max_pixels)
    numbers = itertools.count(1)
    created = int(time.time())

    @app.post("/v1/chat/completions", response_model=Completion, responses={200: STREAM, **ERRORS})
    async def complete(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation with images from a part of its visual tokens."""
        arrived = time.perf_counter()
        ask = await to_ask(body, next(numbers), name, options, sources)
        job = dispatcher.submit(ask)
        job.arrived = arrived
        try:
            event = await first_event(request, job, metrics)
        except BaseException:
            dispatcher.cancel(job)
            raise
        if event is None:
            dispatcher.cancel(job)
            return Response(status_code=GONE)
        stream = Stream(f"chatcmpl-{uuid.uuid4().hex}", int(time.time()), name, str(Budget.parse(ask.budget)))
        if ask.stream:
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            events = streamed(stream, event, job, dispatcher, with_usage)
            return StreamingResponse(events, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        assert isinstance(event, Done)
        choice = Choice(message=Reply(content=event.text), finish_reason=event.finish_reason)  # type: ignore[arg-type]
        answer = Completion(**stream.fields, choices=[choice], usage=usage_of(event))
        return JSONResponse(answer.model_dump())

    @app.get("/v1/models", response_model=Models, responses={401: ERRORS[401]})
    async def models() -> Models:
        """The one VLM that answers here."""
        return Models(data=[Model(id=name, created=created)])

    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> JSONResponse:
        """Whether requests are answered now. They wait while a worker is replaced."""
        state = Health(
            status="ok" if dispatcher.is_ready else "loading",
            waiting=len(dispatcher.queue),
            running=len(dispatcher.running),
        )
        return JSONResponse(state.model_dump(), 200 if dispatcher.is_ready else 503)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def text() -> Response:
        """Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


async def first_event(request: Request, job: Job, metrics: Metrics) -> Piece | Done | None:
    """The first event of a job; None if the client has gone. An event that follows is `Stream`'s to wait for.

    Raises:
        Refusal: the request cannot be answered.
    """
    event = asyncio.create_task(job.events.get())
    gone = asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait({event, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not event.done():
            return None
        first = event.result()
    finally:
        event.cancel()
        gone.cancel()
    if isinstance(first, Failed):
        raise Refusal(first.status, first.message)
    metrics.first.observe(time.perf_counter() - job.arrived)
    if isinstance(first, Done):
        count(first, job, metrics)
    return first


async def disconnected(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def count(done: Done, job: Job, metrics: Metrics) -> None:
    """Add an answer to the metrics."""
    metrics.seconds.observe(time.perf_counter() - job.arrived)
    metrics.visual.inc(done.visual_tokens)
    metrics.asked.inc(done.asked)
    metrics.kept.inc(done.kept)
    metrics.prompt.inc(done.prompt_tokens)
    metrics.completion.inc(done.completion_tokens)


async def streamed(
    stream: Stream, first: Piece | Done, job: Job, dispatcher: Dispatcher, with_usage: bool
) -> AsyncIterator[str]:
    """The chunks of an answer. A client that goes cancels its request."""
    event: Piece | Done | Failed = first
    try:
        while True:
            for chunk in stream.chunks(event, with_usage):
                yield chunk
            if not isinstance(event, Piece):
                return
            event = await job.events.get()
            if isinstance(event, Done):
                count(event, job, dispatcher.metrics)
    finally:
        dispatcher.cancel(job)


def add_errors(app: FastAPI) -> None:
    """Every error is a sentence in OpenAI's form."""

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        refusal = error if isinstance(error, Refusal) else Refusal(error.status_code, str(error.detail))
        answer = refused(refusal)
        answer.headers.update(error.headers or {})
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return refused(Refusal(400, *sentence(list(error.errors()))))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return refused(Refusal(500, "this request cannot be answered, for a reason that the server's log names"))
