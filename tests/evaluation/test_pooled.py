"""`evaluate --ray`: workers of a pool write the rows of a single process, and go on from rows that are there."""

import json

import pytest

pytest.importorskip("ray")

from grip_vlm.cli import main
from grip_vlm.evaluation.rows import read

pytestmark = pytest.mark.slow
WORDS = ["--pruners", "full,random", "--benchmarks", "pointing,presence", "--split", "dev"]
WORDS += ["--limit", "5", "--batch", "2", "--budgets", "7,0.1"]


def evaluated(out, vlm_dir, *more):
    main(["evaluate", "--out", str(out), "--vlm", str(vlm_dir), *WORDS, *more])


def untimed(out):
    """The rows of a file without their times, sorted."""
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    for row in rows:
        del row["seconds"]
    return sorted(rows, key=lambda row: json.dumps(row))


def test_two_workers_go_on_from_a_part_and_end_with_the_rows_and_the_table_of_a_single_process(
    capsys, vlm_dir, tmp_path
):
    evaluated(tmp_path / "single.jsonl", vlm_dir)
    printed = capsys.readouterr().out
    lines = (tmp_path / "single.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "pooled.jsonl").write_text("".join(lines[:7]))
    evaluated(tmp_path / "pooled.jsonl", vlm_dir, "--ray", "2")
    assert (tmp_path / "pooled.jsonl").read_text().startswith("".join(lines[:7]))
    assert untimed(tmp_path / "pooled.jsonl") == untimed(tmp_path / "single.jsonl")
    assert len(read(tmp_path / "pooled.jsonl")[0]) == 2 * 5 * 3
    # The table has times, which differ: its first columns are compared.
    pooled = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1:4] for line in pooled[:-1]] == [
        line.split("|")[1:4] for line in printed.splitlines()[:-1]
    ]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--ray", "-1"], "are at least 0, 1 and 0"),
        (["--address", "auto"], "say how many workers"),
        (["--ray", "2", "--shard", "1/2"], "give --ray or --shard"),
        (["--ray", "2", "--budgets", "mean:5%"], "is a mean over one stream of questions"),
    ],
)
def test_what_a_pool_cannot_do_is_refused_in_one_line(mistake, vlm_dir, tmp_path, flags, message):
    words = ["evaluate", "--out", str(tmp_path / "rows.jsonl"), "--vlm", str(vlm_dir), *WORDS, *flags]
    assert message in mistake(words)
    assert list(tmp_path.iterdir()) == []
