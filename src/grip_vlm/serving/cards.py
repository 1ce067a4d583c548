"""The answers of a page as HTML: one card each, with its picture, text, tokens and time. Nothing is written to disk."""

import base64
from html import escape
from io import BytesIO

from PIL import Image

from grip_vlm.serving.comparison import Shown

# Two columns at every width: answers are read side by side on a phone, too.
STYLE = """
.cards { display: grid; grid-template-columns: 1fr 1fr; gap: 12px; }
.card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 8px; min-width: 0; }
.card h3 { margin: 0 0 6px; font-size: 1rem; }
.card img { width: 100%; border-radius: 4px; display: block; image-rendering: auto; }
.card .text { font-size: 1.25rem; font-weight: 600; margin: 8px 0 4px; overflow-wrap: anywhere; }
.card .cost, .card .note, .asked { margin: 0; font-size: .9rem; overflow-wrap: anywhere; }
.problem { border-left: 4px solid #c2410c; padding: 8px 12px; overflow-wrap: anywhere; }
#wrong:not(:has([role=alert])) { display: none; }
footer { display: none !important; }
"""


def problem(sentence: str) -> str:
    """What went wrong, as a line of the page; empty for no sentence."""
    return f'<div class="problem" role="alert">{escape(sentence)}</div>' if sentence else ""


def cards(question: str, full: Shown, pruned: Shown | None, method: str) -> str:
    """The two answers side by side.

    Args:
        pruned: None while it is computed.
        method: the name of the pruner.
    """
    second = '<p class="cost">answering ...</p>' if pruned is None else _body(pruned)
    return (
        f'<p class="asked">{escape(question)}</p><div class="cards">'
        f'<div class="card" id="full-card"><h3>all tokens</h3>{_body(full)}</div>'
        f'<div class="card" id="pruned-card"><h3>{escape(method)}</h3>{second}</div></div>'
    )


def _body(shown: Shown) -> str:
    answer = shown.answer
    note = f'<p class="note">{escape(shown.note)}</p>' if shown.note else ""
    return (
        f'<img src="{_data_uri(shown.picture)}" alt="the visual tokens kept">{note}'
        f'<p class="text">{escape(answer.text) or "(no text)"}</p>'
        f'<p class="cost">{answer.kept} of {answer.tokens} visual tokens, {1000 * answer.seconds:.0f}&nbsp;ms</p>'
    )


def _data_uri(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
