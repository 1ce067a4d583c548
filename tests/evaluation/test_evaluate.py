"""Rows are a contract, and evaluating again computes only what is missing."""

import gzip
import json

import datasets
import pytest

from grip_vlm import benchmarks, pruners
from grip_vlm.benchmarks.exact import normalise
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import read, repair

FIELDS = (
    *("vlm", "pruner", "checkpoint", "benchmark", "item", "budget", "tokens", "kept", "prediction", "target"),
    *("score", "seconds", "seed", "commit", "torch", "transformers", "device", "entering", "group", "image_id"),
    *("question_digest", "image_digest", "answers_digest", "precision", "weights", "evidence_recall"),
)
BUDGETS = ("7", "0.1")


def evaluated(vlm, out, budgets=BUDGETS, names=("pointing", "presence"), methods=("full", "random", "blind"), **more):
    chosen = {name: pruners.load(name) for name in methods}
    wanted = [Budget.parse(budget) for budget in budgets]
    items = [open_items(name, "dev") for name in names]
    return evaluate(vlm, chosen, items, wanted, out, **{"limit": 3, **more})


@pytest.fixture(scope="module")
def first(vlm, tmp_path_factory):
    """(bytes of the file, rows) of 2 benchmarks x 3 items x (random at 2 budgets, full, blind)."""
    out = tmp_path_factory.mktemp("evaluate") / "rows.jsonl"
    rows = evaluated(vlm, out)
    return out.read_bytes(), rows


@pytest.fixture
def out(first, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(first[0])
    return path


def untimed(row):
    """A row without its time."""
    return (*row.key, row.tokens, row.kept, row.prediction, row.target, row.score)


def test_a_row_has_exactly_the_fields_of_the_contract_in_order(first):
    for line in first[0].splitlines():
        assert tuple(json.loads(line)) == FIELDS


def test_rows_from_before_the_last_field_was_there_are_read(first, tmp_path):
    old = [json.loads(line) for line in first[0].splitlines()]
    for row in old:
        del row["entering"]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(row) + "\n" for row in old))
    rows, _ = read(tmp_path / "old.jsonl")
    assert [row.key for row in rows] == [row.key for row in first[1]]
    assert {row.entering for row in rows} == {None}


def test_there_is_one_row_per_item_and_budget_and_one_for_full_and_blind(first):
    found = sorted({(row.pruner, row.budget) for row in first[1]})
    assert found == [("blind", "0"), ("full", "1.0"), ("random", "0.1"), ("random", "7")]
    assert len({row.key for row in first[1]}) == len(first[1]) == 4 * 2 * 3


def test_a_row_says_what_was_asked_and_where(first, vlm):
    row = first[1][0]
    assert (row.vlm, row.benchmark, row.item) == (vlm.name, "pointing", "pointing/dev/0")
    assert (row.checkpoint, row.seed, row.device) == ("", 0, "cpu")
    assert row.seconds > 0


def test_the_rows_returned_are_the_rows_on_disk(first, out):
    assert repair(out) == first[1]


@pytest.mark.parametrize("budget", BUDGETS)
def test_the_tokens_kept_are_what_the_budget_says(first, budget):
    kept = {row.kept for row in first[1] if row.budget == budget}
    assert kept == {Budget.parse(budget).k(196)}


def test_full_keeps_all_and_blind_none(first):
    assert {row.tokens for row in first[1]} == {196}
    assert {row.kept for row in first[1] if row.pruner == "full"} == {196}
    assert {row.kept for row in first[1] if row.pruner == "blind"} == {0}


@pytest.mark.parametrize("budget", ["1.0", "100%", "0.3333333333", "1"])
def test_a_budget_means_in_a_row_what_it_means_when_it_is_given(vlm, tmp_path, budget):
    (row,) = evaluated(vlm, tmp_path / "rows.jsonl", [budget], ["presence"], ["random"], limit=1)
    assert row.kept == Budget.parse(budget).k(196)
    assert Budget.parse(row.budget).k(10**6) == Budget.parse(budget).k(10**6)


