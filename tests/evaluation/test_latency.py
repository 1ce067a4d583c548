"""Every job is timed in phases that add up to the answer, on a clock of the test's own, and no run is lost."""

import pytest

from grip_vlm import checkpoint, pruners
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation import timing
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.latency import Batch, jobs_of, measure, turns
from grip_vlm.evaluation.phases import Job, timed_answer
from grip_vlm.evaluation.timing import FREE, PHASES
from grip_vlm.pruners.methods import random
from grip_vlm.scorer import Scorer, ScorerConfig

TWO = [Budget(tokens=2)]


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
    """The VLM, whose processor takes 1000 seconds, the tower 8, waiting for the device 1, and the language model 100
    for its first token, 110 for the second, and so on."""

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

        before, first, more = 50, 100, 10

        def generate(self, *given):
            clock.now += self.before
            self.step = self.first
            return super().generate(*given)

    slow = Timed(vlm.model, vlm.processor, vlm.name)

    def forward(*given):
        clock.now += slow.step
        slow.step += slow.more

    hook = vlm.model.base_model.get_decoder().register_forward_hook(forward)
    yield slow
    hook.remove()


class Slow(random.Pruner):
    """Takes `seconds` for its first batch and as many more for each after it; `ran` remembers whose turn it was."""

    def __init__(self, clock, seconds, ran):
        super().__init__()
        self.clock, self.seconds, self.ran = clock, seconds, ran

    def select(self, *given):
        self.ran.append(self)
        self.clock.now += self.seconds * self.ran.count(self)
        return super().select(*given)


def batch_of(examples, size):
    return Batch([e.image for e in examples[:size]], [e.question for e in examples[:size]])


def answer_in(vlm, job, examples, clock, new_tokens=3):
    batch = batch_of(examples, 2)
    return timed_answer(vlm, job, batch.images, batch.questions, new_tokens, clock)


def test_an_answer_is_cut_into_phases_without_a_gap(timed, examples, clock):
    run = answer_in(timed, Job("slow", Slow(clock, 4, []), *TWO, "2"), examples, clock)
    expected = {"images": 1000, "tower": 8, "choice": 4, "inputs": 50, "prefill": 100, "decode": 110 + 120}
    assert run.seconds == dict.fromkeys(PHASES, 0.0) | expected


def test_the_network_of_a_trained_method_is_told_from_its_choice(timed, examples, clock, tmp_path):
    provenance = checkpoint.Provenance("t", timed.fingerprint(), "d", "m", 0, 0, 0)
    checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=timed.dim, width=16)), provenance)
    pruner = pruners.load("grip", scorer=tmp_path / "scorer")

    def forward(*given):
        clock.now += 16

    hook = pruner.scorer(timed).register_forward_hook(forward)
    run = answer_in(timed, Job("grip", pruner, *TWO, "2"), examples, clock)
    hook.remove()
    assert (run.seconds["scorer"], run.seconds["choice"]) == (16, 0)
    assert run.kept == 2


def test_where_the_selection_is_free_only_tower_and_language_model_take_time(timed, examples, clock):
    run = answer_in(timed, Job(FREE, None, *TWO, "2"), examples, clock)
    expected = {"images": 1000, "tower": 8, "inputs": 50, "prefill": 100, "decode": 230}
    assert run.seconds == dict.fromkeys(PHASES, 0.0) | expected
    assert (run.tokens, run.kept) == (196, 2)


def test_the_cache_has_the_bytes_of_all_layers_keys_and_values(vlm, examples):
    config = vlm.model.config.get_text_config()
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4  # float32
    batch = batch_of(examples, 1)
    full, free = (
        timed_answer(vlm, job, batch.images, batch.questions, new_tokens=3).kv_bytes
        for job in (Job("full", pruners.load("full"), *TWO, "1.0"), Job(FREE, None, *TWO, "2"))
    )
    assert full - free == (196 - 2) * per_token
    length = vlm.inputs(batch.images, batch.questions)["input_ids"].shape[1]
    assert full == (length + 2) * per_token  # the last of three tokens is not read any more


def test_no_hook_is_left_on_the_model(vlm, examples):
    answer_in(vlm, Job(FREE, None, *TWO, "2"), examples, Clock())
    assert not vlm.model._forward_hooks
    assert not vlm.model._forward_pre_hooks


