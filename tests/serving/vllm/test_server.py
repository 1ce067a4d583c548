"""vLLM's OpenAI server with the plug-in: concurrent requests of mixed budgets, and bad ones that harm nobody."""

import base64
import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("vllm", reason="make test-vllm runs these with vLLM")

from toolkit import vllm_engine
from toolkit.vllm_engine import cases

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not vllm_engine.REFERENCE.exists(), reason="make test-vllm")]


def documented():
    """The command that docs/serving.md shows, on the shipped checkpoint."""
    text = (vllm_engine.ROOT / "docs" / "serving.md").read_text()
    block = next(block for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if block.startswith("vllm serve"))
    serve, _, *flags = shlex.split(block)[1:]
    assert serve == "serve"  # `vllm serve` looks for a package of this name, and that for the CPU has another
    place = flags.index("--hf-overrides") + 1
    flags[place] = flags[place].replace("runs/grip", "tiny-llava")
    entry = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    return [*entry, "--model", vllm_engine.checkpoint("llava"), *flags]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Of a server whose requests have 10 % of the tokens by default."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "dtype": "float32",
        "max-model-len": 1024,
        "max-num-seqs": 8,
        "served-model-name": "tiny",
        "host": "127.0.0.1",
        "port": port,
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    log = (tmp_path_factory.mktemp("server") / "log").open("w+")
    environment = {name: value for name, value in os.environ.items() if name != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    server = subprocess.Popen(
        [*documented(), "--enforce-eager", *flags],
        stdout=log,
        stderr=log,
        env=environment,
    )
    address = f"http://127.0.0.1:{port}"
    for _ in range(600):
        if server.poll() is not None or alive(address):
            break
        time.sleep(1)
    log.seek(0)
    assert alive(address), log.read()[-5000:]
    yield address
    server.terminate()
    server.wait(120)


def alive(address):
    try:
        return urllib.request.urlopen(f"{address}/health", timeout=10).status == 200
    except OSError:
        return False


def chat(case):
    """The messages of a case with one image."""
    picture = base64.b64encode((vllm_engine.REFERENCE / case["images"][0]).read_bytes()).decode()
    question = case["prompt"].partition("<image>")[2].removesuffix("ASSISTANT:").strip()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": question},
    ]
    return [{"role": "user", "content": content}]


def ask(url, case, keywords):
    """(status, text or error, tokens of the prompt) of a chat with one image."""
    body = {"model": "tiny", "temperature": 0, "max_tokens": 8, "messages": chat(case)}
    body |= {} if keywords is None else {"mm_processor_kwargs": keywords}
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["error"]["message"], 0
    return 200, answer["choices"][0]["message"]["content"].strip(), answer["usage"]["prompt_tokens"]


def test_concurrent_requests_of_mixed_budgets_get_the_answers_of_transformers(url):
    some = cases("llava", "mixed")
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda case: ask(url, case, {"budget": case["budget"]}), some))
    assert [(status, text) for status, text, _ in answers] == [(200, case["text"]) for case in some]
    words = {length - len(case["kept"][0]) for case, (_, _, length) in zip(some[:4], answers[:4], strict=True)}
    assert len(words) == 1  # the usage counts kept tokens


def test_the_request_in_the_document_gets_its_budget(url):
    import openai

    text = (vllm_engine.ROOT / "docs" / "serving.md").read_text()
    block = next(b for b in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "mm_processor_kwargs" in b)
    case = next(case for case in cases("llava", "mixed") if case["budget"] == "5%")
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    code = block.strip().replace("llava-hf/llava-1.5-7b-hf", "tiny")
    answer = eval(code, {"client": client, "messages": chat(case)})
    assert answer.usage.prompt_tokens == ask(url, case, {"budget": "5%"})[2]


def test_a_request_without_a_budget_gets_that_of_the_server(url):
    case = next(case for case in cases("llava", "mixed") if case["budget"] == "10%")
    assert ask(url, case, None) == ask(url, case, {"budget": "10%"})


@pytest.mark.parametrize(
    "keywords",
    [
        *({"budget": bad} for bad in ("0%", "101%", "lots", "auto", "20ms", 0, -3, 1.5, None, [1], {"a": 1}, True)),
        {"budgets": 3},
        {"size": {"height": 10}},
        {"budget": "5%", "question": 7},
        {"grip": {"budget": "5%"}},
    ],
    ids=json.dumps,
)
def test_what_cannot_be_is_a_400_with_a_sentence_and_the_engine_lives(url, keywords):
    [case, *_] = cases("llava", "mixed")
    status, message, _ = ask(url, case, keywords)
    assert status == 400
    assert "budget" in message or "question" in message
    assert ask(url, case, {"budget": "100%"})[:2] == (200, case["text"])
    assert alive(url)
