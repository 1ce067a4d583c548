"""Thousands of requests at once, with everything that goes wrong: is one lost, is one crossed, does memory grow?

python recipes/serving_load.py        writes results/serving-load.json and results/serving-load.md

Requests of eight budgets are drawn over composed questions. Some are streamed, some clients go before their answer,
some bodies are malformed, and the worker is killed several times. Every answer is compared with `vlm.answer` on the
same image, question and budget. Memory is that of both processes of the server, read after every part of the requests.
"""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import tyro

from grip_vlm import pruners, vlms
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.files import write_text
from served import Served, ask, serving

ROOT = Path(__file__).resolve().parent.parent
BUDGETS: tuple[float | int | str, ...] = (1.0, "25%", 0.1, "5%", "2%", 7, 1, "auto")
MALFORMED: tuple[bytes, ...] = (
    b"{",
    b"",
    b"[]",
    b'{"messages": 1}',
    b'{"messages": [{"role": "user", "content": "What?"}], "budget": "much"}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]}',
)
WHOLE, STREAMED, GONE, WRONG = "whole", "streamed", "gone", "malformed"
SHARES = {WHOLE: 0.80, STREAMED: 0.12, GONE: 0.05, WRONG: 0.03}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is sent."""

    requests: int = 10_000
    concurrency: int = 32
    kills: int = 3
    """How often the worker is killed, evenly over the run."""
    minutes: float = 60
    """Nothing is sent after this time. The report says how much was."""
    items: int = 32
    """Questions."""
    batch: int = 16
    """Of the server."""
    seed: int = 0
    out: Path = ROOT / "results" / "serving-load"


@dataclass
class Tally:
    """What came of the requests."""

    sent: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """answers that differ from the offline one, and requests without an answer"""
    memory: list[dict[str, float]] = field(default_factory=list)
    """megabytes of front and worker process, by requests sent"""
    seconds: float = 0.0

    @property
    def total(self) -> int:
        return sum(self.sent.values())


class Client:
    """Sends requests and judges answers."""

    def __init__(self, config: Config, server: Served, bodies: list[bytes], expected: list[tuple[str, int]]) -> None:
        """
        Args:
            bodies: JSON of every question with every budget.
            expected: (text, kept tokens) of each.
        """
        self.config, self.server, self.bodies, self.expected = config, server, bodies, expected
        self.tally = Tally()
        self.url = f"{server.url}/chat/completions"
        self.rng = random.Random(config.seed)
        self.end = 0.0
        """when nothing more is sent"""

    async def run(self) -> Tally:
        """All requests; the worker is killed in between."""
        start = time.perf_counter()
        self.end = start + 60 * self.config.minutes
        numbers = iter(range(self.config.requests))
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(timeout=120, limits=limits, trust_env=False) as http:
            await asyncio.gather(*(self.caller(http, numbers) for _ in range(self.config.concurrency)))
        self.tally.seconds = time.perf_counter() - start
        return self.tally

    async def caller(self, http: httpx.AsyncClient, numbers: Any) -> None:
        """One of the concurrent callers: one request after another."""
        every = self.config.requests // (self.config.kills + 1)
        part = max(self.config.requests // 20, 1)
        for number in numbers:
            if time.perf_counter() > self.end:
                return
            if self.config.kills and number and number % every == 0 and number < every * (self.config.kills + 1):
                self.server.worker().kill()
            if number % part == 0:
                self.read_memory(number)
            kind = self.rng.choices(list(SHARES), list(SHARES.values()))[0]
            self.tally.sent[kind] += 1
            try:
                problem = await self.send(http, kind, self.rng.randrange(len(self.bodies)))
            except httpx.HTTPError as error:
                problem = f"lost: {type(error).__name__} {error}"
            if problem:
                self.tally.wrong.append(f"request {number}, {kind}: {problem}")
            else:
                self.tally.right[kind] += 1

    async def send(self, http: httpx.AsyncClient, kind: str, i: int) -> str:
        """Send one request; what is wrong with its answer, "" for nothing."""
        headers = {"Content-Type": "application/json"}
        if kind == WRONG:
            answer = await http.post(self.url, content=self.rng.choice(MALFORMED), headers=headers)
            return "" if answer.status_code == 400 and answer.json()["error"]["message"] else f"{answer.status_code}"
        if kind == GONE:
            patience = httpx.Timeout(120, read=self.rng.choice((0.001, 0.02, 0.1)))
            with contextlib.suppress(httpx.ReadTimeout):
                await http.post(self.url, content=self.bodies[i], headers=headers, timeout=patience)
            return ""
        if kind == STREAMED:
            body = self.bodies[i][:-1] + b', "stream": true, "stream_options": {"include_usage": true}}'
            answer = await http.post(self.url, content=body, headers=headers)
            if answer.status_code != 200:
                return f"{answer.status_code} {answer.text}"
            return self.judged(i, *read_stream(answer.text))
        answer = await http.post(self.url, content=self.bodies[i], headers=headers)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text}"
        body = answer.json()
        return self.judged(i, body["choices"][0]["message"]["content"], body["usage"]["visual_tokens_kept"])

    def judged(self, i: int, text: str, kept: int) -> str:
        """What is wrong with an answer."""
        return "" if (text, kept) == self.expected[i] else f"{(text, kept)} in place of {self.expected[i]}"

    def read_memory(self, number: int) -> None:
        """Resident megabytes now; a worker that is being replaced has none."""
        front = psutil.Process(self.server.process.pid).memory_info().rss / 1e6
        try:
            worker = self.server.worker().memory_info().rss / 1e6
        except (psutil.Error, ValueError):
            worker = 0.0
        self.tally.memory.append({"requests": number, "front": round(front, 1), "worker": round(worker, 1)})
        print(f"{number} of {self.config.requests}: {front:.0f} MB and {worker:.0f} MB", flush=True)


def read_stream(text: str) -> tuple[str, int]:
    """(text, kept tokens) of a whole stream."""
    *lines, end = [line.removeprefix("data: ") for line in text.splitlines() if line]
    if end != "[DONE]":
        return f"a stream without an end: {end}", -1
    chunks = [json.loads(line) for line in lines]
    parts = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    return "".join(parts), chunks[-1]["usage"]["visual_tokens_kept"]


def run(config: Config) -> dict[str, Any]:
    """The offline answers, the requests, and what came of them."""
    vlm, grip = vlms.load("tiny-llava", device="cpu"), pruners.load("grip", scorer="tiny-llava")
    items = load_examples("scenes", "dev", config.items)
    bodies, expected = [], []
    for item in items:
        for budget in BUDGETS:
            bodies.append(json.dumps(ask(item.question, item.image, budget=budget, max_tokens=32)).encode())
            offline = vlm.answer(item.image, item.question, grip, budget)
            expected.append((offline.text, offline.kept))
    print(f"{len(bodies)} offline answers, {len({text for text, _ in expected})} different texts", flush=True)
    with serving("--batch", str(config.batch)) as server:
        tally = asyncio.run(Client(config, server, bodies, expected).run())
        state = httpx.get(f"{server.root}/health").json()
        lines = httpx.get(f"{server.root}/metrics").text.splitlines()
        code, _ = server.stop()
    metrics = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}
    kept = ("requests_total", "worker_restarts", "requests_redone", "batch_rows_sum", "batch_rows_count")
    return {
        "config": {**asdict(config), "out": config.out.name},
        "answers": len(set(expected)),
        "sent": dict(tally.sent),
        "right": dict(tally.right),
        "wrong": tally.wrong,
        "seconds": round(tally.seconds, 1),
        "memory": tally.memory,
        "left": state,
        "exit code": code,
        "metrics": {
            name: value for name, value in metrics.items() if name.startswith(tuple(f"grip_vlm_{n}" for n in kept))
        },
    }


def report(result: dict[str, Any]) -> str:
    """The result as a page."""
    config, metrics, left = result["config"], result["metrics"], result["left"]
    total, waiting = sum(result["sent"].values()), left["waiting"] + left["running"]
    restarts, redone = metrics["grip_vlm_worker_restarts_total"], metrics["grip_vlm_requests_redone_total"]
    rows = metrics["grip_vlm_batch_rows_sum"] / metrics["grip_vlm_batch_rows_count"]
    lines = [
        "# A server under load",
        "",
        f"`python recipes/serving_load.py`: {total} requests at concurrency {config['concurrency']} to tiny-llava and",
        f"`grip-vlm serve --batch {config['batch']}`, in {result['seconds']:.0f} seconds on two CPU cores",
        "that others used, too: the time says nothing of the server's speed.",
        "",
        "| requests | sent | as they should be |",
        "|---|--:|--:|",
        *(f"| {kind} | {result['sent'].get(kind, 0)} | {result['right'].get(kind, 0)} |" for kind in SHARES),
        "",
        "Whole and streamed answers have the text and the kept tokens of `vlm.answer` offline: of "
        f"{config['items']} questions at",
        f"{len(BUDGETS)} budgets, which give {result['answers']} different pairs of text and kept tokens. `gone`:",
        "the client closed its connection after 1, 20 or 100 ms. `malformed`: refused with 400 and a sentence.",
        "",
        f"Workers killed and replaced: {restarts:.0f}. Requests begun again: {redone:.0f}. Requests in a batch, in the",
        f"mean: {rows:.1f}. Waiting or running at the end: {waiting}. Exit code after SIGTERM: {result['exit code']}.",
        "",
        "| requests sent | front process, MB | worker, MB |",
        "|--:|--:|--:|",
        *(f"| {m['requests']} | {m['front']:.0f} | {round(m['worker']) or '-'} |" for m in result["memory"]),
        "",
    ]
    lines += [f"- {problem}" for problem in result["wrong"][:50]]
    return "\n".join(lines).rstrip() + "\n"


def main(config: Config) -> None:
    result = run(config)
    write_text(config.out.with_suffix(".json"), json.dumps(result, indent=1) + "\n")
    write_text(config.out.with_suffix(".md"), report(result))
    print(report(result))
    if result["wrong"]:
        raise SystemExit(f"{len(result['wrong'])} requests went wrong")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
