"""Data that no training and no evaluation can use are refused by file and line; odd but right data are read."""

import json
import os

import datasets
import pytest
from PIL import Image
from toolkit.pictures import picture

from grip_vlm import benchmarks
from grip_vlm.benchmarks.data import load_examples, read_lines
from grip_vlm.benchmarks.items import open_items

ROW = {"image": "cat.png", "question": "What is it?", "answers": ["cat"]}
GOOD = json.dumps(ROW).encode()


def write(folder, *raw, end=b"\n"):
    picture(folder / "cat.png")
    path = folder / "mine.jsonl"
    path.write_bytes(b"".join((json.dumps(one).encode() if isinstance(one, dict) else one) + end for one in raw))
    return path


WRONG = {
    "half of a character in the question": {**ROW, "question": "caf\ud83d?"},
    "half of a character in an answer": {**ROW, "answers": ["\udce9"]},
    "bytes that are not UTF-8": b'{"image": "cat.png", "question": "caf\xe9?", "answers": ["cat"]}',
    "UTF-16": json.dumps(ROW).encode("utf-16"),
    "NaN": b'{"image": "cat.png", "question": "?", "answers": ["cat"], "weight": NaN}',
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"image": ' * 100_000,
    "a number of 5000 digits": b'{"image": ' + b"9" * 5000 + b"}",
    "a fifo as image": {**ROW, "image": "pipe"},
    "a folder as image": {**ROW, "image": "."},
    "a device as image": {**ROW, "image": "/dev/zero"},
    "a null byte in the image's name": {**ROW, "image": "cat\0.png"},
    "a name of 5000 characters": {**ROW, "image": "a" * 5000},
    "a nested answer": {**ROW, "answers": [["cat"]]},
    "an answer that is null": {**ROW, "answers": [None]},
    "answers that are an object": {**ROW, "answers": {"cat": 1}},
    "a number": b"7",
    "a text": b'"cat.png"',
    "two rows on one line": GOOD + b" " + GOOD,
    "a comma after the row": GOOD + b",",
}


@pytest.mark.parametrize("bad", WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_named_by_file_and_line(tmp_path, bad):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match=r"mine\.jsonl, line 2: "):
        list(read_lines(write(tmp_path, ROW, bad, ROW)))


def test_a_line_without_end_is_refused_before_it_is_in_memory(tmp_path):
    with pytest.raises(ValueError, match=r"mine\.jsonl, line 2 is longer than 1048576 bytes"):
        list(read_lines(write(tmp_path, ROW, {**ROW, "note": "a" * 2**20})))


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n", b" \t\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_and_a_byte_order_mark_do_not_matter(tmp_path, end, mark):
    path = write(tmp_path, ROW, {**ROW, "question": "Who? \u2028 \U0001f408"}, end=end)
    path.write_bytes(mark + path.read_bytes())
    assert [line.question for line in read_lines(path)] == ["What is it?", "Who? \u2028 \U0001f408"]


def test_the_last_line_needs_no_end(tmp_path):
    path = write(tmp_path, ROW, ROW)
    path.write_bytes(path.read_bytes().rstrip())
    assert len(list(read_lines(path))) == 2


def test_fields_that_nobody_reads_are_read_over(tmp_path):
    (line,) = read_lines(write(tmp_path, {**ROW, "id": 7, "source": {"name": "x"}, "split": None}))
    assert (line.question, line.answers) == ("What is it?", ("cat",))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_an_image_of_a_pixels_width_is_read(tmp_path, size):
    path = write(tmp_path, {**ROW, "image": "thin.png"})
    Image.new("RGB", size).save(tmp_path / "thin.png")
    assert open_items(str(path), "all").example(0).image.size == size


def test_a_decompression_bomb_is_refused_unread(tmp_path):
    path = write(tmp_path, {**ROW, "image": "bomb.ppm"})
    (tmp_path / "bomb.ppm").write_bytes(b"P6 40000 40000 255\n")
    with pytest.raises(ValueError, match=r"mine\.jsonl, line 1: '.*bomb\.ppm' is not an image that can be read"):
        open_items(str(path), "all").example(0)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_a_file_without_rows_is_refused(tmp_path, content):
    path = write(tmp_path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.jsonl has no rows"):
        open_items(str(path))
    with pytest.raises(ValueError, match=r"mine\.jsonl has no rows for train"):
        load_examples(str(path), "train", 3)


# ---- published tables ------------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A POPE of two rows with changed columns."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def opened(kind, **changes):
        rows = [{**row, **changes} for row in benchmarks.load("pope").example_rows()]
        rows = datasets.Dataset.from_list(rows)
        (rows.to_parquet if kind == "parquet" else rows.to_json)(str(tmp_path / f"pope.{kind}"))
        return open_items("pope", root=tmp_path)

    return opened


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("image", [7, 1.5, True])
def test_a_table_whose_images_are_numbers_is_refused(table, kind, image):
    with pytest.raises(ValueError, match=r"pope\.\w+: the column 'image' must hold image files or their paths, not"):
        table(kind, image=image)


@pytest.mark.parametrize("image", ["gone.png", {"path": "gone.png", "bytes": None}, {"name": "x"}, b"no image"])
def test_an_image_that_cannot_be_had_is_named_by_its_row(table, image):
    with pytest.raises(ValueError, match=r"pope\.parquet, row 0: "):
        table("parquet", image=image).example(0)


@pytest.mark.parametrize(("column", "value"), [("question", 3), ("answer", 3), ("category", 3), ("question", None)])
def test_a_column_that_is_no_text_is_named_by_its_row(table, column, value):
    with pytest.raises(ValueError, match=r"pope\.parquet, row 0 is not a row of benchmark 'pope'"):
        table("parquet", **{column: value}).example(0)
