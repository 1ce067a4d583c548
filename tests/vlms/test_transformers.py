"""What pruning relies on in transformers, one canary each: an upgrade that breaks it is named by the test that fails.

Of this package nothing runs; it is only asked what its families say of themselves.
"""

import inspect

import pytest
import torch
from toolkit.families import CLOSE, LONG, NAMES, QUESTION, load
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_outputs import BaseModelOutputWithPooling

from grip_vlm import vlms
from grip_vlm.vlms.mrope import MRopeVLM
from grip_vlm.vlms.outputs import TensorOutput

CLASSES = {name: vlms.family_of(load(name).model.config) for name in NAMES}
MROPE = [name for name in NAMES if issubclass(CLASSES[name], MRopeVLM)]
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # two processors' own
every_family = pytest.mark.parametrize("name", NAMES)
SHORT = {"max_new_tokens": 3, "do_sample": False}


class Features(list):
    """(k, D) per sample, as one list; where a model wants a tensor, it asks with `.to`."""

    def to(self, *args, **kwargs):
        return torch.cat(self)[None].to(*args, **kwargs)


class Output(BaseModelOutputWithPooling):
    """Counts how often the features are written, and remembers the local variables of the `forward` that reads them."""

    def __setattr__(self, name, value):
        if name == "pooler_output":
            self.__dict__["writes"] = self.__dict__.get("writes", 0) + 1
            value = Features(value)
        super().__setattr__(name, value)

    def __getattribute__(self, name):
        reader = inspect.currentframe().f_back
        if name == "pooler_output" and reader.f_code.co_name == "forward":
            self.__dict__["reader"] = set(reader.f_locals)
        return super().__getattribute__(name)


def see(family, inputs, modality="image", **how):
    """What the tower and the projector give."""
    run = getattr(family.model.base_model, f"get_{modality}_features")
    names = inspect.signature(run).parameters.keys() & inputs.keys()
    return run(**{name: inputs[name] for name in names}, **how, return_dict=True)


def joined(output):
    """The features in the order of the placeholders, (T, D)."""
    return torch.cat([entry.flatten(0, -2) for entry in output.pooler_output])


def blind(inputs):
    """The inputs without the pixels."""
    return {name: value for name, value in inputs.items() if not name.startswith("pixel")}


def batch_of(family):
    """Two rows, of two images and of one."""
    return family.inputs([(family.images(2), LONG), (family.images(3)[2:], QUESTION)])


def per_sample(family, inputs):
    """The tower's features as one entry per sample."""
    seen = see(family, inputs)
    counts = (inputs["input_ids"] == family.model.config.image_token_id).sum(1).tolist()
    layers = [torch.cat(list(layer)).split(counts) for layer in getattr(seen, "deepstack_features", None) or ()]
    output = Output(pooler_output=list(joined(seen).split(counts)))
    output.deepstack_features = [list(layer) for layer in layers] or None
    return output


def text(n):
    """One row of n words."""
    return {"input_ids": torch.arange(4, 4 + n)[None], "attention_mask": torch.ones(1, n, dtype=torch.long)}


def seen_by(module, run):
    """The keywords of every call of a module's `forward` while `run` runs."""
    calls = []
    hook = module.register_forward_pre_hook(lambda _, args, kwargs: calls.append(dict(kwargs)), with_kwargs=True)
    try:
        run()
    finally:
        hook.remove()
    return calls


def positions_of(model, **inputs):
    """The positions that the language model was given at every step of `generate`."""
    decoder = model.base_model.get_decoder()
    return [call["position_ids"] for call in seen_by(decoder, lambda: model.generate(**inputs, **SHORT))]


# ---- features instead of pixels --------------------------------------------------------------------------------------


@every_family
@torch.no_grad()
def test_transformers_gives_the_features_of_all_placeholders_as_pooler_output(name):
    family = load(name)
    inputs = batch_of(family)
    output = see(family, inputs)
    count = int((inputs["input_ids"] == family.model.config.image_token_id).sum())
    assert joined(output).shape == (count, family.model.config.get_text_config().hidden_size)


