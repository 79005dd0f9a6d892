"""The pictures that are sent."""

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.load.scans import SIDE, TARGET_BYTES, jpeg_of_size, real_scans, synthetic_scans


def test_synthetic_scans_are_as_large_as_those_of_public_sets() -> None:
    scans = synthetic_scans(2)
    for encoded in scans.encoded:
        with Image.open(io.BytesIO(encoded)) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (SIDE, SIDE))
        assert 0.8 * TARGET_BYTES < len(encoded) <= TARGET_BYTES
    assert len(set(scans.encoded)) == 2
    assert synthetic_scans(2) == scans


def test_a_picture_that_fits_at_no_quality_is_sent_at_the_lowest() -> None:
    noise = Image.effect_noise((64, 64), 80)
    assert jpeg_of_size(noise, 1) == min((jpeg_of_size(noise, n) for n in (1, 10**6)), key=len)


def test_real_scans_are_spread_over_the_folder(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(bytes([number]))
    (tmp_path / "manifest.csv").write_text("path,label")
    assert real_scans(tmp_path, 4).encoded == (b"\x00", b"\x03", b"\x06", b"\x09")
    assert len(real_scans(tmp_path, 99).encoded) == 10


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no pictures"):
        real_scans(tmp_path, 4)
