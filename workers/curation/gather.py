"""Several data sets as one folder, so that what they share is found."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from workers.curation.manifest import MANIFEST


def gather(sources: Sequence[Path], folder: Path) -> None:
    """Make ``folder`` of folders with a manifest each (path, label, group), each one a part of it.

    Pictures are linked, or copied where they are on another disk. Groups keep their names: those
    of the same name in two sources are one group.
    """
    rows = []
    for source in sources:
        with (source / MANIFEST).open(newline="") as manifest:
            for row in csv.DictReader(manifest):
                path = f"{source.name}/{row['path']}"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                _link(source / row["path"], folder / path)
                rows.append({"path": path, "label": row["label"], "group": row["group"]})
    with (folder / MANIFEST).open("w", newline="") as manifest:
        writer = csv.DictWriter(manifest, ["path", "label", "group"])
        writer.writeheader()
        writer.writerows(rows)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        target.write_bytes(source.read_bytes())
