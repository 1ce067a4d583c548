"""The methods that prune inside the language model: schedules that meet the budget, ranks as their formulas say."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toolkit.families import CLOSE, batch_of, load
from toolkit.leaving import columns, last_token, masked_keys, recomputed, run

from grip_vlm import pruners, vlms
from grip_vlm.benchmarks.items import open_items
from grip_vlm.budget import Budget
from grip_vlm.evaluation.evaluate import evaluate
from grip_vlm.mdp import State
from grip_vlm.pruners.inside import mean
from grip_vlm.pruners.methods.sparsevlm import raters
from grip_vlm.pruners.methods.vscan import local_and_global, merge_dropped
from grip_vlm.vlms.inside import leaving

NAMES = ["fastv", "pyramiddrop", "sparsevlm", "vscan"]
K = [60, 98, 150, 196]  # one budget per sample of 196 tokens


@pytest.fixture(scope="module")
def batch(vlm, examples):
    some = examples[:4]
    return vlm.encode(vlm.inputs([e.image for e in some], [e.question for e in some]))


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def respond(pruner, vlm, encoded, k, new_tokens):
    return vlm.respond(encoded, pruner.select(vlm, encoded, k), new_tokens)


# ---- schedules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "k", "plan"),
    [
        ("fastv", 171, {0: 576, 2: 144}),  # the paper's K = 2, R = 75 %
        ("pyramiddrop", 270, {0: 576, 8: 288, 16: 144, 24: 72}),  # the paper's share of a half
        ("vscan", 64, {0: 96, 16: 32}),  # the paper's average of 64
        ("sparsevlm", 192, {0: 576, 2: 334, 6: 194, 15: 112}),  # the paper's 192: 300, 200, 110
    ],
)
def test_the_schedule_is_the_papers_at_the_papers_budget(name, k, plan):
    assert pruners.load(name).plan(576, k, 32) == plan


@pytest.mark.slow
@pytest.mark.parametrize(("n", "layers"), [(196, 4), (576, 32), (300, 28), (24, 3), (7, 2)])
def test_the_mean_over_the_layers_is_the_budget_or_less_than_a_token_below_it(name, n, layers):
    pruner = pruners.load(name)
    for k in range(1, n + 1):
        try:
            plan = pruner.plan(n, k, layers)
        except ValueError:
            continue
        assert k - 1 < mean(plan, layers) <= k
        counts = [plan[start] for start in sorted(plan)]
        assert counts == sorted(counts, reverse=True)
    assert set(plan.values()) == {n}  # the last budget keeps all


def test_the_mean_counts_every_layer_once():
    assert mean({0: 10, 1: 6, 3: 2}, 4) == (10 + 6 + 6 + 2) / 4


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm"])
def test_a_budget_below_what_passes_the_first_layers_is_refused_with_the_least(name):
    pruner = pruners.load(name)
    with pytest.raises(ValueError, match=f"{name} keeps at least 50 of 196 tokens per layer .* got a budget of 49"):
        pruner.plan(196, 49, 4)
    assert pruner.plan(196, 50, 4)


def test_vscan_meets_every_budget():
    assert pruners.load("vscan").plan(196, 1, 4) == {0: 1, 2: 1}


# ---- the contract ----------------------------------------------------------------------------------------------------


def test_an_action_holds_the_tokens_that_enter_and_the_schedule_of_the_others(name, vlm, batch):
    pruner = pruners.load(name)
    plans = [pruner.plan(196, k, 4) for k in K]
    action = pruner.select(vlm, batch, torch.tensor(K))
    assert action.kept.tolist() == [plan.pop(0) for plan in plans]
    assert {layer: keep.tolist() for layer, keep in action.schedule.keep.items()} == {
        layer: [plan[layer] for plan in plans] for layer in plans[0]
    }
    assert action.schedule.queries.shape == batch.prompt.input_ids.shape


def test_what_the_schedule_says_is_what_enters_and_reaches_the_last_layer(name, vlm, batch):
    pruner = pruners.load(name)
    plans = [pruner.plan(196, k, 4) for k in K]
    response = respond(pruner, vlm, batch, torch.tensor(K), 2)
    assert response.entering.tolist() == [plan[0] for plan in plans]
    assert response.reached.kept.tolist() == [plan[max(plan)] for plan in plans]
    assert response.per_layer.tolist() == [mean(plan, 4) for plan in plans]


@pytest.mark.slow
def test_the_same_tokens_are_kept_again_and_alone(name, vlm, batch, examples):
    pruner = pruners.load(name)
    together = respond(pruner, vlm, batch, torch.tensor(K), 3)
    assert torch.equal(respond(pruner, vlm, batch, torch.tensor(K), 3).reached.mask, together.reached.mask)
    for row, k in enumerate(K):
        one = vlm.encode(vlm.inputs([examples[row].image], [examples[row].question]))
        alone = respond(pruner, vlm, one, torch.tensor([k]), 3)
        assert alone.reached.indices() == together.reached.indices(row)
        assert alone.texts == together.texts[row : row + 1]


def test_the_vlm_answers_with_the_mean_over_layers(name, vlm, examples):
    answer = vlm.answer(examples[0].image, examples[0].question, pruners.load(name), 98, max_new_tokens=2)
    assert (answer.tokens, answer.kept) == (196, 98)
    assert len(answer.kept_indices) < 98


def test_all_tokens_give_the_answer_of_the_unpruned_model(name, vlm, batch):
    k = torch.full((4,), 196)
    response = respond(pruners.load(name), vlm, batch, k, 4)
    assert response.texts == respond(pruners.load("full"), vlm, batch, k, 4).texts


def test_inputs_for_generate_are_refused_and_what_to_call_is_named(name):
    family = load("llava")
    with pytest.raises(ValueError, match=f"{name} drops tokens inside the language model.*vlm.answer"):
        pruners.load(name).prune(family.model, batch_of(family)[0], 0.5)


def test_rows_say_both_what_enters_and_the_mean_over_layers(vlm, tmp_path):
    chosen = {name: pruners.load(name) for name in ("fastv", "uniform")}
    items, out = [open_items("reading")], tmp_path / "rows.jsonl"
    rows = evaluate(vlm, chosen, items, [Budget(tokens=98)], out, limit=2)
    assert [(row.pruner, row.entering, row.kept) for row in rows[::2]] == [("fastv", 196, 98), ("uniform", 98, 98)]


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "sparsevlm"])
@pytest.mark.parametrize("other", ["qwen2_5_vl", "internvl", "llava_next"])
def test_methods_without_needs_of_the_tower_run_on_other_families(name, other, monkeypatch):
    family = load(other)
    vlm = vlms.wrap(family.model, family.processor)
    monkeypatch.setattr(family.model.generation_config, "suppress_tokens", [family.model.config.image_token_id])
    encoded = vlm.encode(batch_of(family)[0])
    k = encoded.state.counts // 2
    response = respond(pruners.load(name), vlm, encoded, k, 3)
    assert torch.all((response.per_layer <= k) & (response.per_layer > k - 1))


def test_vscan_refuses_a_tower_without_cls():
    family = load("qwen2_5_vl")
    vlm = vlms.wrap(family.model, family.processor)
    encoded = vlm.encode(batch_of(family)[0])
    with pytest.raises(ValueError, match="vscan needs a CLIP or SigLIP tower"):
        pruners.load("vscan").select(vlm, encoded, torch.tensor([5, 5]))


def test_an_image_with_no_text_after_it_is_refused(vlm, batch):
    state = replace(batch.state, question_mask=torch.zeros_like(batch.state.question_mask))
    with pytest.raises(ValueError, match="ranked by the text after the image"):
        pruners.load("fastv").select(vlm, replace(batch, state=state), torch.tensor(K))


# ---- ranks -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def expected_left(vlm, prompt, whole, visual, queries, action):
    """Reference: at each cut, the model's own attention over the whole sequence with what left before masked."""
    schedule = action.schedule
    length, layers = visual.shape[1], vlm.model.config.get_text_config().num_hidden_layers
    left = [whole["attention_mask"].bool().clone() for _ in range(layers)]
    for cut in sorted(schedule.keep):
        padded = [torch.where(keys, torch.arange(length), -1) for keys in left]
        with masked_keys(vlm.model, [columns((one, length), length) for one in padded]):
            inputs = vlm.pruned(prompt, action)
            maps = vlm.model(**inputs, use_cache=False, output_attentions=True).attentions[cut - schedule.early]
        for row, keep in enumerate(schedule.keep[cut].tolist()):
            rank = maps[row].mean(0)[queries[row]].mean(0).masked_fill(~(visual & left[cut])[row], -1)
            chosen = torch.zeros(length, dtype=torch.bool)
            chosen[rank.topk(keep).indices] = True
            for after in left[cut:]:
                after[row] &= chosen | ~visual[row]
    return left


