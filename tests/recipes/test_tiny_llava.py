"""The recipe of tiny-llava: packing changes nothing, lessons are true, Muon orthogonalises."""

import numpy as np
import pytest
import torch

import lessons
from build import grid_sines
from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.scenes import compose
from grip_vlm.benchmarks.scenes.compose import LAYOUTS
from muon import Muon, orthogonalise
from packing import IGNORE, Packer, packed_logits
from pool import _some, questions


def test_a_packed_question_gets_the_logits_it_gets_alone_through_the_processor(vlm, examples):
    """Three questions behind one image, blind to each other, in the format of the chat template."""
    image = examples[0].image
    asked = [Question("What number is written?", "42"), Question("Is there a red star?", "yes"), Question("Why?", "B")]
    packer = Packer(vlm.processor.tokenizer, 48, prefix=198)
    packed = packer.pack_questions([asked])
    alone = [vlm.inputs([image], [q.text], [q.answer]) for q in asked]
    with torch.no_grad():
        visual = vlm.run_tower(alone[0], "image").features[None]
        logits = packed_logits(vlm.model, visual, packed)[0]
        for segment, inputs in enumerate(alone, start=1):
            here = packed.segment[0] == segment
            assert torch.equal(packed.ids[0][here], inputs["input_ids"][0, 198:])
            torch.testing.assert_close(logits[here], vlm.model(**inputs).logits[0, 198:], atol=2e-4, rtol=1e-4)


def test_targets_are_the_next_tokens_of_answers_only(vlm):
    packed = Packer(vlm.processor.tokenizer, 32, prefix=198).pack_questions([[Question("Why?", "42")]])
    is_target = packed.target[0] != IGNORE
    answer = vlm.processor.tokenizer("42</s>", add_special_tokens=False).input_ids
    assert packed.target[0][is_target].tolist() == answer
    assert torch.equal(packed.target[0][is_target], packed.ids[0][1:][is_target[:-1]])


def test_packing_is_a_function_of_its_seed(vlm):
    pool = _some("train", 0, 3)
    packer = Packer(vlm.processor.tokenizer, 96, prefix=198)
    assert torch.equal(packer.pack(pool.scenes, [1, 2]).ids, packer.pack(pool.scenes, [1, 2]).ids)
    assert not torch.equal(packer.pack(pool.scenes, [1, 2]).ids, packer.pack(pool.scenes, [1, 3]).ids)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_lesson_about_the_same_scene_has_one_answer(layout):
    for index in range(60):
        scene, answers = compose("train", index, layout), {}
        for seed in range(40):
            question = lessons.ask(scene, np.random.default_rng(seed))
            if question is not None:
                assert answers.setdefault(question.text, question.answer) == question.answer


@pytest.mark.slow
def test_half_of_the_questions_are_lessons():
    scenes = [compose("train", i) for i in range(100)]
    asked = [question for i, scene in enumerate(scenes) for question in questions(scene, np.random.default_rng(i))]
    share = np.mean([question.text.startswith(("How many", "What is digit")) for question in asked])
    assert 0.05 < share < 0.4
    assert len(asked) > 900


def test_patch_positions_tell_every_patch_from_every_other_and_neighbours_least():
    sines = grid_sines(128)
    far = torch.cdist(sines, sines)
    alone = far + 1e9 * torch.eye(len(sines))
    assert alone.min() > 0.5
    nearest = alone.argmin(1)
    rows, columns = torch.arange(196) // 14, torch.arange(196) % 14
    assert ((rows - rows[nearest]).abs() + (columns - columns[nearest]).abs()).max() == 1


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrices))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_muon_descends_a_least_squares_problem():
    generator = torch.Generator().manual_seed(0)
    x, goal = torch.randn(64, 8, generator=generator), torch.randn(8, 4, generator=generator)
    weight = torch.nn.Parameter(torch.zeros(8, 4))
    optimizer = Muon([weight], lr=0.4, weight_decay=0.0)
    losses = []
    for step in range(60):
        optimizer.param_groups[0]["lr"] = 0.4 * (1 - step / 60)  # its steps have a fixed size, so the rate has to fall
        loss = (x @ weight - x @ goal).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.05 * losses[0]
