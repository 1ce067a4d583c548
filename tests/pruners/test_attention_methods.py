"""Methods by the vision tower's attention: each on a case worked by hand, all on the families they support."""

import itertools

import pytest
import tiny
import torch
from tiny._tiny import TEXT, VISION, Tiny, settle, tokenizer
from toolkit.families import batch_of, calm
from transformers import LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor, SiglipVisionConfig
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from grip_vlm import pruners, vlms
from grip_vlm.pruners.base import split, units_of
from grip_vlm.pruners.choosing import allot, rescaled
from grip_vlm.pruners.methods import holov, prumerge, prumerge_plus, ptp
from grip_vlm.pruners.methods.fopru_rank import significance
from grip_vlm.pruners.methods.fopru_row import top_rows
from grip_vlm.pruners.methods.scope import cover
from grip_vlm.pruners.methods.visionzip import dominant_and_contextual
from grip_vlm.pruners.methods.vispruner import important_and_diverse
from grip_vlm.vlms.early import question_attention
from grip_vlm.vlms.tower import read_tower

WITHOUT_CLS = ["fopru_rank", "fopru_row", "ptp", "visionzip"]
WITH_CLS = ["cls_attention", "holov", "prumerge", "prumerge_plus", "scope", "vispruner"]
MERGING = ["prumerge", "prumerge_plus", "visionzip"]


def siglip():
    """LLaVA with a tower without CLS."""
    tok = tokenizer(image_token="<image>")
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False),
        text_config=LlamaConfig(**TEXT, vocab_size=len(tok)),
        image_token_index=tok.image_token_id,
        vision_feature_select_strategy="full",
    )
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    processor = LlavaProcessor(images, tok, patch_size=8, vision_feature_select_strategy="full")
    made = Tiny("siglip", LlavaForConditionalGeneration(config), processor, "<image>", sizes=((48, 32), (24, 40)))
    settle(made)
    return made


@pytest.fixture(scope="module")
def families():
    return {name: tiny.load(name) for name in ("llava", "llava_next", "llava_onevision")} | {"siglip": siglip()}


def seen(family):
    vlm = vlms.wrap(family.model)
    return vlm, vlm.encode(batch_of(family)[0])


KNOWN = [*itertools.product(["llava", "llava_next"], WITH_CLS + WITHOUT_CLS)]
KNOWN += [*itertools.product(["llava_onevision", "siglip"], WITHOUT_CLS)]


