"""A checkpoint becomes a model and a processor, or a sentence that says why not. Models are unwrapped here as well.

Nothing of a checkpoint is run unless the caller asks for it: pickles are not loaded, and code of a repository needs
`trust_remote_code=True`. Nobody is asked a question on the terminal.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

# Checkpoints in the layout of their authors' own code, and where the same weights are in the layout of transformers.
CONVERTED = {
    "llava_llama": "llava-hf/llava-1.5-7b-hf, llava-hf/llava-1.5-13b-hf or llava-hf/llava-v1.6-vicuna-7b-hf",
    "llava_mistral": "llava-hf/llava-v1.6-mistral-7b-hf",
    "llava_qwen": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "internvl_chat": "OpenGVLab/InternVL3-8B-hf",
}
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def read_config(source: str, name: str, shipped: list[str], trust: bool) -> Any:
    """The configuration of a checkpoint.

    Args:
        source: a folder or a hub id.
        name: what the user called it.
        shipped: names of the VLMs that come with the package, for the message.
        trust: whether code of the repository may run.

    Raises:
        ValueError: there is none, or transformers does not know its type; the message gives transformers' own reason.
    """
    from transformers import AutoConfig, PreTrainedConfig

    try:
        raw, _ = PreTrainedConfig.get_config_dict(source)
    except Exception as error:  # what is no configuration reaches code of any kind
        if os.path.isfile(os.path.join(source, "config.json")):
            raise ValueError(f"the checkpoint {name!r} does not load: {first(error)}") from error
        raise ValueError(
            f"no VLM {name!r}: neither shipped ({', '.join(shipped)}), nor a checkpoint folder, nor a hub id that can "
            f"be reached"
        ) from error
    if not isinstance(raw, dict):
        raise ValueError(f"the checkpoint {name!r} does not load: its config.json is not an object")
    kind = raw.get("model_type")
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=trust)
    except Exception as error:  # a configuration's values reach code of any kind
        if kind is None:
            raise ValueError(
                f"the checkpoint {name!r} does not load: its config.json is missing or has no model_type"
            ) from error
        if isinstance(kind, str) and kind in CONVERTED:
            hint = f"; the same weights for transformers are {CONVERTED[kind]}"
        elif "auto_map" in raw and not trust:
            hint = "; pass trust_remote_code=True if you trust the code in it"
        else:
            hint = ""
        raise ValueError(f"the checkpoint {name!r} is of type {kind!r}{hint}; transformers: {first(error)}") from error


def load_model(source: str, name: str, device: str | torch.device | None, **options: Any) -> tuple[Any, Any]:
    """The frozen model, whose weights are all there and finite, and its processor.

    Args:
        source: a folder or a hub id.
        name: what the user called it.
        device: None leaves the model where `options` put it.
        options: for the model's `from_pretrained`.

    Raises:
        ValueError: it does not load.
    """
    from transformers import AutoModelForImageTextToText, AutoProcessor

    trust = options.setdefault("trust_remote_code", False)
    safe = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    try:
        with quiet():  # what the report on missing weights says, check_weights says in one sentence
            model, info = AutoModelForImageTextToText.from_pretrained(source, **{**safe, **options})
        processor = AutoProcessor.from_pretrained(source, backend="pil", trust_remote_code=trust)
    except Exception as error:  # files of a checkpoint reach code of any kind
        pickles = [file.name for kind in PICKLES for file in Path(source).glob(kind)]
        hint = f" (pickles, such as {pickles[0]}, are not loaded: they can run code)" if pickles else ""
        raise ValueError(f"the checkpoint {name!r} does not load: {first(error)}{hint}") from error
    check_weights(model, info, name)
    tokenizer = getattr(processor, "tokenizer", None)
    if tokenizer is None or len(tokenizer) <= len(tokenizer.added_tokens_decoder):
        raise ValueError(f"the checkpoint {name!r} does not load: its tokenizer has no tokens for text")
    model = model.eval().requires_grad_(False)
    return model if device is None else model.to(device), processor


def check_weights(model: Any, info: dict[str, Any], name: str) -> None:
    """Refuse a model with weights that are made up, NaN or infinite, or with fewer layers than its files have.

    Args:
        info: what `from_pretrained` reports of the loading. Weights that are tied to others do not count as missing.
    """
    missing, other = sorted(info["missing_keys"]), sorted(key[0] for key in info["mismatched_keys"])
    for what, keys in (("its files lack", missing), ("its config has other shapes for", other)):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            raise ValueError(
                f"the checkpoint {name!r} does not load: {what} {', '.join(keys[:3])}{more}; transformers would fill "
                "these weights with random numbers"
            )
    modules = dict(model.named_modules())
    for key in sorted(info["unexpected_keys"]):
        parent, layers, _ = key.partition(".layers.")
        if layers and hasattr(modules.get(parent), "layers"):
            raise ValueError(
                f"the checkpoint {name!r} does not load: its files have {key}, but by its config there are fewer layers"
            )
    for key, weight in model.named_parameters():
        # One pass over the weights: a sum is finite if all summands are.
        if weight.dtype in FLOATS and weight.device.type != "meta" and not weight.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"the checkpoint {name!r} does not load: {key} has values that are not finite")


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, transformers logs errors alone."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def first(error: Exception) -> str:
    """The first sentence of an error, as one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    sentence = re.split(r"(?<=[.!?]) ", text)[0]
    return sentence if len(sentence) <= 400 else sentence[:400] + " ..."


def unwrap(model: Any) -> Any:
    """The transformers model inside wrappers of torch.compile, DDP, FSDP, DataParallel and PEFT, in any order."""
    while True:
        if isinstance(getattr(model, "_orig_mod", None), torch.nn.Module):  # torch.compile
            model = model._orig_mod
        elif isinstance(getattr(model, "module", None), torch.nn.Module):  # DDP, FSDP, DataParallel, DeepSpeed
            model = model.module
        elif hasattr(model, "get_base_model"):  # PEFT
            model = model.get_base_model()
        else:
            return model