@every_family
@torch.no_grad()
def test_transformers_forward_takes_mm_encoder_outputs_for_pixels(name):
    family = load(name)
    inputs = batch_of(family)
    found = family.model(**blind(inputs), mm_encoder_outputs={"image": see(family, inputs)}).logits
    assert torch.equal(found, family.model(**inputs).logits)


@every_family
@torch.no_grad()
def test_transformers_takes_one_entry_of_features_per_sample(name):
    family = load(name)
    inputs = batch_of(family)
    found = family.model(**blind(inputs), mm_encoder_outputs={"image": per_sample(family, inputs)}).logits
    assert torch.equal(found, family.model(**inputs).logits)


@every_family
@torch.no_grad()
def test_transformers_takes_fewer_features_than_an_image_has(name):
    family = load(name)
    inputs = blind(full := family.inputs([(family.images(1), QUESTION)]))
    output = see(family, full)
    first = int((inputs["input_ids"][0] == family.model.config.image_token_id).nonzero()[0])
    keep = torch.arange(inputs["input_ids"].shape[1]) != first
    types = {key: inputs[key][:, keep] for key in ("token_type_ids", "mm_token_type_ids") if key in inputs}
    ids = inputs["input_ids"][:, keep]
    layers = getattr(output, "deepstack_features", None) or ()
    rest = Output(pooler_output=[joined(output)[1:]])
    rest.deepstack_features = [[torch.cat(list(layer))[1:]] for layer in layers] or None
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **types}
    positions = torch.arange(ids.shape[1])[None]
    logits = family.model(**given, position_ids=positions, mm_encoder_outputs={"image": rest}).logits
    assert logits.shape[:2] == ids.shape
    assert logits.isfinite().all()


@every_family
@torch.no_grad()
def test_transformers_asks_for_a_tensor_of_features_with_to_where_the_family_says_so(name, monkeypatch):
    family = load(name)
    asked = []
    monkeypatch.setattr(Features, "to", lambda self, *args, **kwargs: asked.append(1) or torch.cat(self)[None])
    inputs = batch_of(family)
    family.model(**blind(inputs), mm_encoder_outputs={"image": per_sample(family, inputs)})
    assert asked == [1] * issubclass(CLASSES[name].output_type, TensorOutput)


@torch.no_grad()
def test_transformers_asks_for_the_features_of_llava_onevision_videos_with_flatten(monkeypatch):
    family = load("llava_onevision")
    inputs = family.video_inputs(family.clips)
    features = joined(see(family, inputs, "video"))
    asked = []
    monkeypatch.setattr(
        Features,
        "flatten",
        lambda self, *dims: asked.append(dims) or torch.cat(self)[None].flatten(*dims),
        raising=False,
    )
    family.model(**blind(inputs), mm_encoder_outputs={"video": Output(pooler_output=[features])})
    assert asked == [(0, 1)]


@pytest.mark.parametrize("name", ["qwen3_vl", "qwen3_vl_moe"])
@torch.no_grad()
def test_transformers_gives_deepstack_features_per_layer_and_image(name):
    family = load(name)
    output = see(family, batch_of(family))
    sizes = [len(entry) for entry in output.pooler_output]
    assert [[len(entry) for entry in layer] for layer in output.deepstack_features] == [sizes] * 2


@torch.no_grad()
def test_transformers_gives_the_hidden_states_of_the_tower():
    family = load("llava")
    states = see(family, family.inputs([(family.images(1), QUESTION)]), output_hidden_states=True).hidden_states
    assert [state.shape for state in states] == [(1, 17, 32)] * 3  # CLS and 16 patches, before and after two layers


@torch.no_grad()
def test_transformers_reads_frames_of_glm4v_behind_the_image_token():
    family = load("glm4v")
    inputs, config = family.video_inputs(family.clips), family.model.config
    features = joined(see(family, inputs, "video"))
    assert int((inputs["input_ids"] == config.image_token_id).sum()) == len(features)
    assert not (inputs["input_ids"] == config.video_token_id).any()
    as_image = family.model(**blind(inputs), mm_encoder_outputs={"image": Output(pooler_output=[features])}).logits
    assert torch.equal(as_image, family.model(**inputs).logits)


