"""Throughput and time to first token of vLLM with the plug-in.

    .venv/bin/python recipes/larger_llava.py runs/larger
    VLLM_CPU_KVCACHE_SPACE=4 VLLM_CPU_OMP_THREADS_BIND=nobind OMP_NUM_THREADS=2 HF_HUB_OFFLINE=1 \\
      .vllm/bin/python recipes/serving_vllm.py --model runs/larger --scorer runs/larger/scorer

All tokens, 10 % and 5 % take turns in one engine, at several numbers of requests at a time, so whatever else the
machine does meets all of them. Each request has an image of its own, so no cache helps. `make test-vllm` makes the
environment. Without flags the VLM is tiny-llava, where the vision tower and the work of the engine itself, which no
budget saves, are a large part. Writes OUT.json and OUT.md.
"""

import argparse
import asyncio
import json
import statistics
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = ("100%", "10%", "5%")
PROMPT = "<s>USER: <image>\nWhich label does the heart point to?\nASSISTANT:"


async def ask(engine, name, budget, image, tokens):
    """(seconds to the first token, tokens of the answer)."""
    from vllm import SamplingParams

    prompt = {"prompt": PROMPT, "multi_modal_data": {"image": image}, "mm_processor_kwargs": {"budget": budget}}
    # A random language model may choose tokens that tiny-llava's tokenizer does not have.
    params = SamplingParams(temperature=0, max_tokens=tokens, ignore_eos=True, detokenize=False)
    start, first, count = time.perf_counter(), 0.0, 0
    async for output in engine.generate(prompt, params, name):
        first = first or time.perf_counter() - start
        count = len(output.outputs[0].token_ids)
    return first, count


async def turn(engine, rng, name, budget, concurrency, requests, tokens):
    """(tokens per second, median seconds to the first token) of some requests, so many at a time."""
    gate = asyncio.Semaphore(concurrency)
    images = [Image.fromarray(rng.integers(0, 256, (192, 192, 3), dtype=np.uint8)) for _ in range(requests)]

    async def one(i):
        async with gate:
            return await ask(engine, f"{name}-{i}", budget, images[i], tokens)

    start = time.perf_counter()
    answers = await asyncio.gather(*(one(i) for i in range(requests)))
    seconds = time.perf_counter() - start
    return sum(count for _, count in answers) / seconds, statistics.median(first for first, _ in answers)


async def measure(args):
    from vllm import AsyncEngineArgs
    from vllm.v1.engine.async_llm import AsyncLLM

    options = {"enforce_eager": True, "dtype": "float32", "max_model_len": 1024, "max_num_seqs": 32}
    overrides = {"architectures": ["GripLlavaForConditionalGeneration"], "grip": {"scorer": args.scorer}}
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=args.model, hf_overrides=overrides, **options))
    rng, seen = np.random.default_rng(0), {}
    for budget in BUDGETS:
        await turn(engine, rng, f"warm-{budget}", budget, 8, 8, args.tokens)
    for repeat in range(args.repeats):
        for concurrency in args.concurrency:
            for budget in BUDGETS:
                requests = max(args.requests, concurrency) if concurrency > 1 else args.requests // 4
                name = f"{repeat}-{concurrency}-{budget}"
                result = await turn(engine, rng, name, budget, concurrency, requests, args.tokens)
                seen.setdefault((concurrency, budget), []).append(result)
                print(name, *(round(value, 4) for value in result), flush=True)
    engine.shutdown()
    return seen


def table(seen, args):
    """Markdown: medians over the turns, and ratios to all tokens at the same concurrency."""
    middle = {key: [statistics.median(part) for part in zip(*results, strict=True)] for key, results in seen.items()}
    lines = [
        f"# vLLM with the plug-in: {args.title}, on a CPU",
        "",
        f"recipes/serving_vllm.py; vLLM 0.32 on two CPU cores, float32, answers of {args.tokens} tokens, medians of "
        f"{args.repeats} turns that alternate between the budgets.",
        "",
        "| at a time | budget | tokens per second | of full | time to first token | of full |",
        "|--:|--:|--:|--:|--:|--:|",
    ]
    for (concurrency, budget), (speed, first) in middle.items():
        full_speed, full_first = middle[concurrency, "100%"]
        lines.append(
            f"| {concurrency} | {budget} | {speed:.1f} | {speed / full_speed:.2f} x | {1000 * first:.0f} ms | "
            f"{first / full_first:.2f} x |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(ROOT / "src/grip_vlm/assets/tiny-llava"))
    parser.add_argument("--scorer", default="tiny-llava")
    parser.add_argument("--title", default="tiny-llava, 196 visual tokens")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=8, help="of each answer")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "serving-vllm")
    arguments = parser.parse_args()
    measured = asyncio.run(measure(arguments))
    raw = {f"{concurrency} {budget}": results for (concurrency, budget), results in measured.items()}
    arguments.out.with_suffix(".json").write_text(json.dumps(raw, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(table(measured, arguments))
