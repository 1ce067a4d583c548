"""Train tiny-llava from nothing, in four stages: the vision tower on dense labels, the language model on its frozen
features, everything together, and everything with patch dropout.

    python recipes/tiny_llava/train.py --out runs/tiny_llava

A stopped run resumes with the same flags.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration

from build import build_model, build_processor
from grip_vlm import benchmarks
from grip_vlm.benchmarks.scenes.glyphs import COLOURS, LETTERS, SHAPES
from grip_vlm.files import write_text
from grip_vlm.training.state import has_state, load_state, save_state
from muon import Muon
from packing import IGNORE, Packed, Packer, packed_logits
from pool import DENSE, Pool, make_pool


@dataclass
class Config:
    out: Path
    """Folder for the checkpoint and the training state."""
    scenes: int = 30_000
    """Training scenes. They are composed once; questions about them are sampled anew at every step."""
    tower_steps: int = 2000
    """Steps of the tower stage: the vision tower on dense labels."""
    language_steps: int = 1300
    """Steps of the language stage: the language model on the frozen tower's features."""
    joint_steps: int = 1500
    """Steps of the joint stage: everything."""
    sparse_steps: int = 400
    """Steps of the sparse stage: everything, with patch dropout."""
    tower_batch: int = 32
    """Images per step of the tower stage."""
    batch: int = 16
    """Images per step of the other stages."""
    text_length: int = 192
    """Packed question tokens per image."""
    few: int = 80
    """Visual tokens per image in the language stage and in most of the joint stage."""
    width: int = 192
    """Width of the language model, a multiple of 24."""
    seed: int = 0
    """Seed of the weights, the scenes of a step and its questions."""
    save_every: int = 100
    """Steps between two saved states."""


def fast() -> torch.autocast:
    """bf16 autocast if the processor multiplies bf16 in hardware. On others it would be many times slower."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported())


def schedule(step: int, steps: int, warmup: int = 150) -> float:
    """Share of the peak rate: linear warm-up, then cosine decay to 2 %."""
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def pixels(images: np.ndarray, rng: np.random.Generator | None = None) -> Tensor:
    """Images as the processor returns them, (B, 3, 112, 112); with `rng`, brightness and contrast jitter is added."""
    values = torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(255)
    if rng is not None:
        gain = torch.from_numpy(rng.uniform(0.85, 1.15, (len(images), 1, 1, 1)).astype(np.float32))
        shift = torch.from_numpy(rng.uniform(-0.08, 0.08, (len(images), 1, 1, 1)).astype(np.float32))
        values = (values * gain + shift).clamp_(0, 1)
    return (values - 0.4) / 0.3


def optimizers(named: list[tuple[str, nn.Parameter]], rates: dict[str, float]) -> dict[str, torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for everything else."""
    inner = [p for n, p in named if p.ndim == 2 and (".layers." in n or "projector" in n)]
    chosen = {id(p) for p in inner}
    outer = [p for _, p in named if id(p) not in chosen]
    muon = Muon(inner, lr=rates["muon"])
    return {"muon": muon, "adamw": torch.optim.AdamW(outer, lr=rates["adamw"], betas=(0.9, 0.95), weight_decay=0.01)}


def tower_features(tower: nn.Module, values: Tensor) -> Tensor:
    """Patch features before the projector, (B, 196, 128)."""
    return tower(values, output_hidden_states=True).hidden_states[-1][:, 1:]


def compiled_tower(model: LlavaForConditionalGeneration) -> nn.Module:
    """The tower compiled to fused kernels: 0.36 s instead of 0.53 s for a step of 32 images on two cores."""
    return torch.compile(model.model.vision_tower)  # type: ignore[return-value]