def test_a_row_holds_the_items_own_target_and_score(first):
    for row in first[1]:
        item = benchmarks.example(row.benchmark, "dev", int(row.item.rsplit("/")[-1]))
        assert row.target == item.answers[0]
        assert row.score == benchmarks.load(row.benchmark).score(row.prediction, item.answers)


def test_running_again_computes_nothing(first, vlm, out):
    assert evaluated(vlm, out) == first[1]  # times included
    assert out.read_bytes() == first[0]


def test_a_further_budget_computes_only_its_own_rows(first, vlm, out):
    rows = evaluated(vlm, out, budgets=[*BUDGETS, "20"])
    assert out.read_bytes().startswith(first[0])
    assert {row.budget for row in repair(out)[len(first[1]) :]} == {"20"}
    assert len(rows) == len(first[1]) + 6


def test_a_further_item_computes_only_its_own_rows(first, vlm, out):
    evaluated(vlm, out, limit=4)
    new = repair(out)[len(first[1]) :]
    assert {row.item for row in new} == {"pointing/dev/3", "presence/dev/3"}
    assert len(new) == 8


def test_another_seed_is_another_computation(first, vlm, out):
    evaluated(vlm, out, names=["pointing"], methods=["random"], seed=1)
    assert [row.seed for row in repair(out)[len(first[1]) :]] == [1] * 6


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_half_written_last_line_is_repaired(first, vlm, out, cut):
    out.write_bytes(first[0][:-cut])
    rows = evaluated(vlm, out)
    assert list(map(untimed, rows)) == list(map(untimed, first[1]))
    assert sorted(map(untimed, repair(out))) == sorted(map(untimed, first[1]))
    assert out.read_bytes().startswith(b"\n".join(first[0].splitlines()[:-1]) + b"\n")


@pytest.mark.parametrize("bad", [b"nonsense", b"[]", b'{"vlm": "x"}', b"\xff\xfe", b'{"vlm": "x", "pruner"'])
def test_a_bad_line_in_the_middle_is_named(first, vlm, out, bad):
    lines = first[0].splitlines()
    out.write_bytes(b"\n".join([*lines[:4], bad, *lines[5:]]) + b"\n")
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 5 is not a row"):
        evaluated(vlm, out)


def test_a_bad_line_in_the_middle_leaves_the_file_alone(first, vlm, out):
    spoilt = first[0].replace(b'"pruner"', b'"method"', 1)
    out.write_bytes(spoilt)
    with pytest.raises(ValueError, match="line 1 is not a row"):
        evaluated(vlm, out)
    assert out.read_bytes() == spoilt


def test_a_complete_last_line_that_is_no_row_is_not_cut_off(first, vlm, out):
    out.write_bytes(first[0] + b"nonsense\n")
    with pytest.raises(ValueError, match="line 25 is not a row"):
        evaluated(vlm, out)


@pytest.mark.parametrize("text", ["the only copy of a note", '{"weights": [1, 2, 3]}'])
def test_a_file_that_never_held_rows_is_refused_and_left_alone(vlm, tmp_path, text):
    path = tmp_path / "note.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match="line 1 is not a row"):
        evaluated(vlm, path)
    assert path.read_text() == text


def test_a_file_that_is_not_there_has_no_rows(tmp_path):
    assert repair(tmp_path / "rows.jsonl") == []


@pytest.mark.slow
def test_the_size_of_a_batch_changes_no_answer(first, vlm, tmp_path):
    rows = evaluated(vlm, tmp_path / "rows.jsonl", batch=2)
    assert sorted(map(untimed, rows)) == sorted(map(untimed, first[1]))


