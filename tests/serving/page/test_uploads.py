"""A file that no session looks at any more is deleted."""

from grip_vlm.serving.uploads import Uploads


def file(folder, name, content="x"):
    path = folder / name
    path.write_text(content)
    return path


def test_a_file_goes_when_its_session_looks_at_another(tmp_path):
    first, second = file(tmp_path, "1"), file(tmp_path, "2")
    uploads = Uploads([])
    uploads.hold("a", first)
    uploads.hold("a", second)
    assert not first.exists()
    assert second.exists()


def test_a_file_of_two_sessions_goes_with_the_last(tmp_path):
    shared = file(tmp_path, "1")
    uploads = Uploads([])
    uploads.hold("a", shared)
    uploads.hold("b", shared)
    uploads.hold("a", None)
    assert shared.exists()
    uploads.hold("b", None)
    assert not shared.exists()


def test_looking_at_the_same_file_again_keeps_it(tmp_path):
    path = file(tmp_path, "1")
    uploads = Uploads([])
    uploads.hold("a", path)
    uploads.hold("a", path)
    assert path.exists()


def test_a_copy_of_an_example_stays(tmp_path):
    example, copy = file(tmp_path, "example", "same"), file(tmp_path, "copy", "same")
    uploads = Uploads([example])
    uploads.hold("a", copy)
    uploads.hold("a", None)
    assert copy.exists()
