"""The table of a published benchmark, from the hub or a local copy; an image is read when its row is."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from grip_vlm.benchmarks import Published
from grip_vlm.benchmarks.data import find_image, open_image


@dataclass(frozen=True)
class Table:
    """Rows that lie in a file mapped to memory."""

    rows: Any
    """a `datasets.Dataset` whose images are undecoded"""
    kept: list[int]
    """which rows belong to the benchmark's variant, in order"""
    where: str
    folder: Path
    """where the paths of images begin"""
    pictures: Any = None
    """the table that has the images, where the rows have none"""
    places: dict[str, int] | None = None
    """image id -> row of `pictures`"""

    def row(self, index: int) -> dict[str, Any]:
        """A row, its `image` undecoded.

        Raises:
            ValueError: the table of images has none for it.
        """
        row: dict[str, Any] = self.rows[index]
        if self.places is not None:
            if row["imageId"] not in self.places:
                raise ValueError(f"{self.where}, row {index}: no image with the id {row['imageId']!r}")
            row["image"] = self.pictures[self.places[row["imageId"]]]["image"]
        return row

    def image(self, row: dict[str, Any], index: int) -> tuple[Image.Image, str]:
        """The row's image in RGB, and an id that it shares with its copies in other rows.

        Raises:
            ValueError: it is missing or cannot be read.
        """
        where, cell = f"{self.where}, row {index}", row["image"] or {}
        path, content = Path(cell.get("path") or "image"), cell.get("bytes")
        if not content:
            if not cell.get("path"):
                raise ValueError(f"{where}: there is no image")
            path = find_image(self.folder, cell["path"], where)
            content = path.read_bytes()
        return open_image(path, where, content), hashlib.blake2b(content, digest_size=8).hexdigest()


def open_table(name: str, benchmark: Published, root: Path | None) -> Table:
    """The table of the benchmark called `name`.

    Args:
        root: folder of local copies: NAME.parquet, NAME.jsonl, or NAME/ with files of these kinds or with a snapshot of
            the hub's repository (it has a README.md); images of JSON lines are paths, relative to the file's folder or
            to `images` in it. None: the hub.

    Raises:
        ValueError: no such copy, no hub, a column missing, or the package `datasets`.
    """
    where, files = (benchmark.hub, []) if root is None else _local(root, name)
    rows = _read(name, where, files, benchmark.config, benchmark.split)
    joined = not files and benchmark.pictures is not None
    wanted = set(benchmark.columns) if joined else {*benchmark.columns, "image"}
    if missing := sorted(wanted - set(rows.column_names)):
        raise ValueError(
            f"{where}: benchmark {name!r} needs the columns {', '.join(sorted(wanted))}; no {missing[0]!r}"
        )
    kept = [i for i, row in enumerate(rows.select_columns(list(benchmark.columns))) if benchmark.keeps(row)]
    folder = files[0].parent if files else Path(where)
    if not joined:
        return Table(_undecoded(rows), kept, where, folder)
    pictures = _read(name, where, files, benchmark.pictures, benchmark.split)
    places = {key: place for place, key in enumerate(pictures["id"])}
    return Table(rows, kept, where, folder, _undecoded(pictures), places)


def _read(name: str, where: str, files: list[Path], config: str | None, split: str) -> Any:
    """A `datasets.Dataset` from the files, or if there are none from what `where` names.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise ValueError("published benchmarks are read by `datasets`: pip install 'grip-vlm[bench]'") from error
    try:
        if files:
            kind = "parquet" if files[0].suffix == ".parquet" else "json"
            return datasets.load_dataset(kind, data_files=[str(file) for file in files], split="train")
        return datasets.load_dataset(where, config, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            f"benchmark {name!r} does not load from {where} ({error}); --data-root DIR reads copies"
        ) from error


def _undecoded(rows: Any) -> Any:
    """Images as paths or bytes, so that a bad one is named by its row and the others are not read."""
    import datasets

    return rows.cast_column("image", datasets.Image(decode=False))


def _local(root: Path, name: str) -> tuple[str, list[Path]]:
    """Where the copy is, and its files; none for a snapshot of the hub's repository.

    Raises:
        ValueError: there is no copy.
    """
    folder = root / name
    if (folder / "README.md").is_file():
        return str(folder), []
    for kind in ("parquet", "jsonl"):
        alone = root / f"{name}.{kind}"
        files = [alone] if alone.is_file() else sorted(folder.glob(f"*.{kind}"))
        if files:
            return str(alone if alone.is_file() else folder), files
    raise ValueError(
        f"no copy of benchmark {name!r} in {root}: it would be {name}.parquet, {name}.jsonl, or a folder {name} with "
        "such files or with a snapshot of the hub's repository"
    )
