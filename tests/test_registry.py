"""A folder of the package is a registry: its files are its entries, and an unknown name is refused with those."""

import subprocess
import sys

import pytest

from grip_vlm import registry

FOLDERS = {
    "vlms.families": ("llava", "VLM"),
    "pruners.methods": ("random", "Pruner"),
    "benchmarks.tasks": ("pope", "Benchmark"),
    "commands": ("list", "Command"),
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_file_is_an_entry_named_after_it(folder):
    files = (registry.PACKAGE / folder.replace(".", "/")).glob("*.py")
    assert registry.names(folder) == sorted({path.stem for path in files} - {"__init__"})
    assert FOLDERS[folder][0] in registry.names(folder)


@pytest.mark.parametrize("folder", FOLDERS)
def test_an_entry_is_loaded_by_its_name(folder):
    name, what = FOLDERS[folder]
    assert hasattr(registry.load(folder, name, "entry"), what)


@pytest.mark.parametrize("name", ["nothing", "__init__", "base", "../methods/random", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=r"unknown pruner '.*'; choose from attention_distill, blind, "):
        registry.load("pruners.methods", name, "pruner")


def test_names_are_listed_without_importing_an_entry():
    code = "import sys; from grip_vlm import registry; registry.names('pruners.methods'); registry.names('commands'); "
    code += "print([name for name in sys.modules if name.startswith('grip_vlm.')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "['grip_vlm.registry']"


def test_a_shipped_vlm_is_a_folder_of_assets_with_a_configuration():
    assert "tiny-llava" in registry.shipped_vlms()
    for name in registry.shipped_vlms():
        assert (registry.PACKAGE / "assets" / name / "config.json").is_file()
