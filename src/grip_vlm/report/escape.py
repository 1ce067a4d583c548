"""Names of pruners, benchmarks and VLMs as text that Markdown, LaTeX and matplotlib show as it is."""

import re

HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "]": "{]}", '"': "{''}"}
LATEX |= {sign: "\\" + sign for sign in "&%$#_{}"}


def one_line(text: str) -> str:
    """Without line breaks and control characters, which would end a table's row or a heading."""
    return "".join(character if character.isprintable() else " " for character in text)


def markdown(name: str) -> str:
    """For Markdown, in a table or a sentence. An underscore inside a word means nothing there, and stays as it is."""
    text = re.sub(r"[&<>]", lambda sign: HTML[sign[0]], one_line(name))
    return re.sub(r"[\\`*|\[\]~$]|(?<![^\W_])_|_(?![^\W_])", lambda sign: "\\" + sign[0], text)


def latex(name: str) -> str:
    """For LaTeX."""
    return "".join(LATEX.get(character, character) for character in one_line(name))


def label(name: str) -> str:
    """For a figure: a dollar is no formula, and a name that begins with an underscore stays in the legend."""
    text = one_line(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
