"""Pack many questions about one image in one sequence: the image once, no question attending to another."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from grip_vlm.benchmarks import Question
from grip_vlm.benchmarks.scenes import Scene
from pool import questions

IGNORE = -100


@dataclass
class Packed:
    ids: Tensor  # (B, T) question, ASSISTANT:, answer, </s>, next question ...
    segment: Tensor  # (B, T) 1, 2, ... per question; 0 is padding
    position: Tensor  # (B, T) continues after the image in every segment
    target: Tensor  # (B, T) the next token where it belongs to an answer, else IGNORE


class Packer:
    """Tokenizes every question once, and packs as many as fit behind an image."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, length: int, prefix: int) -> None:
        self.tokenizer, self.length, self.prefix = tokenizer, length, prefix
        self.known: dict[str, list[int]] = {}

    def tokens(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.known[text]

    def pack(self, scenes: list[Scene], seed: list[int]) -> Packed:
        """As many questions about each scene as fit, sampled with `seed`."""
        asked = [questions(scene, np.random.default_rng([*seed, b])) for b, scene in enumerate(scenes)]
        return self.pack_questions(asked)

    def pack_questions(self, asked: list[list[Question]]) -> Packed:
        rows = np.zeros((4, len(asked), self.length), dtype=np.int64)
        rows[3] = IGNORE
        assistant, end = self.tokenizer.convert_tokens_to_ids(["ASSISTANT:", "</s>"])
        for b, row in enumerate(asked):
            at = 0
            for segment, question in enumerate(row, start=1):
                prompt = [*self.tokens(question.text), assistant]
                ids = [*prompt, *self.tokens(question.answer), end]
                if at + len(ids) > self.length:
                    break
                here = slice(at, at + len(ids))
                rows[0, b, here] = ids
                rows[1, b, here] = segment
                rows[2, b, here] = self.prefix + np.arange(len(ids))
                rows[3, b, at + len(prompt) - 1 : at + len(ids) - 1] = ids[len(prompt) :]
                at += len(ids)
        return Packed(*(torch.from_numpy(row) for row in rows))


def packed_logits(
    model: LlavaForConditionalGeneration, visual: Tensor, packed: Packed, kept: Tensor | None = None
) -> Tensor:
    """Logits of every text position, (B, T, vocabulary).

    Args:
        visual: (B, N, D) features after the projector.
        kept: (B, K) patches that enter the sequence, at their own positions; None for all.
    """
    if kept is None:
        kept = torch.arange(visual.shape[1]).expand(len(visual), -1)
    visual = visual.gather(1, kept[..., None].expand(-1, -1, visual.shape[-1]))
    language = model.model.language_model
    start = packed.ids.new_tensor([[1, 4]]).expand(len(visual), -1)  # <s> USER:
    embeddings = language.embed_tokens(torch.cat([start, packed.ids], dim=1)).to(visual.dtype)
    sequence = torch.cat([embeddings[:, :2], visual, embeddings[:, 2:]], dim=1)  # (B, 2 + N + T, D)
    prefix = 2 + visual.shape[1]
    segment = nn.functional.pad(packed.segment, (prefix, 0))  # (B, L); 0 is the image, which every token may attend to
    segment[:, prefix:].masked_fill_(packed.segment == 0, -1)
    length = sequence.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    seen = causal & ((segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None]))
    mask = torch.zeros(seen.shape).masked_fill_(~seen, -1e4)[:, None].to(sequence.dtype)  # (B, 1, L, L)
    before = torch.cat([torch.tensor([[0, 1]]).expand(len(visual), -1), 2 + kept], dim=1)
    hidden = language(
        inputs_embeds=sequence,
        attention_mask=mask,
        position_ids=torch.cat([before, packed.position], dim=1),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[:, prefix:])
