"""A checkpoint folder that is not whole, or not for transformers, is refused in a sentence that says what is wrong."""

import io
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from grip_vlm import vlms
from grip_vlm.vlms import loading


@pytest.fixture
def copy(vlm_dir, tmp_path):
    return shutil.copytree(vlm_dir, tmp_path / "vlm")


def change_weights(folder, change):
    path = folder / "model.safetensors"
    weights = change(load_file(path))
    save_file({name: value.contiguous() for name, value in weights.items()}, path, metadata={"format": "pt"})


def change_json(path, **entries):
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def refusal(folder, **options):
    with pytest.raises(ValueError, match=r".") as stop:
        vlms.load(str(folder), device="cpu", **options)
    message = str(stop.value)
    assert str(folder) in message
    return message


# ---- weights ---------------------------------------------------------------------------------------------------------


def test_weights_that_lack_a_layer_are_refused_and_nothing_else_is_printed(copy, capfd):
    change_weights(copy, lambda weights: {name: w for name, w in weights.items() if ".layers.1." not in name})
    message = refusal(copy)
    assert "its files lack model.language_model.layers.1." in message
    assert "and 22 more; transformers would fill these weights with random numbers" in message
    assert "LOAD REPORT" not in capfd.readouterr().err


def test_a_single_weight_of_another_shape_is_refused(copy):
    def cut(weights):
        name = next(name for name in weights if "layers.1.self_attn.q_proj.weight" in name)
        return {**weights, name: weights[name][:5]}

    change_weights(copy, cut)
    assert "its config has other shapes for model." in refusal(copy)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_that_are_not_finite_are_refused(copy, value, dtype):
    def spoil(weights):
        name = next(name for name in weights if "layers.1.mlp" in name)
        weights[name].view(-1)[-1] = float(value)
        return weights

    change_weights(copy, spoil)
    assert "layers.1.mlp" in (message := refusal(copy, dtype=dtype))
    assert message.endswith("has values that are not finite")


def test_tied_weights_are_not_missing(copy):
    change_json(copy / "config.json", tie_word_embeddings=True)
    change_weights(copy, lambda weights: {n: w for n, w in weights.items() if "lm_head" not in n})
    assert vlms.load(str(copy), device="cpu").model.lm_head.weight.isfinite().all()


def test_pickles_are_not_loaded(copy):
    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    assert "(pickles, such as pytorch_model.bin, are not loaded: they can run code)" in refusal(copy)


# ---- types -----------------------------------------------------------------------------------------------------------


def test_a_type_that_transformers_does_not_know_is_refused_with_its_reason(copy):
    change_json(copy / "config.json", model_type="zork")
    assert "is of type 'zork'; transformers: The checkpoint you are trying to load has model type" in refusal(copy)


@pytest.mark.parametrize("kind", loading.CONVERTED)
def test_a_layout_of_the_authors_names_the_converted_checkpoint(copy, kind):
    change_json(copy / "config.json", model_type=kind)
    assert f"is of type '{kind}'; the same weights for transformers are {loading.CONVERTED[kind]}" in refusal(copy)
    assert kind not in CONFIG_MAPPING_NAMES


def test_code_of_a_repository_is_not_run_and_nobody_is_asked(copy, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    change_json(copy / "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
    (copy / "mine.py").write_text(f"open({str(copy / 'ran')!r}, 'w')")
    assert "pass trust_remote_code=True if you trust the code in it" in refusal(copy)
    assert not (copy / "ran").exists()


@pytest.mark.parametrize("kind", vlms.REFUSED)
def test_a_family_that_cannot_be_pruned_is_one_that_transformers_has(kind, copy):
    assert kind in CONFIG_MAPPING_NAMES
    config = {"model_type": kind}
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{kind} cannot be pruned: {vlms.REFUSED[kind]}"):
        vlms.load(str(copy), device="cpu")


@pytest.mark.parametrize("text", ["{", "[]", ""])
def test_a_broken_config_is_refused(copy, text):
    (copy / "config.json").write_text(text)
    assert "does not load: " in refusal(copy)


# ---- tokenizer, template, arguments ----------------------------------------------------------------------------------


def test_a_tokenizer_without_words_is_refused(copy):
    vocabulary = json.loads((copy / "tokenizer.json").read_text())
    change_json(copy / "tokenizer.json", model={**vocabulary["model"], "vocab": {}, "merges": []})
    assert "its tokenizer has no tokens for text" in refusal(copy)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}", "Unexpected end of template"),
        ("{{ raise_exception('only one image') }}", "only one image"),
        ("{{ messages[0].content.name.first }}", "has no attribute"),
        (None, "does not have a chat template"),
    ],
)
def test_a_broken_chat_template_is_a_sentence(copy, examples, template, reason):
    (copy / "chat_template.jinja").unlink()
    if template is not None:
        (copy / "chat_template.jinja").write_text(template)
    vlm = vlms.load(str(copy), device="cpu")
    with pytest.raises(ValueError, match=f"the chat template of .* fails: .*{reason}"):
        vlm.answer(examples[0].image, "What?")


@pytest.mark.parametrize("dtype", ["Float32", "fp16", "half", "", None, 16])
def test_an_unknown_precision_is_refused_with_those_there_are(vlm_dir, dtype):
    with pytest.raises(ValueError, match="dtype must be one of 'float32', 'bfloat16', 'float16', 'auto', not "):
        vlms.load(str(vlm_dir), dtype=dtype)


def test_a_precision_of_whole_numbers_is_refused(vlm_dir):
    with pytest.raises(ValueError, match=r"dtype must be a floating-point type, not torch\.int8"):
        vlms.load(str(vlm_dir), dtype=torch.int8)


def test_an_unknown_device_is_refused(vlm_dir):
    with pytest.raises(ValueError, match="no device 'gpu'"):
        vlms.load(str(vlm_dir), device="gpu")


def test_a_path_is_as_good_as_its_text(vlm_dir):
    assert vlms.load(vlm_dir, device="cpu").name == str(vlm_dir)


# ---- the scorer's VLM in every precision -----------------------------------------------------------------------------


def test_the_fingerprint_is_the_same_in_every_precision(vlm_dir):
    prints = {vlms.load(str(vlm_dir), dtype=d, device="cpu").fingerprint() for d in ("float32", "float16", "bfloat16")}
    assert len(prints) == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_shipped_scorer_fits_the_shipped_vlm(dtype):
    """Its fingerprint is of an older form."""
    assert vlms.load("tiny-llava", dtype=dtype, device="cpu").fits("llava-192-3-69b5e5e9743c09ce")


def test_other_weights_have_another_fingerprint(copy, vlm):
    def other(weights):
        name = next(name for name in weights if "embed_tokens" in name)
        return {**weights, name: weights[name].flip(1)}

    change_weights(copy, other)
    found = vlms.load(str(copy), device="cpu")
    assert found.fingerprint() != vlm.fingerprint()
    assert not vlm.fits(found.fingerprint())