# ---- several sequences per sample ------------------------------------------------------------------------------------


@every_family
def test_transformers_generate_repeats_features_sample_by_sample_for_beams(name):
    family = load(name)
    inputs = batch_of(family)
    how = {"max_new_tokens": 1, "do_sample": False, "return_dict_in_generate": True, "output_logits": True}
    one, three = (
        family.model.generate(
            **blind(inputs), mm_encoder_outputs={"image": per_sample(family, inputs)}, num_beams=beams, **how
        ).logits[0]
        for beams in (1, 3)
    )
    torch.testing.assert_close(three, one.repeat_interleave(3, dim=0), **CLOSE)


@every_family
def test_transformers_generate_writes_features_once_for_beams_and_else_never(name):
    family = load(name)
    inputs = batch_of(family)
    writes = []
    for beams in (1, 3):
        output = per_sample(family, inputs)
        family.model.generate(**blind(inputs), mm_encoder_outputs={"image": output}, num_beams=beams, max_new_tokens=1)
        writes.append(output.writes - 1)  # the first is its own
    assert writes == [0, 1]


# ---- positions -------------------------------------------------------------------------------------------------------


def test_transformers_generate_goes_on_from_the_last_position_given():
    given = torch.tensor([[0, 1, 5, 9]])
    steps = positions_of(load("llava").model, **text(4), position_ids=given)
    assert [step.tolist() for step in steps] == [given.tolist(), [[10]], [[11]]]


def test_transformers_generate_goes_on_from_the_last_of_four_rows_of_positions():
    given = torch.tensor([[0, 1, 2, 3], [0, 1, 5, 9], [0, 1, 6, 9], [0, 1, 7, 9]])[:, None]
    steps = positions_of(load("qwen2_5_vl").model, **text(4), position_ids=given)
    after = [[[[3 + i]], [[9 + i]], [[9 + i]], [[9 + i]]] for i in (1, 2)]
    assert [step.tolist() for step in steps] == [given.tolist(), *after]


def test_transformers_generate_counts_positions_over_the_mask():
    family = load("llava")
    inputs = batch_of(family)
    first = positions_of(family.model, **inputs)[0]
    mask = inputs["attention_mask"]
    assert (mask == 0).any()
    assert torch.equal(first[mask.bool()], (mask.cumsum(1) - 1)[mask.bool()])


