"""The recipe on steering: evidence is counted right, controls are what they say, numbers are those of the records."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from toolkit.families import load

import steering_report
from grip_vlm import benchmarks, policy, pruners, vlms
from grip_vlm.benchmarks.scenes import Item
from grip_vlm.budget import Budget
from grip_vlm.scorer import Scorer, ScorerConfig
from probe import accuracy, majority, outputs
from steering import Record, evidence, measure, once
from steering_report import exceeds, gain, grouped, looked, moved, report

pytestmark = pytest.mark.slow

STAR = Item("shape", "star", "red", 0, 0, 2)  # patches 0, 1, 14, 15
CROSS = Item("shape", "cross", "blue", 5, 5, 2)  # patches 75, 76, 89, 90


def record(**changes):
    """A right answer from evidence that is all kept."""
    known = Record("presence", "presence/test/0", "grip", 0, "0.05", 9, 196, 4, 4, True, "yes", 1.0, 0.0, 0.0)
    return replace(known, **changes)


def field(*lists):
    """Records of `full` and `blind`, and those of each list, for the items 0, 1, ...; a list gives their changes."""
    kinds = [("full", "1.0"), ("blind", "0"), ("grip", "0.05")]
    return [
        record(**({"pruner": kind, "budget": budget, "item": str(i)} | change))
        for (kind, budget), changes in zip(kinds, lists, strict=True)
        for i, change in enumerate(changes)
    ]


# ---- evidence --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "about", "found"),
    [
        ([0, 1, 14, 15], (STAR,), (4, 4, True)),
        ([0, 100], (STAR,), (4, 1, True)),
        ([0, 1, 14, 15], (STAR, CROSS), (8, 4, False)),
        ([15, 75], (STAR, CROSS), (8, 2, True)),
        ([100], (STAR,), (4, 0, False)),
        ([100], (), (0, 0, True)),
    ],
)
def test_evidence_is_the_patches_of_the_things_a_question_is_about(kept, about, found):
    assert evidence(kept, about) == found


# ---- what is asked ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records(vlm):
    methods = [(0, name, pruners.load(name)) for name in ("full", "blind", "random")]
    return measure(vlm, vlm, methods, [Budget.parse("0.05")], "reading", range(1, 4), "dev")


@pytest.mark.slow
def test_every_method_answers_every_item_at_every_budget_once(records):
    keys = [(r.pruner, r.budget, r.item) for r in records]
    assert len(keys) == len(set(keys)) == 9
    assert {r.item for r in records} == {f"reading/dev/{i}" for i in (1, 2, 3)}
    assert {(r.pruner, r.kept) for r in records} == {("full", 196), ("blind", 0), ("random", 10)}


def test_the_same_vlm_as_second_says_the_same(records):
    assert [r.said for r in records] == [r.second_said for r in records]


def test_positions_are_kept_and_features_are_those_of_the_next_image(vlm):
    """Three answers of one subset: the item itself, the next image at its positions, the next image at its own."""
    seen = []

    class Watched(type(vlm)):
        def pruned(self, prompt, action, *given, **named):
            seen.append((prompt, action))
            return super().pruned(prompt, action, *given, **named)

    random, watched = pruners.load("random"), Watched(vlm.model, vlm.processor, vlm.name)
    measure(watched, None, [(0, "random", random)], [Budget.parse("0.05")], "reading", range(2), "dev")
    scenes = [benchmarks.composed_item("reading", "dev", i) for i in range(3)]
    images, texts = [scene.image for scene, _ in scenes], [question.text for _, question in scenes[:2]]
    here, there = (vlm.encode(vlm.inputs(images[i : i + 2], texts)) for i in (0, 1))
    k = torch.tensor([10, 10])
    (own, a), (other, b), (again, c) = seen
    torch.testing.assert_close(own.visual, here.prompt.visual)
    torch.testing.assert_close(other.visual, there.prompt.visual)
    torch.testing.assert_close(again.visual, there.prompt.visual)
    assert torch.equal(a.mask, random.select(vlm, here, k).mask)
    assert torch.equal(b.mask, a.mask)
    assert torch.equal(c.mask, random.select(vlm, there, k).mask)


def test_a_vlm_of_another_grid_than_the_scenes_is_refused():
    family = load("llava")
    vlm = vlms.wrap(family.model, family.processor)
    with pytest.raises(ValueError, match=r" \d+ visual tokens to a scene of 14 x 14 patches"):
        measure(vlm, None, [], [], "reading", range(1))


def test_what_is_made_once_is_not_made_again(tmp_path):
    path = tmp_path / "part.json"
    assert once(path, lambda: [1, 2]) == [1, 2]
    assert once(path, lambda: 1 / 0) == [1, 2]


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_a_gain_is_the_mean_over_shared_items_with_an_interval_around_it():
    mean, low, high = gain([{"a": 1.0, "b": 1.0, "c": 0.0, "d": 1.0}], [{"a": 0.0, "b": 1.0, "c": 0.0}])
    assert mean == 33.3
    assert low <= mean <= high


def test_nothing_shared_cannot_be_compared():
    with pytest.raises(ValueError, match="no item stands in all"):
        gain([{"a": 1.0}], [{"b": 1.0}])


def test_answers_are_split_by_how_much_of_the_evidence_is_kept():
    ours = [{}, {"seen": 2, "touched": False, "right": 0.0}, {"seen": 0, "touched": False}, {"evidence": 0, "seen": 0}]
    (row,) = looked(grouped(field([{}] * 4, [{"right": 0.0}] * 4, ours)))
    assert [row[name] for name in ("touched", "partly", "unseen")] == [1, 1, 1]
    assert [row[f"right {name}"] for name in ("touched", "partly", "unseen", "absent")] == [100.0, 0.0, 100.0, 100.0]
    assert (row["evidence kept"], row["blind unseen"]) == (50.0, 0.0)


def test_positions_that_answer_by_themselves_are_told_apart_from_those_that_do_not():
    wrong = [{"right": 0.0}] * 20
    (steers,) = moved(grouped(field([{}] * 20, wrong, [{"moved": 1.0}] * 20)))
    (selects,) = moved(grouped(field([{}] * 20, wrong, [{"moved": float(i < 2)} for i in range(20)])))
    (prior,) = moved(grouped(field([{"moved": 1.0}] * 20, wrong, [{"moved": 1.0}] * 20)))
    assert [exceeds(row) for row in (steers, selects, prior)] == [True, False, False]


def test_a_scorer_that_steers_one_vlm_keeps_more_of_it_than_of_the_second():
    """Both right in full; given the subset, only the own VLM is."""
    heard = {"second_said": "yes", "second_right": 1.0}
    rows = steering_report.answered(grouped(field([heard] * 5, [heard] * 5, [heard | {"second_right": 0.0}] * 5)))
    assert next(row for row in rows if row["pruner"] == "grip")["excess"] == [100.0, 100.0, 100.0]


def test_the_report_says_when_there_was_no_second_vlm_and_names_every_part():
    text, numbers = report(field([{}] * 3, [{"right": 0.0}] * 3, [{}] * 3), {"presence": {"majority": 0.5}}, "0.05")
    assert "No second VLM was given" in text
    assert [line[:6] for line in text.splitlines() if line.startswith("## ")] == [
        "## (a)",
        "## (b)",
        "## (c)",
        "## (d)",
    ]
    assert set(numbers["moved"]) == {"all", "presence"}


# ---- the probe -------------------------------------------------------------------------------------------------------


def test_the_probe_reads_the_scorers_own_scores_and_mask(vlm, examples):
    encoded = vlm.encode(vlm.inputs([e.image for e in examples[:3]], [e.question for e in examples[:3]]))
    scorer, k = Scorer(ScorerConfig(dim=vlm.dim, width=16)).eval(), torch.tensor([4, 9, 20])
    found = outputs(scorer, encoded.state, k)
    scores = policy.discounted(scorer(encoded.state, k))
    assert [tuple(found[kind].shape) for kind in ("hidden", "scores", "mask")] == [(3, 32), (3, 392), (3, 196)]
    assert torch.equal(found["mask"].bool(), policy.choose(scorer, encoded.state, k))
    for row in range(3):
        kept = encoded.state.visual[row][found["mask"][row].bool()]
        torch.testing.assert_close(found["kept"][row], kept.mean(0))
    torch.testing.assert_close(found["scores"][:, :196], scores - scores.mean(1, keepdim=True))
    assert not scorer.head._forward_pre_hooks


def test_a_probe_finds_what_is_there_and_nothing_in_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, 8)).astype(np.float32)
    labels = ["yes" if row[0] > 0 else "no" for row in noise]
    assert accuracy(noise[:200], labels[:200], noise[200:], labels[200:]) > 0.9
    assert accuracy(noise[:200, 1:], labels[:200], noise[200:, 1:], labels[200:]) < 0.65


def test_the_majority_is_that_of_the_training_answers():
    assert majority(["yes", "yes", "no"], ["no", "no", "yes", "no"]) == 0.25
