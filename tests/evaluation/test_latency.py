"""Every job is timed with its share of all that it needs, on a clock of the test's own."""

import pytest

from grip_vlm import pruners
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.latency import measure_latency
from grip_vlm.pruners.methods import random


def test_every_job_is_timed_at_every_batch(vlm, examples):
    jobs = [(name, pruners.load(name), Budget.parse(0.1)) for name in ("full", "random")]
    timings = measure_latency(vlm, jobs, examples, batch=2, rounds=2)
    assert [(t.pruner, t.batch) for t in timings] == [("full", 2), ("random", 2)]
    assert all(0 < t.low <= t.seconds <= t.high for t in timings)


class Clock:
    """A clock that stands still unless `now` is moved."""

    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def timed(vlm, clock):
    """The VLM, whose processor takes 1000 seconds, the tower 8 and waiting for the device 1."""

    class Timed(type(vlm)):
        def inputs(self, *given):
            clock.now += 1000
            return super().inputs(*given)

        def encode(self, *given):
            clock.now += 8
            return super().encode(*given)

        def synchronize(self):
            clock.now += 1
            super().synchronize()

    return Timed(vlm.model, vlm.processor, vlm.name)


class Slow(random.Pruner):
    """Takes `seconds` for its first batch and as many more for each after it; `ran` remembers whose turn it was."""

    def __init__(self, clock, seconds, ran):
        super().__init__()
        self.clock, self.seconds, self.ran = clock, seconds, ran

    def select(self, *given):
        self.ran.append(self)
        self.clock.now += self.seconds * self.ran.count(self)
        return super().select(*given)


@pytest.mark.slow
def test_a_timing_is_tower_pruner_and_answer_per_question_over_all_rounds_but_the_first(timed, examples, clock):
    jobs = [(name, Slow(clock, seconds, []), Budget(tokens=1)) for name, seconds in (("one", 2), ("two", 4))]
    one, two = measure_latency(timed, jobs, examples, batch=2, rounds=11, new_tokens=1, clock=clock)
    # Of rounds 2 to 12 the median is the 7th; a tenth of them lies below the 3rd and above the 11th.
    assert [one.low, one.seconds, one.high] == [(8 + 1 + 2 * r) / 2 for r in (3, 7, 11)]
    assert [two.low, two.seconds, two.high] == [(8 + 1 + 4 * r) / 2 for r in (3, 7, 11)]


def test_no_job_always_runs_behind_the_same_one(timed, examples, clock):
    ran = []
    jobs = [(name, Slow(clock, 1, ran), Budget(tokens=1)) for name in "abc"]
    measure_latency(timed, jobs, examples, batch=1, rounds=3, new_tokens=1, clock=clock)
    a, b, c = (pruner for _, pruner, _ in jobs)
    assert ran == [a, b, c, b, c, a, c, a, b, a, b, c]


def test_a_rows_seconds_are_tower_pruner_and_answer_divided_by_the_batch(timed, tmp_path, clock):
    slow = {name: Slow(clock, seconds, []) for name, seconds in (("one", 2), ("two", 4))}
    items, out = [open_items("presence", "dev")], tmp_path / "rows.jsonl"
    rows = evaluate(timed, slow, items, [Budget(tokens=1)], out, limit=3, batch=2, clock=clock)
    tower = 1000 + 8 + 1
    expected = {"one": [(tower + 2 + 1) / 2] * 2 + [tower + 4 + 1], "two": [(tower + 4 + 1) / 2] * 2 + [tower + 8 + 1]}
    assert {name: [row.seconds for row in rows if row.pruner == name] for name in slow} == expected
