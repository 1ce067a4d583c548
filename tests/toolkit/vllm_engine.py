"""vLLM's engine in this process, and what it keeps of each image of each request.

vLLM hands kept tokens to nobody, but its encoder cache holds them by the image's hash, which each request names.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / ".vllm" / "reference"
ENGINE = {"enforce_eager": True, "dtype": "float32", "max_model_len": 1024, "max_num_seqs": 8}
ARCHITECTURES = {
    "llava": "GripLlavaForConditionalGeneration",
    "qwen2_5_vl": "GripQwen2_5_VLForConditionalGeneration",
    "qwen3_vl": "GripQwen3VLForConditionalGeneration",
}


@dataclass
class Result:
    """What came of one request."""

    offsets: list[list[list[int]]]
    """(time, row, column) of each kept token of each image, from the place of the image's first token"""
    ids: list[int]
    text: str
    prompt: list[int]
    cached: int
    """tokens of the prompt that came from the prefix cache"""


def cases(family: str, kind: str) -> list[dict[str, Any]]:
    """What transformers made of some requests; see `vllm_reference.py`."""
    return json.loads((REFERENCE / "cases.json").read_text())[family][kind]


def checkpoint(family: str) -> str:
    return str(ROOT / "src/grip_vlm/assets/tiny-llava" if family == "llava" else REFERENCE / family)


def overrides(family: str, **grip: Any) -> dict[str, Any]:
    """`hf_overrides` of a server that prunes."""
    scorer = "tiny-llava" if family == "llava" else str(REFERENCE / family / "scorer")
    return {"architectures": [ARCHITECTURES[family]], "grip": {"scorer": scorer, **grip}}


def prompt_of(case: dict[str, Any]) -> dict[str, Any]:
    images = [Image.open(REFERENCE / file) for file in case["images"]]
    keywords = {"budget": case["budget"], **case["keywords"]}
    return {"prompt": case["prompt"], "multi_modal_data": {"image": images}, "mm_processor_kwargs": keywords}


def offsets_of(case: dict[str, Any], family: str) -> list[list[list[int]]]:
    """Where the tokens that transformers keeps stand in their image."""
    if family == "llava":
        return [[[i, i, i] for i in kept] for kept in case["kept"]]
    pairs = zip(case["kept"], case["columns"], strict=True)
    return [[[0, i // columns, i % columns] for i in kept] for kept, columns in pairs]


class Engine:
    """An engine whose encoder cache is read after every step."""

    def __init__(self, family: str, **options: Any) -> None:
        from vllm import LLM

        self.family, self.seen, self.count = family, dict[str, list[list[int]]](), 0
        self.llm = LLM(checkpoint(family), hf_overrides=overrides(family), **{**ENGINE, **options})
        self.core = self.llm.llm_engine.engine_core.engine_core
        self.runner = self.core.model_executor.driver_worker.worker.model_runner

    def run(self, some: Sequence[dict[str, Any]], **sampling: Any) -> list[Result]:
        """All requests at once, as many side by side as the engine takes."""
        from vllm import SamplingParams

        from grip_vlm.serving.vllm.placement import detach

        params = SamplingParams(temperature=0, max_tokens=8, **sampling)
        hashes, outputs = {}, {}
        for case in some:
            self.count += 1
            name = f"{self.count:06}"
            name = self.llm.llm_engine.add_request(name, prompt_of(case), params) or name
            features = self.core.scheduler.requests[name].mm_features
            hashes[name] = [feature.identifier for feature in sorted(features, key=lambda f: f.mm_position.offset)]
        while self.llm.llm_engine.has_unfinished_requests():
            done = [output for output in self.llm.llm_engine.step() if output.finished]
            for key, embedded in self.runner.encoder_cache.items():
                _, offsets = detach(embedded)
                self.seen.setdefault(key, offsets.tolist())
            outputs |= {output.request_id: output for output in done}
        results = []
        for name, keys in hashes.items():
            output = next(value for key, value in outputs.items() if name.startswith(key))
            answer = output.outputs[0]
            results.append(
                Result(
                    [self.seen[key] for key in keys],
                    list(answer.token_ids),
                    answer.text.strip(),
                    output.prompt_token_ids,
                    output.num_cached_tokens or 0,
                )
            )
        return results
