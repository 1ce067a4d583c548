"""Killed workers, clients that go, and requests that are wrong: nothing is lost, and every refusal is a sentence."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from PIL import Image

from served import ask, data_uri, serving

pytestmark = pytest.mark.slow


def post(served, body, **options):
    return httpx.post(f"{served.url}/chat/completions", json=body, timeout=300, **options)


def metric(served, name):
    lines = httpx.get(f"{served.root}/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)


def until(condition):
    """Wait."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


GREY = Image.new("RGB", (32, 32), "grey")
WRONG = {
    "no messages": ({}, 400, "messages"),
    "empty messages": ({"messages": []}, 400, "messages"),
    "unknown field": (ask("What?", GREY, colour="red"), 400, "colour is not a field that this server knows"),
    "unknown role": ({"messages": [{"role": "king", "content": "What?"}]}, 400, "role"),
    "another model": (ask("What?", GREY, model="gpt"), 404, "there is no model 'gpt' here, only 'tiny-llava'"),
    "budget of nothing": (ask("What?", GREY, budget=0), 400, "a budget is"),
    "budget above all": (ask("What?", GREY, budget=1.5), 400, "more than all"),
    "budget of words": (ask("What?", GREY, budget="much"), 400, "is not a budget"),
    "budget true": (ask("What?", GREY, budget=True), 400, "budget"),
    "no image": (ask("What?", "data:image/png;base64,AAAA"), 400, "is not an image that can be read"),
    "no base64": (ask("What?", "data:image/png;base64,@"), 400, "is not base64"),
    "cut image": (ask("What?", data_uri(Image.effect_noise((64, 64), 9))[:-900]), 400, "not an image that can be read"),
    "address": (ask("What?", "http://127.0.0.1/a.png"), 400, "fetches no images"),
    "file": (ask("What?", "file:///etc/passwd"), 400, "neither a data URI"),
    "too many pixels": (ask("What?", Image.new("1", (5000, 5000))), 413, "5000 x 5000 pixels"),
    "too many images": (ask("What?", *[GREY] * 9), 400, "9 images; 8 are allowed"),
    "too much text": (ask("What? " * 6000, GREY), 413, "36000 characters"),
    "longer than the context": (ask("What? " * 5000, GREY), 400, "the context of 'tiny-llava'"),
    "the image's own token": (ask("What <image>?", GREY), 400, "stands for an image"),
    "too long an answer": (ask("What?", GREY, max_tokens=9999), 400, "at most 256"),
    "two answers": (ask("What?", GREY, n=2), 400, "n: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_request_is_refused_with_a_sentence(served, name):
    body, status, words = WRONG[name]
    answer = post(served, body)
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "JSON"),
        (b"\xff\x00", ""),
        (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', "is not text"),
        (b'{"messages": [{"role": "user", "content": "What?"}], "budget": NaN}', "is not a budget"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_body_that_is_no_json_is_refused(served, content, words):
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{served.url}/chat/completions", content=content, headers=headers)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_large_body_is_refused(served):
    def pieces():
        for _ in range(40):
            yield b" " * 1_000_000

    for options in ({"content": b" " * 33_000_000}, {"content": pieces()}):
        answer = httpx.post(f"{served.url}/chat/completions", timeout=60, **options)
        assert answer.status_code == 413
        assert answer.json()["error"]["message"] == "the body has more than 32000000 bytes"


def test_a_wrong_request_does_not_harm_those_beside_it(served, scenes, offline):
    wrong = [WRONG[name][0] for name in ("cut image", "longer than the context", "the image's own token")]
    right = [ask(scene.question, scene.image, budget=9) for scene in scenes[:6]]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda body: post(served, body), [*right, *wrong, *wrong]))
    assert [answer.status_code for answer in answers] == [200] * 6 + [400] * 6
    for scene, answer in zip(scenes, answers[:6], strict=False):
        expected = offline(scene.image, scene.question, 9).text
        assert answer.json()["choices"][0]["message"]["content"] == expected


def test_a_killed_worker_is_replaced_and_its_requests_are_answered(served, scenes, offline):
    redone, restarts = (
        metric(served, "grip_vlm_requests_redone_total"),
        metric(served, "grip_vlm_worker_restarts_total"),
    )
    asked = [scenes[i % 12] for i in range(24)]
    with ThreadPoolExecutor(24) as pool:
        answers = pool.map(lambda scene: post(served, ask(scene.question, scene.image, budget=1.0)), asked)
        until(lambda: metric(served, "grip_vlm_requests_running"))
        served.worker().kill()
        until(lambda: httpx.get(f"{served.root}/health").status_code == 503)
        for scene, answer in zip(asked, answers, strict=True):
            expected = offline(scene.image, scene.question, 1.0).text
            assert answer.json()["choices"][0]["message"]["content"] == expected
    assert metric(served, "grip_vlm_worker_restarts_total") == restarts + 1
    assert metric(served, "grip_vlm_requests_redone_total") > redone


def test_a_worker_that_ends_while_nothing_is_asked_is_replaced(served, scenes):
    served.worker().kill()
    until(lambda: httpx.get(f"{served.root}/health").status_code == 503)
    assert post(served, ask(scenes[0].question, scenes[0].image)).status_code == 200


def test_a_client_that_goes_frees_its_place(served, scenes):
    for stream in (False, True):
        body = ask(scenes[0].question, scenes[0].image, max_tokens=256, stream=stream)
        with pytest.raises(httpx.TimeoutException):
            httpx.post(f"{served.url}/chat/completions", json=body, timeout=httpx.Timeout(5, read=0.001))
    until(lambda: not metric(served, "grip_vlm_requests_running") + metric(served, "grip_vlm_requests_waiting"))
    assert post(served, ask(scenes[0].question, scenes[0].image)).status_code == 200


@pytest.fixture(scope="module")
def wordy(vlm_dir):
    """A server of a VLM with random weights, whose answers go on and on."""
    with serving("--vlm", str(vlm_dir), "--pruner", "random", "--max-tokens", "400") as server:
        yield server


def test_a_client_that_leaves_a_stream_ends_its_answer(wordy):
    body = ask("What?", GREY, stream=True)
    before = time.monotonic()
    assert post(wordy, ask("What?", GREY)).json()["usage"]["completion_tokens"] == 400
    whole = time.monotonic() - before
    tokens = metric(wordy, "grip_vlm_completion_tokens_total")
    with httpx.stream("POST", f"{wordy.url}/chat/completions", json=body, timeout=60) as answer:
        next(answer.iter_lines())
    before = time.monotonic()
    until(lambda: not metric(wordy, "grip_vlm_requests_running"))
    assert time.monotonic() - before < whole
    assert metric(wordy, "grip_vlm_completion_tokens_total") == tokens


def test_a_request_over_which_three_workers_ended_is_refused_and_the_next_is_answered(wordy):
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(post, wordy, ask("What?", GREY))
        for _ in range(3):
            until(lambda: metric(wordy, "grip_vlm_requests_running"))
            wordy.worker().kill()
            until(lambda: httpx.get(f"{wordy.root}/health").status_code == 503)
    refused = asked.result()
    assert refused.status_code == 503
    assert refused.json()["error"]["message"] == "the worker ended 3 times while it answered this request"
    assert post(wordy, ask("What?", GREY)).json()["usage"]["completion_tokens"] == 400


def test_requests_beyond_the_queue_are_told_to_come_again(scenes):
    with serving("--batch", "1", "--queue", "2") as server:
        bodies = [ask(scene.question, scene.image, budget=1.0) for scene in scenes] * 2
        with ThreadPoolExecutor(len(bodies)) as pool:
            answers = list(pool.map(lambda body: post(server, body), bodies))
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) == {200, 429}
        refused = answers[statuses.index(429)]
        assert refused.json()["error"]["message"] == "2 requests are waiting already; try again in a moment"
        assert refused.headers["Retry-After"] == "1"
        # The client retries by itself.
        default = ask(scenes[0].question, scenes[0].image)
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=20)
        threads = [
            threading.Thread(target=lambda: client.chat.completions.create(model="tiny-llava", **default))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert metric(server, "grip_vlm_visual_tokens_kept_total") == 196 * statuses.count(200) + 20 * 6


def test_what_cannot_be_served_ends_in_one_line(mistake):
    assert "'http://x/' is not a host" in mistake(["serve", "--image-hosts", "http://x/"])
    assert "fastv drops tokens inside the language model" in mistake(
        ["serve", "--port", "0", "--pruner", "fastv", "--budget", "0.5"]
    )
    assert "batch must be at least 1" in mistake(["serve", "--batch", "0"])
