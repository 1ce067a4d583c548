"""Tokens that leave inside the language model: equal to the whole sequence with masked keys, layer by layer."""

import pytest
import tiny
import torch
from toolkit.families import CLOSE, batch_of, calm, left_on, load
from toolkit.leaving import KEEP, columns, last_token, recomputed, run, start
from torch import nn

from grip_vlm import vlms
from grip_vlm.mdp import Schedule
from grip_vlm.vlms.attention import attention_received
from grip_vlm.vlms.inside import leaving

WHY_NOT = {
    "aya_vision": "sliding_attention",
    "cohere2_vision": "sliding_attention",
    "gemma3": "sliding_attention",
    "gemma4": "sliding_attention",
    "paligemma": "both directions",
    "paligemma2": "sliding_attention",
    "qwen3_5": "no plain projection",
    "qwen3_5_hybrid": "linear_attention",
    "qwen3_vl": "deepstack",
    "qwen3_vl_moe": "deepstack",
}
EXACT = [name for name in tiny.names() if name not in WHY_NOT]


@pytest.fixture(params=EXACT)
def family(request):
    return load(request.param)


# ---- exact -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_every_step_equals_the_whole_sequence_with_masked_keys(family):
    inputs, _ = batch_of(family)
    out, walk, _ = run(family, inputs)
    expected = recomputed(family, inputs, out.sequences, walk.columns, len(out.logits))
    torch.testing.assert_close(torch.stack(out.logits, dim=1), expected, **CLOSE)


@torch.no_grad()
def test_the_comparison_would_notice_a_cut_one_layer_later_and_none(family):
    inputs, _ = batch_of(family)
    out, walk, _ = run(family, inputs)
    steps = torch.stack(out.logits, dim=1)
    for left in ([walk.columns[0], *walk.columns[:-1]], [walk.columns[0]] * 3):
        assert (recomputed(family, inputs, out.sequences, left, len(out.logits)) - steps).abs().max() > 1e-2


@torch.no_grad()
def test_a_ragged_batch_loses_what_single_runs_lose(family):
    inputs, alone = batch_of(family)
    out, walk, whole = run(family, inputs)
    for row in range(2):
        single, path, own = run(family, alone[row], {layer: count[row : row + 1] for layer, count in KEEP.items()})
        shift = whole["input_ids"].shape[1] - own["input_ids"].shape[1]
        for mine, theirs in zip(walk.columns, path.columns, strict=True):
            assert torch.equal(mine[row][mine[row] >= 0], theirs[0] + shift)
        torch.testing.assert_close(torch.stack(out.logits, dim=1)[row], torch.stack(single.logits, dim=1)[0], **CLOSE)


def test_keeping_all_generates_identically(family):
    inputs, _ = batch_of(family)
    _, whole, visual = start(vlms.wrap(family.model), inputs)
    plain = family.model.generate(**whole, **calm(family, return_dict_in_generate=True, output_logits=True))
    out, _, _ = run(family, inputs, {1: visual.sum(1)})
    assert torch.equal(torch.stack(out.logits), torch.stack(plain.logits))


@pytest.mark.parametrize("how", [{"cache_implementation": "static"}, {"do_sample": True}], ids=["static", "sampling"])
@torch.no_grad()
def test_other_ways_to_generate_are_exact_as_well(family, how):
    inputs, _ = batch_of(family)
    out, walk, _ = run(family, inputs, **how)
    expected = recomputed(family, inputs, out.sequences, walk.columns, len(out.logits))
    torch.testing.assert_close(torch.stack(out.logits, dim=1), expected, **CLOSE)


def test_a_second_generation_starts_anew():
    family = load("llava")
    prompt, whole, visual = start(vlms.wrap(family.model), batch_of(family)[0])
    outs = []
    with leaving(family.model, prompt, whole, visual, last_token(visual), Schedule(KEEP, last_token(visual))):
        for _ in range(2):
            whole["mm_encoder_outputs"] = start(vlms.wrap(family.model), batch_of(family)[0])[1]["mm_encoder_outputs"]
            outs.append(family.model.generate(**whole, **calm(family)))
    assert torch.equal(*outs)


@torch.no_grad()
def test_padding_does_not_rank():
    family = load("llava")
    prompt, whole, visual = start(vlms.wrap(family.model), batch_of(family)[0])
    queries = last_token(visual).clone()
    queries[1, 0] = True  # padding in the shorter row
    with leaving(family.model, prompt, whole, visual, queries, Schedule(KEEP, queries)) as walk:
        family.model.generate(**whole, **calm(family))
    _, plain, _ = run(family, batch_of(family)[0])
    assert torch.equal(walk.columns[2][1], plain.columns[2][1])


# ---- tokens are really gone ------------------------------------------------------------------------------------------


