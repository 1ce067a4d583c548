"""An image is encoded once: a restart and other runs read what is on disk, and what changed is encoded anew."""

import copy
from dataclasses import replace

import pytest
import torch

from grip_vlm import vlms
from grip_vlm.files import exclusive
from grip_vlm.training.bank import build_bank, open_bank
from grip_vlm.training.data import Part
from grip_vlm.training.features import flat, key_of, sample_of
from grip_vlm.training.fit import Fit
from grip_vlm.training.log import Log


def opened(vlm, examples, folder, size=2, label_free=False):
    """The bank and how many images the vision tower read for it."""
    seen = []
    hook = vlm.model.get_submodule("model.vision_tower").register_forward_pre_hook(
        lambda module, given: seen.append(len(given[0]))
    )
    try:
        bank = open_bank(vlm, Part(examples, label_free), folder, "digest", Fit(), Log(), size)
    finally:
        hook.remove()
    return bank, sum(seen)


def same(one, two):
    """Whether two entries are equal to the bit."""
    told = [(entry.answer_length, entry.target_score, entry.benchmark) for entry in (one, two)]
    here, there = flat(one.sample), flat(two.sample)
    equal = [value.dtype == there[name].dtype and torch.equal(value, there[name]) for name, value in here.items()]
    return told[0] == told[1] and here.keys() == there.keys() and all(equal)


@pytest.mark.slow
@pytest.mark.parametrize("label_free", [False, True])
def test_examples_from_disk_are_those_in_memory_to_the_bit(label_free, vlm, examples, tmp_path):
    in_memory = build_bank(vlm, examples[:5], label_free, size=2)
    on_disk, _ = opened(vlm, examples[:5], tmp_path, label_free=label_free)
    assert all(same(*pair) for pair in zip(in_memory.entries, on_disk.entries, strict=True))


def test_a_second_run_encodes_nothing(vlm, examples, tmp_path):
    first, seen = opened(vlm, examples[:5], tmp_path)
    again, none = opened(vlm, examples[:5], tmp_path)
    assert (seen, none) == (5, 0)
    assert all(same(*pair) for pair in zip(first.entries, again.entries, strict=True))


def test_the_order_of_the_examples_and_examples_left_out_do_not_matter(vlm, examples, tmp_path):
    first, _ = opened(vlm, examples[:5], tmp_path)
    again, none = opened(vlm, [examples[3], examples[0]], tmp_path)
    assert none == 0
    assert same(again.entries[0], first.entries[3])
    assert same(again.entries[1], first.entries[0])


@pytest.mark.parametrize("change", ["question", "answers", "image"])
def test_a_changed_example_alone_is_encoded_anew(change, vlm, examples, tmp_path):
    opened(vlm, examples[:5], tmp_path)
    image = examples[2].image.copy()
    image.putpixel((0, 0), (1, 2, 3))
    new = {"question": "Why?", "answers": ("no",), "image": image}[change]
    changed = [*examples[:2], replace(examples[2], **{change: new}), *examples[3:5]]
    bank, seen = opened(vlm, changed, tmp_path)
    assert seen == 1
    (fresh,) = build_bank(vlm, [changed[2]]).entries
    assert same(bank.entries[2], fresh)


def test_an_example_twice_is_encoded_once(vlm, examples, tmp_path):
    bank, seen = opened(vlm, [examples[0], examples[1], examples[0]], tmp_path)
    assert (len(bank), seen) == (3, 2)


def test_a_run_that_is_killed_while_encoding_loses_the_file_it_was_writing(vlm, examples, tmp_path):
    """The answers of the second pair cannot be read: the process ends between two files."""
    whole, _ = opened(vlm, examples[:5], tmp_path / "whole")
    with pytest.raises(ValueError, match="unknown benchmark"):
        opened(vlm, [*examples[:3], replace(examples[3], benchmark="none"), examples[4]], tmp_path / "cut")
    (left,) = (tmp_path / "cut").rglob("*.safetensors")
    (left.parent / ".half.safetensors.17.tmp").write_text("")
    bank, seen = opened(vlm, examples[:5], tmp_path / "cut")
    assert seen == 3
    assert all(same(*pair) for pair in zip(whole.entries, bank.entries, strict=True))
    assert not list((tmp_path / "cut").rglob("*.tmp"))


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_a_damaged_file_is_written_anew(keep, vlm, examples, tmp_path):
    opened(vlm, examples[:4], tmp_path)
    path = min(tmp_path.rglob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:keep])
    bank, seen = opened(vlm, examples[:4], tmp_path)
    assert (len(bank), seen) == (4, 2)


def test_another_run_that_is_encoding_is_not_disturbed(vlm, examples, tmp_path):
    with exclusive(tmp_path / key_of(vlm, False)), pytest.raises(ValueError, match="another process is writing to"):
        opened(vlm, examples[:2], tmp_path)


# ---- the key ---------------------------------------------------------------------------------------------------------


def test_the_key_knows_precision_weights_processor_and_labels(vlm, vlm_dir):
    other = vlms.wrap(copy.deepcopy(vlm.model), vlm.processor, vlm.name)
    keys = [key_of(vlm, False), key_of(other, False)]
    assert keys[0] == keys[1]
    keys = [keys[0], key_of(vlm, True), key_of(vlms.load(str(vlm_dir), dtype=torch.bfloat16, device="cpu"), False)]
    with torch.no_grad():
        other.model.get_submodule("model.vision_tower").encoder.layers[0].layer_norm1.weight[0] += 1
    keys.append(key_of(other, False))
    processor = copy.deepcopy(vlm.processor)
    processor.image_processor.image_mean = [0.1, 0.2, 0.3]
    keys.append(key_of(vlms.wrap(vlm.model, processor, vlm.name), False))
    assert len(set(keys)) == 5


# ---- samples ---------------------------------------------------------------------------------------------------------


def test_a_sample_with_deepstack_features_and_extras_is_the_same_again(vlm, examples, tmp_path):
    sample = build_bank(vlm, examples[:1]).entries[0].sample
    count = len(sample.visual)
    rich = replace(sample, deepstack=(torch.rand(count, 3), torch.rand(count, 3)), extras={"a": torch.arange(4)})
    for one in (sample, rich):
        again = sample_of(flat(one))
        assert (len(again.deepstack), list(again.extras)) == (len(one.deepstack), list(one.extras))
        assert all(torch.equal(value, flat(one)[name]) for name, value in flat(again).items())
