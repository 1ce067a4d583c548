"""The queue after a worker has ended: what was begun comes first, by itself, and not for ever."""

import asyncio

import pytest

from grip_vlm.serving.server.dispatch import ATTEMPTS, Dispatcher, by_itself
from grip_vlm.serving.server.messages import Ask
from grip_vlm.serving.server.metrics import Metrics
from grip_vlm.serving.server.options import ServerOptions


def begun(*numbers):
    """A dispatcher whose worker was answering these requests; and its jobs."""
    dispatcher = Dispatcher(ServerOptions(), Metrics())
    jobs = [dispatcher.submit(Ask(number, [], 1.0, (), 1)) for number in numbers]
    dispatcher.queue.clear()
    dispatcher.running = {job.ask.id: job for job in jobs}
    return dispatcher, jobs


def test_what_was_begun_goes_before_what_waits_in_its_order_and_by_itself():
    dispatcher, jobs = begun(1, 2, 3)
    waiting = dispatcher.submit(Ask(4, [], 1.0, (), 1))
    dispatcher.put_back()
    assert list(dispatcher.queue) == [*jobs, waiting]
    assert [by_itself(job) for job in dispatcher.queue] == [True, True, True, False]
    assert not dispatcher.running


def test_a_request_over_which_workers_end_again_and_again_is_refused_at_last():
    dispatcher, (job,) = begun(1)
    for attempt in range(ATTEMPTS):
        assert not job.is_over
        assert attempt == 0 or dispatcher.queue.popleft() is job
        dispatcher.running = {1: job}
        dispatcher.put_back()
    assert not dispatcher.queue
    failed = job.events.get_nowait()
    assert (failed.status, failed.message) == (503, "the worker ended 3 times while it answered this request")


def test_a_request_that_nobody_waits_for_is_not_begun_again():
    dispatcher, (gone, other) = begun(1, 2)
    dispatcher.cancel(gone)
    dispatcher.put_back()
    assert list(dispatcher.queue) == [other]


@pytest.mark.slow
def test_where_no_worker_starts_any_more_clients_are_told_so_and_the_operator_why():
    dispatcher = Dispatcher(ServerOptions(vlm="/no/such/vlm", pruner="random"), Metrics())
    job = dispatcher.submit(Ask(1, [], 1.0, (), 1))
    with pytest.raises(ValueError, match=r"no worker can be started any more: .*'/no/such/vlm'"):
        asyncio.run(dispatcher.restart())
    failed = job.events.get_nowait()
    assert failed.status == 503
    assert failed.message == "no worker can be started any more, for a reason that the server's log names"
