"""Near-duplicates between two sets that share pictures: precision, recall, and time.

``python -m benchmarks.near_duplicates DATA`` where DATA has the folders ``kaggle-mri`` and
``figshare-t1ce``, each with a ``manifest.csv`` (path, label, group). Where a slice of the first is
a picture of the second, re-encoded, their group names agree; groups of the second are runs of
neighbouring slices, so a pair within one group is right and a slice whose group is in both should
have a copy. Some of those copies are kept back, and some pictures are in the second set twice, so
neither number can reach 1.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from workers.curation.looks import Look, look_at
from workers.curation.near_duplicates import THUMBNAIL_SIDE, NearDuplicates, find_near_duplicates
from workers.imaging.decode import ImageLimits, decode_grey

LIMITS = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)
TIMED = 10_000


@dataclass(frozen=True)
class Scan:
    path: Path
    source: str
    label: str
    group: str


def scans(data: Path, source: str) -> list[Scan]:
    with (data / source / "manifest.csv").open(newline="") as manifest:
        return [
            Scan(data / source / row["path"], source, row["label"], row["group"])
            for row in csv.DictReader(manifest)
        ]


def look(scan: Scan) -> Look:
    encoded = scan.path.read_bytes()
    return look_at(encoded, decode_grey(encoded, LIMITS))


def looks_of(found: Sequence[Scan]) -> list[Look]:
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(look, found))


def search(looks: Sequence[Look], labels: Sequence[str]) -> NearDuplicates:
    thumbnails = np.frombuffer(b"".join(look.thumbnail for look in looks), np.uint8)
    return find_near_duplicates(
        np.array([look.hash for look in looks], np.uint64),
        thumbnails.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        np.unique(np.array(labels), return_inverse=True)[1],
    )


def report_agreement(first: Sequence[Scan], second: Sequence[Scan]) -> None:
    """A slice and a slice of the other set count as a pair if they are in one component."""
    both = [*first, *second]
    found = search(looks_of(both), [scan.label for scan in both])
    left, right = found.components[: len(first)], found.components[len(first) :]
    pairs = np.argwhere(left[:, np.newaxis] == right)
    right_ones = [(a, b) for a, b in pairs if first[a].group == second[b].group]
    shared = {scan.group for scan in second}
    expected = {n for n, scan in enumerate(first) if scan.group in shared}
    hit = {int(a) for a, _ in right_ones} & expected
    print(f"pairs across the sets: {len(pairs)}; of one group: {len(right_ones)}")
    print(f"precision {len(right_ones) / len(pairs):.4f}")
    print(f"recall {len(hit) / len(expected):.4f} ({len(hit)} of {len(expected)} slices)")
    print(f"near-duplicate pairs with different labels: {found.contradictory_pair_count}")


def report_time(some: Sequence[Scan]) -> None:
    many = list(islice(cycle(some), TIMED))
    start = time.perf_counter()
    looks = looks_of(many)
    middle = time.perf_counter()
    search(looks, [scan.label for scan in many])
    end = time.perf_counter()
    print(
        f"{TIMED:,} pictures: decoding and looking {middle - start:.1f} s, "
        f"searching {end - middle:.1f} s, together {end - start:.1f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    first, second = scans(data, "kaggle-mri"), scans(data, "figshare-t1ce")
    report_agreement(first, second)
    report_time([*first, *second])


if __name__ == "__main__":
    main()
