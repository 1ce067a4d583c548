"""`grip-vlm bench`: from questions to rows, a table and bars, and one line for whatever is wrong."""

import pytest

from grip_vlm import benchmarks
from grip_vlm.cli import main
from grip_vlm.evaluation import timing


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--batch", "0"], "batch is one or more numbers from 1 on, such as 1,16, not '0'"),
        (["--batch", "1,two"], "batch is one or more numbers"),
        (["--repeats", "0"], "repeats, new_tokens and size must be at least 1"),
        (["--image", "a.png"], "--image and --question belong together"),
        (["--image", "no.png", "--question", "Why?"], "no image file 'no.png'"),
        (["--budgets", "2.5"], "cannot keep more than all of the tokens"),
        (["--pruners", "nothing"], "unknown pruner 'nothing'"),
        (["--pruners", "random,random"], "a pruner is named twice"),
        (["--figure", "bars.doc"], "'bars.doc' is no figure"),
        (["--data", "nowhere"], "no data 'nowhere'"),
        (["--accuracy", "no.jsonl"], "no rows at 'no.jsonl'"),
    ],
)
def test_bench_names_what_is_wrong_before_a_model_is_loaded(mistake, tmp_path, flags, message):
    arguments = ["bench", "--out", str(tmp_path / "rows.jsonl"), "--vlm", "no/such-model", "--pruners", "random"]
    assert message in mistake([*arguments, *flags])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bench_goes_from_questions_to_rows_a_table_and_bars(capsys, tmp_path, vlm_dir):
    out, table, figure = (tmp_path / name for name in ("rows.jsonl", "table.md", "bars.svg"))
    words = ["--vlm", str(vlm_dir), "--pruners", "random,fastv", "--budgets", "0.05,0.5", "--batch", "1,2"]
    words += ["--repeats", "2", "--new-tokens", "2", "--out", str(out)]
    main(["bench", *words, "--table", str(table), "--figure", str(figure)])
    printed = capsys.readouterr()
    rows, _ = timing.read(out)
    jobs = {(row.pruner, row.budget, row.batch) for row in rows}
    names = [
        ("full", "1.0"),
        ("random", "0.05"),
        ("random", "0.5"),
        ("fastv", "0.5"),
        ("free", "0.05"),
        ("free", "0.5"),
    ]
    assert jobs == {(*name, batch) for name in names for batch in (1, 2)}
    assert len(rows) == 2 * len(jobs)
    assert f"{len(rows)} rows in {out}" in printed.out
    assert table.read_text() in printed.out
    assert "fastv at 0.05 is left out" in printed.err
    assert "fastv 0.5" in figure.read_text()


@pytest.mark.slow
def test_bench_asks_about_an_image_of_the_users_at_its_size(tmp_path, vlm_dir, capsys):
    benchmarks.example("reading", "dev", 0).image.save(tmp_path / "scene.png")
    words = ["--image", str(tmp_path / "scene.png"), "--question", "What number is written?", "--batch", "2"]
    words += ["--vlm", str(vlm_dir), "--pruners", "random", "--budgets", "4", "--repeats", "1", "--new-tokens", "1"]
    digests = set()
    for size in ("64", "200"):
        main(["bench", *words, "--size", size, "--out", str(tmp_path / f"{size}.jsonl")])
        digests |= {row.questions for row in timing.read(tmp_path / f"{size}.jsonl")[0]}
    assert len(digests) == 2
    assert "| - |" in capsys.readouterr().out


@pytest.mark.slow
def test_bench_adds_the_time_at_equal_accuracy_of_rows_of_evaluate(tmp_path, vlm_dir, capsys):
    common = ["--vlm", str(vlm_dir), "--budgets", "0.05,0.5"]
    rows = tmp_path / "answers.jsonl"
    main(
        ["evaluate", *common, "--pruners", "full,random", "--benchmarks", "reading", "--limit", "2", "--out", str(rows)]
    )
    main(
        [
            "bench",
            *common,
            "--pruners",
            "random",
            "--repeats",
            "1",
            "--out",
            str(tmp_path / "t"),
            "--accuracy",
            str(rows),
        ]
    )
    assert "| 1 | 95 % of full | random |" in capsys.readouterr().out
