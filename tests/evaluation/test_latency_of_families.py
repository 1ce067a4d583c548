"""Answers of every VLM family are cut into phases, and a pruned sequence leaves a smaller cache."""

import pytest
from toolkit.families import NAMES, load

from grip_vlm import pruners, vlms
from grip_vlm.budget import Budget
from grip_vlm.evaluation.phases import Job, timed_answer


@pytest.fixture(params=NAMES)
def family(request):
    return load(request.param)


def test_every_phase_but_the_scorer_takes_time_and_the_cache_of_fewer_tokens_is_smaller(family):
    vlm = vlms.wrap(family.model, family.processor)
    two = Budget(tokens=2)
    jobs = [Job("full", pruners.load("full"), two, "1.0"), Job("random", pruners.load("random"), two, "2")]
    jobs.append(Job("free", None, two, "2"))
    images, questions = family.images(2), ["what is in the image ?", "how many ?"]
    full, random, free = (timed_answer(vlm, job, images, questions, new_tokens=2) for job in jobs)
    assert all(full.seconds[phase] > 0 for phase in ("images", "tower", "inputs", "prefill", "decode"))
    assert (random.kept, free.kept) == (2, 2)
    assert full.kv_bytes > random.kv_bytes == free.kv_bytes > 0
