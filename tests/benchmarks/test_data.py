"""Training data is the project's scenes or a user's JSON lines, and a bad row is named by file and line."""

import json

import pytest
from PIL import Image
from toolkit.pictures import picture

from grip_vlm import benchmarks
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.images import open_image


def row(**changes):
    return {"image": "cat.png", "question": "What is it?", "answers": ["cat"], **changes}


def write(folder, lines):
    """A JSONL file of rows (or raw text) beside a picture of a cat, which is for training."""
    picture(folder / "cat.png")
    path = folder / "rows.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_good_rows_become_examples_in_the_order_of_the_file(tmp_path):
    path = write(tmp_path, [row(question="One?"), row(question="Two?", answers=["a", "b"])])
    one, two = load_examples(str(path), "train", 10)
    assert (one.question, two.question) == ("One?", "Two?")
    assert two.answers == ("a", "b")
    assert one.image.size == (8, 6)


def test_without_labels_no_answer_is_read(tmp_path):
    path = write(tmp_path, [{"image": "cat.png", "question": "What is it?"}, row(answers="cat")])
    assert [example.answers for example in load_examples(str(path), "train", 9, labelled=False)] == [(), ()]


def test_no_more_rows_than_asked_for_are_returned(tmp_path):
    assert len(load_examples(str(write(tmp_path, [row()] * 9)), "train", 4)) == 4


def test_images_of_rows_that_are_not_asked_for_are_not_read(tmp_path):
    path = write(tmp_path, [row(), row(image="half.png")])
    (tmp_path / "half.png").write_bytes(b"6")  # falls into train
    assert len(load_examples(str(path), "train", 1)) == 1


def test_an_empty_file_has_no_rows(tmp_path):
    with pytest.raises(ValueError, match=r"rows\.jsonl has no rows for train"):
        load_examples(str(write(tmp_path, [""])), "train", 4)


def test_blank_lines_are_skipped_but_counted(tmp_path):
    path = write(tmp_path, ["", row(), "  ", row()])
    assert [example.item for example in load_examples(str(path), "train", 9)] == [f"{path}, line 2", f"{path}, line 4"]


def test_an_image_is_found_in_the_images_folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (3, 5)).save(tmp_path / "images" / "dog.png")
    (example,) = load_examples(str(write(tmp_path, [row(image="dog.png")])), "train", 1)
    assert example.image.size == (3, 5)


def test_an_image_beside_the_file_comes_before_one_in_the_images_folder(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (3, 5)).save(tmp_path / "images" / "cat.png")
    (example,) = load_examples(str(write(tmp_path, [row()])), "train", 1)
    assert example.image.size == (8, 6)


def test_an_absolute_image_path_is_taken_as_it_is(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (3, 5)).save(elsewhere / "dog.png")
    (example,) = load_examples(str(write(tmp_path, [row(image=str(elsewhere / "dog.png"))])), "train", 1)
    assert example.image.size == (3, 5)


