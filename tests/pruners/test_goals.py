"""Goals at every entry point: each question gets a count of its own, and exactly the tokens of that count."""

from dataclasses import replace

import pytest
from toolkit import calibrated

from grip_vlm import pruners
from grip_vlm.allot import allot
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.evaluation.rows import read_rows
from grip_vlm.sufficiency import steps


@pytest.fixture(scope="module")
def folder(vlm, tmp_path_factory):
    return calibrated.scorer(vlm, tmp_path_factory.mktemp("goals") / "scorer")


@pytest.fixture
def grip(folder):
    return pruners.load("grip", scorer=folder)


@pytest.fixture(scope="module")
def inputs(vlm, examples):
    return vlm.inputs([e.image for e in examples], [e.question for e in examples])


@pytest.fixture(scope="module")
def encoded(vlm, inputs):
    return vlm.encode(inputs)


def counts(grip, vlm, encoded, *budgets):
    parsed = [Budget.parse(budget) for budget in budgets]
    return allot(parsed * (1 if len(parsed) > 1 else len(encoded.state.counts)), grip, vlm, encoded).tolist()


def test_auto_gives_questions_different_counts_of_the_grid(grip, vlm, encoded):
    k = counts(grip, vlm, encoded, "auto")
    assert set(k) <= set(steps(196))
    assert len(set(k)) > 1


def test_a_question_gets_the_same_alone_as_in_a_batch(grip, vlm, encoded, examples):
    in_batch = counts(grip, vlm, encoded, "auto")
    for example, k in list(zip(examples, in_batch, strict=True))[:4]:
        alone = vlm.encode(vlm.inputs([example.image], [example.question]))
        assert counts(grip, vlm, alone, "auto") == [k]


def test_an_answer_says_what_was_asked_and_what_was_given(grip, vlm, encoded, examples):
    k = counts(grip, vlm, encoded, "auto")
    answer = vlm.answer(examples[0].image, examples[0].question, grip, "auto", max_new_tokens=1)
    assert (answer.budget, answer.kept, len(answer.kept_indices)) == ("auto", k[0], k[0])


def test_auto_keeps_the_tokens_that_the_same_exact_budget_keeps(grip, vlm, examples):
    auto = vlm.answer(examples[1].image, examples[1].question, grip, "auto", max_new_tokens=1)
    exact = vlm.answer(examples[1].image, examples[1].question, grip, auto.kept, max_new_tokens=1)
    assert auto.kept_indices == exact.kept_indices


def test_the_scorer_reads_tokens_and_question_once(folder, vlm, examples):
    grip, reads = pruners.load("grip", scorer=folder), []
    grip.scorer(vlm).visual.register_forward_hook(lambda *_: reads.append(1))
    vlm.answer(examples[0].image, examples[0].question, grip, "auto", max_new_tokens=1)
    assert len(reads) == 1
    vlm.answer(examples[0].image, examples[0].question, grip, 5, max_new_tokens=1)
    assert len(reads) == 2


def test_prune_gives_a_ragged_batch(grip, vlm, inputs, encoded):
    k = counts(grip, vlm, encoded, "auto")
    pruned = grip.prune(vlm, dict(inputs), "auto")
    before, after = inputs["attention_mask"].sum(1), pruned["attention_mask"].sum(1)
    assert (196 - (before - after)).tolist() == k


def test_rows_of_one_batch_may_have_goals_and_exact_budgets(grip, vlm, encoded):
    auto = counts(grip, vlm, encoded, "auto")
    mixed = counts(grip, vlm, encoded, *["auto", "7"] * 6)
    assert mixed == [k if row % 2 == 0 else 7 for row, k in enumerate(auto)]


