"""grip-vlm COMMAND: finds the command, parses its flags, and turns a user's mistake into one line and an exit code."""

import ast
import contextlib
import io
import re
import signal
import sys
import threading
from typing import Any

from grip_vlm import __version__, registry
from grip_vlm.memory import is_out_of_memory

SMALLER = "try a smaller --batch or --micro-batch, --dtype bfloat16, or --max-pixels if the command has it"
SERVE = dict.fromkeys(("fastapi", "httpx", "prometheus_client", "starlette", "uvicorn"), "serve")
BATCH = dict.fromkeys(("pyarrow", "ray"), "batch")
# package -> the extra that brings it
EXTRAS = {"sklearn": "scenes", "matplotlib": "plot", "gradio": "page", **SERVE, **BATCH}


def overview() -> str:
    """The text of `grip-vlm --help`. No command is imported for it."""
    lines = []
    for name in registry.names("commands"):
        source = (registry.PACKAGE / "commands" / f"{name}.py").read_text(encoding="utf-8")
        lines.append(f"  {name:<10} {ast.get_docstring(ast.parse(source))}")
    usage = "usage: grip-vlm COMMAND [flags]; `grip-vlm COMMAND --help` explains the flags"
    return "\n".join([usage, "", "commands:", *lines])


def parse(name: str, arguments: list[str]) -> Any:
    """The command called `name` with its flags. An error panel of tyro's parser becomes one line."""
    import tyro

    command = registry.load("commands", name, "command").Command
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(command, args=arguments, prog=f"grip-vlm {name}")
    except SystemExit as stop:
        panel = "".join(character for character in printed.getvalue() if character not in "│╭╮╰╯─")
        words = [word for word in panel.split() if word.strip("-+|")]  # without Unicode, panels are ASCII
        if stop.code:
            # tyro puts the place of the error in front of a configuration's own message.
            fail(re.sub(r"^Value error Error parsing [^ ]+: ", "", " ".join(words)))
        raise


def fail(message: str, code: int = 2) -> None:
    """End with one line on stderr. Characters that a terminal would obey, or cannot show, are escaped."""
    shown = "".join(part if part.isprintable() else part.encode("unicode_escape").decode() for part in message)
    print(f"grip-vlm: {shown}", file=sys.stderr)
    raise SystemExit(code) from None


def message_of(error: BaseException) -> str:
    """An error's message on one line; an error without one gives its type."""
    return " ".join(str(error).split()) or type(error).__name__


class Terminated(KeyboardInterrupt):
    """SIGTERM: it ends the command where an interrupt from the keyboard would."""


def terminate(number: int, frame: object) -> None:
    """The handler of SIGTERM."""
    raise Terminated


def main(arguments: list[str] | None = None) -> None:
    """The command line. Errors of the user end with exit code 2 and one line on stderr."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] in (["--help"], ["-h"]):
        print(overview())
        raise SystemExit(0)
    if given[:1] == ["--version"]:
        print(__version__)
        raise SystemExit(0)
    if not given:
        fail(f"a command is missing; choose from {', '.join(registry.names('commands'))}")
    before = signal.signal(signal.SIGTERM, terminate) if threading.current_thread() is threading.main_thread() else None
    try:
        command = parse(given[0], given[1:])
        if hasattr(command, "vlm"):
            # transformers' progress bar for the loading of weights would stand before an error's one line.
            from transformers.utils import logging

            logging.disable_progress_bar()
        command.run()
    except (ValueError, FloatingPointError, OSError) as error:
        fail(message_of(error))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fail(f"out of memory ({message_of(error).partition('. ')[0]}); {SMALLER}")
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        fail(f"{package} is missing; pip install 'grip-vlm[{EXTRAS[package]}]'")
    except Terminated:
        fail("terminated; the same command goes on where it was", 143)
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on where it was", 130)
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    main()
