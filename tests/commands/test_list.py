"""`grip-vlm list` prints what there is, one name per line."""

import pytest

from grip_vlm import benchmarks, pruners, vlms
from grip_vlm.cli import main


@pytest.mark.parametrize(
    ("what", "names"),
    [("pruners", pruners.names()), ("benchmarks", benchmarks.descriptions()), ("vlms", vlms.verified())],
)
def test_list_prints_a_name_per_line(capsys, what, names):
    main(["list", what])
    printed = capsys.readouterr().out.splitlines()
    assert [line.removesuffix(" (verified family)") for line in printed if "(shipped)" not in line] == names


def test_shipped_vlms_are_listed_first(capsys):
    main(["list", "vlms"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[: len(vlms.shipped())] == [f"{name} (shipped)" for name in vlms.shipped()]
