"""Models as people have them: in other precisions, wrapped, spread over devices, on disk, in training."""

import json

import pytest
import tiny
import torch
import transformers
from accelerate import dispatch_model
from packaging.version import Version
from peft import LoraConfig, get_peft_model
from toolkit.families import CLOSE, LONG, QUESTION, RANDOM, batch_of, calm

from grip_vlm import cli, vlms
from grip_vlm.mdp import Action

pytestmark = pytest.mark.slow

FEW = ["llava_next", "qwen2_5_vl", "gemma3"]  # list, list with three-dimensional positions, tensor


@pytest.fixture(params=FEW)
def fresh(request):
    """A family of its own: these tests change the model."""
    return tiny.load(request.param)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_keeping_all_is_bit_identical_in_half_precision(fresh, dtype):
    fresh.model.to(dtype)
    _, (inputs, _) = batch_of(fresh)
    pruned = RANDOM.prune(fresh.model, inputs, 1.0, forward=True)
    assert torch.equal(fresh.model(**pruned).logits, fresh.model(**inputs).logits)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_every_attention_implementation_gives_the_same(fresh, attention):
    inputs, _ = batch_of(fresh)
    expected = fresh.model(**RANDOM.prune(fresh.model, inputs, 0.3, forward=True)).logits[:, -1]
    fresh.model.set_attn_implementation(attention)
    found = fresh.model(**RANDOM.prune(fresh.model, inputs, 0.3, forward=True)).logits[:, -1]
    torch.testing.assert_close(found, expected, **CLOSE)


def test_a_model_wrapped_by_peft_is_pruned_as_itself(fresh):
    inputs, _ = batch_of(fresh)
    expected = fresh.model.generate(**RANDOM.prune(fresh.model, inputs, 0.3), **calm(fresh))
    wrapped = get_peft_model(fresh.model, LoraConfig(target_modules=["q_proj"]))  # starts as the identity
    assert torch.equal(wrapped.generate(**RANDOM.prune(wrapped, inputs, 0.3), **calm(fresh)), expected)


@torch.no_grad()
def test_a_quantised_model_is_pruned_as_itself(fresh):
    _, (inputs, _) = batch_of(fresh)
    quantised = torch.ao.quantization.quantize_dynamic(fresh.model, {torch.nn.Linear})  # int8 products
    expected = quantised(**inputs).logits
    assert torch.equal(quantised(**RANDOM.prune(quantised, inputs, 1.0, forward=True)).logits, expected)
    assert not torch.allclose(fresh.model(**inputs).logits, expected)


def test_a_model_dispatched_by_accelerate_is_pruned_as_itself(fresh):
    inputs, _ = batch_of(fresh)
    expected = fresh.model.generate(**RANDOM.prune(fresh.model, inputs, 0.3), **calm(fresh, num_beams=2))
    names = dict.fromkeys([name for name, _ in fresh.model.named_children()], "cpu")
    spread = dispatch_model(fresh.model, names, force_hooks=True)
    assert torch.equal(spread.generate(**RANDOM.prune(spread, inputs, 0.3), **calm(fresh, num_beams=2)), expected)


def test_gradients_reach_kept_features_alone_with_checkpointing(fresh):
    fresh.model.requires_grad_(False)
    fresh.model.gradient_checkpointing_enable()
    fresh.model.train()
    vlm = vlms.wrap(fresh.model)
    encoded = vlm.encode(batch_of(fresh)[0])
    mask = encoded.state.visual_mask.clone()
    mask[:, 5:] = False
    gate = torch.ones(mask.shape, requires_grad=True)
    inputs = vlm.pruned(encoded.prompt, Action(mask, encoded.prompt.visual * gate[..., None]))
    fresh.model(**inputs, use_cache=False).logits[:, -1].pow(2).sum().backward()
    assert gate.grad[mask].ne(0).all()
    assert not gate.grad[~mask].any()
    assert all(weight.grad is None for weight in fresh.model.parameters())


def test_a_prompt_prefilled_in_chunks_generates_the_same(fresh):
    if Version(transformers.__version__) < Version("5.23"):
        pytest.skip("before 5.23 transformers does not hand features to chunks, unpruned neither")
    if fresh.name == "gemma3":
        pytest.skip("a chunk cuts the image, whose tokens see each other in both directions; so it is unpruned")
    _, (inputs, _) = batch_of(fresh)
    expected = fresh.model.generate(**RANDOM.prune(fresh.model, inputs, 0.5), **calm(fresh))
    chunked = fresh.model.generate(**RANDOM.prune(fresh.model, inputs, 0.5), **calm(fresh, prefill_chunk_size=8))
    assert torch.equal(chunked, expected)


def test_several_samples_of_one_row_stay_with_their_row(fresh):
    inputs, _ = batch_of(fresh)
    how = calm(fresh, do_sample=True, num_return_sequences=2)
    outs = []
    for kwargs in (dict(inputs), RANDOM.prune(fresh.model, inputs, 1.0)):
        torch.manual_seed(0)
        outs.append(fresh.model.generate(**kwargs, **how)[:, -5:])
    assert torch.equal(*outs)


def test_a_second_model_in_the_process_is_not_concerned(fresh):
    other = tiny.load(fresh.name)
    inputs, _ = batch_of(fresh)
    expected = other.model.generate(**inputs, **calm(other))
    fresh.model.generate(**RANDOM.prune(fresh.model, inputs, 0.2), **calm(fresh, num_beams=2))
    assert torch.equal(other.model.generate(**inputs, **calm(other)), expected)


@pytest.fixture(scope="module", params=["llava_next", "gemma3", "idefics3"])
def folder(request, tmp_path_factory):
    """A checkpoint of a family other than LLaVA on disk, and two questions of a user's own."""
    family, out = tiny.load(request.param), tmp_path_factory.mktemp(request.param)
    family.model.save_pretrained(out / "vlm")
    family.processor.save_pretrained(out / "vlm")
    for i, image in enumerate(family.images(12)):
        image.save(out / f"{i}.png")
    rows = [{"image": f"{i}.png", "question": (LONG, QUESTION)[i % 2], "answers": ["red circle"]} for i in range(12)]
    (out / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


@pytest.mark.slow
def test_the_commands_train_and_answer_with_any_family(folder, capsys):
    small = "--steps 2 --batch 2 --examples 4 --dev-examples 2 --dev-every 2"
    common = f"--vlm {folder / 'vlm'} --data {folder / 'mine.jsonl'} {small}"
    cli.main(f"warmup {common} --width 16 --out {folder / 'stage1'}".split())
    cli.main(f"train {common} --group 2 --init {folder / 'stage1'} --out {folder / 'grip'}".split())
    capsys.readouterr()
    image = f"--image {folder / '0.png'} --question cat --budget 5 --json"
    cli.main(f"answer --vlm {folder / 'vlm'} --scorer {folder / 'grip'} {image}".split())
    assert json.loads(capsys.readouterr().out)["kept"] == 5


def test_a_checkpoint_is_loaded_as_asked(folder):
    vlm = vlms.load(str(folder / "vlm"), dtype="bfloat16", device="cpu", attn_implementation="eager")
    assert vlm.model.dtype == torch.bfloat16
    assert vlm.model.config.get_text_config()._attn_implementation == "eager"
    assert not any(weight.requires_grad for weight in vlm.model.parameters())