def dense_loss(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy summed over the DENSE heads, and the accuracy of each head on things, (len(DENSE),).

    Things weigh ten times as much as background.
    """
    thing = (labels[..., 0] > 0).float()  # (B, N)
    weight = 0.1 + 0.9 * thing
    total, accuracy = logits.new_zeros(()), []
    for i, part in enumerate(logits.split(list(DENSE.values()), dim=-1)):
        loss = F.cross_entropy(part.transpose(1, 2), labels[..., i], reduction="none")
        total = total + (loss * weight).sum() / weight.sum()
        told = labels[..., i] > 0
        accuracy.append((part.argmax(-1) == labels[..., i])[told].float().mean())
    return total, torch.stack(accuracy)


@dataclass
class Stage:
    """The loop of one stage: rate, step, save, resume. `loss_of(step)` returns the loss and a log line to call."""

    name: str
    steps: int
    rates: dict[str, float]
    modules: dict[str, nn.Module]
    named: list[tuple[str, nn.Parameter]]
    config: Config

    def run(self, loss_of) -> None:  # type: ignore[no-untyped-def]
        folder = self.config.out / f"state_{self.name}"
        optims = optimizers(self.named, self.rates)
        first, seconds = 0, 0.0
        if has_state(folder):
            counters = load_state(folder, self.modules, optims)
            first, seconds = counters["step"], counters["seconds"]
        began = time.monotonic() - seconds
        for step in range(first, self.steps):
            for name, optim in optims.items():
                for group in optim.param_groups:
                    group["lr"] = self.rates[name] * schedule(step, self.steps)
                optim.zero_grad(set_to_none=True)
            loss, line = loss_of(step)
            loss.backward()
            nn.utils.clip_grad_norm_([p for _, p in self.named], 1.0)
            for optim in optims.values():
                optim.step()
            spent = time.monotonic() - began
            if step % 25 == 24:
                print(f"{self.name} {step + 1}/{self.steps} {spent:.0f}s loss {loss.item():.3f} {line()}", flush=True)
            if (step + 1) % self.config.save_every == 0 or step + 1 == self.steps:
                save_state(folder, self.modules, optims, {"step": step + 1, "seconds": spent})
        write_text(self.config.out / f"{self.name}.json", json.dumps({"seconds": time.monotonic() - began}))


def train_tower(model: LlavaForConditionalGeneration, heads: nn.Linear, pool: Pool, config: Config) -> None:
    named = [(f"tower.{n}", p) for n, p in model.model.vision_tower.named_parameters()]
    named += [(f"heads.{n}", p) for n, p in heads.named_parameters()]
    average, tower = torch.zeros(len(DENSE)), compiled_tower(model)

    def loss_of(step: int):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng([config.seed, 1, step])
        chosen = rng.integers(0, len(pool.images), config.tower_batch)
        labels = torch.from_numpy(pool.dense[chosen]).long()
        with fast():
            logits = heads(tower_features(tower, pixels(pool.images[chosen], rng)))
        loss, accuracy = dense_loss(logits.float(), labels)
        average.mul_(0.95).add_(0.05 * torch.nan_to_num(accuracy, nan=1.0))
        scale = 1 - 0.95 ** (step + 1)
        return loss, lambda: " ".join(f"{n}={v:.3f}" for n, v in zip(DENSE, average / scale, strict=True))

    modules = {"tower": model.model.vision_tower, "heads": heads}
    Stage("tower", config.tower_steps, {"muon": 3e-3, "adamw": 3e-3}, modules, named, config).run(loss_of)


def answer_loss(logits: Tensor, packed: Packed) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the answer tokens, and the share of answer tokens that are right."""
    told = packed.target != IGNORE
    loss = F.cross_entropy(logits[told].float(), packed.target[told])
    return loss, (logits.argmax(-1) == packed.target)[told].float().mean()


def language_parameters(model: LlavaForConditionalGeneration) -> list[tuple[str, nn.Parameter]]:
    return [(n, p) for n, p in model.named_parameters() if "vision_tower" not in n]


def few_patches(dense: np.ndarray, few: int, rng: np.random.Generator) -> Tensor:
    """Indices of `few` patches per image, (B, few): all that show a thing, then background at random.

    With all patches, most of a language step would be spent on background. The end of the joint stage shows the model
    every patch.
    """
    order = np.argsort((dense[..., 0] == 0) + rng.random(dense.shape[:2]) * 0.9, axis=1)[:, :few]
    return torch.from_numpy(np.sort(order, axis=1))


def word_ids(packer: Packer) -> Tensor:
    """The token of every colour, shape, letter and digit, as questions spell them, (28,)."""
    words = [f" {word}" for word in (*COLOURS, *SHAPES, *LETTERS)] + [str(digit) for digit in range(10)]
    return torch.tensor([packer.tokens(word)[0] for word in words])


def naming_loss(model: LlavaForConditionalGeneration, visual: Tensor, words: Tensor, dense: np.ndarray) -> Tensor:
    """Every patch predicts, in the language model's own embeddings, which words apply to it.

    This is LLaVA's alignment stage with words instead of captions. `visual` is (B, N, D).
    """
    labels = torch.from_numpy(dense).long()
    kind, colour = labels[..., 0], labels[..., 1]
    digits = sum(F.one_hot(labels[..., i], 11)[..., 1:] for i in range(2, 6))  # (B, N, 10)
    shape = F.one_hot(kind.where(kind <= 6, 0), 7)[..., 1:]
    letter = F.one_hot((kind - 16).where((kind >= 17) & (kind <= 22), 0), 7)[..., 1:]
    target = torch.cat([F.one_hot(colour, 7)[..., 1:], shape, letter, digits.clamp(max=1)], dim=-1).float()
    logits = visual @ model.model.language_model.embed_tokens.weight[words].T / visual.shape[-1] ** 0.5 - 2
    weight = 0.1 + 0.9 * (kind > 0).float()[..., None]
    return (F.binary_cross_entropy_with_logits(logits.float(), target, reduction="none") * weight).mean()


def train_language(model: LlavaForConditionalGeneration, pool: Pool, packer: Packer, config: Config) -> None:
    words, tower = word_ids(packer), compiled_tower(model)

    def loss_of(step: int):  # type: ignore[no-untyped-def]
        rng = np.random.default_rng([config.seed, 2, step])
        chosen = rng.integers(0, len(pool.images), config.batch)
        packed = packer.pack([pool.scenes[i] for i in chosen], [config.seed, 2, step])
        kept = few_patches(pool.dense[chosen], config.few, rng)
        with fast():
            with torch.no_grad():
                features = tower_features(tower, pixels(pool.images[chosen], rng))
            visual = model.model.multi_modal_projector(features)
            naming = naming_loss(model, visual, words, pool.dense[chosen])
            logits = packed_logits(model, visual, packed, kept)
        loss, right = answer_loss(logits, packed)
        loss = loss + 0.2 * naming
        return (
            loss,
            lambda: (
                f"right {right:.3f} questions {packed.segment.amax(1).float().mean():.1f}"
                + (f" {evaluate(model, packer)}" if step % 200 == 199 else "")
            ),
        )

    named = language_parameters(model)
    Stage("language", config.language_steps, {"muon": 3e-3, "adamw": 2e-3}, {"model": model}, named, config).run(
        loss_of
    )


def layout_chances(pool: Pool) -> np.ndarray:
    """The probability of sampling each scene, (n,). Numbers are more frequent, because the model reads them worst."""
    layouts = np.array([scene.layout for scene in pool.scenes])
    chances = np.zeros(len(layouts))
    for layout, share in {"objects": 0.25, "diagram": 0.15, "signs": 0.3, "number": 0.3}.items():
        chances[layouts == layout] = share / max(1, (layouts == layout).sum())
    return chances / chances.sum()


def sparse_patches(dense: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Patch dropout: indices of the patches that stay, (B, K).

    Up to half of the patches that show things are dropped, and any share of the background. A model that always saw
    every thing on its background cannot read digits alone: it reads 42 % of them, and 85 % on the whole image
    (docs/log.md). Large VLMs are not so brittle.
    """
    thing, chance = dense[..., 0] > 0, rng.random(dense.shape[:2])
    kept = np.where(thing, chance > rng.uniform(0, 0.5), chance < rng.uniform() ** 2)
    order = np.argsort(~kept + 0.9 * rng.random(kept.shape), axis=1)[:, : kept.sum(1).max()]
    return torch.from_numpy(np.sort(order, axis=1))


def joint_patches(step: int, dense: np.ndarray, rng: np.random.Generator, config: Config) -> Tensor | None:
    """Indices of few patches; None, for all of them, in the last sixth of the steps."""
    return few_patches(dense, config.few, rng) if step < config.joint_steps * 5 // 6 else None


def train_all(
    model: LlavaForConditionalGeneration, heads: nn.Linear, pool: Pool, packer: Packer, config: Config, sparse: bool
) -> None:
    """Train everything: the joint stage, or the sparse stage at half the rate.

    The tower learns what answers need, and its dense labels continue.
    """
    tower, chances = compiled_tower(model), layout_chances(pool)
    name, steps, stream, scale = (
        ("sparse", config.sparse_steps, 4, 0.5) if sparse else ("joint", config.joint_steps, 3, 1)
    )

    def loss_of(step: int):  # type: ignore[no-untyped-def]
        seed = [config.seed, stream, step]
        rng = np.random.default_rng(seed)
        chosen = rng.choice(len(pool.images), config.batch, p=chances)
        packed = packer.pack([pool.scenes[i] for i in chosen], seed)
        shown = pool.dense[chosen]
        kept = sparse_patches(shown, rng) if sparse else joint_patches(step, shown, rng, config)
        with fast():
            features = tower_features(tower, pixels(pool.images[chosen], rng))
            told = heads(features)
            logits = packed_logits(model, model.model.multi_modal_projector(features), packed, kept)
        loss, right = answer_loss(logits, packed)
        dense, _ = dense_loss(told.float(), torch.from_numpy(shown).long())
        return (
            loss + 0.1 * dense,
            lambda: (
                f"right {right:.3f} answer {loss:.3f} dense {dense:.3f}"
                + (f" {evaluate(model, packer)}" if step % 200 == 199 else "")
            ),
        )

    named = list(model.named_parameters()) + [(f"heads.{n}", p) for n, p in heads.named_parameters()]
    rates = {"muon": scale * 2e-3, "adamw": scale * 1e-3}
    Stage(name, steps, rates, {"model": model, "heads": heads}, named, config).run(loss_of)


@torch.no_grad()
def evaluate(model: LlavaForConditionalGeneration, packer: Packer, split: str = "dev", count: int = 150) -> str:
    """Exact-match accuracy of greedy answers by benchmark, from one teacher-forced forward per item."""
    accuracy, packer = {}, Packer(packer.tokenizer, 40, packer.prefix)
    for name in benchmarks.composed():
        right = []
        for start in range(0, count, 50):
            items = [benchmarks.example(name, split, i) for i in range(start, start + 50)]
            values = pixels(np.stack([np.asarray(item.image) for item in items]))
            packed = packer.pack_questions([[benchmarks.Question(item.question, item.answers[0])] for item in items])
            with fast():
                features = tower_features(model.model.vision_tower, values)
                logits = packed_logits(model, model.model.multi_modal_projector(features), packed)
            right.append(((logits.argmax(-1) == packed.target) | (packed.target == IGNORE)).all(1).float())
        accuracy[name] = torch.cat(right).mean().item()
    mean = sum(accuracy.values()) / len(accuracy)
    return f"{split} mean {mean:.3f} " + " ".join(f"{n}={v:.2f}" for n, v in accuracy.items())


def main(config: Config) -> None:
    processor = build_processor()
    tokenizer = processor.tokenizer
    model = build_model(len(tokenizer), config.seed, config.width)
    model.set_attn_implementation("sdpa")
    packer = Packer(tokenizer, config.text_length, prefix=2 + 196)
    print(f"composing {config.scenes} scenes", flush=True)
    pool = make_pool("train", config.scenes)
    heads = nn.Linear(128, sum(DENSE.values()))
    train_tower(model, heads, pool, config)
    train_language(model, pool, packer, config)
    train_all(model, heads, pool, packer, config, sparse=False)
    train_all(model, heads, pool, packer, config, sparse=True)
    print(evaluate(model, packer, count=500), flush=True)
    model.to(torch.bfloat16).save_pretrained(config.out / "checkpoint")
    processor.save_pretrained(config.out / "checkpoint")


if __name__ == "__main__":
    main(tyro.cli(Config))
