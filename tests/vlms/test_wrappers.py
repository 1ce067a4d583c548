"""Models inside wrappers, and models whose weights are elsewhere, are pruned as themselves."""

import pytest
import tiny
import torch
from accelerate import cpu_offload, dispatch_model
from peft import LoraConfig, get_peft_model
from toolkit.families import LONG, RANDOM, batch_of, calm, load
from torch.nn.parallel import DataParallel, DistributedDataParallel

from grip_vlm import checkpoint, pruners, vlms
from grip_vlm.scorer import Scorer, ScorerConfig

FEW = ["llava", "llava_next", "qwen2_5_vl", "gemma3", "internvl"]


@pytest.fixture(scope="module")
def group():
    """A process group of one, which DDP needs."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def trained(model):
    return get_peft_model(model, LoraConfig(target_modules=["q_proj"]))


def compiled(model):
    return torch.compile(model, backend="eager")


WRAPPERS = {
    "compile": compiled,
    "DataParallel": DataParallel,
    "DDP": DistributedDataParallel,
    "PEFT": trained,
    "compiled PEFT": lambda model: compiled(trained(model)),
    "DDP of PEFT": lambda model: DistributedDataParallel(trained(model)),
    "compiled DDP of PEFT": lambda model: compiled(DistributedDataParallel(trained(model))),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_model_is_pruned_as_the_model_inside(wrapper, group):
    family = tiny.load("qwen2_5_vl")
    inputs, _ = batch_of(family)
    expected = RANDOM.prune(family.model, inputs, 0.3)
    found = RANDOM.prune(WRAPPERS[wrapper](family.model), inputs, 0.3)
    for name in ("input_ids", "attention_mask", "position_ids"):
        assert torch.equal(found[name], expected[name])


def offloaded(model, folder):
    return cpu_offload(model, execution_device=torch.device("cpu"))


def partly_on_disk(model, folder):
    places = {name: "cpu" for name, _ in model.named_children()}
    places |= {f"model.{name}": "disk" for name, _ in model.base_model.named_children()}
    places.pop("model")
    own = {f"model.{name}": "disk" for name, _ in model.base_model.named_parameters(recurse=False)}
    return dispatch_model(model, {**places, **own}, main_device="cpu", offload_dir=str(folder), force_hooks=True)


@pytest.mark.slow
@pytest.mark.parametrize("place", [offloaded, partly_on_disk])
@pytest.mark.parametrize("name", FEW)
@torch.no_grad()
def test_an_offloaded_model_answers_and_is_known_as_the_model_itself(name, place, tmp_path):
    family = tiny.load(name)
    whole = load(name)
    inputs, _ = batch_of(whole)
    methods = ["uniform", "cdpruner", "cls_attention"] if name in ("llava", "llava_next") else ["uniform", "cdpruner"]
    expected = [whole.model.generate(**pruners.load(m).prune(whole.model, inputs, 0.3), **calm(whole)) for m in methods]
    identity = vlms.wrap(whole.model).fingerprint()
    moved = place(family.model, tmp_path)
    vlm = vlms.wrap(moved, family.processor)
    assert any(weight.device.type == "meta" for weight in moved.parameters())
    assert vlm.device == torch.device("cpu")
    assert vlm.fingerprint() == identity
    for method, answer in zip(methods, expected, strict=True):
        assert torch.equal(moved.generate(**pruners.load(method).prune(moved, inputs, 0.3), **calm(family)), answer)
    assert vlm.answer(family.images(1)[0], LONG, "uniform", 4, max_new_tokens=2).kept == 4


@torch.no_grad()
def test_an_offloaded_model_is_pruned_by_a_scorer_that_was_trained_for_it_whole(tmp_path):
    whole, family = load("llava"), tiny.load("llava")
    vlm = vlms.wrap(whole.model)
    torch.manual_seed(0)
    provenance = checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "grip", 0, 0.0, 0)
    checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=vlm.dim, width=16)), provenance)
    grip = pruners.load("grip", scorer=tmp_path / "scorer")
    inputs, _ = batch_of(whole)
    expected = grip.prune(whole.model, inputs, 5)["input_ids"]
    assert torch.equal(grip.prune(offloaded(family.model, tmp_path), inputs, 5)["input_ids"], expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_scorer_fits_its_vlm_in_every_precision(dtype, tmp_path):
    whole, half = load("qwen2_5_vl"), tiny.load("qwen2_5_vl")
    vlm = vlms.wrap(whole.model)
    provenance = checkpoint.Provenance(vlm.name, vlm.fingerprint(), "scenes", "grip", 0, 0.0, 0)
    checkpoint.save(tmp_path / "scorer", Scorer(ScorerConfig(dim=vlm.dim, width=16)), provenance)
    assert checkpoint.load(tmp_path / "scorer", vlms.wrap(half.model.to(dtype))).config.dim == vlm.dim