@pytest.mark.slow
def test_every_job_has_one_row_per_round_and_the_limits_are_among_them(vlm, examples, tmp_path):
    jobs = jobs_of(
        {"full": pruners.load("full"), "random": pruners.load("random")}, [Budget.parse(b) for b in (2, 0.1)]
    )
    rows = measure(vlm, jobs, batch_of(examples, 2), tmp_path / "rows.jsonl", repeats=2, new_tokens=2)
    names = [("full", "1.0"), ("random", "2"), ("random", "0.1"), (FREE, "2"), (FREE, "0.1")]
    assert [(row.pruner, row.budget, row.round) for row in rows] == [(*name, i) for name in names for i in (0, 1)]
    assert all(row.seconds > 0 and row.peak_bytes >= row.resting_bytes > 0 for row in rows)
    assert [row.kept for row in rows] == [196] * 2 + [2, 2, 20, 20] * 2
    assert set(timing.read_timings([tmp_path / "rows.jsonl"])) == set(rows)


def test_no_job_always_runs_behind_the_same_one():
    assert "".join("abc"[job] for _, job in turns(3, 3)) == "bcacababc"


@pytest.fixture
def stopped(vlm, examples, clock, tmp_path):
    """Two jobs, the second of which was interrupted in the second round: (jobs, batch, file, whose turn it was)."""
    ran, out, batch = [], tmp_path / "rows.jsonl", batch_of(examples, 1)
    jobs = [Job(name, Slow(clock, 1, ran), *TWO, "2") for name in "ab"]

    def tell(text):
        ran.clear()

    def interrupted():
        clock.now += 1
        if len(ran) == 4 + 3 and clock.now % 2:  # four runs to warm up, then the third
            raise KeyboardInterrupt
        return clock.now

    with pytest.raises(KeyboardInterrupt):
        measure(vlm, jobs, batch, out, repeats=2, new_tokens=1, clock=interrupted)
    return jobs, batch, out, ran


def test_an_interrupted_call_keeps_its_rows_and_the_next_one_times_what_is_missing(vlm, stopped):
    jobs, batch, out, ran = stopped
    before = out.read_text()
    assert [row.pruner for row in timing.read(out)[0]] == ["b", "a"]
    ran.clear()
    rows = measure(vlm, jobs, batch, out, repeats=2, new_tokens=1)
    assert ran == [job.pruner for job in jobs] * 3  # two to warm up, and the second round
    assert out.read_text().startswith(before)
    assert [(row.pruner, row.round) for row in rows] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    ran.clear()
    assert measure(vlm, jobs, batch, out, repeats=2, new_tokens=1) == rows
    assert not ran


def test_times_of_another_setting_are_refused_before_anything_runs(vlm, stopped, examples):
    jobs, batch, out, ran = stopped
    ran.clear()
    with pytest.raises(ValueError, match=r"times of another new_tokens \(1 and 2\) cannot be compared"):
        measure(vlm, jobs, batch, out, repeats=2, new_tokens=2)
    with pytest.raises(ValueError, match="another set of questions in batches of 1"):
        measure(vlm, jobs, batch_of(examples[1:], 1), out, repeats=2, new_tokens=1)
    assert not ran


@pytest.mark.slow
def test_the_cost_is_told_first_and_an_impossible_budget_is_left_out_with_its_reason(vlm, examples, tmp_path):
    lines = []
    jobs = jobs_of({"fastv": pruners.load("fastv")}, [Budget(tokens=1), Budget(tokens=150)])
    rows = measure(vlm, jobs, batch_of(examples, 1), tmp_path / "r.jsonl", repeats=1, new_tokens=1, tell=lines.append)
    assert lines[0] == "4 jobs on batches of 1: 8 runs to warm up, 4 timed"
    assert lines[1].startswith("fastv at 1 is left out: fastv keeps at least 50 of 196 tokens")
    assert lines[2].endswith("minutes are left")
    assert [(row.pruner, row.budget) for row in rows] == [("fastv", "150"), (FREE, "1"), (FREE, "150")]


def test_a_method_that_can_reach_none_of_its_budgets_is_refused(vlm, examples, tmp_path):
    with pytest.raises(ValueError, match="fastv keeps at least 50 of 196"):
        measure(vlm, jobs_of({"fastv": pruners.load("fastv")}, TWO), batch_of(examples, 1), tmp_path / "r.jsonl")
    assert not (tmp_path / "r.jsonl").exists()


def test_a_rows_seconds_are_tower_pruner_and_answer_divided_by_the_batch(timed, tmp_path, clock):
    timed.before = timed.first = timed.more = 0
    slow = {name: Slow(clock, seconds, []) for name, seconds in (("one", 2), ("two", 4))}
    items, out = [open_items("presence", "dev")], tmp_path / "rows.jsonl"
    rows = evaluate(timed, slow, items, [Budget(tokens=1)], out, limit=3, batch=2, clock=clock)
    tower = 1000 + 8 + 1
    expected = {"one": [(tower + 2 + 1) / 2] * 2 + [tower + 4 + 1], "two": [(tower + 4 + 1) / 2] * 2 + [tower + 8 + 1]}
    assert {name: [row.seconds for row in rows if row.pruner == name] for name in slow} == expected
