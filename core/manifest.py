"""The file in which a data set says what its slices are, as far as the file alone tells."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from core.errors import DatasetRefused

MANIFEST: Final = "manifest.csv"
"""Its name, in small letters; a file may have it in others, which some programs like."""

Rows = Sequence[Mapping[str, str]]
"""By column, whose names are in small letters."""


def is_manifest(path: str) -> bool:
    """Whether the file is one by its name."""
    return PurePosixPath(path).name.lower() == MANIFEST


def manifest_top(path: str) -> str:
    """What the paths of all files begin with that lie where this manifest does, or below."""
    return path[: -len(MANIFEST)]


def manifest_rows(manifest: bytes) -> Rows:
    """Its rows. Raises ``DatasetRefused`` for what is no CSV with the columns path and label."""
    try:
        text = manifest.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), restval="")
        rows = [{k.strip().lower(): v for k, v in row.items() if k} for row in reader]
        columns = {(name or "").strip().lower() for name in reader.fieldnames or ()}
    except (UnicodeDecodeError, csv.Error) as exc:
        raise DatasetRefused(f"{MANIFEST} is not a UTF-8 CSV file.") from exc
    if missing := {"path", "label"} - columns:
        raise DatasetRefused(f"{MANIFEST} has no column {' and no column '.join(sorted(missing))}.")
    return rows


def plain_path(path: str) -> str:
    """The path as the data set's files have it."""
    return path.strip().replace("\\", "/").removeprefix("./")


def unnamed(paths: Iterable[str], rows: Rows) -> list[str]:
    """Those of the paths that no row has, neither as a slice nor as a mask, in their order."""
    named = {plain_path(row.get(column, "")) for row in rows for column in ("path", "mask")}
    return [path for path in paths if path not in named]
