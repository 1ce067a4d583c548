"""`grip-vlm evaluate`, `flops` and `pareto`: from items to a report, and one line for whatever is wrong."""

import json

import pytest

from grip_vlm.cli import main
from grip_vlm.evaluation.rows import read

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--benchmarks", "vqa"], "unknown benchmark 'vqa'"),
        (["--benchmarks", "scenes,pope:loose"], "benchmark 'pope' has no variant 'loose'"),
        (["--benchmarks", "no.jsonl"], "no benchmark file 'no.jsonl'"),
        (["--benchmarks", "pope", "--data-root", "nowhere"], "no copy of benchmark 'pope' in nowhere"),
        (["--shard", "0/2"], "a shard is i/n with 1 <= i <= n, got 0/2"),
        (["--shard", "half"], "a shard is i/n, such as 2/8, got 'half'"),
        (["--pruners", "full,nothing"], "unknown pruner 'nothing'"),
        (["--pruners", "grip=tiny-llava,full,grip=tiny-llava"], "a pruner is named twice"),
        (["--budgets", "0.1,2.5"], "a budget is a whole number of tokens (64)"),
        (["--limit", "0"], "limit and batch must be at least 1"),
        (["--batch", "0"], "limit and batch must be at least 1"),
        (["--pruners", "full", "--vlm", "no/such-model"], "no VLM 'no/such-model'"),
        (["--split", "holdout"], "split"),
    ],
)
def test_evaluate_names_what_is_wrong_before_it_writes(mistake, tmp_path, vlm_dir, flags, message):
    arguments = ["evaluate", "--out", str(tmp_path / "rows.jsonl"), "--vlm", str(vlm_dir), "--pruners", "full"]
    assert message in mistake([*arguments, *flags])
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_written_are_named(capsys, vlm_dir, tmp_path):
    """The VLM is loaded by then, and its progress bar stands before the line."""
    (tmp_path / "file").write_text("")
    below_a_file = str(tmp_path / "file" / "rows.jsonl")
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--vlm", str(vlm_dir), "--pruners", "full", "--limit", "1", "--out", below_a_file])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("grip-vlm: ")
    assert str(tmp_path / "file") in last


def test_pareto_names_rows_that_are_missing(mistake, tmp_path):
    rows, figure, table = (str(tmp_path / name) for name in ("no.jsonl", "figure.png", "table.md"))
    assert f"no rows at '{rows}'" in mistake(["pareto", rows, "--out", figure, "--table", table])


def test_evaluate_and_pareto_go_from_items_to_a_figure(capsys, tmp_path, vlm_dir):
    rows, figure, table = (str(tmp_path / name) for name in ("rows.jsonl", "figure.png", "table.md"))
    words = ["--vlm", str(vlm_dir), "--pruners", "full,random,blind", "--benchmarks", "reading", "--limit", "2"]
    main(["evaluate", "--out", rows, *words, "--budgets", "0.05,0.1"])
    printed = capsys.readouterr().out
    assert "| random | 0.05 | 5.1 % |" in printed
    assert printed.startswith("| pruner | budget |")
    assert printed.endswith(f"8 rows in {rows}\n")
    main(["pareto", rows, "--out", figure, "--table", table])
    assert capsys.readouterr().out.strip() == (tmp_path / "table.md").read_text().strip()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_answers_the_items_of_its_split_and_shard_below_its_limit(tmp_path, vlm_dir):
    words = ["--vlm", str(vlm_dir), "--pruners", "blind", "--benchmarks", "pointing,presence", "--split", "dev"]
    main(["evaluate", "--out", str(tmp_path / "rows.jsonl"), *words, "--shard", "2/2", "--limit", "5"])
    rows, _ = read(tmp_path / "rows.jsonl")
    assert [row.item for row in rows] == [f"{name}/dev/{i}" for name in ("pointing", "presence") for i in (1, 3)]


def test_evaluates_seed_changes_what_random_keeps(tmp_path):
    """From four of 196 tokens, answers depend on which they are."""
    words = ["--pruners", "random", "--benchmarks", "reading,choice", "--limit", "6", "--budgets", "4"]
    answers = []
    for number, seed in enumerate(("0", "1", "0")):
        out = tmp_path / f"{number}.jsonl"
        main(["evaluate", "--out", str(out), *words, "--seed", seed])
        answers.append([row.prediction for row in read(out)[0]])
    one, other, again = answers
    assert one == again != other


def test_flops_are_counted_of_methods_inside_the_language_model_too(capsys, tmp_path, vlm_dir):
    """At half of the tokens per layer, `fastv` costs more than `blind` and less than `full`."""
    out = tmp_path / "flops.json"
    main(["flops", "--out", str(out), "--vlm", str(vlm_dir), "--pruners", "full,blind,fastv", "--budgets", "0.5,0.75"])
    assert capsys.readouterr().out == f"FLOPs of 3 pruners in {out}\n"
    counted = json.loads(out.read_text())
    assert counted["vlm"] == str(vlm_dir)
    flops = counted["flops"]
    assert flops["blind"]["0"] < flops["fastv"]["0.5"] < flops["fastv"]["0.75"] < flops["full"]["1.0"]


def test_a_report_compares_ours_with_the_others_over_counted_flops(capsys, tmp_path, vlm_dir):
    rows, flops, report = (str(tmp_path / name) for name in ("rows.jsonl", "flops.json", "report"))
    common = ["--vlm", str(vlm_dir), "--pruners", "full,random,uniform", "--budgets", "0.05,0.1"]
    main(["evaluate", "--out", rows, "--benchmarks", "reading", "--limit", "2", *common])
    main(["flops", "--out", flops, *common])
    capsys.readouterr()
    main(["pareto", rows, "--report", report, "--flops", flops, "--ours", "uniform"])
    printed = capsys.readouterr().out
    assert printed.startswith("**At 5 %**, the accuracy of uniform is ")
    assert "Frontier over FLOPs per answer: " in printed
    assert (tmp_path / "report" / "frontier.html").is_file()


def test_flops_refuse_a_pruner_that_is_named_twice(mistake, tmp_path, vlm_dir):
    words = ["flops", "--out", str(tmp_path / "flops.json"), "--vlm", str(vlm_dir), "--pruners", "full,full"]
    assert "a pruner is named twice" in mistake(words)


@pytest.mark.parametrize("named", ["choice,choice", "scenes,choice", "mine.jsonl,./mine.jsonl"])
def test_evaluate_refuses_a_benchmark_that_is_named_twice(mistake, tmp_path, vlm_dir, named):
    words = ["--vlm", str(vlm_dir), "--pruners", "full", "--benchmarks", named]
    assert "is named twice" in mistake(["evaluate", "--out", str(tmp_path / "new" / "rows.jsonl"), *words])
    assert list(tmp_path.iterdir()) == []
