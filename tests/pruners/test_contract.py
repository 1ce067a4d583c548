"""Every method in the folder keeps the contract: exactly k real tokens, the same ones again, alone or in a batch."""

import math
import shutil
from dataclasses import replace

import pytest
import tiny
import torch

from grip_vlm import checkpoint, policy, pruners, registry, vlms
from grip_vlm.pruners.inside import Inside
from grip_vlm.pruners.methods.uniform import grid, nearest
from grip_vlm.pruners.scored import Scored
from grip_vlm.scorer import Scorer, ScorerConfig
from grip_vlm.vlms.places import square_places

CLASSES = {name: registry.load("pruners.methods", name, "pruner").Pruner for name in pruners.names()}
BEFORE = [name for name in CLASSES if not issubclass(CLASSES[name], Inside)]  # the others: test_inside.py
TRAINED = [name for name in BEFORE if issubclass(CLASSES[name], Scored)]
UNTRAINED = [name for name in BEFORE if name not in TRAINED]
CONTROLS = ["blind", "downsample", "full"]  # the only ones that need not keep exactly k
K = [1, 5, 20, 196]  # one budget per sample


def kept_of(name, k):
    """How many tokens a method keeps of 196 at a budget of k."""
    return {"full": 196, "blind": 0, "downsample": math.isqrt(k) ** 2}.get(name, k)


@pytest.fixture(scope="module")
def batch(vlm, examples):
    some = examples[:4]
    return vlm.encode(vlm.inputs([e.image for e in some], [e.question for e in some]))


@pytest.fixture(scope="module")
def scorer_dir(vlm, tmp_path_factory):
    """An untrained scorer that fits the VLM."""
    torch.manual_seed(0)
    scorer = Scorer(ScorerConfig(dim=vlm.dim, width=16))
    provenance = checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "warmup", 0, 0.0, 0)
    folder = tmp_path_factory.mktemp("pruners") / "scorer"
    checkpoint.save(folder, scorer, provenance)
    return folder


@pytest.fixture(params=BEFORE)
def pruner(request):
    """(name, function that makes the pruner anew)."""
    name = request.param
    scorer = request.getfixturevalue("scorer_dir") if name in TRAINED else None
    return name, lambda seed=0: pruners.load(name, scorer=scorer, seed=seed)


def test_the_methods_are_found_in_their_folder():
    assert {"grip", "warmup"} <= set(TRAINED)
    assert {"cls_attention", "random", *CONTROLS} <= set(UNTRAINED)


def test_as_many_tokens_are_kept_as_the_budget_says(pruner, vlm, batch):
    name, make = pruner
    assert make().select(vlm, batch, torch.tensor(K)).kept.tolist() == [kept_of(name, k) for k in K]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in UNTRAINED if name not in CONTROLS])
@pytest.mark.parametrize("k", [2, 3, 7, 13, 50, 101, 195])
def test_any_count_is_kept_exactly(name, k, vlm, batch):
    assert pruners.load(name).select(vlm, batch, torch.full((4,), k)).kept.tolist() == [k] * 4


@pytest.mark.parametrize("k", [2, 3, 4, 8, 9, 15, 99, 195])
def test_downsample_keeps_the_largest_square_within_the_budget(k, vlm, batch):
    kept = pruners.load("downsample").select(vlm, batch, torch.full((4,), k)).kept.tolist()
    assert kept == [math.isqrt(k) ** 2] * 4


def test_only_real_tokens_are_kept(pruner, vlm, batch):
    action = pruner[1]().select(vlm, batch, torch.tensor(K))
    assert action.mask.dtype == torch.bool
    assert action.mask.shape == batch.state.visual_mask.shape
    assert not (action.mask & ~batch.state.visual_mask).any()


