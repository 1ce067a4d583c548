"""Whatever a pruner, a benchmark or a VLM is called, a report shows the name and nothing else happens."""

import json
import re

import pytest
from toolkit.rows import coins, rows

from grip_vlm import report
from grip_vlm.report import escape, metrics, tables
from grip_vlm.report.tables import Table

HOSTILE = [
    "a|b",
    "<script>alert(1)</script>",
    "<b>bold</b> & more",
    "**loud**",
    "[click](javascript:alert)",
    "line\nbreak | next",
    "back\\slash\\|",
    "`code`",
    "$x^2$",
    "_private_",
    "50%_#{}~^",
    "../../etc/passwd",
    "DATA</script><!--",
    "naïve café",
]


def field(name):
    return [
        row
        for pruner in ("grip", name, "random")
        for budget, kept in (("0.02", 4), ("0.1", 20))
        for row in rows(pruner, {name: coins(len(pruner) + kept)}, budget, kept, vlm=name)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_report_on_any_names_has_whole_tables_and_no_html_of_theirs(name, tmp_path):
    said = report.write_report(report.measure(field(name)), tmp_path)
    for path in tmp_path.glob("*.md"):
        text = path.read_text()
        assert not re.search(r"<[a-zA-Z!/]", text)
        for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) for line in table.splitlines()}) == 1
    assert not re.search(r"<[a-zA-Z!/]", said)
    page = (tmp_path / "frontier.html").read_text()
    assert page.count("</script>") == 2
    told = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert {point["pruner"] for point in told["points"]} == {"grip", "random", name}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a|b", r"a\|b"),
        ("a\\|b", r"a\\\|b"),
        ("<i>&", "&lt;i&gt;&amp;"),
        ("**a**", r"\*\*a\*\*"),
        ("[a](b)", r"\[a\](b)"),
        ("a\nb\tc", "a b c"),
        ("cls_attention", "cls_attention"),
        ("_a_", r"\_a\_"),
        ("grip only 0.05", "grip only 0.05"),
        ("textvqa:ocr", "textvqa:ocr"),
    ],
)
def test_markdown_shows_a_name_as_it_is(name, text):
    assert escape.markdown(name) == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a_b", r"a\_b"),
        ("50%", r"50\%"),
        ("**a**", "**a**"),
        ("[a]", "{[}a{]}"),
        ("a|<b>", r"a\textbar{}\textless{}b\textgreater{}"),
        ("\\input{x}", r"\textbackslash{}input\{x\}"),
        ("$x^2$", r"\$x\textasciicircum{}2\$"),
        ("a\\\\\n[b]", r"a\textbackslash{}\textbackslash{} {[}b{]}"),
    ],
)
def test_latex_shows_a_name_as_it_is(name, text):
    assert tables.latex(Table(["pruner", "1"], [[name, "2"]])).splitlines()[4] == rf"{text} & 2 \\"


def test_metrics_of_a_benchmark_show_names_as_they_are():
    common = {"prediction": "yes", "target": "yes", "group": "popular"}
    some = [*rows("a|b", {"pope": [1.0]}, **common), *rows("<i>", {"pope": [1.0]}, **common)]
    assert r"| a\|b | 0.1 |" in metrics.markdown(some)
    assert "| &lt;i&gt; | 0.1 |" in metrics.markdown(some)