BAD = {
    "not JSON": ('{"image": "cat.png", ', "not JSON"),
    "a list": (["cat.png", "What is it?", "cat"], "image or question is missing"),
    "null": (None, "image or question is missing"),
    "no image": ({"question": "What?", "answers": ["cat"]}, "image or question is missing"),
    "no question": ({"image": "cat.png", "answers": ["cat"]}, "image or question is missing"),
    "an image that is a number": (row(image=3), "image or question is missing"),
    "a question that is a list": (row(question=["What?"]), "image or question is missing"),
    "no answers": ({"image": "cat.png", "question": "What?"}, "answers must be a list"),
    "answers that are a text": (row(answers="cat"), "answers must be a list"),
    "an empty list of answers": (row(answers=[]), "answers must be a list"),
    "an answer that is a number": (row(answers=["cat", 4]), "answers must be a list"),
    "an empty answer": (row(answers=[""]), "answers must be a list"),
    "an image that is not there": (row(image="dog.png"), "no image 'dog.png'"),
    "an image that is a folder": (row(image=""), "no image ''"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_is_named_by_file_and_line(tmp_path, bad, reason):
    path = write(tmp_path, [row(), row(), bad, row()])
    with pytest.raises(ValueError, match=rf"rows\.jsonl, line 3: {reason}"):
        load_examples(str(path), "train", 4)


def test_a_row_that_is_not_utf8_is_named_by_file_and_line(tmp_path):
    path = write(tmp_path, [row(), row()])
    path.write_bytes(path.read_bytes() + b'{"image": "cat.png", "question": "Caf\xe9?", "answers": ["cat"]}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 3"):
        load_examples(str(path), "train", 4)


@pytest.mark.parametrize("keep", [0, 4, 2000])
def test_a_broken_image_is_named_with_its_row(tmp_path, keep):
    path = write(tmp_path, [row(), row(image="half.png")])
    Image.effect_noise((64, 64), 50).save(tmp_path / "half.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "half.png").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"rows\.jsonl, line 2: '.*half\.png' is not an image"):
        [*load_examples(str(path), "train", 4), *load_examples(str(path), "dev", 4)]


def test_images_of_a_users_rows_are_read_when_they_are_asked_for(tmp_path):
    path = write(tmp_path, [row(image="first.png"), row(image="second.png")])
    for name in ("first.png", "second.png"):
        picture(tmp_path / name)
    found = load_examples(str(path), "train", 4)
    (tmp_path / "first.png").unlink()
    assert len(found) == 2
    assert [example.item for example in found[1:]] == [f"{path}, line 2"]
    with pytest.raises(ValueError, match=r"line 1: no image file"):
        found[0]


def test_rows_that_are_left_out_are_counted(tmp_path, capsys):
    path = write(tmp_path, [row()] * 12)
    load_examples(str(path), "train", 12)
    assert capsys.readouterr().err == ""
    load_examples(str(path), "train", 4)
    assert "the first 4 of 12 rows for train are used" in " ".join(capsys.readouterr().err.split())


def test_a_photo_taken_sideways_is_turned_upright(tmp_path):
    image = Image.new("RGB", (40, 20))
    exif = image.getexif()
    exif[0x0112] = 6  # orientation: the camera was turned
    image.save(tmp_path / "photo.jpg", exif=exif)
    assert open_image(tmp_path / "photo.jpg").size == (20, 40)


@pytest.mark.parametrize("data", ["no-such-file.jsonl", "Scenes", "", "reading,vqa", "reading,"])
def test_unknown_data_is_refused_with_what_there_is(data):
    with pytest.raises(ValueError, match="neither `scenes`, nor some of choice,diagram"):
        load_examples(data, "train", 4)


def test_scenes_take_turns_over_all_benchmarks():
    found = [(example.benchmark, example.item) for example in load_examples("scenes", "dev", 12)]
    assert found == [(name, f"{name}/dev/{index}") for index in range(2) for name in benchmarks.composed()]


def test_a_benchmarks_name_gives_its_own_items():
    found = load_examples("reading", "dev", 3)
    assert [example.item for example in found] == ["reading/dev/0", "reading/dev/1", "reading/dev/2"]
    assert found[1].image.tobytes() == benchmarks.example("reading", "dev", 1).image.tobytes()


def test_several_benchmarks_take_turns_in_the_order_named():
    found = [example.item for example in load_examples("reading,choice", "dev", 3)]
    assert found == ["reading/dev/0", "choice/dev/0", "reading/dev/1"]


def test_a_benchmark_named_twice_is_refused():
    with pytest.raises(ValueError, match="data 'reading,reading' names a benchmark twice"):
        load_examples("reading,reading", "dev", 3)


def test_an_unknown_split_of_scenes_is_refused():
    with pytest.raises(ValueError, match="unknown split 'holdout'"):
        load_examples("scenes", "holdout", 1)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "I;16"])
def test_an_image_of_any_mode_is_opened_as_rgb(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "image.png")
    assert open_image(tmp_path / "image.png").mode == "RGB"


def test_a_missing_image_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^no image file '.*cat\.png'$"):
        open_image(tmp_path / "cat.png")


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ValueError, match="is not an image that can be read"):
        open_image(tmp_path)


def test_an_image_of_enormous_size_is_refused_unread(tmp_path):
    (tmp_path / "bomb.ppm").write_bytes(b"P6 40000 40000 255\n")
    with pytest.raises(ValueError, match=r"bomb\.ppm' is not an image that can be read"):
        open_image(tmp_path / "bomb.ppm")
