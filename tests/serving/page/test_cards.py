"""Text of users and of models is shown as text."""

from PIL import Image

from grip_vlm.serving.cards import cards, problem
from grip_vlm.serving.comparison import Shown
from grip_vlm.vlms import Answer

EVIL = "<script>alert('x')</script>"


def test_markup_in_questions_answers_notes_and_methods_is_escaped():
    shown = Shown(Answer(EVIL, 10, 3, [0], 0.25), Image.new("RGB", (4, 4)), EVIL)
    html = cards(EVIL, shown, shown, EVIL) + problem(EVIL)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 7


def test_a_card_says_tokens_and_time():
    shown = Shown(Answer("B", 10, 3, [0], 0.25), Image.new("RGB", (4, 4)))
    assert "3 of 10 visual tokens, 250&nbsp;ms" in cards("?", shown, None, "grip")
