"""A batch job with real Ray workers: one is killed in the middle, and nothing is lost or answered twice."""

import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray")

from grip_vlm.cli import main

pytestmark = pytest.mark.slow
PATIENCE = 240  # seconds: Ray alone needs ten to start


def command(questions, out, vlm_dir, workers):
    words = ["batch", "--data", str(questions), "--out", str(out), "--vlm", str(vlm_dir), "--pruner", "random"]
    return [*words, "--workers", str(workers), "--rows-per-part", "2", "--batch", "2", "--max-new-tokens", "4"]


def actors_of(process):
    """The processes of the pool's workers that belong to a run."""
    found = []
    for child in process.children(recursive=True):
        try:
            if "MapWorker" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def test_with_one_of_two_workers_killed_the_rows_are_those_of_a_single_process(questions, vlm_dir, tmp_path):
    questions.write_text(questions.read_text() * 5)
    main(command(questions, tmp_path / "single", vlm_dir, 0))
    whole = tmp_path / "pooled"
    run = psutil.Popen(
        [sys.executable, "-m", "grip_vlm.cli", *command(questions, whole, vlm_dir, 2)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    end, victim = time.monotonic() + PATIENCE, None
    while victim is None and run.poll() is None and time.monotonic() < end:
        if any(whole.glob("part-*.parquet")) and (actors := actors_of(run)):
            victim = actors[0]
            victim.kill()
        time.sleep(0.02)
    assert victim is not None, run.stderr.read()
    parts_at_the_kill = len(list(whole.glob("part-*.parquet")))
    assert run.wait(PATIENCE) == 0, run.stderr.read()
    assert parts_at_the_kill < 30
    single, pooled = pq.read_table(tmp_path / "single"), pq.read_table(whole)
    assert pooled.equals(single)
    assert pooled["row"].to_pylist() == list(range(60))


def test_a_mistake_of_the_job_is_said_as_by_a_single_process(capsys, questions, vlm_dir, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([*command(questions, tmp_path / "out", vlm_dir, 1), "--budget", "auto"])
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("grip-vlm: the budget auto needs a scorer")
    assert not list((tmp_path / "out").glob("*.parquet"))


def test_a_cluster_gives_the_rows_of_a_single_process(questions, vlm_dir, tmp_path):
    """Of one machine; the command connects to it by its address."""
    from ray.cluster_utils import Cluster

    main(command(questions, tmp_path / "single", vlm_dir, 0))
    head = {"num_cpus": 3, "object_store_memory": 200 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        main([*command(questions, tmp_path / "pooled", vlm_dir, 2), "--address", cluster.address])
    finally:
        cluster.shutdown()
    assert pq.read_table(tmp_path / "pooled").equals(pq.read_table(tmp_path / "single"))


def test_an_address_without_a_cluster_is_refused(capsys, questions, vlm_dir, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main([*command(questions, tmp_path / "out", vlm_dir, 1), "--address", "127.0.0.1:1"])
    assert stop.value.code == 2
    assert "there is no Ray cluster at 127.0.0.1:1" in capsys.readouterr().err
