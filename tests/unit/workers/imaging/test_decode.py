"""Known pixels through every kind of file, and every way to be refused."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, DTypeLike, NDArray
from PIL import Image

from core.errors import ImageProblem, ImageRefused
from core.settings import Settings
from workers.imaging import decode
from workers.imaging.decode import MIN_SIDE, ImageLimits, decode_grey

LIMITS = ImageLimits(max_bytes=100_000, max_pixels=10_000)
SIDE = 32
GREY = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
LOSSLESS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "WEBP": {"lossless": True},
}
ORIENTATION_TAG = 0x0112


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(pixels: NDArray[Any], **options: Any) -> bytes:
    return encoded(Image.fromarray(pixels), **options)


def columns(values: ArrayLike, dtype: DTypeLike = np.uint8) -> NDArray[Any]:
    """A square whose vertical bands have these values, or colours, from left to right."""
    bands = np.asarray(values, dtype)
    return np.tile(np.repeat(bands, SIDE // len(bands), axis=0), (SIDE,) + (1,) * bands.ndim)


def bands(data: bytes, count: int) -> list[int]:
    """What became of :func:`columns`: the value in the middle of each band."""
    width = SIDE // count
    return [int(v) for v in decode_grey(data, LIMITS)[SIDE // 2, width // 2 :: width]]


def problem(data: bytes, limits: ImageLimits = LIMITS) -> ImageProblem:
    with pytest.raises(ImageRefused) as caught:
        decode_grey(data, limits)
    return caught.value.problem


def header_only_png(width: int, height: int) -> bytes:
    """Says how large it is, and holds next to no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


def several(kind: str) -> bytes:
    first, second = (Image.new("L", (SIDE, SIDE), value) for value in (0, 255))
    return encoded(first, kind, save_all=True, append_images=[second])


# --- what each mode becomes ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", LOSSLESS)
def test_grey_pixels_stay_as_they_are(kind: str) -> None:
    decoded = decode_grey(encoded(Image.fromarray(GREY), kind, **LOSSLESS[kind]), LIMITS)
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, GREY)


def test_a_grey_jpeg() -> None:
    assert bands(encoded(Image.fromarray(columns([0, 90, 200, 255])), "JPEG"), 4) == pytest.approx(
        [0, 90, 200, 255], abs=3
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bits_are_scaled_by_their_brightest_pixel(kind: str, dtype: str) -> None:
    pixels = Image.fromarray(columns([0, 1000, 3000, 4000], dtype))
    assert bands(encoded(pixels, kind), 4) == [0, 64, 191, 255]


def test_32_bit_whole_numbers_are_scaled() -> None:
    pixels = Image.fromarray(columns([-500, 0, 300_000, 400_000], np.int32))
    assert bands(encoded(pixels, "TIFF"), 4) == [0, 0, 191, 255]


@pytest.mark.parametrize("peak", [1e-40, 1e-3, 1.0, 3e38])
def test_floats_are_scaled_and_what_is_below_zero_is_black(peak: float) -> None:
    pixels = Image.fromarray(columns([-peak, 0, peak / 2, peak], np.float32))
    assert bands(encoded(pixels, "TIFF"), 4) == pytest.approx([0, 0, 127.5, 255], abs=0.5)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_floats_without_any_light_are_black(value: float) -> None:
    dark = Image.fromarray(np.full((SIDE, SIDE), value, np.float32))
    assert not decode_grey(encoded(dark, "TIFF"), LIMITS).any()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_a_hot_pixel_leaves_the_rest_as_it_is(kind: str) -> None:
    slice_of_12_bits = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    hot = slice_of_12_bits.copy()
    hot[5, 7] = 65535
    decoded, without = (
        decode_grey(encoded(Image.fromarray(pixels), kind), LIMITS).astype(int)
        for pixels in (hot, slice_of_12_bits)
    )
    assert decoded[5, 7] == 255
    decoded[5, 7] = without[5, 7]
    np.testing.assert_allclose(decoded, without, atol=1)


def test_a_very_large_picture_is_scaled_by_some_of_its_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = png(columns([0, 1000, 3000, 4000], np.uint16))
    whole = decode_grey(data, LIMITS)
    monkeypatch.setattr(decode, "_COUNTED_PIXELS", 3 * SIDE)
    monkeypatch.setattr(decode, "_BAND_PIXELS", 2 * SIDE)
    np.testing.assert_array_equal(decode_grey(data, LIMITS), whole)


def test_where_zero_means_white_it_becomes_white() -> None:
    stored = columns([250, 200, 100, 0], np.uint16)
    data = encoded(Image.fromarray(stored), "TIFF", tiffinfo={262: 0})
    stored_as: Any = Image.open(io.BytesIO(data))
    assert stored_as.tag_v2[262] == 0
    assert bands(data, 4) == [0, 51, 153, 255]


def test_one_bit() -> None:
    assert bands(png(columns([False, True], np.bool_)), 2) == [0, 255]


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 100, 50)]
LUMA = [76, 150, 29, 124]


