"""The plug-in in vLLM's engine on the CPU keeps transformers' tokens and gives its answers: `make test-vllm`.

Every request is compared with its own tokens, read from the engine's encoder cache.
"""

import os

import pytest

pytest.importorskip("vllm", reason="make test-vllm runs these with vLLM")
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # the engine in this process, where its caches can be read

from toolkit import vllm_engine
from toolkit.vllm_engine import cases, offsets_of

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not vllm_engine.REFERENCE.exists(), reason="make test-vllm")]


@pytest.fixture(scope="module")
def whole():
    """Every prompt in one step; all caches are on."""
    return vllm_engine.Engine("llava", max_num_batched_tokens=1024)


@pytest.fixture(scope="module")
def chunked():
    """64 tokens a step, so images of 196 tokens are cut; blocks of 32, so cached prefixes end inside images."""
    return vllm_engine.Engine("llava", max_num_batched_tokens=64, block_size=32)


@pytest.fixture(scope="module")
def uncached():
    """Neither prefixes nor processed images are kept; images are cut."""
    options = {"enable_prefix_caching": False, "mm_processor_cache_gb": 0}
    return vllm_engine.Engine("llava", max_num_batched_tokens=96, **options)


def check(engine, kind, **sampling):
    """Every request keeps the tokens that transformers keeps, and gives its answer; returns the results."""
    some = cases(engine.family, kind)
    results = engine.run(some, **sampling)
    wrong = [i for i, (case, result) in enumerate(zip(some, results, strict=True))
             if result.offsets != offsets_of(case, engine.family)]  # fmt: skip
    assert wrong == [], f"{len(wrong)} of {len(some)} requests keep other tokens"
    answers = [result.text if engine.family == "llava" else result.ids for result in results]
    expected = [case["text"] if engine.family == "llava" else case["ids"] for case in some]
    assert answers == expected
    return results


@pytest.mark.parametrize("kind", ["mixed", "cross", "several", "before", "given"])
def test_cold_caches_give_the_tokens_and_answers_of_transformers(whole, kind):
    check(whole, kind)


def test_warm_caches_give_the_same(whole):
    assert sum(result.cached for result in check(whole, "mixed")) > 0


def test_chunks_inside_images_give_the_same(chunked):
    check(chunked, "mixed")
    check(chunked, "cross")


def test_prefixes_that_end_inside_images_give_the_same(chunked):
    results = check(chunked, "mixed")
    full = [result for result, case in zip(results, cases("llava", "mixed"), strict=True) if case["budget"] == "100%"]
    assert any(32 <= result.cached < 196 for result in full)


def test_without_caches_the_engine_gives_the_same(uncached):
    results = check(uncached, "mixed")
    assert sum(result.cached for result in results) == 0


def test_prompts_have_as_many_placeholders_as_tokens_are_kept(whole):
    for case, result in zip(cases("llava", "mixed")[:8], whole.run(cases("llava", "mixed")[:8]), strict=True):
        assert result.prompt.count(3) == len(case["kept"][0])


@pytest.mark.parametrize("bad", ["0%", "lots", 0, -1, 1.5, None, [1], True, float("nan"), "auto", "mean:5%", "20ms"])
def test_a_bad_budget_is_a_value_error_and_the_engine_lives(whole, bad):
    [case, *_] = cases("llava", "mixed")
    with pytest.raises(ValueError, match="budget"):
        whole.run([{**case, "budget": bad}])
    check(whole, "before")


def test_text_alone_is_answered(whole):
    from vllm import SamplingParams

    [output] = whole.llm.generate(["<s>USER: What is it? ASSISTANT:"], SamplingParams(max_tokens=4), use_tqdm=False)
    assert output.outputs[0].token_ids


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def grids(request):
    """A family whose positions have rows and columns; images are cut."""
    engine = vllm_engine.Engine(request.param, max_num_batched_tokens=32, max_model_len=256)
    vocabulary = engine.llm.get_tokenizer()
    visual = {i for token, i in vocabulary.get_added_vocab().items() if "pad|>" in token}
    return engine, {"allowed_token_ids": sorted(set(range(len(vocabulary))) - visual), "ignore_eos": True}


@pytest.mark.parametrize("kind", ["mixed", "several"])
def test_families_with_rows_and_columns_give_the_tokens_and_answers_of_transformers(grids, kind):
    engine, sampling = grids
    check(engine, kind, **sampling)