# ---- what the tower thought ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava", "llava_next", "llava_onevision", "siglip"])
@torch.no_grad()
def test_the_features_of_a_tokens_patch_projected_are_the_token(name, families):
    vlm, encoded = seen(families[name])
    tower = read_tower(vlm, encoded, "this test")
    for row, (features, tokens) in enumerate(zip(tower.split(tower.features), tower.tokens, strict=True)):
        projected = vlm.model.base_model.multi_modal_projector(features)
        torch.testing.assert_close(projected, encoded.state.visual[row, tokens], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llava_next", "llava_onevision"])
def test_a_token_without_a_patch_is_a_newline(name, families):
    vlm, encoded = seen(families[name])
    tower = read_tower(vlm, encoded, "this test")
    for row, tokens in enumerate(tower.tokens):
        others = set(range(int(encoded.state.counts[row]))) - set(tokens.tolist())
        assert others
        newline = vlm.model.base_model.image_newline
        assert all(torch.equal(encoded.state.visual[row, other], newline) for other in others)


@pytest.mark.parametrize("name", ["llava", "siglip"])
@torch.no_grad()
def test_attention_between_patches_equals_the_towers_own_map(name, families):
    vlm, encoded = seen(families[name])
    at, cls = vlm.model.config.vision_feature_layer, name == "llava"
    tower = vlm.model.base_model.vision_tower
    tower.set_attn_implementation("eager")
    try:
        maps = tower(encoded.pixels.flatten(0, -4), output_attentions=True).attentions[at if at < 0 else at - 1]
    finally:
        tower.set_attn_implementation("sdpa")
    found, close = read_tower(vlm, encoded, "this test"), {"atol": 1e-5, "rtol": 1e-4}
    torch.testing.assert_close(found.maps(), maps.mean(1)[:, cls:, cls:], **close)
    torch.testing.assert_close(found.salience(), maps.mean(1)[:, 0, 1:] if cls else maps.mean((1, 2)), **close)


@torch.no_grad()
def test_keys_and_attention_without_heads_are_those_of_the_towers_projections(families):
    vlm, encoded = seen(families["llava"])
    vision, states = vlm.model.base_model.vision_tower, {}
    for name in ("q_proj", "k_proj"):
        projection = getattr(vision.encoder.layers[vlm.model.config.vision_feature_layer].self_attn, name)
        handle = projection.register_forward_hook(lambda _, __, out, name=name: states.update({name: out}))
        vision(encoded.pixels.flatten(0, -4))
        handle.remove()
    tower = read_tower(vlm, encoded, "this test")
    torch.testing.assert_close(tower.keys().flatten(2), states["k_proj"][:, 1:])
    logits = (states["q_proj"][:, :1] * states["k_proj"]).sum(-1) / states["k_proj"].shape[-1] ** 0.5  # (T, 1 + n)
    torch.testing.assert_close(tower.cls_attention(heads=1), logits.softmax(-1)[:, 1:])


@torch.no_grad()
def test_attention_of_the_question_equals_the_language_models_own_map(families):
    vlm, encoded = seen(families["llava"])
    model = vlm.model
    model.set_attn_implementation("eager")
    try:
        full = vlm.pruned(encoded.prompt, pruners.load("full").select(vlm, encoded, encoded.state.counts))
        maps = model(**full, output_attentions=True).attentions[2].mean(1)  # (B, L, L)
    finally:
        model.set_attn_implementation("sdpa")
    found = question_attention(vlm, encoded, "this test")
    for row, count in enumerate(encoded.state.counts.tolist()):
        slots = encoded.prompt.slots[row, :count]
        expected = maps[row, int(slots.max()) + 1 :, slots].amax(0)
        torch.testing.assert_close(found[row, :count], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("weights", "sizes", "k", "given"), [((3, 1), (9, 9), 4, [3, 1]), ((9, 1), (2, 9), 6, [2, 4])])
def test_groups_share_in_proportion_and_pass_on_what_they_cannot_take(weights, sizes, k, given):
    assert allot(torch.tensor(weights), torch.tensor(sizes), k) == given


def test_every_budget_is_shared_exactly_and_no_group_is_overfull():
    weights, sizes = torch.tensor([0.0, 5.0, 1.0, 2.2]), torch.tensor([3, 2, 4, 1])
    for k in range(1, 11):
        given = torch.tensor(allot(weights, sizes, k))
        assert given.sum() == k
        assert (given <= sizes).all()
        assert (given >= 0).all()


# ---- one case by hand for each method --------------------------------------------------------------------------------


def test_fopru_ranks_by_attention_received_where_that_varies_more():
    maps = torch.tensor([[[0.5, 0.1], [0.4, 0.2]]])  # received .45 and .15, given .3 and .3
    torch.testing.assert_close(significance(maps), torch.tensor([[0.45, 0.15]]))


def test_fopru_ranks_by_attention_given_where_that_varies_more():
    maps = torch.tensor([[[0.5, 0.4], [0.1, 0.2]]])
    torch.testing.assert_close(significance(maps), torch.tensor([[0.45, 0.15]]))


@pytest.mark.parametrize(("k", "kept"), [(1, [5]), (2, [3, 5]), (3, [3, 4, 5]), (4, [1, 3, 4, 5])])
def test_fopru_row_keeps_the_best_rows_whole_and_the_best_of_the_next(k, kept):
    scores, row = torch.tensor([0.1, 0.6, 0.2, 0.3, 0.2, 0.5]), torch.tensor([7, 7, 7, 9, 9, 9])  # sums .9 and 1.0
    assert sorted(top_rows(scores, row, k).tolist()) == kept


@pytest.mark.parametrize(("k", "contextual"), [(192, 30), (128, 20), (64, 10)])
def test_visionzip_splits_as_in_the_paper(k, contextual):
    attention = torch.arange(576.0).flip(0)  # the dominant tokens are the first
    chosen, _ = dominant_and_contextual(attention, torch.ones(576, 2), torch.ones(576, 2), k)
    assert chosen[: k - contextual].tolist() == list(range(k - contextual))
    step = (576 - k + contextual) // contextual
    assert chosen[k - contextual :].tolist() == [k - contextual + i * step for i in range(contextual)]


def test_visionzip_adds_the_mean_of_a_targets_tokens_to_it():
    attention = torch.tensor([*[9.0] * 8, 1, 1, 1, 1, 1])  # k = 10: 8 dominant, of the other 5 the first and third
    keys = torch.zeros(13, 2)
    keys[[8, 9, 12], 0] = 1  # 8 is a target; 9 and 12 go there
    keys[[10, 11], 1] = 1  # 10 is a target; 11 goes there
    features = torch.arange(13.0)[:, None]
    chosen, merged = dominant_and_contextual(attention, keys, features, 10)
    assert chosen.tolist() == [*range(9), 10]
    assert merged[:, 0].tolist() == [*range(8), 8 + (9 + 12) / 2, 10 + 11]


def test_vispruner_drops_the_even_token_most_like_an_odd_one():
    attention = torch.tensor([7.0, 6, 5, 4, 3, 2, 1])
    features = torch.eye(7)
    features[5, 6] = 0.1  # of the rest 3 4 5 6, 3 and 5 are compared with 4 and 6
    assert important_and_diverse(attention, features, 6).tolist() == [0, 1, 2, 3, 4, 6]


def test_vispruner_drops_eight_and_divides_what_is_left_anew():
    attention, features = torch.arange(31.0, 0, -1), torch.eye(31)
    rest = range(11, 31)  # 20 tokens of which 11 stay: eight are dropped, then one
    for i in range(2, 17, 2):
        features[rest[i], rest[i + 1]] = 0.9
    features[rest[9], rest[11]] = 0.5  # both odd at first; then one is even
    dropped = {rest[i] for i in [*range(2, 17, 2), 9]}
    assert set(important_and_diverse(attention, features, 22).tolist()) == set(range(31)) - dropped


def test_holov_prefers_a_stretch_whose_cosines_vary():
    attention = torch.tensor([0.2, 0.25, 0.26, 0.24])  # stretch means 225 and 250 (x 1000)
    features = torch.tensor([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])  # v = .5 .5 0 0, scaled to 475: + 42.75
    assert holov.top_per_segment(attention, features, 1).tolist() == [1]
    assert holov.top_per_segment(attention, torch.eye(4), 1).tolist() == [2]


def test_holov_gives_every_stretch_its_share():
    attention = torch.tensor([4.0, 1, 3, 2, 1, 1, 1, 1])  # four stretches of two: 2.5 2.5 1 1 of 7
    assert sorted(holov.top_per_segment(attention, torch.eye(8), 7).tolist()) == [0, 1, 2, 3, 4, 5, 6]


def test_scope_takes_the_best_weighted_gain_in_cover():
    similarity = torch.tensor([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    attention = torch.tensor([0.2, 0.3, 0.1])  # gains .38 .57 .1, then .02 (of .1) and .1
    assert cover(attention, similarity, 3).tolist() == [1, 2, 0]


def test_scope_keeps_twins_when_nothing_is_left_to_cover():
    assert cover(torch.ones(2), torch.ones(2, 2), 2).tolist() == [0, 1]


def test_prumerge_adds_weighted_neighbours_and_one_token_for_the_rest():
    attention, features = torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([[1.0], [10], [100], [1000]])
    chosen, merged = prumerge.Pruner().merge(attention, torch.eye(4), features, 3)
    assert chosen.tolist() == [1, 2, 3]  # 3 stands for 0 and 3
    torch.testing.assert_close(merged[:, 0], torch.tensor([10 + 0.1 + 30 + 200, 100 + 0.1 + 4 + 200, 0.1 + 200]))


@pytest.mark.parametrize("k", [1, 4])
def test_prumerge_has_no_token_for_the_rest_where_one_or_all_are_kept(k):
    attention, features = torch.tensor([0.1, 0.4, 0.3, 0.2]), torch.tensor([[1.0], [10], [100], [1000]])
    chosen, merged = prumerge.Pruner().merge(attention, torch.eye(4), features, k)
    assert chosen.tolist() == [1, 2, 3, 0][:k]
    torch.testing.assert_close(merged[0, 0], torch.tensor(10 + 0.1 + 30 + 200))


def test_prumerge_adds_the_32_nearest_alone():
    keys = torch.ones(36, 2)
    keys[[3, 5, 8], 1] = -1
    features = torch.arange(36.0)[:, None]
    chosen, merged = prumerge.Pruner().merge(torch.ones(36).index_fill(0, torch.tensor(0), 2), keys, features, 1)
    assert chosen.tolist() == [0]
    assert merged.item() == sum(range(36)) - 3 - 5 - 8


def test_prumerge_plus_lays_three_quarters_evenly():
    attention = torch.ones(16)
    attention[[3, 12]] = torch.tensor([3.0, 2.0])
    left = [i for i in range(16) if i not in (3, 12)]
    kept = prumerge_plus.Pruner().keep(attention, 8).tolist()
    assert kept == [3, 12, *(left[i] for i in (1, 3, 5, 8, 10, 12))]  # floor((i + 1/2) 14 / 6)


def test_ptp_takes_the_best_of_every_region_by_attention_and_question():
    b, c = torch.tensor([0.6, 0.5, 0.0, 0.3]), torch.tensor([0.0, 0.2, 0.1, 0.0])
    region = torch.tensor([4, 4, 9, 9])  # means .55 and .15: of two tokens 1.57 and .43, so 2 and 0; of three 2 and 1
    assert sorted(ptp.top_per_region(b, c, region, 2).tolist()) == [0, 1]
    # f = 1/2 (b / .6) + 1/2 (c / .2): .5 .92 | .25 .25 -> a tie, to the first
    assert ptp.top_per_region(b, c, region, 1).tolist() == [1]
    assert sorted(ptp.top_per_region(b, c, region, 3).tolist()) == [0, 1, 2]


@torch.no_grad()
def test_a_lone_image_is_one_region_of_ptp():
    """So that the best by attention and question are taken wherever they stand."""
    vlm, encoded = seen(tiny.load("llava"))
    tower, asked = read_tower(vlm, encoded, "ptp"), question_attention(vlm, encoded, "ptp")
    action = pruners.load("ptp").select(vlm, encoded, torch.tensor([3, 3]))
    alone = [row for row, patches in enumerate(tower.patches) if len(patches) == tower.features.shape[1]]
    assert alone
    for row in alone:
        fused = rescaled(tower.split(tower.salience())[row]) + rescaled(asked[row, tower.tokens[row]])
        assert action.indices(row) == sorted(fused.topk(3).indices.tolist())


# ---- in the families -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "method"), KNOWN)
def test_every_known_family_keeps_the_budget_in_tiles_and_batches(name, method, families):
    vlm, encoded = seen(families[name])
    counts = encoded.state.counts
    for k in (torch.ones_like(counts), torch.stack([counts[0] // 3, counts[1] - 1]), counts):
        action = pruners.load(method).select(vlm, encoded, k)
        assert action.kept.tolist() == k.tolist()
        assert not (action.mask & ~encoded.state.visual_mask).any()


@pytest.mark.parametrize(("name", "method"), KNOWN)
@torch.no_grad()
def test_pruned_inputs_of_a_batch_give_the_logits_of_single_ones(name, method, families):
    family = families[name]
    batch, singles = batch_of(family)
    pruner, model = pruners.load(method), family.model
    together = model(**pruner.prune(model, batch, 0.3, forward=True)).logits[:, -1]
    alone = [model(**pruner.prune(model, single, 0.3, forward=True)).logits[0, -1] for single in singles]
    torch.testing.assert_close(together, torch.stack(alone), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["llava", "llava_next"])
@pytest.mark.parametrize("method", MERGING)
@torch.no_grad()
def test_merged_features_stand_in_the_places_of_kept_tokens_in_their_order(name, method, families):
    family = families[name]
    vlm, encoded = seen(family)
    pruner = pruners.load(method)
    k = (encoded.state.counts * 0.5).round().long()
    action = pruner.select(vlm, encoded, k)
    inputs = pruner.prune(family.model, batch_of(family)[0], 0.5)
    expected = torch.cat([action.features[row][mask] for row, mask in enumerate(action.mask)])
    torch.testing.assert_close(torch.cat(inputs["mm_encoder_outputs"]["image"].pooler_output), expected)
    is_image = vlm.placeholders(inputs["input_ids"], "image")
    for row, mask in enumerate(action.mask):
        assert inputs["position_ids"][row, is_image[row]].tolist() == (
            encoded.prompt.position_ids[row, encoded.prompt.slots[row][mask]].tolist()
        )


@torch.no_grad()
def test_visionzip_changes_contextual_tokens_alone(families):
    vlm, encoded = seen(families["llava"])
    action = pruners.load("visionzip").select(vlm, encoded, torch.tensor([19, 13]))
    for row, contextual in enumerate((3, 2)):  # round(k * 10 / 64)
        mask = action.mask[row]
        moved = (action.features[row][mask] - encoded.state.visual[row][mask]).abs().amax(1) > 1e-4
        assert 1 <= int(moved.sum()) <= contextual  # a target may get nothing


@pytest.mark.parametrize("method", MERGING)
def test_the_model_generates_from_merged_features(method, families):
    family = families["llava"]
    inputs = pruners.load(method).prune(family.model, batch_of(family)[0], 0.3)
    assert family.model.generate(**inputs, **calm(family)).shape[1] == inputs["input_ids"].shape[1] + 5


def test_newline_tokens_are_kept_only_when_all_patches_are(families):
    vlm, encoded = seen(families["llava_next"])
    tower = read_tower(vlm, encoded, "this test")
    patches = torch.tensor([len(tokens) for tokens in tower.tokens])
    for more in (0, 1):
        action = pruners.load("cls_attention").select(vlm, encoded, patches + more)
        for row, tokens in enumerate(tower.tokens):
            assert action.mask[row, tokens].all()
            assert int(action.mask[row].sum()) == len(tokens) + more


@torch.no_grad()
def test_ptp_for_one_image_does_not_attend_to_placeholders_of_another():
    family = tiny.load("llava")
    vlm, encoded = seen(family)
    part = split(encoded, units_of(encoded.state, per_image=True))
    before = question_attention(vlm, part, "this test")
    family.model.get_input_embeddings().weight[family.model.config.image_token_id].normal_()
    torch.testing.assert_close(question_attention(vlm, part, "this test"), before)


# ---- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava_onevision", "siglip"])
@pytest.mark.parametrize("method", WITH_CLS)
def test_a_tower_without_cls_is_refused_by_methods_that_need_one(name, method, families):
    family = families[name]
    with pytest.raises(ValueError, match=f"^{method} needs a vision tower with a CLS token"):
        pruners.load(method).prune(family.model, batch_of(family)[0], 0.3)


@pytest.mark.parametrize("method", WITH_CLS + WITHOUT_CLS)
def test_another_tower_is_refused(method):
    family = tiny.load("qwen2_vl")
    with pytest.raises(ValueError, match=f"^{method} needs a CLIP or SigLIP tower"):
        pruners.load(method).prune(family.model, batch_of(family)[0], 0.3)


def test_tiles_that_were_shrunk_are_refused():
    family = tiny.load("llava_onevision")
    family.model.config.vision_aspect_ratio = family.processor.vision_aspect_ratio = "anyres_max_1"
    vlm = vlms.wrap(family.model)
    inputs = family.inputs([([family.images(1)[0].resize((64, 64))], "what is in the image ?")])
    with pytest.raises(ValueError, match="whose patches are the visual tokens one by one"):
        read_tower(vlm, vlm.encode(inputs), "this test")


def test_videos_are_refused(families):
    family = families["llava_onevision"]
    with pytest.raises(ValueError, match="whose patches are the visual tokens one by one"):
        pruners.load("fopru_rank").prune(family.model, family.video_inputs(family.clips), 0.3)


def test_a_cls_token_among_the_visual_tokens_is_refused():
    family = tiny.load("llava")
    vlm = vlms.wrap(family.model)
    encoded = vlm.encode(batch_of(family)[0])
    family.model.config.vision_feature_select_strategy = "full"
    with pytest.raises(ValueError, match="needs vision_feature_select_strategy='default' with a clip_vision_model"):
        read_tower(vlm, encoded, "this test")


def test_several_feature_layers_are_refused():
    family = tiny.load("llava")
    vlm = vlms.wrap(family.model)
    encoded = vlm.encode(batch_of(family)[0])
    family.model.config.vision_feature_layer = [-2, -1]
    with pytest.raises(ValueError, match=r"from layers \[-2, -1\]; this test supports a single layer"):
        read_tower(vlm, encoded, "this test")


def test_ptp_refuses_a_language_model_that_it_cannot_read():
    family = tiny.load("llava")
    vlm = vlms.wrap(family.model)
    encoded = vlm.encode(batch_of(family)[0])
    family.model.config.get_text_config().sliding_window = 4
    with pytest.raises(ValueError, match=r"ptp reads full attention of llama, .* is llama with a window of 4"):
        pruners.load("ptp").select(vlm, encoded, torch.tensor([3, 3]))
