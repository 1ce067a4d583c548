"""Many questions about one image in one sequence: the image once, each question blind to the others."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerBase

from grip_vlm.benchmarks.spread import Question
from smol_llava import notes

IGNORE = -100
BEFORE = "<|im_start|>user\n"
END = "<|im_end|>"


@dataclass(frozen=True)
class Packed:
    """The text of B rows of T tokens, as the chat template writes each question behind the image."""

    ids: Tensor  # (B, T) question, answer, <|im_end|>, next question ...
    segment: Tensor  # (B, T) 1, 2, ... per question; 0 is padding
    place: Tensor  # (B, T) 0, 1, ... within the question
    target: Tensor  # (B, T) the next token where it belongs to an answer, else IGNORE


class Packer:
    """Writes questions as tokens, each text once."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, length: int) -> None:
        """
        Args:
            length: text tokens per image.
        """
        self.tokenizer, self.length = tokenizer, length
        self.known: dict[str, list[int]] = {}
        self.before = torch.tensor(self.tokens(BEFORE))  # (P,)

    def tokens(self, text: str) -> list[int]:
        if text not in self.known:
            self.known[text] = self.tokenizer(text, add_special_tokens=False).input_ids
        return self.known[text]

    def written(self, question: Question) -> tuple[list[int], list[int]]:
        """Tokens of the prompt behind the image, and of the answer; a note has neither the template nor an end."""
        if question.task == notes.TASK:
            return self.tokens(f"\n{question.text}\n"), self.tokens(question.answer)
        prompt = f"\n{question.text}{END}\n<|im_start|>assistant\n"
        return self.tokens(prompt), [*self.tokens(question.answer), *self.tokens(END)]

    def fitting(self, questions: list[Question]) -> list[Question]:
        """The first questions, as many as fit into one row."""
        left, kept = self.length, []
        for question in questions:
            left -= sum(map(len, self.written(question)))
            if left < 0:
                break
            kept.append(question)
        return kept

    def pack(self, asked: list[list[Question]]) -> Packed:
        """One row per image; what does not fit is left out."""
        ids, segment, place = (torch.zeros(len(asked), self.length, dtype=torch.long) for _ in range(3))
        target = torch.full_like(ids, IGNORE)
        for row, questions in enumerate(asked):
            at = 0
            for number, question in enumerate(self.fitting(questions), start=1):
                prompt, answer = self.written(question)
                end = at + len(prompt) + len(answer)
                ids[row, at:end] = torch.tensor([*prompt, *answer])
                segment[row, at:end] = number
                place[row, at:end] = torch.arange(end - at)
                target[row, at + len(prompt) - 1 : end - 1] = torch.tensor(answer)
                at = end
        return Packed(ids, segment, place, target)


@dataclass(frozen=True)
class Sequence:
    """What the language model reads."""

    embeddings: Tensor  # (B, L, D)
    positions: Tensor  # (B, L)
    mask: Tensor  # (B, L, L) True where row may see column


def assemble(before: Tensor, visual: Tensor, kept: Tensor, texts: Tensor, packed: Packed, patches: int) -> Sequence:
    """Turn opening, visual tokens that are kept, packed text: L = P + K + T, all at the positions of the whole image.

    Args:
        before: embeddings of BEFORE, (P, D).
        visual: (B, N, D) after the projector.
        kept: indices of visual tokens, rising, (B, K).
        texts: embeddings of `packed.ids`, (B, T, D).
        patches: N.
    """
    chosen = visual.gather(1, kept[..., None].expand(-1, -1, visual.shape[-1]))  # (B, K, D)
    rows, opening = len(visual), len(before)
    sequence = torch.cat([before.expand(rows, -1, -1), chosen.to(texts.dtype), texts], dim=1)
    first = torch.arange(opening).expand(rows, -1)
    positions = torch.cat([first, opening + kept, opening + patches + packed.place], dim=1)
    prefix = opening + kept.shape[1]
    segment = F.pad(packed.segment, (prefix, 0))  # (B, L); 0 is what all may see
    segment[:, prefix:].masked_fill_(packed.segment == 0, -1)
    length = sequence.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = causal & ((segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None]))
    return Sequence(sequence, positions, mask)
