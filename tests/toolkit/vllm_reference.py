"""What transformers keeps and answers, for the tests of the vLLM plug-in: `python tests/toolkit/vllm_reference.py OUT`.

`make test-vllm` runs it in the project's own environment, because vLLM wants an older transformers than pruning does.
OUT gets `cases.json`, the images, and a tiny checkpoint with a random scorer for each family with M-RoPE.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from grip_vlm import checkpoint, pruners, vlms
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.budget import Budget
from grip_vlm.mdp import Action
from grip_vlm.pruners.base import split, units_of
from grip_vlm.scorer import Scorer, ScorerConfig

BUDGETS = ("100%", "10%", "5%", "2%")
FAMILIES = ("qwen2_5_vl", "qwen3_vl")
QUESTIONS = 52
NEW = 8  # tokens of an answer, at most


@dataclass
class Case:
    """One request and what must come of it."""

    images: list[str]
    """files in OUT"""
    prompt: str
    """with one placeholder per image"""
    budget: str | int
    keywords: dict
    """more of `mm_processor_kwargs`"""
    kept: list[list[int]]
    """of each image"""
    columns: list[int]
    """of the grid of each image"""
    ids: list[int]
    """of the answer"""
    text: str


def ask(vlm, grip, images, prompt, budget, **generation) -> tuple[list[list[int]], list[int], list[int]]:
    """The tokens kept of each image, which is scored by itself, the columns of its grid, and the ids of the answer."""
    inputs = dict(vlm.processor(images=[images], text=[prompt], return_tensors="pt", add_special_tokens=False))
    encoded = vlm.encode({name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)})
    units = units_of(encoded.state, per_image=True)
    part = split(encoded, units)
    part = replace(part, state=replace(part.state, image=torch.zeros_like(part.state.image)))
    k = torch.tensor([Budget.parse(budget).k(len(tokens)) for _, tokens in units])
    chosen = grip.select(vlm, part, k).mask
    mask, kept, columns = torch.zeros_like(encoded.state.visual_mask), [], []
    for row, (_, tokens) in enumerate(units):
        mask[0, tokens] = chosen[row, : len(tokens)]
        kept.append(chosen[row].nonzero()[:, 0].tolist())
        columns.append(len(part.state.places[row, : len(tokens), 1].unique()))
    pruned = vlm.pruned(encoded.prompt, Action(mask), forward=False)
    out = vlm.model.generate(**pruned, max_new_tokens=NEW, do_sample=False, **generation)
    return kept, columns, out[0, pruned["input_ids"].shape[1] :].tolist()


def llava(out: Path) -> dict[str, list[Case]]:
    """The shipped VLM and scorer, on scenes."""
    vlm, grip = vlms.load("tiny-llava", device="cpu"), pruners.load("grip", scorer="tiny-llava")
    examples = load_examples("scenes", "test", QUESTIONS)
    for i, example in enumerate(examples):
        example.image.save(out / f"{i}.png")

    def case(images, content, budget, **keywords) -> Case:
        opened = [Image.open(out / f"{i}.png").convert("RGB") for i in images]
        prompt = vlm.render([{"role": "user", "content": content}], add_generation_prompt=True)
        kept, columns, ids = ask(vlm, grip, opened, prompt, budget)
        text = vlm.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
        return Case([f"{i}.png" for i in images], prompt, budget, keywords, kept, columns, ids, text)

    image = {"type": "image"}
    text = [{"type": "text", "text": example.question} for example in examples]
    return {
        "mixed": [case([i], [image, text[i]], budget) for i in range(QUESTIONS) for budget in BUDGETS],
        "cross": [case([i], [image, text[j]], budget) for i in range(5) for j in range(5) for budget in ("10%", 7)],
        "several": [case([i, i + 1], [image, image, text[i]], budget) for i in range(6) for budget in ("10%", "2%")],
        "before": [case([i], [text[i], image], "5%") for i in range(6)],
        "given": [case([i], [image, text[i]], "5%", question=text[i]["text"]) for i in range(6)],
    }


def grids(name: str, out: Path) -> dict[str, list[Case]]:
    """A tiny random model with M-RoPE and a random scorer, on noise of several sizes."""
    import tiny
    from tiny._tiny import noise
    from toolkit.families import LONG, QUESTION, calm

    torch.manual_seed(0)
    family = wide_heads(tiny.load(name))
    vlm = vlms.wrap(family.model, family.processor, name)
    folder = out / name
    family.model.save_pretrained(folder)
    save_processor(family, folder)
    scorer = Scorer(ScorerConfig(dim=vlm.dim, width=16))
    for weight in scorer.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    trained = checkpoint.Provenance(name, vlm.fingerprint(), "noise", "none", 0, 0.0, 0)
    checkpoint.save(folder / "scorer", scorer, trained)
    grip = pruners.load("grip", scorer=folder / "scorer")
    sizes = [(48, 32), (24, 40), (64, 64), (32, 56)]
    for i in range(8):
        noise(*sizes[i % 4], seed=i).save(out / f"{name}-{i}.png")
    generation = {key: value for key, value in calm(family).items() if key == "suppress_tokens"}

    def case(images, question, budget) -> Case:
        opened = [Image.open(out / f"{name}-{i}.png") for i in images]
        prompt = family.prompt(opened, question)
        kept, columns, ids = ask(vlm, grip, opened, prompt, budget, **generation)
        return Case([f"{name}-{i}.png" for i in images], prompt, budget, {}, kept, columns, ids, "")

    budgets = ("100%", "50%", "10%", 1)
    mixed = [case([i], q, budget) for i in range(8) for q in (QUESTION, LONG) for budget in budgets]
    several = [case([i, (i + 1) % 8], LONG, budget) for i in range(8) for budget in ("50%", 2)]
    return {"mixed": mixed, "several": several}


def wide_heads(family):
    """The family with two heads of 32 in place of four of 16, which vLLM's attention on the CPU does not know."""
    from tiny import settle

    config = family.model.config
    text = config.get_text_config()
    text.num_attention_heads, text.num_key_value_heads, text.head_dim = 2, 1, 32
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [8, 4, 4]}
    wide = replace(family, model=type(family.model)(config))
    settle(wide)
    return wide


def save_processor(family, folder: Path) -> None:
    """In the parts that `AutoProcessor` reads: the family's own object has a stand-in for the part for videos."""
    images, name = family.processor.image_processor, type(family.processor).__name__
    images.save_pretrained(folder)
    family.processor.tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings.pop("image_processor_type", None)
    kind = "Qwen3VLVideoProcessor" if name.startswith("Qwen3") else "Qwen2VLVideoProcessor"
    (folder / "preprocessor_config.json").write_text(
        json.dumps({**settings, "image_processor_type": "Qwen2VLImageProcessor", "processor_class": name})
    )
    (folder / "video_preprocessor_config.json").write_text(json.dumps({**settings, "video_processor_type": kind}))
    (folder / "chat_template.jinja").write_text(family.processor.chat_template)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    cases = {"llava": llava(out), **{name: grids(name, out) for name in FAMILIES}}
    plain = {
        name: {kind: [asdict(case) for case in some] for kind, some in kinds.items()} for name, kinds in cases.items()
    }
    (out / "cases.json").write_text(json.dumps(plain))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(Path(sys.argv[1]))
