"""What the question is: the text of the last user turn, wherever it stands in the prompt.

If the user's words follow the last visual token of the turn, the question is all that follows it, to the end of the
prompt. This is the usual order, and what the scorers were trained on; it includes what the template writes after the
user's words. If no word of the user follows, the question is the text of the turn before and between its images, and
then all that follows the last one. If the turn has no image of its own, the question is the whole turn. System prompts
and earlier turns are not part of the question, as far as their borders are known.

The borders are tokens that end a turn; the model's configuration names them. A processor tells more: its chat template
shows which words are not the user's. Without a processor, words of the template may stay in the question. Without a
processor and without a token that ends a turn, only the length tells the template's words from the user's: the question
stands before the images if the text after them is no longer than a template's, and the text before them is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any

HEAD_LENGTH = 4  # tokens that a template may write before the user's


@dataclass(frozen=True)
class Template:
    """What is known about the tokens around the user's words."""

    ends: frozenset[int]
    """tokens that end a turn"""
    marks: frozenset[int]
    """tokens that are never the user's words"""
    closing: int = 0
    """how many more tokens may close an image"""
    tail_length: int = 0
    """how many tokens a template may write after the user's, where none of them ends a turn"""
    opening: tuple[int, ...] = ()
    """what the template writes before the user's words, from its last mark on"""
    tail: str = ""
    """the words that the template writes after the user's"""
    tokenizer: Any = None
    """None if there is no processor"""

    @classmethod
    def of_model(cls, model: Any, closing: int, tail_length: int) -> "Template":
        """What the model's configuration tells."""
        marks, ends = set[int](), set[int]()
        for config in (model.config, model.config.get_text_config(), getattr(model, "generation_config", None)):
            for name, value in vars(config).items() if config is not None else ():
                if name.endswith(("_token_id", "_token_index", "_token_ids")):
                    ids = {i for i in (value if isinstance(value, list) else [value]) if isinstance(i, int)}
                    marks |= ids
                    ends |= ids if name == "eos_token_id" else set()
        return cls(frozenset(ends), frozenset(marks), closing, tail_length)

    def with_processor(self, tokenizer: Any, texts: Sequence[str]) -> "Template":
        """What the chat template tells in addition.

        Args:
            texts: two prompts of the template, whose user says words with different tokens; or none.
        """
        special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        known = replace(self, marks=(self.marks | special) - {tokenizer.unk_token_id}, tokenizer=tokenizer)
        if not texts:
            return known
        one, two = (tokenizer(text, add_special_tokens=False).input_ids for text in texts)
        head, tail = shared(one, two), shared(one[::-1], two[::-1])[::-1]
        if len(head) + len(tail) >= min(len(one), len(two)):
            return known  # the tokenizer does not tell the two apart
        last = max((place for place, token in enumerate(head) if token in known.marks), default=0)
        return replace(known, opening=tuple(head[last:]), tail=known.words(tail).strip())

    def words(self, ids: Sequence[int]) -> str:
        """The text of tokens without marks."""
        text: str = self.tokenizer.decode([i for i in ids if i not in self.marks])
        return text

    def has_user_words(self, after: Sequence[int], before: Sequence[int]) -> bool:
        """Whether the user says something in what follows the last image.

        Args:
            before: the turn's tokens before its first image.
        """
        if self.tokenizer is not None:
            words = self.words(after).strip().removesuffix(self.tail)
            return any(letter.isalnum() or letter == "\N{REPLACEMENT CHARACTER}" for letter in words)
        turn = list(takewhile(lambda i: i not in self.ends, after))
        length, length_before = (sum(i not in self.marks for i in part) for part in (turn, before))
        if len(turn) < len(after):
            return length > self.closing
        return length > self.tail_length or length_before <= HEAD_LENGTH

    def turn(self, ids: Sequence[int], last: int) -> int:
        """Where the text of the last user turn begins in a prompt whose last visual token is at `last`, or -1."""
        ends = [place for place, token in enumerate(ids) if token in self.ends]
        start = self._after_opening(ids, ends)
        if start is not None:
            return start
        after = [place for place in ends if place > last]
        # Some templates end only the model's turns. Three ends are then as many turns of the model; in the others, they
        # are the ends of a user's turn, of the model's, and of the last user turn.
        before = ends[:-1] if len(after) >= 3 else [place for place in ends if place < last]
        return before[-1] + 1 if before else 0

    def _after_opening(self, ids: Sequence[int], ends: Sequence[int]) -> int | None:
        """Where the template's words before the last user turn end; None if they are not found."""
        size = len(self.opening)
        if not size:
            return None
        for place in range(len(ids) - size, -1, -1):
            if tuple(ids[place : place + size]) == self.opening:
                start = place + size
                break
        else:
            return None
        # A template that marks only the start of a conversation repeats its words without the mark after a turn's end.
        words = self.opening[1:] if self.opening[0] in self.marks else self.opening
        for place in ends:
            if place >= start and words and tuple(ids[place + 1 : place + 1 + len(words)]) == words:
                start = place + 1 + len(words)
        return start


def shared(one: Sequence[int], two: Sequence[int]) -> list[int]:
    """The tokens that both begin with."""
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, two, strict=False))]


def question_columns(ids: Sequence[int], visual: Sequence[int], template: Template) -> list[int]:
    """Columns of the question's tokens, ascending.

    Args:
        ids: a prompt without padding and without its answer.
        visual: columns of its visual tokens, ascending.
    """
    last = visual[-1] if visual else -1
    after = list(range(last + 1, len(ids)))
    if not visual:
        return after
    start = template.turn(ids, last)
    if start > last:
        return list(range(start, len(ids)))
    first = next(place for place in visual if place >= start)
    if template.has_user_words(ids[last + 1 :], ids[start:first]):
        return after
    taken = template.marks | {ids[place] for place in visual}
    return [place for place in range(start, last) if ids[place] not in taken] + after
