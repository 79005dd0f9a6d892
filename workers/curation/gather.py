"""Several data sets as one folder, so that what they share is found."""

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.manifest import MANIFEST


def gather(sources: Sequence[Path], folder: Path) -> None:
    """Make ``folder`` of folders with a manifest each, and each one a part of it.

    Manifests have path, label, group and, where there are masks, mask.

    Pictures are linked, or copied where they are on another disk. Groups keep their names: those
    of the same name in two sources are one group. A folder with a manifest was made before and
    stays as it is; the manifest is what is written last.
    """
    if (folder / MANIFEST).exists():
        return
    rows: list[dict[str, str]] = []
    for source in sources:
        with (source / MANIFEST).open(newline="") as manifest:
            rows += [_taken_row(source, row, folder) for row in csv.DictReader(manifest)]
    unfinished = folder / f".{MANIFEST}"
    with unfinished.open("w", newline="") as manifest:
        writer = csv.DictWriter(manifest, ["path", "label", "group", "mask"])
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(folder / MANIFEST)


def _taken_row(source: Path, row: Mapping[str, str], folder: Path) -> dict[str, str]:
    return {
        "path": _taken(source, row["path"], folder),
        "label": row["label"],
        "group": row["group"],
        "mask": _taken(source, row.get("mask", ""), folder),
    }


def _taken(source: Path, path: str, folder: Path) -> str:
    """The picture's path in the folder; nothing for nothing."""
    if not path:
        return ""
    taken = f"{source.name}/{path}"
    (folder / taken).parent.mkdir(parents=True, exist_ok=True)
    _link(source / path, folder / taken)
    return taken


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:  # by a run that was stopped
        return
    except OSError:  # another disk
        target.write_bytes(source.read_bytes())
