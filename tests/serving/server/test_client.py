"""The real openai client against a real server process."""

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from served import ask, serving

pytestmark = pytest.mark.slow


def create(client, request, **fields):
    budget = request.pop("budget", None)
    extra = {} if budget is None else {"budget": budget}
    return client.chat.completions.create(model="tiny-llava", extra_body=extra, **request, **fields)


def text(completion):
    return completion.choices[0].message.content


def test_the_one_model_is_listed(client):
    assert [model.id for model in client.models.list()] == ["tiny-llava"]


def test_concurrent_requests_of_mixed_budgets_are_answered_as_offline(client, offline, scenes):
    budgets = (1.0, "10%", 0.05, 1, 7)
    asked = [(scene, budget) for scene in scenes[:6] for budget in budgets]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda pair: create(client, ask(pair[0].question, pair[0].image, budget=pair[1])), asked)
        )
    for (scene, budget), answer in zip(asked, answers, strict=True):
        expected = offline(scene.image, scene.question, budget)
        assert text(answer) == expected.text
        usage = answer.usage.model_extra
        assert (usage["visual_tokens"], usage["visual_tokens_kept"]) == (expected.tokens, expected.kept)
        assert usage["visual_tokens_asked"] == expected.kept
        assert answer.budget == expected.budget


def test_a_stream_gives_the_same_text_and_usage(client, scenes):
    for scene in scenes:
        whole = create(client, ask(scene.question, scene.image, budget="5%"))
        chunks = list(
            create(
                client,
                ask(scene.question, scene.image, budget="5%"),
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        parts = [chunk.choices[0] for chunk in chunks if chunk.choices]
        assert "".join(part.delta.content or "" for part in parts) == text(whole)
        assert [part.finish_reason for part in parts if part.finish_reason] == ["stop"]
        assert chunks[-1].usage == whole.usage
        assert all(chunk.usage is None for chunk in chunks[:-1])


def test_several_images_and_turns_are_one_request(client, scenes):
    first, second = scenes[:2]
    request = ask(first.question, first.image, second.image, budget=10)
    answer = create(client, request)
    assert answer.usage.visual_tokens == 2 * 196
    assert answer.usage.visual_tokens_kept == 10
    request = ask(first.question, first.image, budget=10)
    request["messages"] += [
        answer.choices[0].message.model_dump(),
        {"role": "user", "content": second.question},
    ]
    assert create(client, request).usage.visual_tokens == 196


def test_text_alone_is_answered_from_no_visual_tokens(client):
    usage = create(client, ask("How many?")).usage
    assert (usage.visual_tokens, usage.visual_tokens_kept) == (0, 0)


def test_answers_end_at_max_tokens_and_stop_strings(client, offline, scenes):
    texts = [offline(scene.image, scene.question, 1.0).text for scene in scenes]
    longest = max(texts, key=len)
    assert len(longest) > 1
    scene = scenes[texts.index(longest)]
    cut = create(client, ask(scene.question, scene.image, budget=1.0), max_tokens=1)
    assert cut.choices[0].finish_reason == "length"
    assert cut.usage.completion_tokens == 1
    stopped = create(client, ask(scene.question, scene.image, budget=1.0), stop=longest[1:])
    assert text(stopped) == longest[:1]
    assert stopped.choices[0].finish_reason == "stop"


def test_a_sampled_answer_is_repeated_by_its_seed(client, scenes):
    def sampled(seed):
        scene = scenes[0]
        return text(create(client, ask(scene.question, scene.image, budget=1), temperature=2, seed=seed, max_tokens=8))

    answers = [sampled(seed) for seed in range(8)]
    assert [sampled(seed) for seed in range(8)] == answers
    assert len(set(answers)) > 1


def test_keys_are_asked_for_where_there_are_some(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# of the second floor\nfrom-the-file\n")
    with serving("--api-key-file", str(file), GRIP_VLM_API_KEYS="from-outside, another") as server:
        for key in ("from-the-file", "from-outside", "another"):
            assert openai.OpenAI(base_url=server.url, api_key=key).models.list().data
        for key in ("wrong", "# of the second floor", "from-outside, another"):
            with pytest.raises(openai.AuthenticationError, match="needs an API key"):
                openai.OpenAI(base_url=server.url, api_key=key, max_retries=0).models.list()


def test_under_load_budgets_fall_to_the_least_and_answers_say_so(scenes):
    """A target that no answer can meet."""
    with serving("--batch", "2", "--target-ms", "1", "--least", "3") as server:
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        scene = scenes[0]
        first = create(client, ask(scene.question, scene.image, budget=40)).usage
        with ThreadPoolExecutor(8) as pool:
            usages = list(
                pool.map(
                    lambda k: create(client, ask(scene.question, scene.image, budget=k)).usage, [40, 2, 1.0, "10%"] * 4
                )
            )
    assert first.visual_tokens_kept == 40
    assert {usage.visual_tokens_asked: usage.visual_tokens_kept for usage in usages[4:]} == {40: 3, 2: 2, 196: 3, 20: 3}


def test_what_has_begun_is_finished_before_the_server_stops(scenes, offline):
    with serving("--batch", "1") as server:
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        answers = {}

        def answer(i):
            answers[i] = text(create(client, ask(scenes[i].question, scenes[i].image, budget=1.0)))

        create(client, ask("warm"))
        threads = [threading.Thread(target=answer, args=(i,)) for i in range(12)]
        for thread in threads:
            thread.start()
        while server_waits(server) < 8:
            pass
        assert server.stop() == (0, "grip-vlm has stopped; what had begun is answered\n")
        for thread in threads:
            thread.join()
    assert answers == {i: offline(scene.image, scene.question, 1.0).text for i, scene in enumerate(scenes)}


def server_waits(server):
    """Requests that wait or are answered."""
    state = httpx.get(f"{server.root}/health").json()
    return state["waiting"] + state["running"]


def test_the_command_of_the_document_serves_and_its_python_prints_what_it_shows(capsys, monkeypatch):
    """On a free port."""
    root = Path(__file__).resolve().parents[3]
    monkeypatch.chdir(root)
    document = (root / "docs" / "serving.md").read_text().partition("## `grip-vlm serve`")[2].partition("\n## ")[0]
    (bash,), (code,), (shown,) = (
        re.findall(rf"```{language}\n(.*?)```", document, re.DOTALL) for language in ("bash", "python", "text")
    )
    (flags,) = re.findall(r"^grip-vlm serve (.*)$", bash, re.MULTILINE)
    with serving(*flags.replace("--port 8000", "--port 0").split()) as server:
        exec(compile(code.replace("http://127.0.0.1:8000/v1", server.url), "docs/serving.md", "exec"), {})
    assert capsys.readouterr().out == shown
