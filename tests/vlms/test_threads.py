"""Several threads share one model: what one of them drops is no concern of the others."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from toolkit.families import QUESTION, load
from toolkit.leaving import last_token, start

from grip_vlm import pruners, vlms
from grip_vlm.mdp import Schedule
from grip_vlm.vlms.inside import leaving

METHODS = ["fastv", None, "pyramiddrop", "random", "sparsevlm", "fastv"]


@pytest.fixture(scope="module")
def vlm():
    family = load("qwen2_5_vl")
    return vlms.wrap(family.model, family.processor)


def ask(vlm, job):
    method, seed = job
    image = load("qwen2_5_vl").images(1, seed)[0]
    pruner = None if method is None else pruners.load(method)
    answer = vlm.answer(image, QUESTION, pruner, 0.6, max_new_tokens=6)
    return answer.text, answer.kept_indices


@pytest.mark.slow
def test_answers_in_threads_are_those_of_one_thread(vlm):
    jobs = [(method, seed) for seed in range(4) for method in METHODS]
    expected = [ask(vlm, job) for job in jobs]
    with ThreadPoolExecutor(len(METHODS)) as threads:
        assert list(threads.map(lambda job: ask(vlm, job), jobs)) == expected


@torch.no_grad()
def test_a_thread_that_calls_the_model_itself_does_not_feel_hooks_of_another(vlm):
    family = load("qwen2_5_vl")
    inputs = family.inputs([(family.images(1), QUESTION)])
    expected = family.model(**inputs).logits
    prompt, whole, visual = start(vlm, inputs)
    schedule = Schedule({1: torch.tensor([2])}, last_token(visual))
    both = Barrier(2)

    def other():
        both.wait()
        with torch.no_grad():
            logits = family.model(**inputs).logits
        both.wait()
        return logits

    with (
        ThreadPoolExecutor(1) as thread,
        leaving(family.model, prompt, whole, visual, schedule=schedule, queries=last_token(visual)),
    ):
        found = thread.submit(other)
        both.wait()
        both.wait()
    assert torch.equal(found.result(), expected)
