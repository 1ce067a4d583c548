"""The page: an image, a question and a number of tokens; the answers of full and pruned side by side (Gradio)."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from grip_vlm.images import open_image
from grip_vlm.memory import is_out_of_memory
from grip_vlm.registry import PACKAGE
from grip_vlm.serving import cards
from grip_vlm.serving.choices import Choice
from grip_vlm.serving.comparison import Shown, command_line, count_tokens, offers_auto, show
from grip_vlm.serving.uploads import Uploads

EXAMPLES = PACKAGE / "assets" / "examples"
HOUR = 3600  # seconds: no upload is kept longer, even if its session never ends
LONGEST_QUESTION = 2000  # characters
SHARE = 0.1  # of the tokens, where the slider begins
CPU_OR_GPU = "vlm"  # one answer at a time: the clocks would measure the neighbours otherwise


@dataclass(frozen=True)
class Page:
    """What the events of a page do. Nothing of a session is kept here but the names of its files."""

    choices: Mapping[str, Choice]
    uploads: Uploads

    def look(self, image: Mapping[str, Any] | None, name: str, before: float, most: int, request: gr.Request) -> Any:
        """A new image or another VLM: the slider's end, no answers, and what is wrong with the image."""
        try:
            self.uploads.hold(str(request.session_hash), None if image is None else path_of(image))
            if image is None:
                return gr.skip(), most, "", "", terminal(""), None
            tokens = count_tokens(self.choices[name].vlm, read(image))
        except (ValueError, OSError) as error:
            return gr.skip(), most, cards.problem(sentence(error)), "", terminal(""), None
        value = max(1, round(tokens * (before / most if most else SHARE)))
        slider = gr.Slider(maximum=max(tokens, 2), value=min(value, tokens))
        return slider, tokens, "", "", terminal(""), None

    def leave(self, request: gr.Request) -> None:
        """The end of a session: its image goes."""
        self.uploads.hold(str(request.session_hash), None)

    def methods(self, name: str, method: str) -> Any:
        """Another VLM: its methods."""
        texts = list(self.choices[name].methods)
        return gr.Dropdown(choices=texts, value=method if method in texts else texts[0])

    def budgets(self, name: str, method: str, auto: bool) -> Any:
        """Another method: whether it can decide the number of tokens by itself."""
        offered = method in self.choices[name].methods and offers_auto(self.choices[name].methods[method])
        return gr.Checkbox(visible=offered, value=auto and offered), gr.Slider(interactive=not (auto and offered))

    def answer(
        self, image: Any, question: str, name: str, method: str, tokens: float, auto: bool, known: Any
    ) -> Iterator[Any]:
        """(what is wrong, cards, command, full answer with what was asked): first without, then with the pruned one."""
        try:
            choice = self.choices[name]
            if method not in choice.methods:
                raise ValueError(f"{name!r} has no method {method!r}; choose from {', '.join(choice.methods)}")
            if image is None:
                raise ValueError("there is no image yet; choose a file or one of the examples")
            question = question.strip()
            if not question:
                raise ValueError("there is no question yet; write one below the image")
            if len(question) > LONGEST_QUESTION:
                raise ValueError(f"the question has {len(question)} characters; {LONGEST_QUESTION} are allowed")
            asked = (image["path"], question, name)
            picture, budget = read(image), "auto" if auto else str(int(tokens))
            full: Shown = known[1] if known and known[0] == asked else show(choice.vlm, picture, question, None, "1.0")
            yield "", cards.cards(question, full, None, method), terminal(""), (asked, full)
            pruned = show(choice.vlm, picture, question, choice.methods[method], budget)
            line = command_line(name, choice.dtype, method, name_of(image), question, budget)
            yield "", cards.cards(question, full, pruned, method), terminal(line), (asked, full)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            if not isinstance(error, (ValueError, OSError)) and not is_out_of_memory(error):
                raise
            yield cards.problem(sentence(error)), "", terminal(""), None


def path_of(image: Mapping[str, Any]) -> Path:
    """The file of an upload, which Gradio has checked to be one of its own. Raises ValueError if it is gone."""
    path = Path(image.get("path") or "")
    if not path.is_file():
        raise ValueError(f"the image {name_of(image)!r} is no longer here; choose it again")
    return path


def name_of(image: Mapping[str, Any]) -> str:
    """What the user calls the file of an upload."""
    return str(image.get("orig_name") or Path(image.get("path") or "").name or "image")


