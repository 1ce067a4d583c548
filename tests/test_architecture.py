"""The shape of the package: imports go one way, importing is cheap, files are small and say their idea first."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "src" / "grip_vlm"
FILES = sorted(PACKAGE.rglob("*.py"))
# A room may import from itself and from rooms before it.
ORDER = [
    ["files", "rows", "resume", "budget", "mdp", "scenes", "draw"],
    ["benchmarks", "policy", "bernoulli", "scorer", "sequence", "inside", "exploration"],
    ["summary", "sequential"],
    ["plackett_luce"],
    ["pareto"],
    ["checkpoint", "vlms", "data", "tables", "items"],
    ["pruners", "bank"],
    ["rewards", "relaxation", "keep_drop", "noise_gate", "evaluate", "latency"],
    ["training", "cost"],
    ["focus"],
    ["advantage"],
    ["warmup", "grpo_sets", "grpo_ordered", "grpo", "ppo"],
    ["commands"],
    ["cli", "integrations"],
]
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}


def room(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Rooms imported at run time (not for type checking only)."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.ImportFrom)
            and id(node) not in typing_only
            and (node.module or "").startswith("grip_vlm")
        ):
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


@pytest.mark.parametrize("path", [f for f in FILES if room(f) != "__init__"], ids=str)
def test_imports_follow_the_flow_of_data(path):
    mine = LEVEL[room(path)]
    backwards = [name for name in imports(path) if LEVEL.get(name, 0) > mine]
    assert not backwards, f"{path.name} imports {backwards}, which come after it"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_says_its_idea_first_and_is_small(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "no docstring"
    assert text.count("\n") <= 330


@pytest.mark.parametrize("path", FILES, ids=str)
def test_functions_fit_on_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 62, node.name


@pytest.mark.parametrize("name", ["grip_vlm", "grip_vlm.pareto", "grip_vlm.pareto.interactive"])
def test_importing_the_package_and_what_reads_rows_imports_neither_torch_nor_transformers(name):
    code = f"import sys, {name}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_nothing_shipped_is_a_pickle_and_all_of_it_is_under_20_megabytes():
    shipped = [path for path in (PACKAGE / "assets").rglob("*") if path.is_file()]
    assert not [path for path in shipped if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]
    assert sum(path.stat().st_size for path in shipped) < 20e6
