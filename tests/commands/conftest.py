"""What tests of commands share."""

import pytest

from grip_vlm.cli import main


@pytest.fixture
def refused(capsys):
    """Run arguments that must fail; returns the last line on stderr, which stands behind the progress bars."""

    def run(arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        printed = capsys.readouterr().err
        assert stop.value.code == 2
        assert "Traceback" not in printed
        assert printed.count("grip-vlm: ") == 1
        line = printed.splitlines()[-1]
        assert line.startswith("grip-vlm: ")
        return line

    return run
