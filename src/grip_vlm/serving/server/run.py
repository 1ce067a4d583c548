"""The server from its first line to its last: load, listen, answer, finish what has begun."""

import asyncio
import signal
import socket

import uvicorn

from grip_vlm.serving.server.app import build
from grip_vlm.serving.server.dispatch import Dispatcher
from grip_vlm.serving.server.keys import Keys
from grip_vlm.serving.server.metrics import Metrics
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.sources import Sources


def serve(options: ServerOptions, keys: Keys) -> None:
    """Serve until SIGTERM or an interrupt from the keyboard.

    Raises:
        ValueError: VLM, pruner or an option is wrong, or no worker can be started any more.
        OSError: the address cannot be listened on.
    """
    Sources(options.image_hosts, options.max_bytes, options.max_pixels)  # a host that is none is refused first
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.create_server((options.host, options.port), family=family, backlog=512) as listener:
        asyncio.run(_serve(options, keys, listener))


async def _serve(options: ServerOptions, keys: Keys, listener: socket.socket) -> None:
    metrics = Metrics()
    dispatcher = Dispatcher(options, metrics)
    try:
        name = await dispatcher.start()
        app = build(options, keys, metrics, dispatcher, name)
        grace = None if options.grace == 0 else max(1, round(options.grace))
        config = uvicorn.Config(
            app, log_level="warning", lifespan="off", server_header=False, timeout_graceful_shutdown=grace
        )
        server = uvicorn.Server(config)
        host = f"[{options.host}]" if ":" in options.host else options.host
        locked = "" if keys.digests else ", for everyone who reaches this address"
        print(f"grip-vlm serves {name} at http://{host}:{listener.getsockname()[1]}/v1{locked}", flush=True)
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn handles them, and raises them again once it has ended. Then there is nothing left to interrupt.
            signal.signal(number, signal.SIG_IGN)
        answering = asyncio.create_task(dispatcher.run())
        answering.add_done_callback(lambda _: setattr(server, "should_exit", True))
        await server.serve(sockets=[listener])
        if answering.done():
            answering.result()  # raises
        answering.cancel()
    finally:
        await dispatcher.end_worker()
    print("grip-vlm has stopped; what had begun is answered", flush=True)
