"""Near-duplicates on real scans, where they are at hand: two public sets that share pictures."""

import csv
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from workers.curation.looks import look_at
from workers.curation.near_duplicates import THUMBNAIL_SIDE, find_near_duplicates
from workers.imaging.decode import ImageLimits, decode_grey

DATA: Final = Path(__file__).resolve().parents[5] / "shared" / "data"
SETS: Final = ("kaggle-mri", "figshare-t1ce")
LIMITS: Final = ImageLimits(max_bytes=1 << 26, max_pixels=1 << 26)
EVERY: Final = 6
"""Of the groups that both have, so many are left out for one that is looked at."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real scans at {DATA}"),
]


def rows(name: str) -> list[dict[str, str]]:
    with (DATA / name / "manifest.csv").open(newline="") as manifest:
        return list(csv.DictReader(manifest))


def test_reencoded_copies_are_found_and_little_else() -> None:
    groups = [{row["group"] for row in rows(name)} for name in SETS]
    some = set(sorted(groups[0] & groups[1])[::EVERY])
    scans = [(name, row) for name in SETS for row in rows(name) if row["group"] in some]
    looks = []
    for name, row in scans:
        data = (DATA / name / row["path"]).read_bytes()
        looks.append(look_at(data, decode_grey(data, LIMITS)))
    thumbnails = np.frombuffer(b"".join(look.thumbnail for look in looks), np.uint8)
    found = find_near_duplicates(
        np.array([look.hash for look in looks], np.uint64),
        thumbnails.reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE),
        np.zeros(len(looks), np.int64),
    )
    first = [n for n, (name, _) in enumerate(scans) if name == SETS[0]]
    second = [n for n, (name, _) in enumerate(scans) if name == SETS[1]]
    assert len(first) > 200
    pairs = [(a, b) for a in first for b in second if found.components[a] == found.components[b]]
    right = [(a, b) for a, b in pairs if scans[a][1]["group"] == scans[b][1]["group"]]
    assert len(right) / len(pairs) > 0.97
    assert len({a for a, _ in right}) / len(first) > 0.95