def test_the_same_tokens_are_kept_again(pruner, vlm, batch):
    one, two = (pruner[1]().select(vlm, batch, torch.tensor(K)).mask for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.slow
def test_a_batch_keeps_what_single_runs_keep(pruner, vlm, batch, examples):
    together = pruner[1]().select(vlm, batch, torch.tensor(K))
    for row, (example, k) in enumerate(zip(examples, K, strict=False)):
        alone = vlm.encode(vlm.inputs([example.image], [example.question]))
        single = pruner[1]().select(vlm, alone, torch.tensor([k]))
        assert single.indices() == together.indices(row)
        if together.features is not None:
            kept = single.mask[0]
            torch.testing.assert_close(together.features[row][kept], single.features[0][kept], rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_vlm_answers_from_what_is_kept(pruner, vlm, examples):
    name, make = pruner
    answer = vlm.answer(examples[0].image, examples[0].question, make(), 17, max_new_tokens=2)
    assert (answer.tokens, answer.kept) == (196, kept_of(name, 17))
    assert len(answer.kept_indices) == answer.kept
    assert answer.kept_indices == sorted(set(answer.kept_indices) & set(range(196)))


def test_an_unknown_pruner_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown pruner 'nothing'; choose from .*blind, .*, warmup"):
        pruners.load("nothing")


def test_a_helper_file_is_no_pruner():
    with pytest.raises(ValueError, match="unknown pruner '_scored'"):
        pruners.load("_scored")


@pytest.mark.parametrize("name", UNTRAINED)
def test_an_untrained_method_refuses_a_scorer(name, scorer_dir):
    with pytest.raises(ValueError, match=f"pruner '{name}' has no scorer"):
        pruners.load(name, scorer=scorer_dir)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_method_asks_for_its_scorer(name):
    with pytest.raises(ValueError, match=f"pruner '{name}' is trained: give the folder of its scorer"):
        pruners.load(name)


@pytest.mark.parametrize("name", TRAINED)
def test_a_trained_method_names_a_scorer_that_is_not_there(name, tmp_path):
    with pytest.raises(ValueError, match=r"no scorer at '.*nowhere'"):
        pruners.load(name, scorer=tmp_path / "nowhere")


@pytest.mark.parametrize("name", UNTRAINED)
def test_a_method_without_training_has_no_checkpoint(name):
    assert pruners.load(name).checkpoint == ""


@pytest.mark.parametrize("name", TRAINED)
def test_the_checkpoint_of_a_trained_method_is_its_folder_and_a_digest(name, scorer_dir):
    folder, digest = pruners.load(name, scorer=scorer_dir).checkpoint.split("@")
    assert folder == str(scorer_dir)
    assert digest == checkpoint.digest(scorer_dir)


# ---- what single methods promise -------------------------------------------------------------------------------------


def test_random_draws_other_tokens_with_another_seed(vlm, batch):
    k = torch.full((4,), 20)
    one, two = (pruners.load("random", seed=seed).select(vlm, batch, k) for seed in (0, 1))
    assert all(one.indices(row) != two.indices(row) for row in range(4))


def test_random_draws_other_tokens_for_another_image(vlm, batch):
    action = pruners.load("random").select(vlm, batch, torch.full((4,), 20))
    assert len({tuple(action.indices(row)) for row in range(4)}) == 4


def test_random_reaches_every_token_about_equally_often(vlm, batch):
    k = torch.full((4,), 49)
    drawn = sum(pruners.load("random", seed=seed).select(vlm, batch, k).mask.sum(0) for seed in range(50))
    assert int(drawn.min()) >= 25  # 200 draws of a quarter: 50 expected, standard deviation 6
    assert int(drawn.max()) <= 75


def test_random_does_not_touch_the_global_generator(vlm, batch):
    before = torch.get_rng_state()
    pruners.load("random").select(vlm, batch, torch.tensor(K))
    assert torch.equal(torch.get_rng_state(), before)


def test_four_uniform_tokens_are_one_per_quadrant(vlm, batch):
    indices = pruners.load("uniform").select(vlm, batch, torch.full((4,), 4)).indices()
    assert {(index // 14 // 7, index % 14 // 7) for index in indices} == {(0, 0), (0, 1), (1, 0), (1, 1)}


@pytest.mark.parametrize("k", [9, 20, 49])
def test_uniform_leaves_no_large_hole(vlm, batch, k):
    indices = pruners.load("uniform").select(vlm, batch, torch.full((4,), k)).indices()
    places = square_places(196)
    assert float(torch.cdist(places, places[indices]).amin(1).max()) < 1.1 / math.sqrt(k)


def test_uniform_tokens_are_shared_by_images(vlm, batch):
    """Two images of two thirds and one third of the tokens: of nine tokens six and three."""
    image = (torch.arange(196) >= 131).long().expand(4, -1)
    two = replace(batch, state=replace(batch.state, image=image))
    kept = pruners.load("uniform").select(vlm, two, torch.full((4,), 9)).mask[:, :131].sum(1)
    assert kept.tolist() == [6] * 4


def test_the_rows_of_the_grid_differ_by_one_point_at_most():
    for k in range(1, 197):
        lengths = grid(k)[:, 0].unique(return_counts=True)[1]
        assert lengths.sum() == k
        assert int(lengths.max() - lengths.min()) <= 1


@pytest.mark.slow
def test_no_place_is_chosen_twice():
    for k in range(1, 197):
        assert len(set(nearest(square_places(196), grid(k)).tolist())) == k


def test_downsample_to_all_tokens_is_the_image_itself(vlm, batch):
    action = pruners.load("downsample").select(vlm, batch, torch.full((4,), 196))
    torch.testing.assert_close(action.features, batch.prompt.visual, rtol=1e-4, atol=1e-4)


def test_downsample_brings_features_of_its_own(vlm, batch):
    action = pruners.load("downsample").select(vlm, batch, torch.full((4,), 16))
    assert not torch.allclose(action.features[action.mask], batch.prompt.visual[action.mask], atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("name", UNTRAINED)
def test_a_vlm_in_half_precision_is_pruned_too(name, vlm_dir, examples):
    half = vlms.load(str(vlm_dir), dtype=torch.bfloat16, device="cpu")
    encoded = half.encode(half.inputs([examples[0].image], [examples[0].question]))
    action = pruners.load(name).select(half, encoded, torch.tensor([17]))
    assert int(action.kept[0]) == kept_of(name, 17)


def test_a_trained_method_keeps_what_its_scorer_chooses_one_token_after_another(vlm, batch, scorer_dir):
    k = torch.full((4,), 12)
    scores = checkpoint.load(scorer_dir, vlm)(batch.state, k)
    mask = pruners.load("grip", scorer=scorer_dir).select(vlm, batch, k).mask
    assert torch.equal(mask, policy.greedy(scores, k))


@pytest.mark.parametrize("name", ["aya_vision", "gemma3", "internvl", "mistral3", "llava_next", "qwen2_vl"])
def test_downsample_refuses_a_tower_whose_tokens_are_not_its_patches(name):
    family = tiny.load(name)
    with pytest.raises(ValueError, match="downsample needs exactly one image per sample, and a vision tower with one"):
        pruners.load("downsample").prune(family.model, family.inputs([(family.images(1), "what is it ?")]), 4)


def test_a_scorer_is_read_once_for_a_model_that_is_wrapped_anew(vlm, examples, scorer_dir, tmp_path):
    """Its folder is gone by the second call."""
    folder = tmp_path / "scorer"
    shutil.copytree(scorer_dir, folder)
    grip = pruners.load("grip", scorer=folder)
    inputs = vlm.inputs([examples[0].image], [examples[0].question])
    first = grip.prune(vlm.model, inputs, 4)
    shutil.rmtree(folder)
    assert torch.equal(grip.prune(vlm.model, inputs, 4)["position_ids"], first["position_ids"])
