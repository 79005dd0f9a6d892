"""Synthetic slices: repeatable, varied, and different where the tumour is."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.labels import LABELS, TumourLabel
from services.cli.synthetic import draw_slice, write_dataset


def test_each_class_gets_its_folder_of_jpegs(tmp_path: Path) -> None:
    written = write_dataset(tmp_path, per_class=2, size=64, seed=3)
    assert sorted({path.parent.name for path in written}) == sorted(LABELS)
    assert len(written) == len(set(written)) == 8
    for path in written:
        with Image.open(path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (64, 64))


def test_a_seed_gives_the_same_slices_and_another_seed_others(tmp_path: Path) -> None:
    def digest(folder: str, seed: int) -> list[bytes]:
        paths = write_dataset(tmp_path / folder, per_class=1, size=48, seed=seed)
        return [path.read_bytes() for path in paths]

    assert digest("a", 1) == digest("b", 1)
    assert not set(digest("a", 1)) & set(digest("c", 2))


def test_more_slices_begin_with_the_same_ones(tmp_path: Path) -> None:
    few = {p.name: p.read_bytes() for p in write_dataset(tmp_path / "few", 1, 48, 0)}
    many = {p.name: p.read_bytes() for p in write_dataset(tmp_path / "many", 2, 48, 0)}
    assert few.items() < many.items()


def bright_spot(label: TumourLabel, number: int) -> tuple[float, float, int]:
    """(x, y) of the brightest place inside the skull in -1..1, and how many bright pixels."""
    size = 128
    slice_ = draw_slice(label, size, np.random.default_rng(number)).astype(float)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    inside = np.hypot(x / 0.52, y / 0.64) < 1
    bright = inside & (slice_ > 1.4 * np.median(slice_[inside]))
    if not bright.any():
        return 0.0, 0.0, 0
    return float(x[bright].mean()), float(y[bright].mean()), int(bright.sum())


@pytest.mark.parametrize("number", range(8))
def test_the_tumour_is_where_its_class_says(number: int) -> None:
    _, _, nothing = bright_spot(TumourLabel.NO_TUMOR, number)
    x, y, pituitary = bright_spot(TumourLabel.PITUITARY, number)
    gx, _, glioma = bright_spot(TumourLabel.GLIOMA, number)
    assert nothing < 25
    assert pituitary > nothing
    assert abs(x) < 0.25
    assert y > 0.2
    assert glioma > 60
    assert abs(gx) > 0.1
