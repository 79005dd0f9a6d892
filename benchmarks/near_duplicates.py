"""Near-duplicates between two sets that share pictures: precision, recall, and time.

``python -m benchmarks.near_duplicates DATA`` where DATA has the folders ``kaggle-mri`` and
``figshare-t1ce``, each with a ``manifest.csv`` (path, label, group). Where a slice of the first is
a picture of the second, re-encoded, their group names agree; groups of the second are runs of
neighbouring slices, so a pair within one group is right and a slice whose group is in both should
have a copy. Some of those copies are kept back, and some pictures are in the second set twice, so
neither number can reach 1. Writes ``results/near_duplicates.md``.
"""

import argparse
import csv
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.provenance import provenance
from workers.curation.looks import Look, look_at
from workers.curation.near_duplicates import (
    MIN_SIMILARITY,
    THUMBNAIL_SIDE,
    NearDuplicates,
    find_near_duplicates,
)
from workers.imaging.decode import ImageLimits, decode_grey

RESULTS: Final = Path(__file__).parent / "results" / "near_duplicates.md"
LIMITS: Final = ImageLimits(max_bytes=1 << 30, max_pixels=1 << 30)
TIMED: Final = 10_000
DISTANCES: Final = (0, 2, 4, 6)
"""Even, since as many of a look's bits are set as not."""


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


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Of slices of two sets: pairs of one component, and how many of these have one group.

    ``expected`` slices of the first set have a group that is in the second, too; ``hit`` of them
    are in a right pair. ``contradictory`` pairs have different labels.
    """

    pairs: int
    right: int
    expected: int
    hit: int
    contradictory: int


@dataclass(frozen=True, kw_only=True)
class Looks:
    """How far looks alone, without pixels, tell copies, by the bits that may differ.

    ``copies``: share of the pairs across the sets whose pixels agree. ``wrong``: share of the
    second set's slices that resemble one of another group there.
    """

    distance: int
    copies: float
    wrong: float


@dataclass(frozen=True, kw_only=True)
class Seconds:
    looking: float
    searching: float


def agreement(first: Sequence[Scan], second: Sequence[Scan], looks: Sequence[Look]) -> Agreement:
    """A slice and a slice of the other set count as a pair if they are in one component."""
    found = search(looks, [scan.label for scan in (*first, *second)])
    left, right = found.components[: len(first)], found.components[len(first) :]
    pairs = np.argwhere(left[:, np.newaxis] == right)
    right_ones = [(a, b) for a, b in pairs if first[a].group == second[b].group]
    shared = {scan.group for scan in second}
    expected = {n for n, scan in enumerate(first) if scan.group in shared}
    return Agreement(
        pairs=len(pairs),
        right=len(right_ones),
        expected=len(expected),
        hit=len({int(a) for a, _ in right_ones} & expected),
        contradictory=found.contradictory_pair_count,
    )


def by_look_alone(count: int, groups: Sequence[str], looks: Sequence[Look]) -> list[Looks]:
    """``count`` of the looks are the first set's; ``groups`` are those of the second."""
    hashes = np.array([look.hash for look in looks], np.uint64)
    across = distances(hashes[:count], hashes[count:])
    within = distances(hashes[count:], hashes[count:])
    pixels = centred(looks)
    copies = pixels[:count] @ pixels[count:].T >= MIN_SIMILARITY
    names = np.array(groups)
    others = names[:, np.newaxis] != names
    return [
        Looks(
            distance=distance,
            copies=float((across[copies] <= distance).mean()),
            wrong=float(((within <= distance) & others).any(axis=1).mean()),
        )
        for distance in DISTANCES
    ]


def distances(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = np.bitwise_count(left[:, np.newaxis] ^ right)
    return found


def centred(looks: Sequence[Look]) -> NDArray[np.float32]:
    """Thumbnails (n, pixels) whose products are correlations."""
    thumbnails = np.frombuffer(b"".join(look.thumbnail for look in looks), np.uint8)
    pixels = thumbnails.reshape(len(looks), -1).astype(np.float32)
    pixels -= pixels.mean(axis=1, keepdims=True)
    lengths = np.maximum(np.linalg.norm(pixels, axis=1, keepdims=True), 1)
    scaled: NDArray[np.float32] = pixels / lengths
    return scaled


def timed(some: Sequence[Scan]) -> Seconds:
    many = list(islice(cycle(some), TIMED))
    start = time.perf_counter()
    looks = looks_of(many)
    middle = time.perf_counter()
    search(looks, [scan.label for scan in many])
    return Seconds(looking=middle - start, searching=time.perf_counter() - middle)


def report(found: Agreement, alone: Sequence[Looks], seconds: Seconds) -> str:
    made = provenance()
    rows = [
        "# Near-duplicates\n",
        f"`python -m benchmarks.near_duplicates`, {made['date']}, commit {made['commit']}, "
        f"{made['machine']}. `kaggle-mri` has slices of `figshare-t1ce`, encoded anew; see its "
        "docstring for what counts as right.\n",
        "| what | |",
        "| --- | --- |",
        f"| pairs across the sets | {found.pairs:,} |",
        f"| of one group (precision) | {found.right / found.pairs:.4f} |",
        "| slices whose group is in both sets, found (recall) "
        f"| {found.hit / found.expected:.4f} ({found.hit:,} of {found.expected:,}) |",
        f"| pairs with different labels, within the sets or across | {found.contradictory} |",
        f"| {TIMED:,} pictures, decoding and looking | {seconds.looking:.1f} s |",
        f"| searching among them | {seconds.searching:.1f} s |",
        "\nBy looks alone (perceptual hashes, no pixels), as a model's lineage knows slices:\n",
        "| bits that may differ | copies that are known "
        "| slices taken for one of another group of their set |",
        "| --- | --- | --- |",
    ]
    rows += [f"| {row.distance} | {row.copies:.4f} | {row.wrong:.4f} |" for row in alone]
    return "\n".join(rows) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    first, second = scans(data, "kaggle-mri"), scans(data, "figshare-t1ce")
    looks = looks_of([*first, *second])
    RESULTS.write_text(
        report(
            agreement(first, second, looks),
            by_look_alone(len(first), [scan.group for scan in second], looks),
            timed([*first, *second]),
        )
    )


if __name__ == "__main__":
    main()
