"""Generations that lose tokens inside the language model, and the whole sequence with masked keys to compare with."""

from contextlib import contextmanager

import torch
from toolkit.families import calm, longer_types

from grip_vlm import vlms
from grip_vlm.mdp import Action, Schedule
from grip_vlm.sequence import follow_up
from grip_vlm.vlms.inside import leaving

KEEP = {1: torch.tensor([9, 6]), 2: torch.tensor([2, 5])}  # of two rows, at two of three layers


def start(vlm, inputs):
    """The encoded batch, inputs that keep all, and which of them are visual."""
    encoded = vlm.encode(inputs)
    whole = vlm.pruned(encoded.prompt, Action(encoded.state.visual_mask), forward=False)
    visual = torch.zeros_like(whole["input_ids"], dtype=torch.bool)
    for row, slots in enumerate(encoded.prompt.slots):
        visual[row, slots[slots >= 0]] = True
    return encoded.prompt, whole, visual


def last_token(visual):
    return (torch.arange(visual.shape[1]) == visual.shape[1] - 1).expand_as(visual)


def run(family, inputs, keep=KEEP, early=0, **how):
    """One generation that loses tokens: what `generate` returns, the walk, and the inputs."""
    prompt, whole, visual = start(vlms.wrap(family.model), inputs)
    queries = last_token(visual)
    with leaving(family.model, prompt, whole, visual, queries, Schedule(keep, queries, early)) as walk:
        out = family.model.generate(**whole, **calm(family, return_dict_in_generate=True, output_logits=True, **how))
    return out, walk, whole


def columns(left, length):
    """(B, S_l) columns -> (B, length) bool, true for what comes after the prompt."""
    rows = torch.zeros(len(left[0]), length, dtype=torch.bool)
    for row, mine in enumerate(left[0]):
        rows[row, mine[mine >= 0]] = True
    rows[:, left[1] :] = True
    return rows


@contextmanager
def masked_keys(model, keys):
    """Reference: layer l attends, causally, to `keys[l]` (B, T) alone; the sequence stays whole."""

    def mask(allowed):
        def hook(_, args, kwargs):
            length = allowed.shape[1]
            sees = torch.ones(length, length).tril().bool() & allowed[:, None, None]  # (B, 1, T, T)
            return args, {**kwargs, "attention_mask": torch.zeros(sees.shape).masked_fill(~sees, -1e30)}

        return hook

    layers = model.base_model.get_decoder().layers
    hooks = [layer.register_forward_pre_hook(mask(k), with_kwargs=True) for layer, k in zip(layers, keys, strict=True)]
    yield
    for hook in hooks:
        hook.remove()


def recomputed(family, inputs, sequences, left, steps):
    """Logits of every step from the whole sequence without a cache."""
    _, whole, _ = start(vlms.wrap(family.model), inputs)
    longer = follow_up(whole, sequences, torch.zeros(len(sequences), 0, dtype=torch.long))
    longer |= longer_types(whole, sequences)
    length, prompt = sequences.shape[1], whole["input_ids"].shape[1]
    with masked_keys(family.model, [columns((one, prompt), length) for one in left]):
        out = family.model(**longer, mm_encoder_outputs=whole["mm_encoder_outputs"], use_cache=False)
    return out.logits[:, -steps - 1 : -1]
