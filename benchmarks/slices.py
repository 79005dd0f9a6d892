"""The slices of a folder of data sets, to be found again by their hashes."""

import csv
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class EncodedSlice:
    """An encoded picture, its hex SHA-256, its row of the manifest and the manifest's folder."""

    image: bytes
    sha256: str
    row: Mapping[str, str]
    folder: Path


def encoded_slices(data: Path) -> Iterator[EncodedSlice]:
    """Of every data set in ``data``, each a folder with a ``manifest.csv``."""
    for manifest in sorted(data.glob("*/manifest.csv")):
        with manifest.open(newline="") as rows:
            for row in csv.DictReader(rows):
                image = (manifest.parent / row["path"]).read_bytes()
                yield EncodedSlice(
                    image=image,
                    sha256=hashlib.sha256(image).hexdigest(),
                    row=row,
                    folder=manifest.parent,
                )
