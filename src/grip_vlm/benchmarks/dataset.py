"""The data set of a published benchmark, from the hub or a local copy. Images are read when their row is read."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from grip_vlm.benchmarks import Published
from grip_vlm.benchmarks.data import find_image
from grip_vlm.images import open_image


@dataclass(frozen=True)
class BenchmarkDataset:
    """The rows of a published benchmark in a memory-mapped file."""

    rows: Any
    """A `datasets.Dataset` with undecoded images."""
    indices: list[int]
    """Rows that belong to the benchmark's variant, in order."""
    source: str
    """Hub identifier or path, for error messages."""
    folder: Path
    """Image paths are relative to it."""
    images: Any = None
    """A `datasets.Dataset` that holds the images, if the rows hold none."""
    image_index: dict[str, int] | None = None
    """Image id -> row of `images`."""

    def row(self, index: int) -> dict[str, Any]:
        """A row with its `image` undecoded.

        Raises:
            ValueError: the row's image id is not in `images`.
        """
        row: dict[str, Any] = self.rows[index]
        if self.image_index is not None:
            if row["imageId"] not in self.image_index:
                raise ValueError(f"{self.source}, row {index}: no image with the id {row['imageId']!r}")
            row["image"] = self.images[self.image_index[row["imageId"]]]["image"]
        return row

    def image(self, row: dict[str, Any], index: int) -> tuple[Image.Image, str]:
        """The row's image in RGB and its id. Rows with the same image file content share the id.

        Raises:
            ValueError: the image is missing or cannot be read.
        """
        where, cell = f"{self.source}, row {index}", row["image"] or {}
        path, content = Path(cell.get("path") or "image"), cell.get("bytes")
        if not content:
            if not cell.get("path"):
                raise ValueError(f"{where}: there is no image")
            path = find_image(self.folder, cell["path"], where)
            content = path.read_bytes()
        return open_image(path, where, content), hashlib.blake2b(content, digest_size=8).hexdigest()


def open_dataset(name: str, benchmark: Published, root: Path | None) -> BenchmarkDataset:
    """The data set of the benchmark called `name`.

    Args:
        root: folder of local copies; None reads from the hub. A copy is NAME.parquet, NAME.jsonl, or a folder NAME. The
            folder holds files of these kinds or a snapshot of the hub's repository (recognised by its README.md).
            Images of JSON lines are paths, relative to the file's folder or to `images` in it.

    Raises:
        ValueError: there is no copy, the hub cannot be reached, a column is missing, or `datasets` is not installed.
    """
    source, files = (benchmark.hub, []) if root is None else _local_copy(root, name)
    rows = _load(name, source, files, benchmark.config, benchmark.split)
    joined = not files and benchmark.image_config is not None
    required = set(benchmark.columns) if joined else {*benchmark.columns, "image"}
    if missing := sorted(required - set(rows.column_names)):
        raise ValueError(
            f"{source}: benchmark {name!r} needs the columns {', '.join(sorted(required))}; no {missing[0]!r}"
        )
    indices = [i for i, row in enumerate(rows.select_columns(list(benchmark.columns))) if benchmark.in_variant(row)]
    folder = files[0].parent if files else Path(source)
    if not joined:
        return BenchmarkDataset(_undecoded(rows, source), indices, source, folder)
    images = _load(name, source, files, benchmark.image_config, benchmark.split)
    image_index = {image_id: i for i, image_id in enumerate(images["id"])}
    return BenchmarkDataset(rows, indices, source, folder, _undecoded(images, source), image_index)


def _load(name: str, source: str, files: list[Path], config: str | None, split: str) -> Any:
    """A `datasets.Dataset` from the files, or from `source` if there are none.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError("published benchmarks need the package `datasets`: pip install 'grip-vlm[bench]'") from error
    datasets.disable_progress_bars()  # they would stand before an error's one line
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # what it logs, its errors say
    try:
        if files:
            kind = "parquet" if files[0].suffix == ".parquet" else "json"
            return datasets.load_dataset(kind, data_files=[str(file) for file in files], split="train")
        return datasets.load_dataset(source, config, split=split)
    except Exception as error:  # a broken file reaches readers of several kinds
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"benchmark {name!r} does not load from {source} ({reason}); --data-root DIR reads copies"
        ) from error


def _undecoded(rows: Any, source: str) -> Any:
    """The rows with images as paths or bytes. An unreadable image is then found, and named, when its row is read.

    Raises:
        ValueError: the column holds something else.
    """
    import datasets

    try:
        return rows.cast_column("image", datasets.Image(decode=False))
    except (TypeError, NotImplementedError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise ValueError(
            f"{source}: the column 'image' must hold image files or their paths, not {rows.features['image']} ({error})"
        ) from error


def _local_copy(root: Path, name: str) -> tuple[str, list[Path]]:
    """The path of the copy and its files; no files for a snapshot of the hub's repository.

    Raises:
        ValueError: there is no copy.
    """
    folder = root / name
    if (folder / "README.md").is_file():
        return str(folder), []
    for kind in ("parquet", "jsonl"):
        single = root / f"{name}.{kind}"
        files = [single] if single.is_file() else sorted(folder.glob(f"*.{kind}"))
        if files:
            return str(single if single.is_file() else folder), files
    raise ValueError(
        f"no copy of benchmark {name!r} in {root}; expected {name}.parquet, {name}.jsonl, or a folder {name} with "
        "such files or a snapshot of the hub's repository"
    )
