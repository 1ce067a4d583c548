"""Items of published benchmarks come from local copies of every form, those of a user from a JSONL file."""

import io
import json

import datasets
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from toolkit.pictures import picture

from grip_vlm import benchmarks
from grip_vlm.benchmarks import Published
from grip_vlm.benchmarks.data import load_examples
from grip_vlm.benchmarks.items import named, open_items

NAMES = [name for name in benchmarks.names() if isinstance(benchmarks.load(name), Published)]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path_factory):
    """Tables are mapped to memory from here, not from the user's cache."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


# ---- forms of a copy -------------------------------------------------------------------------------------------------


def json_lines(name, rows, root):
    """NAME.jsonl with images in `images`."""
    (root / "images").mkdir()
    with (root / f"{name}.jsonl").open("w") as file:
        for i, row in enumerate(rows):
            row["image"].save(root / "images" / f"{i}.png")
            file.write(json.dumps({**row, "image": f"{i}.png"}) + "\n")


def parquet_file(name, rows, root):
    """NAME.parquet as `datasets` writes it."""
    datasets.Dataset.from_list(rows).to_parquet(root / f"{name}.parquet")


def parquet_parts(name, rows, root):
    """NAME/ with one file per row, as any other writer of parquet makes them: nothing says that bytes are an image."""
    (root / name).mkdir()
    for i, row in enumerate(rows):
        row["image"].save(content := io.BytesIO(), "PNG")
        table = pyarrow.Table.from_pylist([{**row, "image": {"bytes": content.getvalue(), "path": None}}])
        parquet.write_table(table, root / name / f"{i}.parquet")


def snapshot(name, rows, root):
    """NAME/ laid out as the repository on the hub, whose card names the files of every configuration."""
    benchmark, folder = benchmarks.load(name), root / name
    folder.mkdir()
    tables = {benchmark.config or "default": datasets.Dataset.from_list(rows)}
    if benchmark.image_config:
        images = [{"id": row["imageId"], "image": row["image"]} for row in reversed(rows)]
        tables = {key: table.remove_columns("image") for key, table in tables.items()}
        tables[benchmark.image_config] = datasets.Dataset.from_list(images)
    card = ["---", "configs:"]
    for config, table in tables.items():
        table.to_parquet(folder / config / "part.parquet")
        card += [f"- config_name: {config}", "  data_files:"]
        card += [f"  - split: {benchmark.split}", f"    path: {config}/part.parquet"]
    (folder / "README.md").write_text("\n".join([*card, "---"]))


FORMS = [json_lines, parquet_file, parquet_parts, snapshot]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_of_the_sample_gives_the_items_of_the_sample(tmp_path, name, form):
    benchmark = benchmarks.load(name)
    form(name, benchmark.example_rows(), tmp_path)
    items = open_items(name, root=tmp_path)
    assert (items.name, items.count, items.max_new_tokens) == (name, 2, benchmark.max_new_tokens)
    for i, row in enumerate(benchmark.example_rows()):
        item, question = items.example(i), benchmark.ask(row)
        assert (item.item, item.benchmark) == (f"{name}/{benchmark.split}/{i}", name)
        assert (item.question, item.answers, item.group) == (question.text, question.answers, question.group)
        assert item.image.tobytes() == row["image"].tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_rows_of_one_image_share_its_id(tmp_path, form):
    first, second = benchmarks.load("gqa").example_rows()
    shared = [first, {**second, "image": first["image"], "imageId": first["imageId"]}, second]
    form("gqa", shared, tmp_path)
    items = open_items("gqa", root=tmp_path)
    one, same, other = (items.example(i).image_id for i in range(3))
    assert one == same != other


# ---- published -------------------------------------------------------------------------------------------------------


def test_a_variant_reads_its_benchmarks_copy_and_is_named_in_its_items(tmp_path):
    json_lines("textvqa", benchmarks.load("textvqa").example_rows(), tmp_path)
    item = open_items("textvqa:ocr", root=tmp_path).example(0)
    assert (item.item, item.benchmark) == ("textvqa:ocr/validation/0", "textvqa:ocr")
    assert "Reference OCR token: NOKIA, 3G" in item.question


def test_a_variant_leaves_out_rows_and_keeps_the_numbers_of_the_others(tmp_path):
    first, second = benchmarks.load("mme").example_rows()
    json_lines("mme", [{**first, "category": "code_reasoning"}, second], tmp_path)
    items = open_items("mme:perception", root=tmp_path)
    assert items.count == 1
    assert items.example(0).item == "mme:perception/test/1"


def test_the_order_of_files_is_the_order_of_items(tmp_path):
    rows = [{**benchmarks.load("gqa").example_rows()[0], "answer": str(i)} for i in range(9)]
    parquet_parts("gqa", rows, tmp_path)
    items = open_items("gqa", root=tmp_path)
    assert [items.example(i).answers[0] for i in range(items.count)] == [str(i) for i in range(9)]


def test_an_image_that_is_not_asked_for_is_not_read(tmp_path):
    json_lines("pope", benchmarks.load("pope").example_rows(), tmp_path)
    (tmp_path / "images" / "1.png").write_bytes(b"")
    items = open_items("pope", root=tmp_path)
    assert items.example(0).answers == ("yes",)
    with pytest.raises(ValueError, match=r"pope\.jsonl, row 1: '.*1\.png' is not an image"):
        items.example(1)


def spoilt(root, changes):
    """Items of a POPE whose second row is changed; None takes a column out of all."""
    rows = benchmarks.load("pope").example_rows()
    gone = {key for key, value in changes.items() if value is None}
    rows[1] = {**rows[1], **changes}
    datasets.Dataset.from_list([{k: v for k, v in row.items() if k not in gone} for row in rows]).to_parquet(
        root / "pope.parquet"
    )
    return open_items("pope", root=root)


@pytest.mark.parametrize("column", ["question", "category", "image"])
def test_a_missing_column_is_named(tmp_path, column):
    with pytest.raises(ValueError, match=f"needs the columns answer, category, image, question; no '{column}'"):
        spoilt(tmp_path, {column: None})


def test_a_row_without_an_image_is_named(tmp_path):
    first, second = benchmarks.load("pope").example_rows()
    datasets.Dataset.from_list([first, {**second, "image": None}]).to_parquet(tmp_path / "pope.parquet")
    with pytest.raises(ValueError, match=r"pope\.parquet, row 1: there is no image"):
        open_items("pope", root=tmp_path).example(1)


def test_a_row_that_cannot_be_asked_is_named(tmp_path):
    first, second = benchmarks.load("ai2d").example_rows()
    json_lines("ai2d", [first, {**second, "answer": "B"}], tmp_path)
    with pytest.raises(ValueError, match=r"ai2d\.jsonl, row 1 is not a row of benchmark 'ai2d'"):
        open_items("ai2d", root=tmp_path).example(1)


def test_an_image_id_without_an_image_is_named(tmp_path):
    snapshot("gqa", benchmarks.load("gqa").example_rows(), tmp_path)
    images = datasets.Dataset.from_list([{"id": "n0", "image": Image.new("RGB", (4, 4))}])
    images.to_parquet(tmp_path / "gqa" / "testdev_balanced_images" / "part.parquet")
    with pytest.raises(ValueError, match=r"gqa, row 1: no image with the id 'n1'"):
        open_items("gqa", root=tmp_path).example(1)


def test_a_benchmark_without_a_copy_is_refused_with_what_it_would_be(tmp_path):
    with pytest.raises(ValueError, match=r"no copy of benchmark 'mme' in .*; expected mme\.parquet, mme\.jsonl, or"):
        open_items("mme", root=tmp_path)


def test_a_file_that_is_no_table_is_named(tmp_path):
    (tmp_path / "mme.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"'mme' does not load from .*mme\.parquet"):
        open_items("mme", root=tmp_path)


def test_a_hub_that_cannot_be_reached_is_named_with_the_way_around_it():
    with pytest.raises(ValueError, match=r"'pope' does not load from lmms-lab-encoder/POPE .*--data-root DIR"):
        open_items("pope")


# ---- a user's own, and composed ones ---------------------------------------------------------------------------------


@pytest.fixture
def mine(tmp_path):
    """A JSONL file of three rows about one image, which is for training."""
    picture(tmp_path / "cat.png")
    row = {"image": "cat.png", "question": "What is it?", "answers": ["cat", "kitten"]}
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{json.dumps(row)}\n" * 3)
    return path


def test_all_rows_of_a_users_file_are_items(mine):
    items = open_items(str(mine), "all")
    assert (items.name, items.count) == (str(mine), 3)
    item = items.example(2)
    assert (item.item, item.question, item.answers) == (f"{mine}, line 3", "What is it?", ("cat", "kitten"))
    assert item.image.size == (8, 6)
    assert item.image_id == items.example(1).image_id == str(mine.parent / "cat.png")


def test_a_users_file_without_rows_is_refused(mine):
    mine.write_text("\n")
    with pytest.raises(ValueError, match=r"mine\.jsonl has no rows"):
        open_items(str(mine))


def test_a_composed_benchmark_goes_on_for_ever():
    items = open_items("reading", "dev")
    assert items.count > 10**9
    assert items.example(7).image.tobytes() == benchmarks.example("reading", "dev", 7).image.tobytes()


@pytest.mark.parametrize(("name", "split"), [("pope", "dev"), ("pope", "all"), ("reading", "all")])
def test_a_split_that_a_benchmark_has_not_is_refused(name, split):
    with pytest.raises(ValueError, match=f"benchmark '{name}' has no split '{split}'"):
        open_items(name, split)


def test_of_a_users_file_the_test_part_is_evaluated_and_the_rest_is_counted(tmp_path, capsys):
    for number, part in enumerate(("train", "test", "dev", "test")):
        picture(tmp_path / f"{number}.png", part, number)
    path = tmp_path / "mine.jsonl"
    rows = [{"image": f"{number}.png", "question": "What is it?", "answers": ["cat"]} for number in range(4)]
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    items = open_items(str(path))
    assert [items.example(i).item for i in range(items.count)] == [f"{path}, line 2", f"{path}, line 4"]
    assert capsys.readouterr().err == (
        f"{path}: 2 of 4 rows are for test; `--split all` takes every row, those that training reads among them\n"
    )
    trained = {one.item for one in load_examples(str(path), "train", 9)}
    assert not trained & {items.example(i).item for i in range(items.count)}
    assert [open_items(str(path), split).count for split in ("train", "dev", "all")] == [1, 1, 4]


def test_a_users_file_without_a_test_part_is_refused_with_the_way_around_it(mine):
    with pytest.raises(ValueError, match=r"about 1 different images; .* at least three images; --split all takes"):
        open_items(str(mine), "test")


@pytest.mark.parametrize(
    "words", [["choice", "choice"], ["scenes", "choice"], ["choice", "scenes"], ["mine.jsonl", "./mine.jsonl"]]
)
def test_a_benchmark_that_is_named_twice_is_refused(words):
    with pytest.raises(ValueError, match="is named twice; its items would count twice"):
        named(words)


def test_scenes_are_the_composed_benchmarks():
    assert named(["pope", "scenes"]) == ["pope", *benchmarks.composed()]
