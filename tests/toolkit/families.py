"""Tiny families, batches of them and references to compare with, for the tests of several folders."""

from functools import cache

import tiny
import torch

from grip_vlm import pruners

NAMES = tiny.names()
QUESTION, LONG = "what is in the image ?", "how many red circle are there in the image on the left ?"
RANDOM = pruners.load("random")
CLOSE = {"atol": 2e-4, "rtol": 1e-4}


@cache
def load(name):
    return tiny.load(name)


def calm(family, **how):
    """Five tokens, none of which stands for an image."""
    config = family.model.config
    visual = [getattr(config, f"{kind}_token_id", None) for kind in ("image", "video")]
    banned = [token for token in visual if token is not None and token < config.get_text_config().vocab_size]
    return {"max_new_tokens": 5, "do_sample": False, "suppress_tokens": banned, **how}


def batch_of(family, padding_side="left"):
    """Two rows of different lengths: two images and a long question, one image and a short one."""
    first, second = (family.images(2), LONG), (family.images(3)[2:], QUESTION)
    return family.inputs([first, second], padding_side), [family.inputs([first]), family.inputs([second])]


def full_positions(vlm, inputs):
    """Explicit positions of the unpruned sequence, as `forward` wants them."""
    attention = inputs["attention_mask"]
    positions = vlm.positions(inputs, attention)
    if positions.ndim == 3:
        positions = torch.cat([(attention.cumsum(1) - 1).clamp(min=0)[None], positions])
    return positions + vlm.forward_offset


def longer_types(inputs, sequences):
    """Token types of a prompt and of the text that followed it; PaliGemma calls what follows 1, the others 0."""
    types = {name: inputs[name] for name in ("token_type_ids", "mm_token_type_ids") if name in inputs}
    after = int("token_type_ids" in inputs and not (inputs["token_type_ids"] == 1).any())
    return {
        name: torch.nn.functional.pad(value, (0, sequences.shape[1] - value.shape[1]), value=after)
        for name, value in types.items()
    }


def left_on(model):
    return {
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "hooks": [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in model.modules()],
        "config": model.config.to_json_string(),
        "training": [module.training for module in model.modules()],
        "gradients": [weight.requires_grad for weight in model.parameters()],
    }
