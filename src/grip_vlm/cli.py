"""grip-vlm COMMAND: finds the command, parses its flags, and turns a user's mistake into one line and an exit code."""

import ast
import contextlib
import io
import re
import sys
from typing import Any

from grip_vlm import __version__, registry

EXTRAS = {"sklearn": "scenes", "matplotlib": "plot"}  # package -> the extra that brings it


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
    """End with one line on stderr."""
    print(f"grip-vlm: {message}", file=sys.stderr)
    raise SystemExit(code) from None


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
    try:
        command = parse(given[0], given[1:])
        if hasattr(command, "vlm"):
            # transformers' progress bar for the loading of weights would stand before an error's one line.
            from transformers.utils import logging

            logging.disable_progress_bar()
        command.run()
    except (ValueError, FloatingPointError, OSError) as error:
        fail(" ".join(str(error).split()))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        fail(f"{package} is missing; pip install 'grip-vlm[{EXTRAS[package]}]'")
    except KeyboardInterrupt:
        fail("interrupted; the same command goes on where it was", 130)


if __name__ == "__main__":
    main()
