"""The plug-in in the real lmms-eval: `make test-lmms` runs these; elsewhere the package is missing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("lmms_eval", reason="make test-lmms runs these with lmms-eval")

from lmms_eval import evaluator
from lmms_eval.api.instance import Instance
from lmms_eval.models import get_model
from lmms_eval.tasks import TaskManager

from grip_vlm import pruners, vlms
from grip_vlm.benchmarks.data import load_examples

ARGUMENTS = "pretrained=tiny-llava,pruner=grip,scorer=tiny-llava,budget=10%,dtype=float32"
ITEMS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The local task that docs/lmms-eval.md speaks of."""
    folder = tmp_path_factory.mktemp("task")
    recipe = Path(__file__).resolve().parents[2] / "recipes" / "lmms_task.py"
    subprocess.run([sys.executable, recipe, "--out", folder, "--items", str(ITEMS)], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """Of an evaluation in this process, in batches of five."""
    tasks = TaskManager(include_path=str(folder), include_defaults=False)
    return evaluator.simple_evaluate("grip_vlm", ARGUMENTS, tasks=["scenes"], batch_size=5, task_manager=tasks)


def model(**changes):
    given = {"pretrained": "tiny-llava", "pruner": "random", "budget": 0.1, "device": "cpu", **changes}
    return get_model("grip_vlm")(**given)


def request(doc, messages, **settings):
    arguments = ("", lambda doc: messages, settings, doc, "task", "test")
    return Instance("generate_until", arguments, 0, {"task": "task", "doc_id": doc, "repeats": 1})


def asked(question, *images):
    content = [{"type": "image", "url": image} for image in images]
    return [{"role": "user", "content": [*content, {"type": "text", "text": question}]}]


def test_the_command_line_reports_the_score_and_the_pruned_tokens(folder, tmp_path):
    command = f"-m lmms_eval --model grip_vlm --model_args {ARGUMENTS} --tasks scenes --batch_size 4".split()
    where = ["--include_path", str(folder), "--output_path", str(tmp_path), "--limit", "4"]
    out = subprocess.run([sys.executable, *command, *where], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr
    assert "avg_visual_tokens_kept" in out.stdout
    [file] = tmp_path.rglob("*results.json")
    found = json.loads(file.read_text())
    assert found["throughput"]["avg_visual_tokens_kept"] == 20
    assert found["results"]["scenes"]["exact_match,none"] > 0


def test_samples_say_what_the_package_itself_answers(results):
    vlm, grip = vlms.load("tiny-llava", device="cpu"), pruners.load("grip", scorer="tiny-llava")
    expected = [vlm.answer(one.image, one.question, grip, "10%").text for one in load_examples("scenes", "test", ITEMS)]
    samples = sorted(results["samples"]["scenes"], key=lambda sample: sample["doc_id"])
    assert [sample["filtered_resps"][0] for sample in samples] == expected


def test_summaries_carry_tokens_before_and_after_and_the_pruned_prompts(results):
    means = results["throughput"]
    assert (means["avg_visual_tokens"], means["avg_visual_tokens_kept"]) == (196, 20)
    assert means["avg_visual_share_kept"] == 20 / 196
    assert means["avg_latency"] == pytest.approx(means["total_elapsed_time"] / ITEMS)
    prompts = [sample["token_counts"][0]["input_tokens"] for sample in results["samples"]["scenes"]]
    assert all(20 < prompt < 100 for prompt in prompts)
    assert sum(prompts) == results["efficiency"]["overall"]["total_input_tokens"]
    assert sum(prompts) / ITEMS == means["avg_input_tokens"]


def test_requests_of_different_settings_come_back_in_their_order():
    lm = model(batch_size=2)
    lm.task_dict = {"task": {"test": [None] * 4}}
    images = [example.image for example in load_examples("scenes", "test", 2)]
    chats = [asked("how many ?", *images), asked("how many ?"), asked("what ?", images[0]), asked("where ?")]
    settings = [{"max_new_tokens": 1}, {"max_new_tokens": 3}, {"max_new_tokens": 1}, {"max_new_tokens": 3}]
    requests = [request(i, chat, **how) for i, (chat, how) in enumerate(zip(chats, settings, strict=True))]
    together = lm.generate_until(requests)
    alone = [lm.generate_until([one])[0] for one in requests]
    assert together == alone
    assert together[0].token_counts.input_tokens > together[2].token_counts.input_tokens > 20


def test_an_image_in_grey_is_read_in_colour():
    lm = model()
    lm.task_dict = {"task": {"test": [None]}}
    grey = Image.new("L", (64, 64), 128)
    [answer] = lm.generate_until([request(0, asked("what ?", grey), max_new_tokens=2)])
    [same] = lm.generate_until([request(0, asked("what ?", grey.convert("RGB")), max_new_tokens=2)])
    assert answer == same


def test_audio_is_refused():
    lm = model()
    lm.task_dict = {"task": {"test": [None]}}
    chat = [{"role": "user", "content": [{"type": "audio", "url": "song.wav"}]}]
    with pytest.raises(ValueError, match="task has audio or parts of videos"):
        lm.generate_until([request(0, chat)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"keep": 3}, "no model argument keep; there are pretrained, pruner, budget"),
        ({"budget": 1.5}, "cannot keep more than all"),
        ({"pruner": "best"}, "unknown pruner 'best'"),
        ({"pretrained": "no/such-model"}, "no VLM 'no/such-model'"),
        ({"scorer": "tiny-llava"}, "random"),
        ({"per_image": "yes"}, "per_image must be true or false"),
        ({"positions": "mrope"}, "positions must be one of 'original', 'compact'"),
        ({"min_tokens": 0}, "min_tokens must be a whole number of at least 1, not 0"),
        ({"num_frames": 2.5}, "num_frames must be a whole number of at least 1, not 2.5"),
        ({"batch_size": "auto"}, "batch_size must be a whole number of at least 1, not 'auto'"),
        ({"dtype": "int5"}, "dtype must be one of 'float32', 'bfloat16'"),
    ],
)
def test_wrong_arguments_get_one_line(wrong, message):
    with pytest.raises(ValueError, match=message) as error:
        model(**wrong)
    assert "\n" not in str(error.value)


def test_what_chat_models_are_not_asked_is_refused():
    lm = model()
    for ask in (lm.loglikelihood, lm.generate_until_multi_round):
        with pytest.raises(NotImplementedError, match="grip_vlm answers generate_until tasks"):
            ask([])


def test_the_vlm_is_freed_when_lmms_eval_cleans_up():
    lm = model()
    lm.clean()
    assert "vlm" not in vars(lm)
    assert "prune" not in vars(lm)
