"""The main job on real scans, where they are at hand."""

import csv
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Stack

SCANS = ROOT.parent / "shared" / "data" / "kaggle-mri"
PER_CLASS = 40

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(500),
    pytest.mark.skipif(not SCANS.is_dir(), reason=f"no real scans at {SCANS}"),
]


@pytest.fixture(scope="module")
def some_scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first scans of each class, with their groups."""
    folder = tmp_path_factory.mktemp("scans") / "kaggle"
    taken: Counter[str] = Counter()
    rows = []
    for row in csv.DictReader((SCANS / "manifest.csv").read_text().splitlines()):
        if taken[row["label"]] < PER_CLASS:
            taken[row["label"]] += 1
            target = folder / row["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(SCANS / row["path"], target)
            rows.append(row)
    with (folder / "manifest.csv").open("w", newline="") as manifest:
        writer = csv.DictWriter(manifest, ["path", "label", "group"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_the_main_job_on_real_scans(stack: Stack, some_scans: Path) -> None:
    (dataset,) = stack.rows("datasets", "upload", str(some_scans), "--name", "real")
    assert dataset["item_count"] == 4 * PER_CLASS
    assert dataset["group_count"] > 4
    stack.rows(
        "train", "--dataset", "real", "--backbone", "efficientnet_lite0", "--watch",
        "--set", "weights=none", "--set", "epochs=2", "--set", "image_size=64",
    )  # fmt: skip
    (version,) = stack.rows("models", "list")
    # It has hardly learned, and would be refused.
    reason = ("--force", "--reason", "two epochs from nothing")
    stack.rows("models", "promote", version["name"], *reason)
    answers = stack.rows("classify", str(some_scans / "glioma"), str(some_scans / "no_tumor"))
    assert len(answers) == 2 * PER_CLASS
    assert all(a["error"] is None for a in answers)
    assert len(stack.rows("audit", "list")) == 2 * PER_CLASS
    stack.run("audit", "verify")
