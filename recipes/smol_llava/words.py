"""Which words apply to a patch, as points among the language model's own embeddings."""

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from grip_vlm.benchmarks.spread import VOCABULARIES
from smol_llava.tower import weight_of

PLAIN = {"photograph": "photo", "character": "letter", "shaft": "arrow", "head": "arrow head", "bar top": "top"}
SHARPNESS, BIAS = 20.0, -4.0  # of the cosine between a patch and a word


def spoken(field: str, name: str) -> list[str]:
    """How a class is written in a question or an answer."""
    word = PLAIN.get(name, name)
    return [word] if name.isdigit() else [word, f" {word}"]


@torch.no_grad()
def word_points(words: Tensor, tokenizer: PreTrainedTokenizerBase) -> Tensor:
    """A unit vector for every class of every field but the ground, (classes, D): the mean embedding of its tokens."""
    centre, points = words.float().mean(0), []
    for field, names in VOCABULARIES.items():
        if field == "ground":
            continue
        for name in names:
            tokens = [i for text in spoken(field, name) for i in tokenizer(text, add_special_tokens=False).input_ids]
            points.append(words[tokens].float().mean(0) - centre)
    return F.normalize(torch.stack(points), dim=-1)


def naming_loss(visual: Tensor, points: Tensor, labels: Tensor) -> Tensor:
    """Every patch is near the words that apply to it, and far from the others: the alignment stage of LLaVA, with words
    instead of captions.

    Args:
        visual: what the projector makes of patches, (B, N, D).
        points: what `word_points` gives.
        labels: (B, N, fields).
    """
    fields = [name for name in VOCABULARIES if name != "ground"]
    hot = [
        F.one_hot(labels[..., i], 1 + len(VOCABULARIES[name]))[..., 1:]
        for i, name in enumerate(VOCABULARIES)
        if name in fields
    ]
    target = torch.cat(hot, dim=-1).float()  # (B, N, classes)
    logits = SHARPNESS * F.normalize(visual.float(), dim=-1) @ points.T + BIAS
    weight = weight_of(labels)[..., None]  # (B, N, 1)
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).mean()
