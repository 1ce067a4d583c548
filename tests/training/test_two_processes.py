"""Two processes share one run: each samples its own half of the batch, and both end with the same weights."""

import json
import shlex
import subprocess
import sys

import pytest

WORKER = """
import json, os, sys
from pathlib import Path

import torch

from grip_vlm import vlms
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.training.dev import load_banks
from grip_vlm.training.run import digest, process_device
from grip_vlm.training.settings import WarmupConfig
from grip_vlm.training.warmup import subset_imitation, warmup

vlm = vlms.load(sys.argv[1], device=process_device())
config = WarmupConfig(
    Path(sys.argv[2]), examples=8, dev_examples=2, steps=2, batch=4, dev_every=2, attention_share=1.0
)
bank, dev = load_banks(vlm, config)
torch.manual_seed(0)
scorer, teachers = Scorer(ScorerConfig(dim=vlm.dim, width=16)), []


def imitate(importance, k, teacher):
    teachers.append(teacher.abs().sum(1).tolist())  # one number for each question of this process
    return subset_imitation(importance, k, teacher)


warmup(vlm, scorer, bank, dev, config, imitate=imitate)
out = Path(f"{config.out}.{os.environ['RANK']}.json")
out.write_text(json.dumps({"teachers": teachers, "digest": digest(scorer)}))
"""


@pytest.mark.slow
def test_two_processes_share_one_run(vlm_dir, tmp_path):
    out = tmp_path / "run"
    (tmp_path / "worker.py").write_text(WORKER)
    launch = f"-m torch.distributed.run --standalone --nproc-per-node 2 {tmp_path / 'worker.py'}"
    subprocess.run([sys.executable, *shlex.split(launch), str(vlm_dir), str(out)], check=True, timeout=300)
    counters = json.loads((tmp_path / "run.state" / "state.json").read_text())["counters"]
    assert (counters["identity"]["processes"], counters["step"]) == (2, 2)
    assert (out / "scorer.safetensors").is_file()
    one, two = (json.loads((tmp_path / f"run.{rank}.json").read_text()) for rank in (0, 1))
    # Half of four questions in each of two steps, and not the same half.
    assert [len(part) for part in one["teachers"] + two["teachers"]] == [2] * 4
    assert one["teachers"] != two["teachers"]
    assert one["digest"] == two["digest"]
