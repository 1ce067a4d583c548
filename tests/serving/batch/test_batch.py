"""A batch job in one process: every row once, in order, with an answer or an error; and it can be resumed."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from grip_vlm import pruners
from grip_vlm.cli import main
from grip_vlm.serving.batch.run import run
from grip_vlm.serving.batch.source import files_of, parts_of, rows_of

BAD = (3, 8, 9, 10, 11)


def answered(data, out, job, **more):
    return run(data, out, job, **{"workers": 0, "options": None, "console": Console(file=StringIO()), **more})


def rows_in(out):
    return pq.read_table(out).to_pylist()


@pytest.fixture
def rows(questions, job, tmp_path):
    answered(questions, tmp_path / "out", job)
    return rows_in(tmp_path / "out")


def test_every_row_comes_back_once_and_in_order_with_the_columns_of_the_input(rows, questions):
    given = [json.loads(line) for line in questions.read_text().splitlines()[:10]]
    assert [row["row"] for row in rows] == list(range(12))
    assert [row["id"] for row in rows[:10]] == [row["id"] for row in given]
    assert [row["answers"] for row in rows[:10]] == [row["answers"] for row in given]
    assert [row["question"] for row in rows[:10]] == [row["question"] for row in given]


def test_an_answer_is_the_one_that_the_package_gives(rows, questions, vlm):
    for row in rows:
        if row["row"] not in BAD:
            image = questions.parent / f"{row['row']}.png"
            alone = vlm.answer(image, row["question"], pruners.load("random"), row["budget"], max_new_tokens=4)
            assert (row["prediction"], row["tokens"], row["kept"]) == (alone.text, alone.tokens, alone.kept)


def test_a_budget_of_the_row_comes_before_that_of_the_job(rows):
    assert [rows[i]["budget"] for i in (0, 1, 2, 4)] == ["0.1", "0.1", "0.02", "7"]
    assert [rows[i]["kept"] for i in (0, 1, 2, 4)] == [20, 20, 4, 7]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (3, "cannot keep more than all"),
        (8, "no image 'missing.png'"),
        (9, "images are not fetched"),
        (10, "question is missing"),
        (11, "the line is not JSON"),
    ],
)
def test_a_bad_row_says_what_is_wrong_and_has_no_answer(rows, row, message):
    assert message in rows[row]["error"]
    assert rows[row]["prediction"] is None


def test_a_row_without_a_fault_has_no_error(rows):
    assert {row["row"] for row in rows if row["error"] is not None} == set(BAD)


def test_a_question_that_is_too_long_harms_no_other_row_of_its_batch(questions, job, tmp_path):
    lines = [json.loads(line) for line in questions.read_text().splitlines()[:2]]
    lines[0]["question"] = "what " * 5000
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answered(questions, tmp_path / "out", job)
    long, other = rows_in(tmp_path / "out")
    assert "shorten the question" in long["error"]
    assert other["error"] is None


def test_parquet_with_bytes_gives_the_answers_of_json_lines_with_paths(rows, questions, job, tmp_path):
    given = [json.loads(line) for line in questions.read_text().splitlines()[:3]]
    images = [{"bytes": (questions.parent / f"{i}.png").read_bytes(), "path": None} for i in range(3)]
    budgets = [row.get("budget") for row in given]
    table = pa.table({"image": images, "question": [row["question"] for row in given], "budget": budgets})
    pq.write_table(table, tmp_path / "questions.parquet", row_group_size=2)
    answered(tmp_path / "questions.parquet", tmp_path / "other", job)
    found = rows_in(tmp_path / "other")
    same = ("row", "question", "budget", "prediction", "tokens", "kept", "error")
    assert [[row[name] for name in same] for row in found] == [[row[name] for name in same] for row in rows[:3]]
    assert {row["image"] for row in found} == {None}


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_parts_hold_every_line_once_whatever_their_size(questions, size):
    questions.write_text(questions.read_text().replace("\n", "\n\n", 3))  # empty lines count as nothing
    parts = parts_of(files_of(questions), size)
    expected = [line for line in questions.read_text().splitlines() if line]
    found = [row for part in parts for row in rows_of(part)]
    assert len(found) == len(expected)
    assert [row for row in found if isinstance(row, dict)] == [json.loads(line) for line in expected[:11]]
    assert [part.first for part in parts] == list(range(0, 12, size))


def test_values_without_a_common_type_become_json_text(questions, job, tmp_path):
    lines = [json.loads(line) for line in questions.read_text().splitlines()[:3]]
    lines[0]["note"], lines[1]["note"], lines[2]["empty"] = 7, "seven", {}
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    answered(questions, tmp_path / "out", job)
    found = rows_in(tmp_path / "out")
    assert [row["note"] for row in found] == ["7", "seven", None]
    assert found[2]["empty"] == "{}"


# ---- resuming --------------------------------------------------------------------------------------------------------


def test_what_is_there_is_not_answered_again_and_what_is_missing_is_the_same(questions, job, tmp_path):
    out = tmp_path / "out"
    answered(questions, out, job)
    before = {file.name: file.read_bytes() for file in out.glob("*.parquet")}
    (out / "part-000001.parquet").unlink()
    (out / ".part-000001.parquet.77.tmp").write_bytes(b"half")
    kept = (out / "part-000000.parquet").stat().st_ino
    answered(questions, out, job)
    assert {file.name: file.read_bytes() for file in out.glob("*.parquet")} == before
    assert (out / "part-000000.parquet").stat().st_ino == kept
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(("field", "value"), [("budget", "0.2"), ("batch", 3), ("max_new_tokens", 5), ("seed", 1)])
def test_other_settings_are_refused_by_name(questions, job, tmp_path, field, value):
    answered(questions, tmp_path / "out", job)
    with pytest.raises(ValueError, match=f"answers for another {field} .*give another --out"):
        answered(questions, tmp_path / "out", replace(job, **{field: value}))


def test_a_changed_input_is_refused(questions, job, tmp_path):
    answered(questions, tmp_path / "out", job)
    questions.write_text(questions.read_text().replace("?", "!", 1))
    with pytest.raises(ValueError, match="answers for another input"):
        answered(questions, tmp_path / "out", job)


def test_other_weights_are_refused(questions, job, tmp_path, vlm_dir):
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    copy = tmp_path / "vlm"
    shutil.copytree(vlm_dir, copy)
    job = replace(job, vlm=str(copy))
    answered(questions, tmp_path / "out", job)
    (tmp_path / "out" / "part-000001.parquet").unlink()
    weights = load_file(copy / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: torch.zeros_like(weights[name])}, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="answers of other weights"):
        answered(questions, tmp_path / "out", job)


def test_a_folder_with_something_else_is_refused(questions, job, tmp_path):
    with pytest.raises(ValueError, match="holds something else than a batch job"):
        answered(questions, questions.parent, job)


def test_a_budget_that_the_method_cannot_meet_is_refused_before_a_row_is_answered(questions, job, tmp_path):
    with pytest.raises(ValueError, match="auto"):
        answered(questions, tmp_path / "out", replace(job, budget="auto"))
    assert not list((tmp_path / "out").glob("*.parquet"))


# ---- the command -----------------------------------------------------------------------------------------------------


def command(questions, out, vlm_dir, *more):
    return ["batch", "--data", str(questions), "--out", str(out), "--vlm", str(vlm_dir), "--pruner", "random", *more]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "no.jsonl"], "no input 'no.jsonl'"),
        (["--data", "."], "must hold *.parquet or *.jsonl, and not both"),
        (["--budget", "1.5"], "cannot keep more than all"),
        (["--pruner", "best"], "unknown pruner 'best'"),
        (["--workers", "-1"], "are at least 0, 1 and 0"),
        (["--workers", "0", "--address", "auto"], "say how many workers"),
        (["--address", "ray://head:10001"], "ray:// is not supported"),
        (["--batch", "0"], "must be at least 1"),
        (["--gpus", "1.5"], "gpus is a whole number or a share of one GPU"),
    ],
)
def test_wrong_flags_get_one_line_and_write_nothing(mistake, questions, vlm_dir, tmp_path, monkeypatch, flags, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert message in mistake(command(questions, tmp_path / "out", vlm_dir, *flags))
    assert not (tmp_path / "out").exists()


def test_a_column_that_the_output_adds_is_refused(mistake, questions, vlm_dir, tmp_path):
    questions.write_text(questions.read_text().replace('"id"', '"prediction"'))
    assert "has a column 'prediction' already" in mistake(command(questions, tmp_path / "out", vlm_dir))


def test_the_command_says_the_work_first_and_the_result_last(capsys, questions, vlm_dir, tmp_path):
    out = tmp_path / "out"
    main(command(questions, out, vlm_dir, "--workers", "0", "--rows-per-part", "5", "--budget", "10%"))
    printed = capsys.readouterr()
    assert printed.err.startswith("12 rows in 3 parts, 0 parts are there; 12 rows to answer with this process\n")
    assert f"12 rows in {out}, 111 of 1372 visual tokens kept; 5 have an error, the first is row 3: " in printed.out


def test_a_dry_run_says_the_cost_and_writes_nothing(capsys, questions, vlm_dir, tmp_path):
    main(command(questions, tmp_path / "out", vlm_dir, "--dry-run", "--rows-per-part", "6"))
    assert "12 rows in 2 parts. A batch of 6 took" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert Path(questions).is_file()