def test_transformers_generate_counts_positions_of_qwen_with_get_rope_index_behind_the_count():
    family = load("qwen2_5_vl")
    inputs = batch_of(family)
    first = positions_of(family.model, **inputs)[0]
    mask = inputs["attention_mask"].bool()
    assert torch.equal(first[0][mask], (mask.cumsum(1) - 1)[mask])
    own = {key: inputs[key] for key in ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")}
    assert torch.equal(first[1:, mask], family.model.model.get_rope_index(**own)[0][:, mask])


@pytest.mark.parametrize("name", MROPE)
def test_transformers_get_rope_index_takes_mm_token_type_ids_and_gives_three_rows(name):
    family = load(name)
    count = family.model.base_model.get_rope_index
    known = {"input_ids", "mm_token_type_ids", "image_grid_thw", "video_grid_thw", "attention_mask"}
    assert known <= inspect.signature(count).parameters.keys()
    inputs = batch_of(family)
    positions = count(**{key: inputs[key] for key in known & inputs.keys()})[0]
    assert positions.shape == (3, *inputs["input_ids"].shape)


@torch.no_grad()
def test_transformers_reads_the_first_of_four_rows_of_positions_for_packing_alone():
    model = load("qwen2_5_vl").model
    rows = torch.arange(6).expand(4, 1, -1)
    other = rows + torch.tensor([7, 0, 0, 0])[:, None, None]
    assert torch.equal(model(**text(6), position_ids=rows).logits, model(**text(6), position_ids=other).logits)


@torch.no_grad()
def test_transformers_prefers_the_positions_given_to_those_it_remembers():
    model = load("qwen2_5_vl").model
    cache = model(**text(6), use_cache=True).past_key_values
    model.base_model.rope_deltas = torch.tensor([[100]])
    more = {"input_ids": torch.tensor([[5, 6]]), "attention_mask": torch.ones(1, 8, dtype=torch.long)}
    found = model(**more, position_ids=torch.arange(6, 8).expand(4, 1, -1), past_key_values=cache).logits
    model.base_model.rope_deltas = None
    whole = {"input_ids": torch.cat([text(6)["input_ids"], more["input_ids"]], dim=1)}
    torch.testing.assert_close(found, model(**whole).logits[:, -2:], **CLOSE)


@pytest.mark.parametrize("name", ["paligemma", "paligemma2"])
@torch.no_grad()
def test_transformers_adds_one_to_positions_of_paligemma_in_generate_alone(name):
    model = load(name).model
    given = torch.tensor([[0, 1, 2, 3]])
    assert [step.tolist() for step in positions_of(model, **text(4), position_ids=given)] == [
        [[1, 2, 3, 4]],
        [[5]],
        [[6]],
    ]
    calls = seen_by(model.base_model.get_decoder(), lambda: model(**text(4), position_ids=given))
    assert calls[0]["position_ids"].tolist() == given.tolist()


# ---- gaps between positions ------------------------------------------------------------------------------------------

KEPT = torch.tensor([0, 1, 2, 3, 8, 9, 10, 11])  # of twelve words


def with_a_gap(name, **how):
    """Logits when four of twelve words are removed, and when they are masked."""
    model = load(name).model
    rows = (torch.arange(12)[None], KEPT[None])
    if name in MROPE:
        rows = [torch.stack([torch.arange(row.shape[1])[None], *[row] * 3]) for row in rows]
    whole = text(12)
    whole["attention_mask"][:, 4:8] = 0
    masked = model(**whole, position_ids=rows[0], use_cache=False).logits[:, KEPT]
    return model(input_ids=whole["input_ids"][:, KEPT], position_ids=rows[1], **how).logits, masked


@torch.no_grad()
def test_transformers_leaves_gaps_alone_where_there_is_a_mask_of_ones():
    removed, masked = with_a_gap("llava", attention_mask=torch.ones(1, 8, dtype=torch.long), use_cache=False)
    torch.testing.assert_close(removed, masked, **CLOSE)


@torch.no_grad()
def test_transformers_leaves_gaps_alone_where_there_is_a_cache():
    removed, masked = with_a_gap("llava", use_cache=True)
    torch.testing.assert_close(removed, masked, **CLOSE)


@torch.no_grad()
def test_transformers_leaves_gaps_alone_where_the_first_of_four_rows_has_none():
    removed, masked = with_a_gap("qwen2_5_vl", use_cache=False)
    torch.testing.assert_close(removed, masked, **CLOSE)


@torch.no_grad()
def test_transformers_cuts_at_gaps_without_mask_and_cache_so_that_pruning_must_refuse():
    removed, masked = with_a_gap("llava", use_cache=False)
    assert (removed - masked).abs().max() > 1e-2


def test_transformers_generate_drops_a_mask_of_ones_and_no_other():
    family = load("llava")
    for inputs, dropped in ((text(4), True), (batch_of(family), False)):
        calls = seen_by(family.model, lambda given=inputs: family.model.generate(**given, **SHORT, use_cache=False))
        assert [call.get("attention_mask") is None for call in calls] == [dropped] * 3


@pytest.mark.parametrize("name", [name for name in NAMES if name not in MROPE])
@torch.no_grad()
def test_transformers_reads_features_where_mask_positions_and_cache_are_known(name):
    family = load(name)
    inputs = batch_of(family)
    output = per_sample(family, inputs)
    family.model(**blind(inputs), mm_encoder_outputs={"image": output})
    assert output.reader >= {"attention_mask", "position_ids", "past_key_values"}


@pytest.mark.parametrize("name", ["gemma3", "gemma4", "paligemma", "paligemma2"])
@torch.no_grad()
def test_transformers_lets_image_tokens_see_later_ones_by_their_types(name):
    family = load(name)
    inputs = family.inputs([(family.images(1), QUESTION)])
    first = int((inputs["input_ids"][0] == family.model.config.image_token_id).nonzero()[0])
    features = joined(see(family, inputs))
    other = features.clone()
    other[-1] += 1
    one, two = (
        family.model(**blind(inputs), mm_encoder_outputs={"image": Output(pooler_output=[values])}).logits[0, first]
        for values in (features, other)
    )
    assert (one - two).abs().max() > 1e-3


# ---- several turns ---------------------------------------------------------------------------------------------------


def test_transformers_generate_runs_only_what_the_cache_does_not_hold():
    model = load("llava").model
    out = model.generate(**text(4), **SHORT, return_dict_in_generate=True)
    ids = torch.cat([out.sequences, torch.tensor([[5, 6]])], dim=1)
    longer = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "position_ids": torch.arange(9)[None]}
    steps = positions_of(model, **longer, past_key_values=out.past_key_values)
    assert [step.tolist() for step in steps] == [[[6, 7, 8]], [[9]], [[10]]]  # the last word of an answer is not cached


