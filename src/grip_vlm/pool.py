"""A pool of Ray actors, on this machine or on a cluster: jobs go in, results come out as they are ready.

Each actor makes its worker once. A job whose actor dies is done again by another. Jobs and results are JSON.
"""

import json
import logging
import os
import signal
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grip_vlm.options import PoolOptions

OBJECTS = 200 * 2**20  # bytes of a local object store; jobs and results are small
SMALLER = "try a smaller --batch, fewer workers, or --dtype bfloat16"
TRIES = 3  # of a job whose actor dies each time; then the run ends, because the job may be what kills it


class Tries:
    """How often each job was begun. It is an actor of its own, because it must outlive those that it counts for."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def begin(self, job: str) -> int:
        """Count a job, and return how often it was begun."""
        self.counts[job] += 1
        return self.counts[job]


class Pooled:
    """What an actor runs: a worker of any class with `run(job)`. A worker's mistake comes back as a result."""

    def __init__(self, worker: type, settings: dict[str, Any], threads: int, folder: str, tries: Any) -> None:
        import torch

        self.tries = tries
        torch.set_num_threads(threads)
        if os.path.isdir(folder):  # so that relative paths mean what they mean to the caller
            os.chdir(folder)
        self.failure: dict[str, Any] | None = None
        try:
            self.worker = worker(**settings)
        except Exception as error:
            self.failure = _failure(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """One job of Ray Data, a batch of one row."""
        import ray

        job, result = str(batch["job"][0]), self.failure
        if result is None and ray.get(self.tries.begin.remote(job)) > TRIES:
            dead = ValueError(f"a worker died {TRIES} times at {job[:200]}; if memory ran out, {SMALLER}")
            result = _failure(dead)
        if result is None:
            try:
                result = {"result": self.worker.run(json.loads(job))}
            except Exception as error:
                result = _failure(error)
        return {"result": [json.dumps(result)]}


def _failure(error: Exception) -> dict[str, Any]:
    expected = isinstance(error, (ValueError, OSError))
    return {"expected": expected, "failure": str(error) if expected else traceback.format_exc()}


def results(
    jobs: Sequence[Any], worker: type, settings: dict[str, Any], workers: int, options: PoolOptions
) -> Iterator[Any]:
    """`worker(**settings).run(job)` of every job, each once, as they are ready.

    Args:
        jobs: values that JSON can hold, as are the results.
        worker: a class at the top level of a module, whose instance each actor makes once.
        workers: actors, 1 or more.

    Raises:
        ValueError: a worker refused its settings or a job with a ValueError or an OSError; or the cluster cannot be
            reached.
        RuntimeError: a worker failed otherwise, or its actor died again and again.
    """
    workers = min(workers, len(jobs))
    actor = {"worker": worker, "settings": settings, "threads": options.cpus, "folder": str(Path.cwd())}
    with connected(workers, options) as ray:
        actor["tries"] = ray.remote(num_cpus=0)(Tries).remote()
        items = [{"job": json.dumps(job)} for job in jobs]
        # Blocks made here need no task that reads them: it would wait for a core that the actors hold.
        data = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            Pooled,
            fn_constructor_kwargs=actor,
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
            num_cpus=options.cpus,
            num_gpus=options.gpus,
        )  # Ray Data starts an actor that died again, and gives its job to another
        try:
            for batch in data.iter_batches(batch_size=None, prefetch_batches=0):
                for text in batch["result"]:
                    yield _result(json.loads(str(text)))
        except ray.exceptions.RayError as error:
            line = " ".join(str(error).split())[:500]
            raise RuntimeError(f"the pool of workers failed, perhaps because memory ran out: {line}") from error


def _result(found: dict[str, Any]) -> Any:
    if "failure" not in found:
        return found["result"]
    if found["expected"]:
        raise ValueError(found["failure"])
    raise RuntimeError(f"a worker failed:\n{found['failure']}")


def _reach(address: str) -> None:
    """Raise an OSError at once where nobody listens: Ray would try for minutes."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def connected(workers: int, options: PoolOptions) -> Iterator[Any]:
    """The module `ray`, connected to the cluster, or to processes of its own that end with it."""
    # Ray reads these from the environment alone. Its reports on usage go to its makers, whom our users did not ask.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    quiet = {"logging_level": logging.ERROR, "log_to_driver": False, "configure_logging": True}
    # Ray runs workers at nice 15, where any other process starves them. These workers are the job itself.
    local = {
        "include_dashboard": False,
        "object_store_memory": OBJECTS,
        "num_cpus": workers * options.cpus + 1,
        "_system_config": {"worker_niceness": 0},
    }
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        if options.address:
            _reach(options.address)
            ray.init(address=options.address, **quiet)
        else:
            ray.init(address="local", **local, **quiet)
    except (OSError, ValueError) as error:  # ConnectionError is an OSError
        where = options.address or "this machine"
        raise ValueError(f"there is no Ray cluster at {where}: {' '.join(str(error).split())[:300]}") from error
    try:
        if main:
            signal.signal(signal.SIGTERM, before)  # ray.init puts a handler of its own in its place
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray
    finally:
        ray.shutdown()