def test_a_mean_is_exact_over_its_window_however_it_is_batched(folder, vlm, encoded, examples):
    whole = counts(pruners.load("grip", scorer=folder), vlm, encoded, "mean:5%/12")
    assert sum(whole) == round(0.05 * 196 * 12)
    one_by_one = pruners.load("grip", scorer=folder)
    alone = [vlm.encode(vlm.inputs([e.image], [e.question])) for e in examples]
    assert [counts(one_by_one, vlm, part, "mean:5%/12")[0] for part in alone] == whole


def test_what_was_not_promised_is_refused(grip, vlm, encoded):
    with pytest.raises(ValueError, match=r"its promises are: auto:0\.02:0\.95"):
        counts(grip, vlm, encoded, "auto:0.01")


def test_a_refused_batch_takes_nothing_from_a_stream(folder, vlm, encoded):
    grip, fresh = pruners.load("grip", scorer=folder), pruners.load("grip", scorer=folder)
    with pytest.raises(ValueError, match="its promises"):
        counts(grip, vlm, encoded, *["mean:5%/12"] * 11, "auto:0.01")
    assert counts(grip, vlm, encoded, "mean:5%/12") == counts(fresh, vlm, encoded, "mean:5%/12")


def test_a_scorer_without_calibration_refuses_and_names_the_command(vlm, encoded, tmp_path):
    bare = calibrated.scorer(vlm, tmp_path / "scorer")
    (bare / "calibration.json").unlink()
    with pytest.raises(ValueError, match="Make one with `grip-vlm calibrate --scorer"):
        counts(pruners.load("grip", scorer=bare), vlm, encoded, "auto")


def test_a_scorer_without_calibration_prunes_as_ever(vlm, encoded, tmp_path):
    bare = calibrated.scorer(vlm, tmp_path / "scorer")
    (bare / "calibration.json").unlink()
    (bare / "sufficiency.safetensors").unlink()
    assert counts(pruners.load("grip", scorer=bare), vlm, encoded, "10%") == [20] * 12


def test_rows_record_what_was_asked_and_what_was_given(vlm, folder, tmp_path):
    budgets = [Budget.parse(text) for text in ("auto", "mean:5%/4", "9")]
    grip = pruners.load("grip", scorer=folder)
    rows = evaluate(vlm, {"grip": grip}, [open_items("presence")], budgets, tmp_path / "rows.jsonl", limit=4, batch=2)
    kept = {text: [row.kept for row in rows if row.budget == text] for text in ("auto", "mean:0.05/4", "9")}
    assert kept["9"] == [9] * 4
    assert sum(kept["mean:0.05/4"]) == round(0.05 * 196 * 4)
    assert set(kept["auto"]) <= set(steps(196))
    of_calibration = {row.checkpoint for row in rows if row.budget == "auto"}
    assert of_calibration.isdisjoint(row.checkpoint for row in rows if row.budget == "9")


def test_a_stopped_evaluation_of_a_mean_ends_with_the_same_rows(vlm, folder, tmp_path):
    def run(name, limit):
        grip = pruners.load("grip", scorer=folder)
        budgets = [Budget.parse("mean:10%/6")]
        evaluate(vlm, {"grip": grip}, [open_items("presence")], budgets, tmp_path / name, limit=limit, batch=2)
        return [row.kept for row in read_rows([tmp_path / name])] if limit == 6 else None

    run("stopped", 2)
    assert run("stopped", 6) == run("whole", 6)


def test_rows_of_another_calibration_are_refused(vlm, tmp_path):
    folder = calibrated.scorer(vlm, tmp_path / "scorer")
    items, auto = [open_items("presence")], [Budget.parse("auto")]
    evaluate(vlm, {"grip": pruners.load("grip", scorer=folder)}, items, auto, tmp_path / "rows", limit=1)
    calibrated.scorer(vlm, folder, (replace(calibrated.PROMISES[0], price=0.5),))
    with pytest.raises(ValueError, match="another scorer of grip"):
        evaluate(vlm, {"grip": pruners.load("grip", scorer=folder)}, items, auto, tmp_path / "rows", limit=1)