def test_the_vision_tower_runs_once_for_all_pruners_and_not_at_all_for_known_rows(vlm, tmp_path):
    ran = []
    hook = vlm.model.base_model.vision_tower.register_forward_hook(lambda *_: ran.append(1))
    try:
        evaluated(vlm, tmp_path / "rows.jsonl")
        assert len(ran) == 2  # two benchmarks, one batch each
        evaluated(vlm, tmp_path / "rows.jsonl")
        assert len(ran) == 2
    finally:
        hook.remove()


def test_compressed_rows_are_read_and_not_appended_to(first, vlm, tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(first[0], mtime=0))
    assert read(path)[0] == first[1]
    with pytest.raises(ValueError, match=r"rows cannot be appended to .*rows\.jsonl\.gz because it is compressed"):
        evaluated(vlm, path)


@pytest.mark.slow
def test_the_rows_of_all_shards_are_the_rows_of_one_run(first, vlm, tmp_path):
    parts = [evaluated(vlm, tmp_path / f"{i}.jsonl", shard=(i, 2)) for i in (1, 2)]
    assert [len(part) for part in parts] == [4 * 2 * 2, 4 * 2 * 1]
    assert sorted(map(untimed, parts[0] + parts[1])) == sorted(map(untimed, first[1]))


@pytest.mark.parametrize("shard", [(0, 2), (3, 2), (-1, -1)])
def test_an_impossible_shard_is_refused_before_anything_is_written(vlm, tmp_path, shard):
    with pytest.raises(ValueError, match="a shard is i/n with 1 <= i <= n"):
        evaluated(vlm, tmp_path / "rows.jsonl", shard=shard)
    assert not (tmp_path / "rows.jsonl").exists()


def test_rows_of_before_there_were_groups_are_read(first, vlm, out):
    old = [{k: v for k, v in json.loads(line).items() if k != "group"} for line in first[0].splitlines()]
    out.write_text("".join(json.dumps(row) + "\n" for row in old))
    assert evaluated(vlm, out) == first[1]


@pytest.fixture
def mine(tmp_path):
    """A user's file of three rows, of which the second has another answer."""
    benchmarks.example("presence", "dev", 0).image.save(tmp_path / "scene.png")
    row = {"image": "scene.png", "question": "Is there a red star?"}
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({**row, "answers": [answer]}) + "\n" for answer in ("yes", "no", "yes")))
    return str(path)


def test_a_users_file_is_evaluated_whole_by_exact_match(vlm, tmp_path, mine):
    chosen = {"full": pruners.load("full")}
    rows = evaluate(vlm, chosen, [open_items(mine, "all")], [], tmp_path / "rows.jsonl", limit=50)
    assert [(row.benchmark, row.item, row.target) for row in rows] == [
        (mine, f"{mine}, line 1", "yes"),
        (mine, f"{mine}, line 2", "no"),
        (mine, f"{mine}, line 3", "yes"),
    ]
    assert [row.score for row in rows] == [float(normalise(row.prediction) == row.target) for row in rows]


def test_a_published_benchmark_is_evaluated_to_its_end_by_its_own_score(vlm, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    benchmark = benchmarks.load("mme")
    datasets.Dataset.from_list(benchmark.example_rows()).to_parquet(tmp_path / "mme.parquet")
    chosen = {"full": pruners.load("full")}
    rows = evaluate(vlm, chosen, [open_items("mme", root=tmp_path)], [], tmp_path / "rows.jsonl")
    assert [(row.item, row.target, row.group) for row in rows] == [
        ("mme/test/0", "yes", "color/color/0001.png"),
        ("mme/test/1", "no", "color/color/0001.png"),
    ]
    assert [row.score for row in rows] == [benchmark.score(row.prediction, (row.target,)) for row in rows]


def test_folders_above_the_file_are_made(vlm, tmp_path):
    path = tmp_path / "a" / "b" / "rows.jsonl"
    evaluated(vlm, path, names=["presence"], methods=["blind"], limit=1)
    assert len(repair(path)) == 1
