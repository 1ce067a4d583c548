"""The plug-in's front end on vLLM's own classes, without an engine: counts, hashes, refusals."""

import os

import pytest

pytest.importorskip("vllm", reason="make test-vllm runs these with vLLM")
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"

from PIL import Image
from toolkit import vllm_engine
from toolkit.vllm_engine import cases

from grip_vlm.budget import Budget

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not vllm_engine.REFERENCE.exists(), reason="make test-vllm")]
N = 196


def config(family="llava", architectures=None, options=None, **grip):
    from vllm.config import ModelConfig
    from vllm.plugins import load_general_plugins

    load_general_plugins()
    changes = vllm_engine.overrides(family, **grip)
    changes["architectures"] = architectures or changes["architectures"]
    return ModelConfig(model=vllm_engine.checkpoint(family), dtype="float32", hf_overrides=changes, **(options or {}))


class Front:
    """A processor with its cache."""

    def __init__(self, family="llava", **grip):
        from vllm.multimodal import MULTIMODAL_REGISTRY
        from vllm.multimodal.cache import MultiModalProcessorOnlyCache

        self.config = config(family, **grip)
        self.processor = MULTIMODAL_REGISTRY.create_processor(self.config)
        self.cache = MultiModalProcessorOnlyCache(self.config)
        self.family = family

    def ask(self, case=0, image=None, **keywords):
        """(visual tokens kept per image, hashes) of a request of the kind `mixed`, perhaps with another's image."""
        one = cases(self.family, "mixed")[4 * case]
        files = one["images"] if image is None else cases(self.family, "mixed")[4 * image]["images"]
        data = {"image": [Image.open(vllm_engine.REFERENCE / file) for file in files]}
        items = self.processor.info.parse_mm_data(data)
        out = self.processor(one["prompt"], items, hf_processor_mm_kwargs=keywords, cache=self.cache)
        kept = [place.length for place in out["mm_placeholders"]["image"]]
        assert sum(kept) == out["prompt_token_ids"].count(self.processor.info.get_hf_config().image_token_id)
        return kept, out["mm_hashes"]["image"]


@pytest.fixture(scope="module")
def front():
    return Front()


@pytest.mark.parametrize("budget", ["100%", "10%", 0.05, "2%", 1, 7, 195, 500, "0.1%"])
def test_the_count_is_a_function_of_the_budget_and_the_number_of_tokens(front, budget):
    assert front.ask(budget=budget)[0] == [Budget.parse(budget).k(N)]


@pytest.mark.parametrize("budget", ["50%", 3, "100%"])
@pytest.mark.parametrize("family", vllm_engine.ARCHITECTURES)
def test_the_count_follows_the_size_of_the_image(family, budget):
    front, mixed = Front(family), cases(family, "mixed")
    for case in range(2):
        n = len(mixed[4 * case]["kept"][0])  # the first of each four keeps all
        assert front.ask(case, budget=budget)[0] == [Budget.parse(budget).k(n)]


def test_equal_budgets_and_questions_share_a_hash(front):
    assert front.ask(budget="10%") == front.ask(budget=0.1)
    assert front.ask(budget="10%", question="What is it?") == front.ask(1, image=0, budget=0.1, question="What is it?")


def test_another_budget_question_or_image_is_another_hash(front):
    requests = [front.ask(budget="10%"), front.ask(budget="5%"), front.ask(1, image=0, budget="10%")]
    requests += [front.ask(0, image=1, budget="10%"), front.ask(budget="10%", question="What is it?")]
    assert len({hashes[0] for _, hashes in requests}) == len(requests)


def test_a_request_that_keeps_all_has_the_hash_of_its_image_whatever_it_asks(front):
    assert front.ask(budget="100%")[1] == front.ask(1, image=0, budget=1.0)[1]
    assert front.ask(budget="100%")[1] == front.ask(budget="100%", question="What is it?")[1]


def test_the_default_of_the_server_holds_where_a_request_names_no_budget():
    front = Front(budget="5%")
    assert front.ask()[0] == [10]
    assert front.ask(budget="100%")[0] == [N]


def test_memory_is_measured_with_all_tokens():
    dummy = Front(budget="5%").processor.get_dummy_mm_inputs({"image": 1})
    assert dummy["mm_placeholders"]["image"][0].length == N


def test_the_question_in_the_prompt_is_the_one_that_a_request_may_give(front):
    reader = front.processor.info.reader
    for case in cases("llava", "given"):
        ids = front.processor.info.get_tokenizer().encode(case["prompt"], add_special_tokens=False)
        assert reader.of_prompt(ids) == reader.of_text(case["keywords"]["question"])


@pytest.mark.parametrize("keywords", [{"budget": "0%"}, {"budget": "auto"}, {"size": 3}, {"budget": 3, "question": 7}])
def test_what_cannot_be_is_a_value_error(front, keywords):
    with pytest.raises(ValueError, match=r"budget|question"):
        front.ask(**keywords)


def test_a_server_without_a_scorer_refuses_budgets():
    front = Front(scorer=None)
    assert front.ask()[0] == [N]
    with pytest.raises(ValueError, match="no scorer"):
        front.ask(budget="5%")


def test_videos_are_not_taken():
    assert Front("qwen2_5_vl").processor.info.allowed_mm_limits["video"] == 0


# ---- servers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", vllm_engine.ARCHITECTURES)
def test_positions_of_a_request_are_its_own(family):
    assert config(family).uses_mrope


def test_the_architecture_of_another_family_is_refused_by_name():
    with pytest.raises(ValueError, match="does not serve checkpoints of type llava; served with pruning: GripLlavaFor"):
        config(architectures=["GripQwen3VLForConditionalGeneration"])


def test_an_architecture_that_would_ignore_the_settings_is_refused_by_name():
    with pytest.raises(ValueError, match="LlavaForConditionalGeneration does not prune"):
        config(architectures=["LlavaForConditionalGeneration"])
    with pytest.raises(ValueError, match="LlavaNextForConditionalGeneration does not prune"):
        config(architectures=["LlavaNextForConditionalGeneration"])


def test_a_scorer_that_is_not_there_is_refused_before_weights_load():
    with pytest.raises(ValueError, match="no scorer at 'nowhere'"):
        config(scorer="nowhere")


def test_the_default_may_not_depend_on_the_image():
    with pytest.raises(ValueError, match="only the question is known"):
        config(budget="mean:5%")
