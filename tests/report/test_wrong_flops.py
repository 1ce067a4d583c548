"""A file of FLOPs that `grip-vlm flops` did not write is refused with what is wrong in it."""

import os

import pytest

from grip_vlm.report.measured import read_flops

WRONG = {
    "a text": ('{"vlm": "v", "flops": {"grip": {"0.1": "many"}}}', "grip: FLOPs must be numbers above 0, not 'many'"),
    "true": ('{"vlm": "v", "flops": {"grip": {"0.1": true}}}', "must be numbers above 0, not True"),
    "negative": ('{"vlm": "v", "flops": {"grip": {"0.1": -1}}}', "must be numbers above 0, not -1"),
    "zero": ('{"vlm": "v", "flops": {"grip": {"0.1": 0}}}', "must be numbers above 0, not 0"),
    "infinite": ('{"vlm": "v", "flops": {"grip": {"0.1": 1e400}}}', "must be numbers above 0, not inf"),
    "NaN": ('{"vlm": "v", "flops": {"grip": {"0.1": NaN}}}', "NaN is not a number of JSON"),
    "a list": ('{"vlm": "v", "flops": []}', "has no attribute"),
    "nested": ("[" * 100_000, "nested too deeply"),
    "no JSON": ("flops", "Expecting value"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_wrong_flops_are_refused_with_the_reason(tmp_path, text, message):
    (tmp_path / "flops.json").write_text(text)
    with pytest.raises(ValueError, match=rf"flops\.json does not hold FLOPs .*{message}"):
        read_flops(tmp_path / "flops.json", "v")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "flops.json")
    with pytest.raises(ValueError, match=r"flops\.json does not hold FLOPs .*is not a file"):
        read_flops(tmp_path / "flops.json", "v")


def test_whole_numbers_and_fractions_are_read(tmp_path):
    (tmp_path / "flops.json").write_text('{"vlm": "v", "flops": {"grip": {"0.1": 3, "0.2": 4.5e9}}}')
    assert read_flops(tmp_path / "flops.json", "v") == {"grip": {"0.1": 3, "0.2": 4.5e9}}