def test_ranks_are_the_models_own_attention_at_every_cut(name, vlm_dir, examples):
    eager = vlms.load(str(vlm_dir), device="cpu", attn_implementation="eager")
    encoded = eager.encode(eager.inputs([e.image for e in examples[:2]], [e.question for e in examples[:2]]))
    action = pruners.load(name).select(eager, encoded, torch.tensor([60, 110]))
    marked = {**encoded.prompt.extras, "queries": action.schedule.queries}  # queries go with the tokens that are kept
    whole = eager.pruned(replace(encoded.prompt, extras=marked), action, forward=False)
    queries, visual = whole.pop("queries"), whole["input_ids"] == eager.model.config.image_token_id
    with leaving(eager.model, encoded.prompt, whole, visual, queries, action.schedule) as walk:
        eager.generate(dict(whole), 2)
    expected = expected_left(eager, encoded.prompt, whole, visual, queries, action)
    found = [columns((entered, visual.shape[1]), visual.shape[1]) for entered in walk.columns]
    assert all(torch.equal(one, two) for one, two in zip(found, expected, strict=True))


def test_fastv_reads_the_layer_before_its_cut_and_pyramiddrop_the_layer_itself():
    assert [pruners.load(name).early for name in NAMES] == [1, 0, 0, 0]


