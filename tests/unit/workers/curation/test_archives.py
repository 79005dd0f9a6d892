import io
import tarfile
import zipfile
from collections.abc import Callable
from random import Random
from typing import Final, Literal

import pytest

from core.errors import DatasetRefused
from workers.curation import archives
from workers.curation.archives import MAX_HEADER_BYTES, read_archive

Files = list[tuple[str, bytes]]

FILES: Final[Files] = [("glioma/1.png", b"one"), ("no_tumor/2.png", b"two" * 5000)]
PLENTY: Final = 10_000_000


def a_zip(files: Files, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for path, data in files:
            archive.writestr(path, data)
    return buffer.getvalue()


def a_tar(files: Files, mode: Literal["w", "w:gz", "w:bz2", "w:xz"] = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for path, data in files:
            archive.addfile(a_member(path, len(data)), io.BytesIO(data))
    return buffer.getvalue()


def a_member(path: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(path)
    member.size, member.type, member.linkname = size, kind, "/etc/passwd"
    return member


def unpack(data: bytes, name: str, max_bytes: int = PLENTY) -> Files:
    return list(
        read_archive(
            io.BytesIO(data),
            name,
            max_bytes=max_bytes,
            max_file_bytes=PLENTY,
            wanted=lambda path: True,
        )
    )


def refusal(data: bytes, name: str, max_bytes: int = PLENTY) -> str:
    with pytest.raises(DatasetRefused) as caught:
        unpack(data, name, max_bytes)
    return caught.value.message


EITHER_KIND: Final = pytest.mark.parametrize(
    ("pack", "name"), [(a_zip, "set.zip"), (a_tar, "set.tar")], ids=["zip", "tar"]
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", a_zip(FILES)),
        ("A.ZIP", a_zip(FILES, zipfile.ZIP_DEFLATED)),
        ("a.zip", a_zip(FILES, zipfile.ZIP_LZMA)),
        ("a.tar", a_tar(FILES)),
        ("a.tgz", a_tar(FILES, "w:gz")),
        ("a.tar.bz2", a_tar(FILES, "w:bz2")),
        ("a.tar.xz", a_tar(FILES, "w:xz")),
    ],
    ids=["zip", "deflate", "lzma", "tar", "gz", "bz2", "xz"],
)
def test_every_kind_gives_its_files(name: str, data: bytes) -> None:
    assert unpack(data, name) == FILES


def test_folders_and_links_of_a_zip_are_left_out() -> None:
    buffer = io.BytesIO()
    link = zipfile.ZipInfo("glioma/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.mkdir("glioma")
        archive.writestr(link, "/etc/passwd")
        archive.writestr("glioma/1.png", b"one")
    assert unpack(buffer.getvalue(), "a.zip") == [("glioma/1.png", b"one")]


def test_folders_links_and_devices_of_a_tar_are_left_out() -> None:
    buffer = io.BytesIO()
    kinds = [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for kind in kinds:
            archive.addfile(a_member("glioma/odd.png", kind=kind))
        archive.addfile(a_member("glioma/1.png", 3), io.BytesIO(b"one"))
    assert unpack(buffer.getvalue(), "a.tar") == [("glioma/1.png", b"one")]


@EITHER_KIND
@pytest.mark.parametrize(
    "path",
    [
        "../1.png",
        "glioma/../../1.png",
        "glioma/..",
        "/etc/passwd",
        "//etc/passwd",
        "..\\1.png",
        "\\etc\\passwd",
        "C:\\scans\\1.png",
        "C:1.png",
    ],
)
def test_paths_that_lead_outside_are_refused(
    pack: Callable[[Files], bytes], name: str, path: str
) -> None:
    assert "leads outside" in refusal(pack([("glioma/1.png", b"one"), (path, b"x")]), name)


@EITHER_KIND
@pytest.mark.parametrize(
    "path", ["./glioma/1.png", "glioma//1.png", "glioma\\1.png", "glioma/./1.png"]
)
def test_paths_are_given_in_their_plain_form(
    pack: Callable[[Files], bytes], name: str, path: str
) -> None:
    assert unpack(pack([(path, b"one")]), name) == [("glioma/1.png", b"one")]


def test_a_name_that_is_not_utf8_is_refused_in_printable_words() -> None:
    message = refusal(a_tar([("glioma/\udcff.png", b"x")]), "a.tar")
    assert "not UTF-8" in message
    assert message.encode()


@EITHER_KIND
def test_dots_inside_a_name_are_harmless(pack: Callable[[Files], bytes], name: str) -> None:
    files = [("glioma..old/1..png", b"one")]
    assert unpack(pack(files), name) == files


@pytest.mark.filterwarnings("ignore:Duplicate name")
@EITHER_KIND
def test_a_path_that_comes_twice_is_given_twice(pack: Callable[[Files], bytes], name: str) -> None:
    files = [("glioma/1.png", b"one"), ("glioma/1.png", b"two")]
    assert unpack(pack(files), name) == files


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
@pytest.mark.parametrize("data", [b"", b"no archive at all"], ids=["empty", "garbage"])
def test_what_is_no_archive_is_refused_by_name(name: str, data: bytes) -> None:
    assert refusal(data, name) == f"The archive {name} is damaged and cannot be unpacked."


# Incompressible, so that half of the archive is half of the file.
NOISE: Final[Files] = [("glioma/1.png", Random(0).randbytes(50_000))]


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", a_zip(NOISE)),
        ("a.tar", a_tar(NOISE)),
        ("a.tar.gz", a_tar(NOISE, "w:gz")),
        ("a.tar.bz2", a_tar(NOISE, "w:bz2")),
        ("a.tar.xz", a_tar(NOISE, "w:xz")),
    ],
    ids=["zip", "tar", "gz", "bz2", "xz"],
)
def test_an_archive_that_ends_too_early_is_refused(name: str, data: bytes) -> None:
    assert "is damaged" in refusal(data[: len(data) // 2], name)


def test_a_zip_with_a_changed_byte_is_refused() -> None:
    data = a_zip([("1.png", b"the pixels")]).replace(b"the pixels", b"the pixelz", 1)
    assert "is damaged" in refusal(data, "a.zip")


def test_an_encrypted_zip_is_refused() -> None:
    data = bytearray(a_zip([("1.png", b"one")]))
    data[6] |= 1  # the flag in the file's own header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the archive's list
    assert "is encrypted" in refusal(bytes(data), "a.zip")


def test_an_unknown_compression_is_refused() -> None:
    data = bytearray(a_zip([("1.png", b"one")]))
    data[8] = 97
    data[data.index(b"PK\x01\x02") + 10] = 97
    assert "unknown compression" in refusal(bytes(data), "a.zip")


BOMB: Final[Files] = [("glioma/1.png", bytes(5_000_000))]


@pytest.mark.parametrize(
    ("name", "data"),
    [("a.zip", a_zip(BOMB, zipfile.ZIP_DEFLATED)), ("a.tar.gz", a_tar(BOMB, "w:gz"))],
    ids=["zip", "tar"],
)
def test_a_bomb_is_refused(name: str, data: bytes) -> None:
    assert len(data) < 10_000
    assert "unpacks to more" in refusal(data, name, max_bytes=10_000)


def test_a_zip_that_lies_about_a_size_is_refused() -> None:
    data = a_zip(BOMB, zipfile.ZIP_DEFLATED)
    lie = data.replace((5_000_000).to_bytes(4, "little"), (5).to_bytes(4, "little"))
    assert "is damaged" in refusal(lie, "a.zip", max_bytes=10_000)


def test_a_size_above_the_limit_is_refused_before_a_byte_is_read() -> None:
    header = a_member("glioma/1.png", size=10**9).tobuf()
    assert "unpacks to more" in refusal(header, "a.tar")


@EITHER_KIND
def test_all_files_together_count(pack: Callable[[Files], bytes], name: str) -> None:
    files = [("1.png", bytes(600)), ("2.png", bytes(400))]
    assert unpack(pack(files), name, max_bytes=1000) == files
    assert "unpacks to more" in refusal(pack(files), name, max_bytes=999)


@EITHER_KIND
def test_too_many_files_are_refused(
    monkeypatch: pytest.MonkeyPatch, pack: Callable[[Files], bytes], name: str
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 2)
    files = [(f"{number}.png", b"") for number in range(3)]
    assert len(unpack(pack(files[:2]), name)) == 2
    assert "more than 2 files" in refusal(pack(files), name)


@EITHER_KIND
def test_an_archive_without_files_gives_none(pack: Callable[[Files], bytes], name: str) -> None:
    assert unpack(pack([]), name) == []


@EITHER_KIND
def test_a_file_without_a_name_is_refused(pack: Callable[[Files], bytes], name: str) -> None:
    assert "without a name" in refusal(pack([(".", b"x")]), name)


def test_a_zip_with_damaged_data_is_refused() -> None:
    data = bytearray(a_zip([("a.png", bytes(range(256)) * 40)], zipfile.ZIP_DEFLATED))
    data[45:60] = b"\xff" * 15
    assert "damaged" in refusal(bytes(data), "a.zip")


def test_a_gzip_header_alone_is_refused() -> None:
    assert "damaged" in refusal(b"\x1f\x8b\x08", "a.tar.gz")


def test_a_huge_header_of_a_tar_is_not_read() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        member = a_member("a.png", 1)
        member.pax_headers = {"comment": "x" * (MAX_HEADER_BYTES + 1)}
        archive.addfile(member, io.BytesIO(b"x"))
    assert "damaged" in refusal(buffer.getvalue(), "a.tar.gz")


@EITHER_KIND
def test_of_a_large_file_only_what_refuses_it_is_read(
    pack: Callable[[Files], bytes], name: str
) -> None:
    data = pack([("a.png", b"x" * 50), ("film.mov", b"y" * 50), ("b.png", b"z")])
    read = read_archive(
        io.BytesIO(data),
        name,
        max_bytes=PLENTY,
        max_file_bytes=10,
        wanted=lambda path: path.endswith(".png"),
    )
    assert [(path, len(body)) for path, body in read] == [("a.png", 11), ("b.png", 1)]
