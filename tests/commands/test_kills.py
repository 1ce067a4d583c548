"""A run that is killed again and again, at random moments, ends with the weights of an uninterrupted one."""

import random
import subprocess
import sys

import pytest

KILLS = 10
RUN = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from grip_vlm.cli import main
from grip_vlm.training import launch, warmup
from grip_vlm.training.state import read_counters

torch.set_num_threads(1)
vlm, folder, seed, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
words = ["warmup", "--vlm", vlm, "--data", "presence", "--width", "16", "--attention-share", "0.5"]
words += "--examples 12 --dev-examples 4 --steps 80 --batch 2 --dev-every 10 --save-every 1".split()

def start(out):
    child = os.fork()
    if not child:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1), os.dup2(null, 2)
        main([*words, "--out", str(folder / out)])
        os._exit(0)
    return child

def step():
    return read_counters(folder / "cut.state")["step"] if (folder / "cut.state").exists() else 0

began = time.monotonic()
assert os.waitpid(start("whole"), 0)[1] == 0
seconds = time.monotonic() - began
rng, killed, reached = random.Random(seed), 0, set()
while killed < kills and not (folder / "cut").exists():
    child = start("cut")
    if killed % 2:  # at any moment of the start: while data are read or images encoded
        time.sleep(rng.uniform(0, seconds / 3))
    else:  # at any moment of the steps
        before = step()
        while step() == before and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.2))
    os.kill(child, signal.SIGKILL)
    killed += os.waitpid(child, 0)[1] == signal.SIGKILL
    reached.add(step())
assert os.waitpid(start("cut"), 0)[1] == 0
one, two = ((folder / out / "scorer.safetensors").read_bytes() for out in ("whole", "cut"))
left = [path.name for path in folder.rglob(".*")]
print(one == two, killed, len(reached), left)
"""


@pytest.mark.slow
def test_a_run_killed_at_random_moments_ends_with_the_same_weights(vlm_dir, tmp_path):
    seed = random.randrange(10**6)
    words = [sys.executable, "-c", RUN, str(vlm_dir), str(tmp_path), str(seed), str(KILLS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    same, killed, reached, left = done.stdout.split(maxsplit=3)
    assert (same, left.strip()) == ("True", "[]"), f"seed {seed}: {done.stdout}"
    assert int(reached) > 3, f"seed {seed}: {done.stdout}"
    print(f"seed {seed}: {killed} kills, {reached} different steps reached")
