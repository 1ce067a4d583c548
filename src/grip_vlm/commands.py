"""The commands as dataclasses: their fields are the flags, their docstrings the help, `run` what they do."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from grip_vlm.grpo import GRPOConfig
from grip_vlm.ppo import PPOConfig
from grip_vlm.scorer import ScorerConfig
from grip_vlm.warmup import WarmupConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from grip_vlm.scorer import Scorer


@dataclass(frozen=True)
class Answer:
    """Answer one question about one image from a fraction of its visual tokens."""

    image: Path
    question: str
    vlm: str = "tiny-llava"
    """a shipped one, a checkpoint folder or a hub id"""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """precision of the VLM's weights; auto takes the checkpoint's own"""
    budget: str = "0.1"
    """tokens to keep: `64`, `0.1` or `10%`"""
    pruner: str = "grip"
    scorer: str = ""
    """folder of a trained scorer; by default the one shipped with the VLM"""
    json: bool = False
    """print one JSON object"""
    draw: Path | None = None
    """write the image with the kept tokens as a PNG"""
    seed: int = 0

    def run(self) -> None:
        from dataclasses import asdict

        from grip_vlm import data, draw, vlms
        from grip_vlm.budget import Budget

        budget = Budget.parse(self.budget)
        pruner = _pruner(f"{self.pruner}={self.scorer}" if self.scorer else self.pruner, self.vlm, self.seed)[1]
        image = data.open_image(self.image)
        vlm = vlms.load(self.vlm, dtype=self.dtype)
        answer = vlm.answer(image, self.question, pruner, budget)
        if self.json:
            print(json.dumps(asdict(answer)))
        else:
            print(f"{answer.text}\n({answer.kept} of {answer.tokens} visual tokens, {1000 * answer.seconds:.0f} ms)")
        if self.draw is not None:
            part, grid = vlm.seen(image, self.question)
            draw.save(draw.draw_kept(part, answer.kept_indices, grid), self.draw)


@dataclass(frozen=True)
class Warmup:
    """Stage 1: train a new scorer by supervision, or a rival by a relaxation alone."""

    config: tyro.conf.OmitArgPrefixes[WarmupConfig]
    init: str = ""
    """folder of a scorer to go on from, as relaxations in recipes/compare.py do from stage 1; by default a new one"""
    vlm: str = "tiny-llava"
    """a shipped one, a checkpoint folder or a hub id"""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """precision of the VLM's weights; auto takes the checkpoint's own"""
    width: int = ScorerConfig.width
    """width of a new scorer"""

    def run(self) -> None:
        import torch

        from grip_vlm import checkpoint, vlms
        from grip_vlm.scorer import Scorer
        from grip_vlm.training import banks
        from grip_vlm.warmup import warmup

        folder = checkpoint.locate(self.init) if self.init else None
        frozen = vlms.load(self.vlm, dtype=self.dtype, device=_process_device())
        torch.manual_seed(self.config.seed)
        # A relaxation alone trains what it sees of repetition, all pairs at once, and chooses best by the same.
        shape = ScorerConfig(dim=frozen.dim, width=self.width, one_pass=self.config.attention_share == 0)
        scorer = checkpoint.load(folder, frozen) if folder else Scorer(shape)
        bank, dev = banks(frozen, self.config)
        warmup(frozen, scorer, bank, dev, self.config)
        print(f"scorer written to {self.config.out}")


@dataclass(frozen=True, kw_only=True)
class _FromScorer:
    """What training that starts from a scorer is told besides its settings."""

    init: str
    """folder of the scorer to start from"""
    vlm: str = "tiny-llava"
    """a shipped one, a checkpoint folder or a hub id"""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """precision of the VLM's weights; auto takes the checkpoint's own"""


@dataclass(frozen=True, kw_only=True)
class Train(_FromScorer):
    """Stage 2: GRPO against the frozen VLM, from a warm-up's scorer."""

    config: tyro.conf.OmitArgPrefixes[GRPOConfig]

    def run(self) -> None:
        from grip_vlm.grpo import train

        _train(self, train)