@pytest.mark.parametrize("kind", LOSSLESS)
def test_colour_becomes_luma(kind: str) -> None:
    data = encoded(Image.fromarray(columns(COLOURS)), kind, **LOSSLESS[kind])
    assert bands(data, 4) == pytest.approx(LUMA, abs=1)


@pytest.mark.parametrize("keep_rgb", [False, True], ids=["stored as YCbCr", "stored as RGB"])
def test_a_colour_jpeg_becomes_luma(keep_rgb: bool) -> None:
    picture = Image.fromarray(columns(COLOURS))
    data = encoded(picture, "JPEG", quality=95, keep_rgb=keep_rgb)
    assert bands(data, 4) == pytest.approx(LUMA, abs=4)


def test_a_cmyk_jpeg_becomes_luma() -> None:
    cmyk = Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0))
    cmyk.paste((0, 0, 0, 255), (0, 0, SIDE // 2, SIDE))
    assert bands(encoded(cmyk, "JPEG", quality=95), 2) == pytest.approx([0, 76], abs=4)


def a_palette_picture() -> Image.Image:
    picture = Image.fromarray(columns([0, 1, 2, 3]))
    picture.putpalette([channel for colour in COLOURS for channel in colour])
    return picture


def test_a_palette_is_looked_up() -> None:
    assert bands(encoded(a_palette_picture()), 4) == pytest.approx(LUMA, abs=1)


def test_a_transparent_palette_colour_is_black() -> None:
    assert bands(encoded(a_palette_picture(), transparency=1), 4) == pytest.approx(
        [LUMA[0], 0, *LUMA[2:]], abs=1
    )


def test_transparent_colour_is_black() -> None:
    white = [(255, 255, 255, alpha) for alpha in (0, 64, 128, 255)]
    assert bands(png(columns(white)), 4) == pytest.approx([0, 64, 128, 255], abs=1)


def test_transparent_grey_is_black() -> None:
    picture = Image.fromarray(columns([200, 200]))
    picture.putalpha(Image.fromarray(columns([0, 255])))
    assert picture.mode == "LA"
    assert bands(encoded(picture), 2) == [0, 200]


def test_a_grey_value_that_stands_for_transparent_is_black() -> None:
    assert bands(png(columns([50, 200]), transparency=200), 2) == [50, 0]


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE) * 50),
        Image.fromarray(np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 4), np.uint8)),
        Image.fromarray(np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), np.uint8)),
        a_palette_picture(),
    ],
    ids=lambda picture: picture.mode,
)
def test_a_large_picture_is_what_a_small_one_would_be(
    picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(picture)
    whole = decode_grey(data, LIMITS)
    monkeypatch.setattr(decode, "_BAND_PIXELS", 5 * SIDE)  # the last band is narrower
    np.testing.assert_array_equal(decode_grey(data, LIMITS), whole)


def test_no_more_than_a_band_is_converted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    heights: list[int] = []
    real = decode._on_black

    def noted(band: Image.Image) -> Image.Image:
        heights.append(band.height)
        return real(band)

    monkeypatch.setattr(decode, "_BAND_PIXELS", 10 * SIDE)
    monkeypatch.setattr(decode, "_on_black", noted)
    decode_grey(encoded(Image.new("RGBA", (SIDE, SIDE))), LIMITS)
    assert heights == [10, 10, 10, 2]


def test_huge_pictures_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_HUGE_PIXELS", SIDE * SIDE - 1)
    data = encoded(Image.new("L", (SIDE, SIDE)))
    with ThreadPoolExecutor() as pool, decode._one_huge_picture:
        waiting = pool.submit(decode_grey, data, LIMITS)
        small = pool.submit(decode_grey, encoded(Image.new("L", (SIDE, SIDE - 1))), LIMITS)
        assert small.result(timeout=30).any() == np.False_
        assert not waiting.done()
        decode._one_huge_picture.release()
        assert waiting.result(timeout=30).shape == (SIDE, SIDE)
        decode._one_huge_picture.acquire()


UPRIGHT = {
    1: GREY,
    2: np.fliplr(GREY),
    3: np.rot90(GREY, 2),
    4: np.flipud(GREY),
    5: GREY.T,
    6: np.rot90(GREY, -1),
    7: np.rot90(GREY, 2).T,
    8: np.rot90(GREY),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_picture_is_turned_upright(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    data = encoded(Image.fromarray(GREY), kind, exif=exif, **LOSSLESS[kind])
    np.testing.assert_array_equal(decode_grey(data, LIMITS), UPRIGHT[orientation])


def test_a_jpeg_is_turned_upright() -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = 6
    sideways = np.rot90(columns([20, 220]))
    assert bands(encoded(Image.fromarray(sideways), "JPEG", exif=exif), 2) == pytest.approx(
        [20, 220], abs=3
    )


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_means_nothing_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    np.testing.assert_array_equal(decode_grey(png(GREY, exif=exif), LIMITS), GREY)


# --- what is refused ----------------------------------------------------------------------------


def test_nothing_is_refused() -> None:
    assert problem(b"") is ImageProblem.EMPTY


@pytest.mark.parametrize(
    "data", [b"hello", bytes(1000), b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF....WEBP"]
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert problem(data) is ImageProblem.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["GIF", "PPM", "ICO", "JPEG2000"])
def test_formats_that_are_not_accepted_are_no_pictures(kind: str) -> None:
    assert problem(encoded(Image.fromarray(GREY), kind)) is ImageProblem.NOT_AN_IMAGE


def test_an_animated_gif_is_no_picture() -> None:
    assert problem(several("GIF")) is ImageProblem.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "PNG", "MPO"])
def test_several_pictures_in_one_file_are_refused(kind: str) -> None:
    assert problem(several(kind)) is ImageProblem.ANIMATED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_half_a_picture_is_refused(kind: str) -> None:
    data = encoded(Image.fromarray(GREY), kind)
    assert problem(data[: len(data) // 2]) is ImageProblem.TRUNCATED


def test_half_a_webp_is_refused() -> None:
    data = encoded(Image.fromarray(GREY), "WEBP")
    # Its decoder does not say what is wrong.
    assert problem(data[: len(data) // 2]) in {ImageProblem.TRUNCATED, ImageProblem.UNREADABLE}


def test_damaged_pixels_are_refused() -> None:
    data = bytearray(png(GREY))
    data[len(data) // 2] ^= 0xFF
    assert problem(bytes(data)) is ImageProblem.UNREADABLE


@pytest.mark.parametrize(("width", "height"), [(0, 0), (0, SIDE), (SIDE, 0)])
def test_a_header_without_any_pixels_is_refused(width: int, height: int) -> None:
    assert problem(header_only_png(width, height)) is ImageProblem.NOT_AN_IMAGE


@pytest.mark.parametrize("shape", [(1, 1), (MIN_SIDE, MIN_SIDE - 1), (MIN_SIDE - 1, MIN_SIDE)])
def test_a_picture_with_nothing_to_see_is_refused(shape: tuple[int, int]) -> None:
    assert problem(png(np.zeros(shape, np.uint8))) is ImageProblem.TOO_SMALL


def test_the_smallest_picture_is_accepted() -> None:
    smallest = np.zeros((MIN_SIDE, MIN_SIDE), np.uint8)
    assert decode_grey(png(smallest), LIMITS).shape == smallest.shape


@pytest.mark.parametrize("size", [(65_535, 65_535), (2**31 - 1, 2**31 - 1), (10_001, 1)])
def test_a_bomb_is_refused_by_its_header(size: tuple[int, int]) -> None:
    # There are no pixels to decode: whoever tried would say that they are missing.
    assert problem(header_only_png(*size)) is ImageProblem.TOO_MANY_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_the_limit_on_pixels_holds_for_every_format(kind: str) -> None:
    data = encoded(Image.new("L", (100, 101)), kind)
    assert problem(data) is ImageProblem.TOO_MANY_PIXELS
    assert decode_grey(encoded(Image.new("L", (100, 100)), kind), LIMITS).shape == (100, 100)


def test_a_file_above_the_limit_is_refused_whatever_it_holds() -> None:
    data = png(GREY)
    exact = ImageLimits(max_bytes=len(data), max_pixels=LIMITS.max_pixels)
    assert decode_grey(data, exact).shape == GREY.shape
    assert problem(data + b"\0", exact) is ImageProblem.TOO_MANY_BYTES
    assert problem(bytes(len(data) + 1), exact) is ImageProblem.TOO_MANY_BYTES


def test_a_refusal_says_what_there_is_and_what_is_allowed() -> None:
    with pytest.raises(ImageRefused, match=r"200 x 100 pixels; at most 10,000 "):
        decode_grey(header_only_png(200, 100), LIMITS)
    with pytest.raises(ImageRefused, match=r"100,001 bytes; at most 100,000 "):
        decode_grey(bytes(100_001), LIMITS)


def test_a_jpeg_of_very_many_scans_is_refused_before_they_are_decoded() -> None:
    progressive = encoded(Image.fromarray(columns(COLOURS)), "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    scan, end = progressive[last:-2], progressive[-2:]
    decode_grey(progressive[:-2] + 50 * scan + end, LIMITS)
    with pytest.raises(ImageRefused, match="more than 100 scans") as refusal:
        decode_grey(progressive[:-2] + 200 * scan + end, LIMITS)
    assert refusal.value.problem is ImageProblem.UNREADABLE


def test_a_tiff_may_hold_a_jpeg_in_each_of_its_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_MAX_SCANS", 10)
    noise = np.random.default_rng(0).integers(0, 256, (600, 16), np.uint8)
    many = encoded(Image.fromarray(noise), "TIFF", compression="jpeg", tiffinfo={278: 8})
    assert many.count(b"\xff\xda") == 75
    decode_grey(many, LIMITS)
    with pytest.raises(ImageRefused, match="more than 10 scans"):
        decode_grey(many + 20 * b"\xff\xda", LIMITS)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused(value: float) -> None:
    pixels = columns([0, 1, 2, value], np.float32)
    data = encoded(Image.fromarray(pixels), "TIFF")
    with pytest.raises(ImageRefused, match="values that are no numbers") as refusal:
        decode_grey(data, LIMITS)
    assert refusal.value.problem is ImageProblem.UNREADABLE


def test_a_tiff_may_be_a_big_one() -> None:
    big = encoded(Image.fromarray(GREY), "TIFF", big_tiff=True)
    assert big.startswith(b"II+")
    np.testing.assert_array_equal(decode_grey(big, LIMITS), GREY)


def test_junk_in_the_metadata_says_nothing_about_the_pixels() -> None:
    junk = png(GREY, exif=b"Exif\0\0garbage garbage")
    np.testing.assert_array_equal(decode_grey(junk, LIMITS), GREY)


def test_limits_come_from_the_settings() -> None:
    settings = Settings.from_environment({}, max_image_bytes=5, max_image_pixels=7)
    assert ImageLimits.of(settings) == ImageLimits(max_bytes=5, max_pixels=7)


# --- nothing else can happen --------------------------------------------------------------------

VALID = [
    png(GREY),
    png(GREY, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    png(GREY.astype(np.uint16) * 16),
    encoded(a_palette_picture(), transparency=1),
    encoded(Image.fromarray(GREY), "JPEG"),
    encoded(Image.fromarray(columns(COLOURS)), "JPEG", progressive=True),
    encoded(Image.fromarray(GREY), "BMP"),
    encoded(Image.fromarray(columns([0, 1, 2, 3], np.float32)), "TIFF"),
    encoded(Image.fromarray(GREY), "TIFF", compression="tiff_lzw"),
    encoded(Image.fromarray(columns(COLOURS)), "WEBP"),
    several("WEBP"),
]


def check(data: bytes) -> None:
    """The property: grey pixels, or a refusal."""
    try:
        grey = decode_grey(data, LIMITS)
    except ImageRefused:
        return
    assert grey.dtype == np.uint8
    assert grey.ndim == 2
    assert MIN_SIDE**2 <= grey.size <= LIMITS.max_pixels


STARTS = [b"", *(data[:length] for data in VALID for length in (4, 12, 30))]


@settings(deadline=None)
@given(start=st.sampled_from(STARTS), rest=st.binary(max_size=300))
def test_any_bytes_are_grey_or_refused(start: bytes, rest: bytes) -> None:
    check(start + rest)


@settings(deadline=None)
@given(data=st.sampled_from(VALID), share=st.floats(0, 1))
def test_any_part_of_a_picture_is_grey_or_refused(data: bytes, share: float) -> None:
    check(data[: int(len(data) * share)])


@settings(deadline=None)
@given(
    data=st.sampled_from(VALID),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=8),
    # Headers decide most, and are short.
    within=st.sampled_from([40, 200, 100_000]),
)
def test_any_damaged_picture_is_grey_or_refused(
    data: bytes, changes: list[tuple[float, int]], within: int
) -> None:
    damaged = bytearray(data)
    for place, value in changes:
        damaged[int(place * (min(within, len(data)) - 1))] = value
    check(bytes(damaged))
