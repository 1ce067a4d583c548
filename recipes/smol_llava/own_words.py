"""What the language model says without an image, so that training on images does not change it.

Its own greedy answers to everyday questions are written down before training, and every tenth step teaches them again.
"""

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from grip_vlm.files import write_text
from smol_llava.build import CHAT_TEMPLATE
from smol_llava.language import Language
from smol_llava.packing import END

ASKED = """What is the capital of France?|Name three fruits.|How many days has a week?|Write a sentence about the sea.
What is two plus three?|Who wrote Romeo and Juliet?|What colour is the sky on a clear day?|Explain what a star is.
Give me a synonym of happy.|What do bees make?|Which planet is the largest?|How do I boil an egg?|What is a triangle?
Translate "good morning" into French.|What is the opposite of hot?|Tell me a short joke.|At what heat does water boil?
Name a mammal that lives in the sea.|What is photosynthesis?|Write a title for a story about a dragon.|What is a noun?
Where do penguins live?|What is the past tense of go?|Count from one to ten.|What do you call a baby cat?
Which language is spoken in Brazil?|What is gravity?|Give me advice for sleeping well.|What is an arrow used for?
List the primary colours.|What is the largest ocean?|How many legs has a spider?|What is bread made of?
Write a polite greeting.|What is a computer?|Which season follows winter?|What is the square root of nine?
Why do leaves fall in autumn?|What is the currency of Japan?|Name an instrument with strings.|What is a democracy?
Finish the sentence: The cat sat on|How long is an hour?|What is the meaning of brave?|Name two countries in Africa.
What is a rainbow?|Who painted the Mona Lisa?|What is the freezing point of water?|Recommend a book for children.
How do plants drink?|What is ten times ten?|Describe an apple.|What is a bar chart?|What is the alphabet?
Which animal is known as the king of the jungle?|What is the moon?|Write one line of a poem about rain."""
QUESTIONS = [question.strip() for line in ASKED.splitlines() for question in line.split("|")]


def prompt_of(question: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens of a chat without an image, up to the model's turn."""
    turn = [{"role": "user", "content": question}]
    text = tokenizer.apply_chat_template(turn, chat_template=CHAT_TEMPLATE, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False).input_ids)


@torch.no_grad()
def write_down(
    path: Path, model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, length: int = 40
) -> list[tuple[list[int], list[int]]]:
    """Prompts and greedy answers of at most `length` tokens; read from `path` if they are there."""
    if not path.exists():
        prompts = [prompt_of(question, tokenizer) for question in QUESTIONS]
        longest, end = max(map(len, prompts)), tokenizer.convert_tokens_to_ids(END)
        padded = torch.tensor([[end] * (longest - len(prompt)) + prompt for prompt in prompts])
        real = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        answers = model.generate(padded, attention_mask=real, max_new_tokens=length, do_sample=False)[:, longest:]
        write_text(path, json.dumps([(p, ended(row, end)) for p, row in zip(prompts, answers.tolist(), strict=True)]))
    return [(prompt, answer) for prompt, answer in json.loads(path.read_text(encoding="utf-8"))]


def ended(ids: list[int], end: int) -> list[int]:
    """Up to the first `end`, which belongs to it."""
    return ids[: ids.index(end) + 1] if end in ids else ids


def words_loss(language: Language, pairs: list[tuple[list[int], list[int]]], length: int) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the answers written down, and the share of their tokens that come first.

    Args:
        length: of the rows, at least that of the longest pair; always the same one spares a compiler work.
    """
    ids, target = torch.zeros(len(pairs), length, dtype=torch.long), torch.full((len(pairs), length), -100)
    for row, (prompt, answer) in enumerate(pairs):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        target[row, len(prompt) - 1 : end - 1] = torch.tensor(answer)
    mask = torch.ones(length, length, dtype=torch.bool).tril().expand(len(pairs), -1, -1)
    hidden = language(language.embed(ids), torch.arange(length).expand(len(pairs), -1), mask)
    is_answer = target != -100
    logits = language.logits(hidden[is_answer])  # (answer tokens, vocabulary)
    return F.cross_entropy(logits, target[is_answer]), (logits.argmax(-1) == target[is_answer]).float().mean()