@pytest.mark.parametrize("name", ["fastv", "pyramiddrop", "vscan"])
def test_the_last_token_of_the_prompt_ranks(name, batch):
    assert torch.equal(pruners.load(name).queries(batch), last_token(batch.prompt.input_ids))


def state_of(visual, question, words):
    """One image of n tokens and a question whose first `words` tokens are real."""
    n, m = len(visual), len(question)
    return State(
        visual=torch.tensor([visual]),
        visual_mask=torch.ones(1, n, dtype=torch.bool),
        places=torch.zeros(1, n, 2),
        image=torch.zeros(1, n, dtype=torch.long),
        question=torch.tensor([question]),
        question_mask=torch.arange(m)[None] < words,
    )


def test_raters_are_the_words_at_least_as_near_the_image_as_the_average():
    # Two tokens, softmax over three words: (4, 1, 1) / 6 and (1, 4, 1) / 6, on average (2.5, 2.5, 1) / 6 against 2 / 6.
    four = float(torch.tensor(4.0).log())
    words = [[four, 0.0], [0.0, four], [0.0, 0.0], [9.0, 9.0]]  # the last is padding
    assert raters(state_of([[1.0, 0.0], [0.0, 1.0]], words, 3)).tolist() == [[True, True, False, False]]


@pytest.mark.parametrize("words", [1, 3, 7])
def test_words_that_are_all_alike_are_all_raters(words):
    assert raters(state_of([[0.3, 0.1]], [[0.7, 0.2]] * words, words)).all()


def test_the_raters_of_a_ragged_batch_stand_at_the_end_of_the_prompt(batch):
    queries, length = pruners.load("sparsevlm").queries(batch), batch.prompt.input_ids.shape[1]
    for row, (mask, question) in enumerate(zip(raters(batch.state), batch.state.question_mask, strict=True)):
        first = length - int(question.sum())
        assert queries[row].nonzero()[:, 0].tolist() == [first + i for i in mask.nonzero()[:, 0].tolist()]


def test_vscan_takes_half_from_windows_in_turn_and_half_from_the_image():
    window = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    shallow = torch.tensor([0.30, 0.20, 0.10, 0.0, 0.05, 0.02, 0.01, 0.0])
    deep = torch.tensor([0.5, 0.0, 0.0, 0.9, 0.0, 0.0, 0.8, 0.7])
    # Two of windows: the best of each, 0 and 4. Two of the rest of the image: 3 and 6.
    assert local_and_global(shallow, deep, window, 4).nonzero()[:, 0].tolist() == [0, 3, 4, 6]
    # Three of windows: the second place goes to the window with the higher attention, that is to 1.
    assert local_and_global(shallow, deep, window, 6).nonzero()[:, 0].tolist() == [0, 1, 3, 4, 6, 7]


def test_vscan_averages_what_it_drops_into_the_most_similar_kept_token():
    features = torch.tensor([[2.0, 0.0], [4.0, 0.2], [0.0, 3.0], [6.0, 0.1]])
    kept = torch.tensor([True, False, True, False])
    torch.testing.assert_close(merge_dropped(features, kept)[kept], torch.tensor([[4.0, 0.1], [0.0, 3.0]]))


# ---- the shipped VLM -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_every_step_of_the_shipped_vlm_equals_the_whole_sequence_with_masked_keys(examples):
    shipped = vlms.load("tiny-llava", device="cpu")
    inputs = shipped.inputs([e.image for e in examples[:2]], [e.question for e in examples[:2]])
    keep = {1: torch.tensor([100, 50]), 3: torch.tensor([5, 20])}
    family = SimpleNamespace(model=shipped.model)
    out, walk, _ = run(family, inputs, keep, eos_token_id=None)
    expected = recomputed(family, inputs, out.sequences, walk.columns, len(out.logits))
    torch.testing.assert_close(torch.stack(out.logits, dim=1), expected, **CLOSE)
