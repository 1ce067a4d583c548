"""grip-vlm answer | warmup | train | ppo | evaluate | flops | pareto | list: the command line and its errors."""

import contextlib
import io
import re
import sys

import tyro

from grip_vlm.commands import Command

EXTRAS = {"sklearn": "scenes", "matplotlib": "plot"}  # package -> the extra that brings it


def _parse(arguments: list[str] | None) -> Command:
    """tyro's parser, with its error panel joined into one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Command, args=arguments, prog="grip-vlm")
    except SystemExit as stop:
        panel = "".join(character for character in said.getvalue() if character not in "│╭╮╰╯─")
        words = [word for word in panel.split() if word.strip("-+|")]  # where there is no Unicode, panels are ASCII
        if stop.code:
            # A configuration's own message comes behind tyro's name for where it was raised.
            print(f"grip-vlm: {re.sub(r'^Value error Error parsing [^ ]+: ', '', ' '.join(words))}", file=sys.stderr)
            raise SystemExit(2) from None
        raise


def _quiet() -> None:
    """Errors are one line: transformers' bar for the loading of weights would stand before it."""
    from transformers.utils import logging

    logging.disable_progress_bar()


def main(arguments: list[str] | None = None) -> None:
    """The command line. Errors of the user end with exit code 2 and one line on stderr."""
    command = _parse(arguments)
    try:
        _quiet()
        command.run()
    except (ValueError, FloatingPointError, OSError) as error:
        print(f"grip-vlm: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        print(f"grip-vlm: {package} is missing; pip install 'grip-vlm[{EXTRAS[package]}]'", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("grip-vlm: interrupted; the same command goes on where it was", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