def test_every_layer_caches_what_the_schedule_says(family):
    inputs, _ = batch_of(family)
    out, walk, whole = run(family, inputs)
    text = whole["attention_mask"].sum(1) - torch.stack(
        [row.sum() for row in start(vlms.wrap(family.model), inputs)[2]]
    )
    scheduled = [whole["attention_mask"].sum(1), text + KEEP[1], text + KEEP[2]]
    assert [(left >= 0).sum(1).tolist() for left in walk.columns] == [count.tolist() for count in scheduled]
    cached = [layer.keys.shape[-2] for layer in out.past_key_values.layers]
    assert cached == [int(count.max()) + 4 for count in scheduled]  # the fifth token is not fed back


def test_what_has_left_never_comes_back(family):
    _, walk, whole = run(family, batch_of(family)[0])
    prompt = whole["input_ids"].shape[1]
    seen = [columns((left, prompt), prompt) for left in walk.columns]
    assert not (seen[1] & ~seen[0]).any()
    assert not (seen[2] & ~seen[1]).any()
    assert torch.equal(walk.survivors(), seen[2])


def test_text_never_leaves(family):
    inputs, _ = batch_of(family)
    _, walk, whole = run(family, inputs, {1: torch.tensor([1, 1])})
    visual = start(vlms.wrap(family.model), inputs)[2]
    assert torch.equal(walk.survivors() & ~visual, whole["attention_mask"].bool() & ~visual)


# ---- the rank --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EXACT, "qwen3_vl"])  # the last has norms on its heads
@torch.no_grad()
def test_the_recomputed_rows_are_the_models_own_attention(name):
    family = tiny.load(name)
    family.model.set_attn_implementation("eager")
    _, whole, visual = start(vlms.wrap(family.model), batch_of(family)[0])
    queries = ~visual & whole["attention_mask"].bool()
    rows, layers = [], family.model.base_model.get_decoder().layers

    def hook(layer, args, kwargs):
        x, (cos, sin) = layer.input_layernorm(args[0]), kwargs["position_embeddings"]
        rows.append(attention_received(layer.self_attn, x, cos, sin, whole["attention_mask"].bool(), queries))

    hooks = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in layers]
    out = family.model(**whole, output_attentions=True)
    for one in hooks:
        one.remove()
    for row, maps in zip(rows, out.attentions, strict=True):
        expected = (maps.mean(1) * queries[..., None]).sum(1) / queries.sum(1, keepdim=True)
        torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-4)


class PlainAttention(nn.Module):
    """One head of width 2 that compares tokens as they are."""

    head_dim, scaling = 2, 1.0
    q_proj = k_proj = staticmethod(lambda x: x)
    __module__ = "transformers.models.llama.modeling_llama"  # whose rotation is used


def received(x, queries):
    """Without padding and rotation."""
    ones = torch.ones(x.shape)
    return attention_received(PlainAttention(), x, ones, 0 * ones, torch.ones(x.shape[:2]) > 0, torch.tensor([queries]))


def test_the_rank_is_the_softmax_row_of_the_query():
    x = torch.tensor([[[0.0, 0.0], [torch.tensor(2.0).log(), 0.0], [1.0, 0.0]]])
    torch.testing.assert_close(  # the last token's products with the three are 0, log 2 and 1
        received(x, [False, False, True]), torch.tensor([[1.0, 2.0, torch.e]]) / (3 + torch.e)
    )


def test_the_rank_is_the_mean_row_of_the_queries_each_seeing_what_came_before():
    x = torch.zeros(1, 4, 2)  # all alike: the third sees three, the fourth four
    mean = (torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]) + 1 / 4) / 2
    torch.testing.assert_close(received(x, [False, False, True, True]), mean[None])


# ---- nothing is left behind, and refusals ----------------------------------------------------------------------------


def test_nothing_is_left_on_the_model(family):
    inputs, _ = batch_of(family)
    family.model.generate(**inputs, **calm(family))
    before = left_on(family.model)
    run(family, inputs)
    assert left_on(family.model) == before


def test_nothing_is_left_on_the_model_after_an_error(family):
    before = left_on(family.model)
    with pytest.raises(ValueError, match="k must be between 1"):
        run(family, batch_of(family)[0], {1: torch.tensor([1000, 1])})
    assert left_on(family.model) == before


@pytest.mark.parametrize("name", WHY_NOT)
def test_a_family_where_it_would_not_be_exact_is_refused_with_the_reason(name):
    family = load(name)
    with pytest.raises(ValueError, match=f"cannot drop tokens inside its language model: .*{WHY_NOT[name]}"):
        run(family, batch_of(family)[0])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"num_beams": 2}, "beams and prompts in chunks"),
        ({"prefill_chunk_size": 8}, "beams and prompts in chunks"),
        ({"use_cache": False}, "do not pass use_cache=False"),
    ],
    ids=["beams", "chunks", "no cache"],
)
def test_a_way_to_generate_that_would_not_be_exact_is_refused(how, why):
    family = load("qwen2_5_vl")
    with pytest.raises(ValueError, match=why):
        run(family, batch_of(family)[0], **how)
