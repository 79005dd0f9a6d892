"""What a file's outside tells, and what it does not."""

import numpy as np
import pytest

from tests.fakes.slices import a_head, jpeg, png
from workers.curation.shortcuts import FileStatistics, file_statistics, shortcut_control


def test_statistics_are_of_the_outside() -> None:
    grey = np.zeros((64, 128), np.uint8)
    grey[:, :2] = 9
    grey[30:34, 60:68] = 200
    data = jpeg(grey, quality=50, mode="RGB")
    found = file_statistics(data, grey)
    assert (found.width, found.height, found.aspect, found.kind) == (128, 64, 2.0, "JPEG RGB")
    assert found.zero_share == pytest.approx(1 - (128 + 32) / (64 * 128))
    # The frame is two pixels wide, and its left side is not black.
    frame = 64 * 128 - 60 * 124
    assert found.border_zero_share == pytest.approx(1 - 128 / frame)
    assert found.bytes_per_pixel == pytest.approx(len(data) / (64 * 128))
    assert 0 < found.luma_table_sum < found.chroma_table_sum


def test_a_format_without_tables_has_none() -> None:
    found = file_statistics(png(a_head(0)), a_head(0))
    assert (found.kind, found.luma_table_sum, found.chroma_table_sum) == ("PNG L", 0, 0)


def of_width(width: int, **changes: object) -> FileStatistics:
    fields = {
        "width": width,
        "height": 100,
        "aspect": 1.0,
        "zero_share": 0.5,
        "border_zero_share": 1.0,
        "bytes_per_pixel": 0.2,
        "luma_table_sum": 100,
        "chroma_table_sum": 0,
        "format": "JPEG",
        "mode": "L",
    }
    return FileStatistics(**(fields | changes))  # type: ignore[arg-type]


LABELS = ["glioma", "no_tumor"] * 60
ALONE = np.arange(120)


def test_a_class_that_its_size_gives_away_is_told() -> None:
    statistics = [of_width(512 if label == "glioma" else 225) for label in LABELS]
    found = shortcut_control(statistics, LABELS, ALONE)
    assert found is not None
    assert (found.accuracy, found.macro_f1, found.majority_share) == (1.0, 1.0, 0.5)
    assert (found.telling, found.fold_count) == (("width",), 5)


def test_a_class_that_its_format_gives_away_is_told() -> None:
    statistics = [of_width(1, format="JPEG" if n == "glioma" else "PNG") for n in LABELS]
    found = shortcut_control(statistics, LABELS, ALONE)
    assert found is not None
    assert (found.accuracy, found.telling) == (1.0, ("file format",))


def test_chance_stays_near_the_majority() -> None:
    widths = np.random.default_rng(0).integers(100, 600, len(LABELS))
    found = shortcut_control([of_width(int(w)) for w in widths], LABELS, ALONE)
    assert found is not None
    assert 0.3 < found.accuracy < 0.7


def test_groups_are_held_out_whole() -> None:
    # Every group has a width of its own, so only a leak could tell its class by it.
    groups = np.arange(120) // 2 % 20
    labels = [["glioma", "no_tumor"][hash_ % 2] for hash_ in (groups * 7 % 11)]
    rng = np.random.default_rng(3)
    width_of = rng.permutation(20)
    found = shortcut_control([of_width(int(width_of[g])) for g in groups], labels, groups)
    assert found is not None
    assert found.accuracy < 0.9


@pytest.mark.parametrize(
    ("labels", "groups"),
    [
        (["glioma"] * 8, np.arange(8)),
        (["glioma"] * 4 + ["pituitary"] * 4, np.array([0, 1, 2, 3, 4, 4, 4, 4])),
    ],
    ids=["one class", "one group"],
)
def test_too_little_to_hold_out_is_not_measured(labels: list[str], groups: np.ndarray) -> None:
    assert shortcut_control([of_width(9)] * 8, labels, groups) is None


def test_as_many_folds_as_the_scarcest_class_has_groups() -> None:
    groups = np.array([0, 1, 2, 3, 4, 5, 6, 6, 7, 8])
    labels = ["glioma"] * 6 + ["pituitary"] * 4
    found = shortcut_control([of_width(9)] * 10, labels, groups)
    assert found is not None
    assert (found.fold_count, found.telling) == (3, ())
