"""From requests to batches: the queue, the worker's supervision, and events back to whoever waits for them."""

import asyncio
import contextlib
import time
from collections import deque

from grip_vlm.serving.server.load import Load
from grip_vlm.serving.server.messages import Ask, Batch, Broken, Cancel, Done, Event, Failed, Finished, Piece, Ready
from grip_vlm.serving.server.metrics import Metrics
from grip_vlm.serving.server.options import ServerOptions
from grip_vlm.serving.server.process import LostWorkerError, Worker

ATTEMPTS = 3  # a request is begun so often, before it counts as what ends the workers
STARTS = 3  # a worker that has run before is started so often, before the server gives up


class Job:
    """A request between its arrival and its answer."""

    def __init__(self, ask: Ask) -> None:
        self.ask = ask
        self.arrived = time.perf_counter()
        self.events: asyncio.Queue[Piece | Done | Failed] = asyncio.Queue()
        self.attempts = 0
        self.is_over = False
        """answered, or nobody waits for it any more"""

    def put(self, event: Piece | Done | Failed) -> None:
        """Pass an event on to whoever waits."""
        if not self.is_over:
            self.is_over = not isinstance(event, Piece)
            self.events.put_nowait(event)


class Dispatcher:
    """Queue and worker of one server."""

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        self.options, self.metrics = options, metrics
        self.load = Load(options.target_ms / 1000)
        self.queue: deque[Job] = deque()
        self.running: dict[int, Job] = {}
        self.arrival = asyncio.Event()
        self.worker: Worker | None = None
        self.is_ready = False
        self.cancels: set[asyncio.Task[None]] = set()
        metrics.waiting.set_function(lambda: len(self.queue))
        metrics.running.set_function(lambda: len(self.running))
        metrics.share.set(1)

    # ---- requests ----------------------------------------------------------------------------------------------------

    def submit(self, ask: Ask) -> Job:
        """Put a request in the queue."""
        job = Job(ask)
        self.queue.append(job)
        self.arrival.set()
        return job

    def cancel(self, job: Job) -> None:
        """Nobody waits for the job any more."""
        if job.is_over:
            return
        job.is_over = True
        if job in self.queue:
            self.queue.remove(job)
        elif self.worker is not None:
            task = asyncio.create_task(self._cancel(self.worker, job.ask.id))
            self.cancels.add(task)
            task.add_done_callback(self.cancels.discard)

    async def _cancel(self, worker: Worker, number: int) -> None:
        with contextlib.suppress(LostWorkerError):  # the supervision sees it, too
            await worker.send(Cancel(number))

    # ---- the worker --------------------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Start the first worker; the name of its VLM.

        Raises:
            ValueError: VLM or pruner cannot be loaded, or do not answer together.
        """
        self.worker = Worker(self.options)
        try:
            event = await self.worker.receive()
        except LostWorkerError as error:
            raise ValueError("the worker ended while it loaded the VLM; is there enough memory?") from error
        if not isinstance(event, Ready):
            raise ValueError(event.message if isinstance(event, Broken) else f"the worker said {event}")
        self.is_ready = True
        return event.name

    async def run(self) -> None:
        """Answer what arrives, for ever. A worker that ends is replaced, and what it had begun is begun again.

        Raises:
            ValueError: no worker could be started any more. All requests are then refused.
        """
        while True:
            try:
                while True:
                    await self.answer(await self.next_batch())
            except LostWorkerError:
                self.is_ready = False
                self.metrics.restarts.inc()
                self.put_back()
            await self.restart()

    async def restart(self) -> None:
        """Replace the worker."""
        for start in range(STARTS):
            await self.end_worker()
            await asyncio.sleep(start)
            try:
                await self.start()
                return
            except ValueError as error:
                reason = str(error)
        message = "no worker can be started any more"
        for job in self.queue:
            job.put(Failed(job.ask.id, 503, f"{message}, for a reason that the server's log names"))
        self.queue.clear()
        raise ValueError(f"{message}: {reason}")

    async def end_worker(self) -> None:
        """End the worker, if there is one."""
        self.is_ready = False
        if self.worker is not None:
            worker, self.worker = self.worker, None
            await worker.end()

    def put_back(self) -> None:
        """What was begun goes back to the front of the queue. Each is then answered by itself: one may be the cause."""
        for job in reversed(list(self.running.values())):
            job.attempts += 1
            if job.attempts >= ATTEMPTS:
                job.put(Failed(job.ask.id, 503, f"the worker ended {ATTEMPTS} times while it answered this request"))
            elif not job.is_over:
                self.queue.appendleft(job)
                self.metrics.redone.inc()
        self.running.clear()

    # ---- batches -----------------------------------------------------------------------------------------------------

    async def next_batch(self) -> list[Job]:
        """The next requests, as soon as there is one. Raises LostWorkerError if the worker ends before."""
        assert self.worker is not None
        ended = asyncio.create_task(self.worker.ended.wait())
        try:
            while not self.queue:
                self.arrival.clear()
                arrival = asyncio.create_task(self.arrival.wait())
                await asyncio.wait({ended, arrival}, return_when=asyncio.FIRST_COMPLETED)
                arrival.cancel()
                if self.worker.ended.is_set():
                    raise LostWorkerError
        finally:
            ended.cancel()
        first = self.queue.popleft()
        if by_itself(first):
            return [first]
        batch = [first, *(job for job in self.queue if not by_itself(job))][: self.options.batch]
        taken = {job.ask.id for job in batch}
        self.queue = deque(job for job in self.queue if job.ask.id not in taken)
        return batch

    async def answer(self, batch: list[Job]) -> None:
        """Have the worker answer a batch, and pass its events on. Raises LostWorkerError."""
        assert self.worker is not None
        self.running = {job.ask.id: job for job in batch}
        waited = time.perf_counter() - batch[0].arrived
        share = self.load.share(len(batch) + len(self.queue), self.options.batch, waited)
        self.metrics.share.set(share)
        try:
            async with asyncio.timeout(self.options.timeout):
                await self.worker.send(Batch([job.ask for job in batch], share))
                while not isinstance(event := await self.worker.receive(), Finished):
                    self.deliver(event)
        except TimeoutError as error:
            self.worker.process.kill()
            raise LostWorkerError from error
        for job in self.running.values():
            job.put(Failed(job.ask.id, 500, "the worker gave no answer"))  # unless it was cancelled
        self.running = {}
        self.load.add(event.rows, event.asked, event.kept, event.seconds)
        self.metrics.rows.observe(len(batch))

    def deliver(self, event: Event) -> None:
        """Pass an event on to its request."""
        if not isinstance(event, Piece | Done | Failed):
            return
        job = self.running[event.id]
        job.put(event)
        if not isinstance(event, Piece):
            del self.running[event.id]


def by_itself(job: Job) -> bool:
    """Whether a request shares no batch: its sampled answer would depend on the others, or a worker ended over it."""
    return bool(job.ask.sampling) or job.attempts > 0
