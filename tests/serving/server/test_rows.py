"""Rows of a running batch: where each ends, and what of its text is certain."""

import json

import torch

from grip_vlm.serving.server.messages import Ask, Done, Failed, Piece
from grip_vlm.serving.server.rows import Rows, certain_part
from grip_vlm.serving.server.sse import Stream

END = 0


class Letters:
    """A tokenizer whose tokens are characters; the end token is special."""

    def decode(self, tokens, skip_special_tokens):
        return "".join(chr(token) for token in tokens if token != END)


def grow(asks, texts, cancelled=()):
    """Feed texts of equal length, character by character; (rows, pieces, what `Rows` said after each step)."""
    pieces, said = [], []
    rows = Rows(asks, Letters(), {END}, pieces.append, lambda: set(cancelled))
    tokens = torch.tensor([[ord(c) for c in text] for text in texts])
    for length in range(1, tokens.shape[1] + 1):
        said.append(rows(tokens[:, :length]))
    return rows, pieces, said


def ask(number, until=(), limit=99, stream=False):
    return Ask(number, [], 1.0, until, limit, stream=stream)


def test_each_row_ends_at_its_own_end_length_or_stop_string():
    asks = [ask(1), ask(2, limit=3), ask(3, until=("cd",)), ask(4)]
    rows, _, said = grow(asks, ["ab\0\0\0\0", "abcdef", "abcdef", "abcde\0"])
    assert rows.texts == ["ab", "abc", "ab", "abcde"]
    assert rows.reasons == ["stop", "length", "stop", "stop"]
    assert rows.lengths == [2, 3, 4, 5]
    assert said[2] == [True, True, False, False]
    assert said[-1] == [True] * 4


def test_a_row_for_which_nobody_waits_ends_at_once():
    rows, _, said = grow([ask(1), ask(2)], ["abc", "abc"], cancelled=[2])
    assert said[0] == [False, True]
    assert rows.reasons[1] == "cancelled"


def test_pieces_hold_back_what_may_still_change():
    _, pieces, _ = grow([ask(7, until=("!?",), stream=True)], [" a b! c!?d"])
    assert [piece.text for piece in pieces] == ["a", "a", "a b", "a b", "a b!", "a b! c", "a b! c"]
    assert certain_part("x\N{REPLACEMENT CHARACTER}", ()) == "x"


def deltas(stream, *events):
    chunks = [chunk for event in events for chunk in stream.chunks(event, False)]
    bodies = [json.loads(chunk.removeprefix("data: ")) for chunk in chunks if "[DONE]" not in chunk]
    return [body["error"]["message"] if "error" in body else body["choices"][0]["delta"] for body in bodies]


def done(text):
    return Done(1, text, "stop", 0, 0, 0, 3, 2)


def test_an_answer_begun_again_is_not_sent_twice():
    told = deltas(Stream("", 0, "", ""), Piece(1, "a"), Piece(1, "abc"), Piece(1, "a"), Piece(1, "abcd"), done("abcde"))
    assert "".join(delta.get("content", "") for delta in told) == "abcde"
    assert told[0] == {"role": "assistant", "content": ""}
    assert told[-1] == {}


def test_an_answer_begun_again_that_differs_ends_in_a_sentence():
    assert "please ask again" in deltas(Stream("", 0, "", ""), Piece(1, "abc"), done("abd"))[-1]
    assert deltas(Stream("", 0, "", ""), Piece(1, "a"), Failed(1, 503, "no worker"))[-1] == "no worker"
