"""Two processes share one run: each draws its own half of the batch, and both end with the same weights."""

import json
import shlex
import subprocess
import sys

WORKER = """
import json, os, sys
from grip_vlm.bank import Bank
from grip_vlm.cli import main
from grip_vlm.training import Run, digest

batch, steps, drawn = Bank.batch, Run.steps, []

def watched(bank, chosen):
    drawn.extend([chosen] if isinstance(chosen, list) else [])  # dev scores and looks go through ranges
    return batch(bank, chosen)

def told(run):
    yield from steps(run)
    said = {"drawn": drawn, "batch": run.local_batch, "digest": digest(run.scorer)}
    with open(f"{run.config.out}.{os.environ['RANK']}.json", "w") as file:
        json.dump(said, file)

Bank.batch, Run.steps = watched, told
main(sys.argv[1:])
"""


def test_two_processes_share_one_run(vlm_dir, tmp_path):
    out = tmp_path / "run"
    (tmp_path / "worker.py").write_text(WORKER)
    launch = f"-m torch.distributed.run --standalone --nproc-per-node 2 {tmp_path / 'worker.py'} warmup"
    small = "--examples 8 --dev-examples 2 --steps 2 --batch 4 --dev-every 2 --width 16"
    command = f"{launch} --vlm {vlm_dir} --out {out} {small}"
    subprocess.run([sys.executable, *shlex.split(command)], check=True, timeout=300)
    counters = json.loads((tmp_path / "run.state" / "state.json").read_text())["counters"]
    assert (counters["identity"]["processes"], counters["step"]) == (2, 2)
    assert (out / "scorer.safetensors").is_file()
    one, two = (json.loads((tmp_path / f"run.{rank}.json").read_text()) for rank in (0, 1))
    assert one["batch"] == two["batch"] == 2
    assert [len(part) for part in one["drawn"] + two["drawn"]] == [2] * 4
    assert one["drawn"] != two["drawn"]
    assert one["digest"] == two["digest"]
