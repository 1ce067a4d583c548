"""Rows know how much of the evidence was kept, where the benchmark knows it and the tokens are one grid."""

import json
from dataclasses import replace

import pytest
import torch

from grip_vlm import benchmarks, pruners
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate, evidence_recall
from grip_vlm.evaluation.row import row_of
from grip_vlm.evaluation.rows import read, read_rows
from grip_vlm.mdp import Action, State
from grip_vlm.pruners.base import Untrained
from grip_vlm.report import measure, table
from grip_vlm.vlms.places import grid_places, newline_places

ITEM = benchmarks.example("reading:spread", "dev", 0)


class Oracle(Untrained):
    """Keeps the tokens of given indices."""

    def __init__(self, tokens):
        super().__init__()
        self.tokens = tokens

    def select(self, vlm, encoded, k):
        mask = torch.zeros_like(encoded.state.visual_mask)
        mask[:, self.tokens] = True
        return Action(mask)


def token_of(patch):
    """Which of 14 x 14 tokens holds the centre of one of 24 x 24 patches."""
    row, column = divmod(patch, 24)
    return 14 * int((row + 0.5) / 24 * 14) + int((column + 0.5) / 24 * 14)


def answered(vlm, out, chosen, names=("reading:spread",), limit=1):
    items = [open_items(name, "dev") for name in names]
    return evaluate(vlm, chosen, items, [Budget(tokens=1)], out, limit=limit)


def test_a_row_has_the_share_of_the_facts_that_its_tokens_show(vlm, tmp_path):
    facts = ITEM.evidence.facts
    some = [token_of(fact[-1]) for fact in facts[:2]]
    shown = {patch for patch in range(576) if token_of(patch) in some}
    chosen = {
        "all": Oracle(sorted({token_of(fact[0]) for fact in facts})),
        "some": Oracle(some),
        "full": pruners.load("full"),
    }
    rows = answered(vlm, tmp_path / "rows.jsonl", {**chosen, "blind": pruners.load("blind")})
    recall = {row.pruner: row.evidence_recall for row in rows}
    expected = sum(bool(shown & set(fact)) for fact in facts) / len(facts)
    assert 0 < expected < 1
    assert recall == {"all": 1, "some": expected, "full": 1, "blind": 0}
    assert [row.evidence_recall for row in read(tmp_path / "rows.jsonl")[0]] == list(recall.values())


def test_tokens_that_leave_inside_the_language_model_do_not_count(vlm, tmp_path):
    chosen = {"fastv": pruners.load("fastv")}
    rows = evaluate(vlm, chosen, [open_items("reading:spread", "dev")], [Budget(tokens=51)], tmp_path / "r", limit=4)
    assert {row.entering for row in rows} == {196}
    assert max(row.evidence_recall for row in rows) < 1


def test_benchmarks_that_do_not_know_their_evidence_have_none(vlm, tmp_path):
    (row,) = answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full")}, ["reading"])
    assert row.evidence_recall is None


def test_tokens_that_are_not_one_grid_have_no_recall():
    for places, known in ((grid_places(4, 6), True), (newline_places(4, 5), False)):
        n = len(places)
        nothing = torch.zeros(1, 0, 8)
        state = State(
            torch.zeros(1, n, 8),
            torch.ones(1, n, dtype=torch.bool),
            places[None],
            torch.zeros(1, n).long(),
            nothing,
            nothing[..., 0].bool(),
        )
        assert (evidence_recall(ITEM, state, Action(state.visual_mask), 0) is not None) == known


def test_rows_from_before_are_read_and_share_a_table_with_new_ones(vlm, tmp_path):
    rows = answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full"), "blind": pruners.load("blind")})
    lines = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    del lines[0]["evidence_recall"]
    (tmp_path / "old.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    old, new = read_rows([tmp_path / "old.jsonl"])
    assert (old.evidence_recall, new.evidence_recall) == (None, 0.0)
    assert old.key == rows[0].key
    text = table([old, new])
    assert "| accuracy | evidence | 95 % interval |" in text
    assert [line.split("|")[5].strip() for line in text.splitlines()[2:]] == ["-", "0.0"]


def test_an_impossible_recall_is_refused(vlm, tmp_path):
    answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full")})
    values = json.loads((tmp_path / "rows.jsonl").read_text())
    with pytest.raises(ValueError, match=r"evidence_recall must be between 0 and 1, not 1\.5"):
        row_of({**values, "evidence_recall": 1.5})


def test_a_points_recall_is_the_macro_mean_over_benchmarks_of_the_items_that_know_it(vlm, tmp_path):
    rows = answered(vlm, tmp_path / "r", {"full": pruners.load("full")}, ["reading:spread", "pointing:spread"], limit=3)
    values = iter([1.0, 0.5, None, 0.25, 0.25, 0.25])
    known = [replace(row, evidence_recall=next(values)) for row in rows]
    assert measure(known).points[0].evidence_recall == pytest.approx((0.75 + 0.25) / 2)


def test_a_table_without_evidence_has_no_column_for_it(vlm, tmp_path):
    rows = answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full")}, ["reading"])
    assert "evidence" not in table(rows)


def test_changed_evidence_is_another_item(vlm, tmp_path):
    """Its rows are refused as those of a changed answer are."""
    rows = answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full")})
    line = json.loads((tmp_path / "rows.jsonl").read_text())
    (tmp_path / "rows.jsonl").write_text(json.dumps({**line, "answers_digest": "0" * 16}) + "\n")
    with pytest.raises(ValueError, match="another answer to reading:spread/dev/0"):
        answered(vlm, tmp_path / "rows.jsonl", {"full": pruners.load("full")})
    without = benchmarks.digests.digest_of_text(*ITEM.answers, ITEM.group)
    assert rows[0].answers_digest != without