def test_transformers_generate_returns_the_prompt_and_what_follows():
    out = load("llava").model.generate(**text(4), **SHORT)
    assert out[:, :4].tolist() == text(4)["input_ids"].tolist()
    assert out.shape == (1, 7)


@every_family
@torch.no_grad()
def test_transformers_computes_the_last_logits_alone_with_logits_to_keep(name):
    family = load(name)
    inputs = batch_of(family)
    last = family.model(**inputs, logits_to_keep=3).logits
    torch.testing.assert_close(last, family.model(**inputs).logits[:, -3:], **CLOSE)


# ---- gates on attention ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3"])
@torch.no_grad()
def test_transformers_runs_a_registered_attention_and_its_mask_and_gives_the_old_one_back(name):
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import eager_mask

    family = load(name)
    model, calls = family.model, {"attention": 0, "mask": 0}

    def attend(*args, **kwargs):
        calls["attention"] += 1
        return sdpa_attention_forward(*args, **kwargs)

    def mask_of(*args, **kwargs):
        calls["mask"] += 1
        return eager_mask(*args, **{**kwargs, "allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})

    inputs = batch_of(family)
    before, config = model(**inputs).logits, model.config.to_json_string()
    own = model.config.get_text_config()._attn_implementation
    AttentionInterface.register("canary", attend)
    AttentionMaskInterface.register("canary", mask_of)
    model.set_attn_implementation({"text_config": "canary"})
    during = model(**inputs).logits
    counted = dict(calls)
    model.set_attn_implementation({"text_config": own})
    assert counted["attention"] == model.config.get_text_config().num_hidden_layers
    assert counted["mask"] > 0
    valid = inputs["attention_mask"].bool()
    torch.testing.assert_close(during[valid], before[valid], **CLOSE)
    assert torch.equal(model(**inputs).logits, before)
    assert calls == counted
    assert model.config.to_json_string() == config


# ---- tiles -----------------------------------------------------------------------------------------------------------


def test_transformers_get_anyres_image_grid_shape_gives_rows_and_columns_of_tiles():
    from transformers.models.llava_next.modeling_llava_next import get_anyres_image_grid_shape

    assert get_anyres_image_grid_shape([30, 70], [[32, 64], [64, 32], [64, 64]], 32) == (1, 2)


def test_transformers_unpad_image_cuts_a_grid_to_the_shape_of_the_image():
    from transformers.models.llava_next.modeling_llava_next import unpad_image

    assert unpad_image(torch.empty(1, 8, 8), [20, 40]).shape == (1, 4, 8)
    assert unpad_image(torch.empty(1, 8, 8), [40, 20]).shape == (1, 8, 4)
