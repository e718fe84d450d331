"""Files that a run wrote, read so that damage is an error and never another number."""

import json
import math
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from bench.errors import DataError

Described = TypeVar("Described", bound=BaseModel)

DEEPEST = 50
"""Levels of lists and objects in a JSON file."""
LARGEST_INT = 2**63 - 1


class ResultsError(DataError):
    """A results folder that is missing, unfinished, damaged, or not what this version reads."""


def is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error


def read_json(path: Path, what: str) -> dict[str, Any]:
    """A JSON object, which is `what`, whose numbers are finite and whose text is Unicode.

    Raises FileNotFoundError, and ResultsError for anything else that is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        _check_values(content)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path}: cannot be read as a {what}: {error}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: an object is expected, this is no JSON object")
    return content


def _check_values(content: Any) -> None:
    """Raises ValueError."""
    level = [content]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += [*value, *value.values()]
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str):
                value.encode()  # JSON can spell half a character, which nothing can write
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{value} is no number")
            elif isinstance(value, int) and abs(value) > LARGEST_INT:
                raise ValueError("a number has more than 64 bits")
        level = below
    if level:
        raise ValueError(f"nested more than {DEEPEST} deep")


def validated(model: type[Described], content: Any, path: Path) -> Described:
    """Raises ResultsError that names the file and the first field at fault."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ResultsError(f"{path}: {field}: {first['msg']}") from error


def read_bytes(path: Path) -> bytes:
    """Raises ResultsError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: missing; run it again with the same arguments to finish it"
        ) from None
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read: {error}") from error


def parse_table(path: Path, data: bytes) -> pa.Table:
    """The table in the content of a Parquet file. Raises ResultsError naming `path`."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read().replace_schema_metadata(None)
        table.validate(full=True)
    except Exception as error:  # whatever damage makes of Arrow
        raise ResultsError(f"{path}: cannot be read as Parquet: {error}") from error
    if len(set(table.column_names)) < table.num_columns:
        raise ResultsError(f"{path}: two columns of one name: {', '.join(table.column_names)}")
    return table


def check_columns(path: Path, table: pa.Table, kinds: dict[str, str]) -> None:
    """Raises ResultsError where a column is missing or is no `text`, `integer` or `number`.

    Only numbers may be missing in a row. A table without rows may have columns without a type.
    """
    missing = [name for name in kinds if name not in table.column_names]
    if missing:
        raise ResultsError(f"{path}: no column {', '.join(missing)}")
    for name, kind in kinds.items() if len(table) else ():
        column = table[name]
        if not _KINDS[kind](column.type):
            raise ResultsError(f"{path}: column {name} is {column.type}, {kind} is expected")
        if kind != "number" and column.null_count:
            raise ResultsError(f"{path}: column {name} is empty in {column.null_count} rows")


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


_KINDS = {
    "text": _is_text,
    "integer": pa.types.is_integer,
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
}
