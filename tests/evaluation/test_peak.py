"""The peak of a run is what it held at most, also if it gave all of it back."""

import sys

import pytest
import torch

from grip_vlm.evaluation.peak import peak_memory

SIZE = 64 * 2**20  # bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")


def test_memory_that_is_given_back_counts_and_that_of_earlier_runs_does_not():
    def hold(share):
        torch.ones(int(SIZE * share) // 4)  # written, so that it is resident

    cpu = torch.device("cpu")
    added = [memory.peak - memory.resting for memory in (peak_memory(cpu, lambda s=s: hold(s)) for s in (2, 1, 0.25))]
    assert added == pytest.approx([2 * SIZE, SIZE, SIZE / 4], abs=SIZE / 8)
