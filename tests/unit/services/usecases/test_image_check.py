import pytest

from core.errors import ImageProblem, ImageRefused
from services.usecases.image_check import check_image


@pytest.mark.parametrize(
    "start",
    [
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"BM",
        b"II*\x00",
        b"II+\x00",
        b"MM\x00*",
        b"RIFF....WEBP",
    ],
)
def test_pictures_pass(start: bytes) -> None:
    check_image(start + b"rest", max_bytes=100)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (b"", ImageProblem.EMPTY),
        (b"hello", ImageProblem.NOT_AN_IMAGE),
        (b"RIFF....WAVE", ImageProblem.NOT_AN_IMAGE),
        (b"GIF89a....", ImageProblem.UNSUPPORTED_FORMAT),
        (bytes(128) + b"DICM", ImageProblem.UNSUPPORTED_FORMAT),
        (b"\xff\xd8\xff" + bytes(200), ImageProblem.TOO_MANY_BYTES),
    ],
)
def test_others_are_refused(image: bytes, problem: ImageProblem) -> None:
    with pytest.raises(ImageRefused) as caught:
        check_image(image, max_bytes=200)
    assert caught.value.problem is problem