@dataclass(frozen=True, kw_only=True)
class PPO(_FromScorer):
    """The TPRL-like rival: PPO against the frozen VLM, from the scorer of `warmup --imitation bernoulli`."""

    config: tyro.conf.OmitArgPrefixes[PPOConfig]

    def run(self) -> None:
        from grip_vlm.ppo import train

        _train(self, train)


@dataclass(frozen=True)
class Evaluate:
    """Answer benchmark items with every pruner at every budget; rows that are already there are not computed again."""

    out: Path
    vlm: str = "tiny-llava"
    """a shipped one, a checkpoint folder or a hub id"""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """precision of the VLM's weights; auto takes the checkpoint's own"""
    pruners: str = "full,grip,random,uniform,cls_attention,blind"
    """comma-separated; `name=DIR` gives a trained method its scorer"""
    benchmarks: str = "scenes"
    """comma-separated names, variants such as `textvqa:ocr` or `reading:crowded`, JSONL files of yours, or `scenes` for
    the composed six"""
    data_root: Path | None = None
    """folder with copies of published benchmarks (pope.parquet, mme.jsonl, gqa/ ...); by default the hub"""
    split: Literal["train", "dev", "test"] = "test"
    """of the composed benchmarks; the others are test"""
    budgets: str = "0.02,0.05,0.1,0.25"
    limit: int = 100
    """items per benchmark"""
    shard: str = "1/1"
    """i/n answers the i-th of n parts of the items; `pareto` takes the rows of all parts together"""
    seed: int = 0
    batch: int = 32

    def run(self) -> None:
        from grip_vlm import benchmarks, pareto, summary, vlms
        from grip_vlm.budget import Budget
        from grip_vlm.evaluate import evaluate
        from grip_vlm.items import open_items

        if self.limit < 1 or self.batch < 1:
            raise ValueError("limit and batch must be at least 1")
        shard = _shard(self.shard)
        asked = self.benchmarks.split(",")
        names = [name for word in asked for name in (benchmarks.composed() if word == "scenes" else [word])]
        budgets = [Budget.parse(budget) for budget in self.budgets.split(",")]
        chosen = [_pruner(name, self.vlm, self.seed) for name in self.pruners.split(",")]
        pruners = dict(chosen)
        if len(pruners) < len(chosen):
            raise ValueError("a pruner is named twice; evaluate its scorers in two calls with the same --out")
        for name in names:  # what cannot be read is said before a large VLM is loaded
            open_items(name, self.split, self.data_root)
        frozen = vlms.load(self.vlm, dtype=self.dtype)
        rows = evaluate(
            frozen,
            pruners,
            names,
            budgets,
            self.out,
            split=self.split,
            root=self.data_root,
            limit=self.limit,
            shard=shard,
            seed=self.seed,
            batch=self.batch,
        )
        print(pareto.table(rows) + summary.tables(rows))
        print(f"{len(rows)} rows in {self.out}")


@dataclass(frozen=True)
class Flops:
    """Count the FLOPs of an answer with every pruner at every budget, on one question of each benchmark."""

    out: Path
    """JSON for `pareto --flops`"""
    vlm: str = "tiny-llava"
    """a shipped one, a checkpoint folder or a hub id"""
    pruners: str = "full,grip,random,uniform,cls_attention,blind"
    """comma-separated; `name=DIR` gives a trained method its scorer"""
    budgets: str = "0.02,0.05,0.1,0.25"

    def run(self) -> None:
        from grip_vlm import benchmarks, vlms
        from grip_vlm.budget import Budget
        from grip_vlm.cost import answer_flops
        from grip_vlm.files import write_text

        pruners = dict(_pruner(name, self.vlm, 0) for name in self.pruners.split(","))
        budgets = [Budget.parse(budget) for budget in self.budgets.split(",")]
        frozen = vlms.load(self.vlm)
        frozen.model.set_attn_implementation("eager")  # the counter does not know all kernels of the others
        examples = [benchmarks.example(name, "dev", 0) for name in benchmarks.composed()]
        counted = {"vlm": frozen.name, "flops": answer_flops(frozen, pruners, budgets, examples)}
        write_text(self.out, json.dumps(counted, indent=2) + "\n")
        print(f"FLOPs of {len(pruners)} pruners in {self.out}")


