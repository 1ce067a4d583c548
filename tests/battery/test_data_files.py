"""`evaluate` refuses rows, images and tables that it cannot use, by file and row, as early as it can."""

import json
import os
from io import BytesIO

import pytest
from PIL import Image
from toolkit import bad

from grip_vlm import benchmarks

pytestmark = pytest.mark.slow

ROW = {"image": "scene.png", "question": "What is it?", "answers": ["red"]}
GOOD = json.dumps(ROW).encode()
TYPES = [
    pytest.param({**ROW, field: value}, id=f"{field} as {name}")
    for field, right in (("image", str), ("question", str), ("answers", list))
    for name, value in bad.of_other_types(right).items()
]
TYPES += [
    pytest.param({**ROW, "answers": [value]}, id=f"an answer as {name}")
    for name, value in bad.of_other_types(str).items()
]
MISSING = [pytest.param({k: v for k, v in ROW.items() if k != field}, id=f"no {field}") for field in ROW]
PATHS = [pytest.param({**ROW, "image": path}, id=f"image {name}") for name, path in bad.NO_FILE.items()]


def encoded(kind="PNG", mode="RGB", size=(64, 48), **options):
    file = BytesIO()
    Image.effect_noise(size, 90).convert(mode).save(file, kind, **options)
    return file.getvalue()


IMAGES = {
    **{
        f"{kind} cut at {share} %": encoded(kind)[: len(encoded(kind)) * share // 100]
        for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
        for share in (1, 20, 60)
    },
    "empty": b"",
    "words": b"no image",
    "a web page": b"<html></html>",
    "zeros": bytes(5000),
    "a PDF": b"%PDF-1.4\n",
    "enormous": b"P6 40000 40000 255\n",
    "an SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "NUL": b"\0",
    "a PNG without pixels": encoded()[:33],
    "of no width": b"P6 0 5 255\n",
    "an array": b"\x93NUMPY\x01\x00",
}
COLUMNS = [
    pytest.param(column, value, id=f"{column} as {name}")
    for column in benchmarks.load("pope").columns
    for name, value in {"a whole number": 7, "null": None, "a list": [1], "an object": {"x": 1}}.items()
]
PIXELS = {"a whole number": 7, "null": None, "an empty text": "", "a missing path": "no.png", "a truth": True}
TABLES = {
    "empty": b"",
    "words": b"hello\n",
    "a list": b"[1, 2]\n",
    "half of a row": b'{"question": ',
    "NUL": b"\0" * 99,
}
CASES = [*TYPES, *MISSING, *PATHS, *bad.NOT_JSON, *IMAGES, *COLUMNS, *PIXELS, *TABLES, *TABLES]  # tables of two kinds
NO_VLM = ["evaluate", "--out", "rows.jsonl", "--pruners", "full", "--limit", "2", "--split", "all", "--vlm", "no-vlm"]


@pytest.fixture
def own(folder, refused):
    """Evaluate rows of one's own that must be refused for their second one."""

    def run(raw, command=NO_VLM):
        (folder / "mine.jsonl").write_bytes(GOOD + b"\n" + raw + b"\n" + GOOD + b"\n")
        return refused([*command, "--benchmarks", "mine.jsonl"], "mine.jsonl, line 2")

    return run


@pytest.mark.parametrize("row", [*TYPES, *MISSING, *PATHS])
def test_a_wrong_field_is_named_by_file_and_line(own, row):
    own(json.dumps(row).encode())


@pytest.mark.parametrize(
    "raw", [raw for raw in bad.NOT_JSON.values() if raw], ids=[k for k, v in bad.NOT_JSON.items() if v]
)
def test_a_line_that_is_no_object_is_named(own, raw):
    assert 'a row is an object such as {"image"' in own(raw)


@pytest.mark.parametrize("content", IMAGES.values(), ids=IMAGES)
def test_an_image_that_cannot_be_read_is_named(folder, refused, content):
    (folder / "wrong.png").write_bytes(content)
    line = refused(["answer", "--image", "wrong.png", "--question", "What?", "--pruner", "random"], "'wrong.png'")
    assert "is not an image that can be read" in line


@pytest.fixture
def table(folder, refused, monkeypatch):
    """Evaluate a copy of a published benchmark that must be refused; the VLM is loaded where rows are read late."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder.parent / "cache")

    def run(content, kind, vlm, *names):
        os.mkdir("copies")
        (folder / "copies" / f"pope.{kind}").write_bytes(content)
        words = ["--vlm", vlm, "--benchmarks", "pope", "--data-root", "copies", "--split", "test"]
        return refused([*NO_VLM, *words], *names)

    return run


def lines(**changes):
    rows = [{**row, "image": "scene.png", **changes} for row in benchmarks.load("pope").example_rows()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(("column", "value"), COLUMNS)
def test_a_column_of_another_type_is_named(folder, table, vlm_dir, column, value):
    table(lines(**{column: value}), "jsonl", str(vlm_dir), "pope.jsonl, row 0", "benchmark 'pope'")


@pytest.mark.parametrize("value", PIXELS.values(), ids=PIXELS)
def test_an_image_column_of_something_else_is_named(table, vlm_dir, value):
    table(lines(image=value), "jsonl", str(vlm_dir), "pope.jsonl")


@pytest.mark.parametrize("content", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_that_is_no_table_is_named(table, kind, content):
    table(content, kind, "no-vlm", "benchmark 'pope'")
