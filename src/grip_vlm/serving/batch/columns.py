"""The columns of a batch job's output: those of the input, one type each, and those of the answers."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any

from grip_vlm import strict_json
from grip_vlm.serving.batch.answers import Outcome
from grip_vlm.serving.batch.source import LINE, is_path, open_parquet, parse

OURS = ("row", "prediction", "tokens", "kept", "error")  # an input may have none of these
READ = ("image", "question", "budget")  # of the input
CHUNK = 4096  # lines whose types are inferred together


def schema_of(files: Sequence[Path]) -> Any:
    """The `pyarrow.Schema` of the output.

    A column of JSON lines whose values have no common type becomes JSON text.

    Raises:
        ValueError: the input lacks `image` or `question`, or has a column that the output adds.
    """
    import pyarrow as pa

    types = _parquet_types(files) if files[0].suffix == ".parquet" else _json_types(files)
    for name in READ[:2]:
        if name not in types:
            raise ValueError(f"{files[0]} has no column {name!r}; a row has an image, a question, perhaps a budget")
    if taken := sorted(set(types) & set(OURS)):
        raise ValueError(f"the input has a column {taken[0]!r} already, which the output adds; rename it")
    others = [(name, kind) for name, kind in types.items() if name not in READ]
    text, count = pa.string(), pa.int32()
    ours = [("budget", text), ("prediction", text), ("tokens", count), ("kept", count), ("error", text)]
    return pa.schema([("row", pa.int64()), ("image", text), ("question", text), *others, *ours])


def _parquet_types(files: Sequence[Path]) -> dict[str, Any]:
    first = open_parquet(files[0]).schema_arrow
    for file in files[1:]:
        if open_parquet(file).schema_arrow.remove_metadata() != first.remove_metadata():
            raise ValueError(f"{file} has other columns than {files[0]}; files of one input have the same")
    return dict(zip(first.names, first.types, strict=True))


def _json_types(files: Sequence[Path]) -> dict[str, Any]:
    """Column -> type, over all lines. What cannot be one type is a string."""
    import pyarrow as pa

    types: dict[str, Any] = {}
    for file in files:
        every = strict_json.lines(file, max_line=LINE)
        while lines := list(islice(every, CHUNK)):
            rows = [row for line in lines if line.strip() and isinstance(row := parse(line), dict)]
            for name in dict.fromkeys(name for row in rows for name in row):
                kind = pa.string() if name in READ else _common(row[name] for row in rows if name in row)
                types[name] = _unified(types[name], kind) if name in types else kind
    return types


def _common(values: Iterable[Any]) -> Any:
    """The type of all values, a string if there is none that Parquet can hold."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        kind = pa.array(list(values)).type
        pq.write_table(pa.schema([("column", kind)]).empty_table(), BytesIO())  # fails for objects without fields
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return kind


def _unified(kind: Any, other: Any) -> Any:
    import pyarrow as pa

    pair = [pa.schema([("column", each)]) for each in (kind, other)]
    try:
        return pa.unify_schemas(pair, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return pa.string()


def table_of(schema: Any, first: int, rows: Sequence[dict[str, Any] | str], outcomes: Sequence[Outcome]) -> Any:
    """The `pyarrow.Table` of a part, whose rows are numbered from `first`."""
    import pyarrow as pa

    given = [row if isinstance(row, dict) else {} for row in rows]
    columns: dict[str, list[Any]] = {name: [row.get(name) for row in given] for name in schema.names}
    columns |= {"row": list(range(first, first + len(rows)))}
    columns["image"] = [value if is_path(value := _path(row.get("image"))) else None for row in given]
    columns |= {name: [asdict(outcome)[name] for outcome in outcomes] for name in asdict(outcomes[0])}
    for name in schema.names:
        if schema.field(name).type == pa.string():
            columns[name] = [_text(value) for value in columns[name]]
    return pa.table(columns, schema=schema)


def _path(value: Any) -> Any:
    return value.get("path") if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
