"""API keys: where they are read from, and what opens the server."""

import pytest

from grip_vlm.serving.server.keys import VARIABLE, Keys


def test_without_keys_everyone_may_enter():
    assert Keys.read({}, None).open("")


def test_keys_of_environment_and_file_open_and_nothing_else(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# old\nfirst\n\nsecond\n")
    keys = Keys.read({VARIABLE: "third, fourth"}, file)
    for key in ("first", "second", "third", "fourth"):
        assert keys.open(f"Bearer {key}")
        assert keys.open(f"bearer {key}")
        assert not keys.open(key)
        assert not keys.open(f"Basic {key}")
    for key in ("", "# old", "firs", "first2", "third, fourth", "\xff"):
        assert not keys.open(f"Bearer {key}")


@pytest.mark.parametrize("text", ["", "# only a comment\n", "two words\n", "sch\u00f6n\n"])
def test_a_file_without_a_usable_key_is_refused(tmp_path, text):
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(ValueError, match="API key"):
        Keys.read({}, file)


def test_an_empty_variable_is_refused():
    with pytest.raises(ValueError, match=f"{VARIABLE} holds no API key"):
        Keys.read({VARIABLE: " , "}, None)
