"""Rows on disk: one file per pruner and seed, the same bytes for the same rows, read back from files and folders."""

from dataclasses import replace

import pytest

from grip_vlm import cli
from grip_vlm.evaluation.rows import Row, read_rows, write_folder, write_packed

ROW = Row(
    vlm="v",
    pruner="grip",
    checkpoint="runs/0@1234",
    benchmark="reading",
    item="reading/test/0",
    budget="0.1",
    tokens=100,
    kept=10,
    prediction="7",
    target="7",
    score=1.0,
    seconds=0.5,
    seed=0,
    commit="c",
    torch="t",
    transformers="f",
    device="cpu",
)
ROWS = [
    replace(ROW, pruner=pruner, seed=seed, item=f"reading/test/{item}", score=float(item != 1))
    for item in range(3)
    for pruner, seed in (("random", 0), ("grip", 1), ("grip", 0))
]


def test_rows_are_written_one_file_per_pruner_and_seed_and_read_back_from_the_folder(tmp_path):
    files = write_folder(tmp_path / "rows", ROWS)
    assert [path.name for path in files] == ["grip-0.jsonl.gz", "grip-1.jsonl.gz", "random-0.jsonl.gz"]
    assert sorted((tmp_path / "rows").iterdir()) == files
    assert read_rows([files[1]]) == [row for row in ROWS if (row.pruner, row.seed) == ("grip", 1)]
    by_file = sorted(ROWS, key=lambda row: (row.pruner, row.seed))  # the order within a file is the order given
    assert read_rows([tmp_path / "rows"]) == by_file


def test_the_same_rows_give_the_same_bytes(tmp_path):
    one, two = (write_folder(tmp_path / name, ROWS) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


def test_writing_one_pruner_leaves_the_other_files_alone(tmp_path):
    write_folder(tmp_path, ROWS)
    before = (tmp_path / "random-0.jsonl.gz").read_bytes()
    write_folder(tmp_path, [replace(ROW, prediction="8")])
    assert read_rows([tmp_path / "grip-0.jsonl.gz"]) == [replace(ROW, prediction="8")]
    assert (tmp_path / "random-0.jsonl.gz").read_bytes() == before


def test_a_pruners_name_becomes_a_plain_file_name(tmp_path):
    files = write_folder(tmp_path, [replace(ROW, pruner="ordered, exact/reward 0.02")])
    assert [path.name for path in files] == ["ordered_exact_reward_0.02-0.jsonl.gz"]


def test_two_pruners_that_would_share_a_file_are_refused_before_anything_is_written(tmp_path):
    rows = [ROW, replace(ROW, pruner="no RL"), replace(ROW, pruner="no_RL")]
    with pytest.raises(ValueError, match=r"pruners no RL, no_RL would share .*no_RL-0\.jsonl\.gz"):
        write_folder(tmp_path / "rows", rows)
    assert not (tmp_path / "rows").exists()


def test_a_folder_means_its_files_of_rows_alone(tmp_path):
    write_packed(tmp_path / "b.jsonl.gz", ROWS[:2])
    write_packed(tmp_path / "sub" / "c.jsonl.gz", ROWS[4:])
    (tmp_path / "report.md").write_text("not rows")
    (tmp_path / "a.jsonl").touch()
    assert read_rows([tmp_path]) == ROWS[:2]
    assert read_rows([tmp_path / "sub", tmp_path]) == [*ROWS[4:], *ROWS[:2]]


def test_a_folder_without_rows_is_named(tmp_path):
    (tmp_path / "report.md").write_text("not rows")
    with pytest.raises(ValueError, match=rf"the folder '{tmp_path}' holds no \*\.jsonl or \*\.jsonl\.gz"):
        read_rows([tmp_path])


def test_pareto_reads_a_folder_as_it_reads_a_file(tmp_path, capsys):
    write_folder(tmp_path / "rows", ROWS)
    write_packed(tmp_path / "rows.jsonl.gz", ROWS)
    for name in ("rows", "rows.jsonl.gz"):
        cli.main(["pareto", str(tmp_path / name), "--table", str(tmp_path / f"{name}.md")])
    assert (tmp_path / "rows.md").read_text() == (tmp_path / "rows.jsonl.gz.md").read_text()
    assert "| random | 0.1 |" in capsys.readouterr().out
