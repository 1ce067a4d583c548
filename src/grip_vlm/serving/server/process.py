"""The worker process as the front process sees it: started, spoken to without blocking the event loop, and ended."""

import asyncio
import multiprocessing
import threading
from multiprocessing.connection import Connection

from grip_vlm.serving.server.messages import Batch, Cancel, Event
from grip_vlm.serving.server.options import ServerOptions


class LostWorkerError(Exception):
    """The worker has ended, or was ended because it took too long."""


def work(link: Connection, options: ServerOptions) -> None:
    """The worker's whole life. The front process imports neither torch nor transformers."""
    from grip_vlm.serving.server.worker import work

    work(link, options)


class Worker:
    """One worker process. Methods are for the event loop's thread."""

    def __init__(self, options: ServerOptions) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the threads' locks
        self.link, end = context.Pipe()
        self.process = context.Process(target=work, args=(end, options), name="grip-vlm worker", daemon=True)
        self.process.start()
        end.close()  # then the link's end is the process' end
        self.lock = threading.Lock()
        self.ended = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self.loop.add_reader(self.process.sentinel, self._end)

    def _end(self) -> None:
        self.loop.remove_reader(self.process.sentinel)
        self.ended.set()

    def _send(self, message: Batch | Cancel) -> None:
        with self.lock:
            self.link.send(message)

    async def send(self, message: Batch | Cancel) -> None:
        """Raises LostWorkerError if the worker has ended."""
        try:
            await asyncio.to_thread(self._send, message)
        except OSError as error:
            raise LostWorkerError from error

    async def receive(self) -> Event:
        """Raises LostWorkerError if the worker has ended."""
        try:
            event: Event = await asyncio.to_thread(self.link.recv)
        except (EOFError, OSError) as error:
            raise LostWorkerError from error
        return event

    async def end(self) -> None:
        """Kill the process, and wait for it."""
        self.process.kill()
        await self.ended.wait()
        self.process.join()
        self.link.close()
