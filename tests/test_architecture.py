"""The shape of the package: imports go one way, importing is cheap, files are small and say their idea first."""

import ast
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "grip_vlm"
FACE = PACKAGE / "__init__.py"  # the public names, imported when they are used
FILES = sorted(set(PACKAGE.rglob("*.py")) - {FACE})
# A file imports from its own folder and from folders of lines above. "" is the root of the package.
ORDER = [[""], ["benchmarks", "vlms"], ["pruners", "training"], ["rivals", "evaluation", "serving"], ["report"]]
ORDER += [["commands"], ["cli"]]
LEVEL = {folder: level for level, folders in enumerate(ORDER) for folder in folders}
# A folder that is a registry, and what each of its files defines.
REGISTRIES = {
    "vlms/families": {"VLM"},
    "pruners/methods": {"Pruner"},
    "benchmarks/tasks": {"Benchmark", "ask"},
    "commands": {"Command"},
}
LONGEST = {"training/run.py": 320}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))


def module_of(path):
    """The dotted name of a file; a folder's `__init__.py` is the folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in (*FILES, FACE)}


def folder_of(module):
    """The folder directly in the package that a module is in, "" for the root; `cli` counts as a folder."""
    parts = module.split(".")[1:]
    return parts[0] if parts and (len(parts) > 1 or (PACKAGE / parts[0]).is_dir() or parts == ["cli"]) else ""


def imports(path):
    """(module, name) of every import of the package in a file: at the top, in functions, and for type checking. The
    name is what is taken from the module, "" for the module itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.split(".")[0] == "grip_vlm")
        elif isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] == "grip_vlm"):
            assert not node.level, f"{path} has a relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner, "") if inner in MODULES else (node.module, alias.name)


def imported_modules(path):
    return {module for module, _ in imports(path)} - {module_of(path)}


# ---- imports ---------------------------------------------------------------------------------------------------------


def test_every_folder_has_its_place():
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(LEVEL) - {"", "cli"}


@every_file
def test_imports_go_one_way(path):
    own = folder_of(module_of(path))
    for module in imported_modules(path):
        other = folder_of(module)
        assert other == own or LEVEL[other] < LEVEL[own], f"{own or 'the root'} may not import {module}"


@pytest.mark.slow
def test_there_is_no_circle_of_imports():
    left = {module: imported_modules(path) & set(MODULES) for module, path in MODULES.items() if path != FACE}
    # What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    while loose := [m for m in left if not left[m] & set(left) or not any(m in left[other] for other in left)]:
        for module in loose:
            del left[module]
    assert not left, f"these import each other: {sorted(left)}"


def is_private(name):
    """Whether a name begins with an underscore, other than Python's own and the methods of named tuples."""
    return name.startswith("_") and not name.endswith("__") and name not in ("_fields", "_replace", "_asdict")


@every_file
def test_what_begins_with_an_underscore_stays_in_its_file(path):
    assert not [name for pair in imports(path) for name in ".".join(pair).split(".") if is_private(name)]


def test_tests_and_recipes_use_public_names_alone():
    private = defaultdict(list)
    for path in (*ROOT.glob("tests/**/*.py"), *ROOT.glob("recipes/**/*.py")):
        tree = ast.parse(path.read_text())
        bound = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grip_vlm"
            for alias in node.names
        }
        used = [
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in bound
        ]
        private[str(path.relative_to(ROOT))] += filter(is_private, [*bound, *used])
    assert {path: names for path, names in private.items() if names} == {}


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=module_of)
def test_a_folder_does_not_define_what_a_file_in_it_is_called(path):
    """The file would take the place of the definition once it is imported."""
    inside = {child.stem for child in path.parent.iterdir() if child.suffix == ".py" or child.is_dir()}
    assert not inside & defined(path)


def defined(path):
    """Names that a file binds at its top level, but for modules that it imports and what it takes from a namesake."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            namesake = (node.module or "").rpartition(".")[2]
            taken = (a.asname or a.name for a in node.names if f"{node.module}.{a.name}" not in MODULES)
            names |= set(taken) - {namesake}
    return names


@pytest.mark.parametrize("folder", REGISTRIES)
def test_a_registry_holds_entries_and_nothing_else(folder):
    for path in (PACKAGE / folder).iterdir():
        if path.name not in ("__init__.py", "__pycache__"):
            assert path.suffix == ".py", path
            assert defined(path) & REGISTRIES[folder], f"{path.name} defines none of {REGISTRIES[folder]}"


# ---- files -----------------------------------------------------------------------------------------------------------


@every_file
def test_a_file_says_its_idea_first_and_is_small(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)) or not text, "no docstring"
    assert text.count("\n") <= LONGEST.get(str(path.relative_to(PACKAGE)), 300)


@every_file
def test_functions_fit_on_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 62, node.name


# ---- importing is cheap ----------------------------------------------------------------------------------------------


def heavy_after(code):
    """Which heavy packages are imported after this code has run in a new process."""
    code = f"import sys\n{code}\nprint([name for name in ('torch', 'transformers') if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return out.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", ["grip_vlm", "grip_vlm.report", "grip_vlm.evaluation.rows", "grip_vlm.cli"])
def test_importing_the_package_and_what_reads_rows_imports_neither_torch_nor_transformers(name):
    assert heavy_after(f"import {name}") == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list", "pruners"],
        ["list", "vlms"],
        ["answer", "--help"],
        ["answer", "--colour", "red"],
        ["evaluate", "--colour", "red"],
        ["train", "--colour", "red"],
        ["train", "--out", "run", "--init", "none", "--group", "1"],
        ["warmup", "--out", "run", "--looked", "0"],
        ["pareto", "no-such-file.jsonl"],
    ],
    ids=" ".join,
)
def test_what_needs_no_model_imports_neither_torch_nor_transformers(arguments):
    run = f"from grip_vlm.cli import main\ntry: main({arguments!r})\nexcept SystemExit: pass"
    assert heavy_after(run) == "[]"


# ---- what is shipped -------------------------------------------------------------------------------------------------


def test_nothing_shipped_is_a_pickle_and_all_of_it_is_under_20_megabytes():
    shipped = [path for path in (PACKAGE / "assets").rglob("*") if path.is_file()]
    assert not [path for path in shipped if path.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}]
    assert sum(path.stat().st_size for path in shipped) < 20e6