@dataclass(frozen=True)
class Pareto:
    """Rows -> accuracy over cost: a figure and a table, or a folder with everything."""

    rows: tyro.conf.Positional[tuple[Path, ...]]
    out: Path | None = None
    """figure (.png, .svg, .pdf)"""
    table: Path | None = None
    """Markdown table"""
    report: Path | None = None
    """folder for sentences, tables (Markdown, LaTeX), figures (PNG, SVG) and an interactive page"""
    ours: str = "grip"
    """the pruner that all others are compared with"""
    flops: Path | None = None
    """FLOPs counted by `grip-vlm flops`, a third cost in the report"""

    def run(self) -> None:
        from grip_vlm import pareto

        print(pareto.write(self.rows, self.out, self.table, self.report, self.ours, self.flops))


@dataclass(frozen=True)
class List:
    """What there is: VLMs, pruners or benchmarks."""

    what: tyro.conf.Positional[Literal["vlms", "pruners", "benchmarks"]]

    def run(self) -> None:
        from grip_vlm import benchmarks, pruners, vlms

        if self.what == "vlms":
            shipped = [f"{name} (shipped)" for name in vlms.shipped()]
            print("\n".join(shipped + [f"{family} (verified family)" for family in vlms.families()]))
        else:
            print("\n".join(pruners.names() if self.what == "pruners" else benchmarks.described()))


Command = (
    Annotated[Answer, tyro.conf.subcommand("answer")]
    | Annotated[Warmup, tyro.conf.subcommand("warmup")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[PPO, tyro.conf.subcommand("ppo")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Flops, tyro.conf.subcommand("flops")]
    | Annotated[Pareto, tyro.conf.subcommand("pareto")]
    | Annotated[List, tyro.conf.subcommand("list")]
)


def _pruner(text: str, vlm: str, seed: int):  # type: ignore[no-untyped-def]
    """(`name`, pruner) of `name` or `name=DIR`; `grip` alone takes the scorer shipped with the VLM."""
    from grip_vlm import pruners, vlms

    name, _, scorer = text.partition("=")
    if not scorer and name == "grip":
        if vlm not in vlms.shipped():
            shipped = ", ".join(vlms.shipped())
            raise ValueError(
                f"no scorer is shipped for {vlm!r} (only for {shipped}); give the folder of one you trained"
            )
        scorer = vlm
    return name, pruners.load(name, scorer=scorer or None, seed=seed)


def _train(command: "Train | PPO", train: "Callable[..., Scorer]") -> None:
    """Stage 2 or its rival, from the scorer in `command.init`."""
    from grip_vlm import checkpoint, vlms
    from grip_vlm.training import banks

    folder = checkpoint.locate(command.init)
    frozen = vlms.load(command.vlm, dtype=command.dtype, device=_process_device())
    scorer = checkpoint.load(folder, frozen)
    bank, dev = banks(frozen, command.config)
    train(frozen, scorer, bank, dev, command.config)
    print(f"scorer written to {command.config.out}")


def _shard(text: str) -> tuple[int, int]:
    """(i, n) of `i/n`."""
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise ValueError(f"a shard is i/n, such as 2/8, got {text!r}")
    return int(found[1]), int(found[2])


def _process_device() -> "torch.device":
    """This process's own device, under `torchrun` as well."""
    import torch
    from accelerate import PartialState

    device: torch.device = PartialState(cpu=not torch.cuda.is_available()).device
    return device