def read(image: Mapping[str, Any]) -> Image.Image:
    """The image of an upload. Raises ValueError if it is none; the message names the user's file, not the server's."""
    return open_image(name_of(image), content=path_of(image).read_bytes())


def terminal(line: str) -> Any:
    """The command for a terminal; hidden while there is none."""
    return gr.Code(value=line, visible=bool(line))


def sentence(error: BaseException) -> str:
    """An error as a sentence of the page."""
    if is_out_of_memory(error):
        return "The memory is not enough for this image; try a smaller one."
    text = " ".join(str(error).split()) or type(error).__name__
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def examples() -> list[list[str]]:
    """[image file, question] of the examples that come with the package."""
    rows = json.loads((EXAMPLES / "questions.json").read_text(encoding="utf-8"))
    return [[str(EXAMPLES / row["image"]), row["question"]] for row in rows]


def build(choices: Mapping[str, Choice], queue: int) -> gr.Blocks:
    """The page.

    Args:
        choices: the VLMs by name, at least one.
        queue: how many questions may wait; those beyond are refused with a sentence.
    """
    page = Page(choices, Uploads([Path(path) for path, _ in examples()]))
    first = next(iter(choices))
    texts = list(choices[first].methods)
    with gr.Blocks(title="grip-vlm", analytics_enabled=False, delete_cache=(60, HOUR)) as blocks:
        gr.Markdown("# grip-vlm\nAsk about an image, and see how few visual tokens are enough for the same answer.")
        full, most = gr.State(None), gr.State(0)
        with gr.Row():
            with gr.Column():
                image = gr.Image(label="Image", sources=["upload", "clipboard"], height=300, elem_id="image")
                question = gr.Textbox(label="Question", max_length=LONGEST_QUESTION, elem_id="question")
                gr.Examples(
                    examples(), [image, question], example_labels=[text for _, text in examples()], label="Examples"
                )
            with gr.Column():
                name = gr.Dropdown(list(choices), value=first, label="VLM", visible=len(choices) > 1, elem_id="vlm")
                method = gr.Dropdown(texts, value=texts[0], label="Method", elem_id="method")
                tokens = gr.Slider(1, 100, value=10, step=1, label="Visual tokens to keep", elem_id="tokens")
                auto = gr.Checkbox(
                    label="auto: as many tokens as the question needs",
                    visible=offers_auto(choices[first].methods[texts[0]]),
                    elem_id="auto",
                )
                ask = gr.Button("Answer", variant="primary", elem_id="ask")
                wrong = gr.HTML(elem_id="wrong", padding=False)
                answers = gr.HTML(elem_id="answers", padding=False)
                command = gr.Code(
                    label="The same in a terminal", language="shell", interactive=False, wrap_lines=True,
                    show_line_numbers=False, lines=1, elem_id="command", visible=False,
                )  # fmt: skip
        shown = [wrong, answers, command, full]
        looked = {"fn": page.look, "inputs": [image, name, tokens, most], "outputs": [tokens, most, *shown]}
        # Gradio would open an image by itself before a function is called, and a bad one would give no sentence.
        unread = {"preprocess": False, "api_visibility": "private"}
        quiet = {**unread, "show_progress": "hidden"}
        image.change(**looked, **quiet)
        name.change(**looked, **quiet)
        name.change(page.methods, [name, method], method, **quiet)
        gr.on([name.change, method.change, auto.input], page.budgets, [name, method, auto], [auto, tokens], **quiet)
        gr.on(
            [ask.click, question.submit, tokens.release],
            page.answer,
            [image, question, name, method, tokens, auto, full],
            shown,
            **unread,
            trigger_mode="always_last",
            concurrency_limit=1,
            concurrency_id=CPU_OR_GPU,
        )
        blocks.unload(page.leave)
    return blocks.queue(max_size=queue, api_open=False)


def serve(blocks: gr.Blocks, host: str, port: int, megabytes: int, wait: bool = True) -> str:
    """Serve a page and wait until it is interrupted; with `wait` false, return its address at once.

    Nothing is fetched from elsewhere and nothing is reported: no fonts, no share link, no counts of visitors.

    Raises:
        OSError: the port is taken.
    """
    fonts = ["system-ui", "sans-serif"], ["ui-monospace", "monospace"]
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        max_file_size=f"{megabytes}mb",
        footer_links=[],
        ssr_mode=False,
        enable_monitoring=False,
        theme=gr.themes.Default(font=fonts[0], font_mono=fonts[1]),
        css=cards.STYLE,
    )
    print(f"the page is at {address}; Ctrl-C ends it")
    if wait:
        blocks.block_thread()
    return str(address)
