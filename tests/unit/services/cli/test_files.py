"""Which files a command takes, and how they are sent."""

import hashlib
from pathlib import Path
from uuid import uuid4

import pytest
from braintumor.v1 import datasets_pb2

from services.cli.classify_run import scans
from services.cli.in_order import in_order
from services.cli.options import resource, resource_id
from services.cli.paging import listed
from services.cli.pictures import pictures_in
from services.cli.upload import (
    CHUNK_BYTES,
    plan_upload,
    upload_messages,
)


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_folders_are_walked_for_pictures_and_named_files_always_count(tmp_path: Path) -> None:
    for name in (
        "b/2.PNG",
        "a/1.jpg",
        "a/notes.txt",
        ".hidden/3.jpg",
        "a/.4.jpg",
        "__MACOSX/5.jpg",
    ):
        touch(tmp_path / "in" / name)
    odd = touch(tmp_path / "scan.odd")
    found = pictures_in([odd, tmp_path / "in"])
    assert [str(p.relative_to(tmp_path)) for p in found] == ["scan.odd", "in/a/1.jpg", "in/b/2.PNG"]


def test_scans_of_one_stem_get_files_of_their_own() -> None:
    names = ["a/x.png", "b/x.png", "x-2.png", "c/x.jpg"]
    stems = [scan.stem for scan in scans([Path(name) for name in names])]
    assert stems[0] == "x"
    assert stems[2] == "x-2"
    assert len(set(stems)) == 4


def test_results_come_in_the_order_of_the_work() -> None:
    import threading

    first_may_end = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert first_may_end.wait(10)
        if number == 3:
            first_may_end.set()
        return number * 10

    assert list(in_order(work, range(20), workers=4, ahead=8)) == [n * 10 for n in range(20)]


def test_work_behind_a_failure_is_never_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(in_order(work, range(1000), workers=1, ahead=2))
    assert len(begun) < 10


@pytest.mark.parametrize(("limit", "expected"), [(0, 25), (10, 10), (12, 12), (99, 25)])
def test_lists_go_on_until_the_limit_or_the_last_page(limit: int, expected: int) -> None:
    everything = list(range(25))

    def fetch(size: int, token: str) -> tuple[list[int], str]:
        start = int(token or 0)
        end = start + min(size, 10)
        return everything[start:end], str(end) if end < 25 else ""

    assert list(listed(fetch, limit)) == everything[:expected]


def test_names_may_be_short_or_full() -> None:
    assert resource("datasets", "a") == resource("datasets", "datasets/a") == "datasets/a"
    assert resource_id("datasets", "datasets/a") == "a"


def test_an_upload_is_a_header_then_each_file_with_its_hash_and_chunks(tmp_path: Path) -> None:
    large = bytes(range(256)) * (CHUNK_BYTES // 256) + b"tail"
    touch(tmp_path / "glioma" / "a.jpg", large)
    touch(tmp_path / "glioma" / "empty.jpg", b"")
    touch(tmp_path / "manifest.csv", b"path,label\n")
    touch(tmp_path / "README.txt")
    plan = plan_upload(tmp_path)
    assert plan.left_out == ("README.txt",)
    header = datasets_pb2.UploadHeader(dataset_id="d", request_id=str(uuid4()))
    sent: list[int] = []
    first, *parts = upload_messages(plan, header, sent.append)
    assert first.header == header
    kinds = [part.WhichOneof("part") for part in parts]
    assert kinds == ["file", "chunk", "chunk", "file", "file", "chunk"]
    described = parts[0].file
    assert described.path == "glioma/a.jpg"
    assert described.size_bytes == len(large)
    assert described.sha256 == hashlib.sha256(large).hexdigest()
    assert parts[1].chunk + parts[2].chunk == large
    assert max(len(part.chunk) for part in parts) == CHUNK_BYTES
    assert sum(sent) == plan.size_bytes


def test_an_archive_is_sent_as_it_is(tmp_path: Path) -> None:
    archive = touch(tmp_path / "a.zip")
    assert plan_upload(archive).files == (("a.zip", archive),)


@pytest.mark.parametrize("manifest", ["manifest.csv", "Manifest.CSV"])
@pytest.mark.parametrize("top", ["", "set/"])
def test_pictures_that_a_manifest_passes_over_are_known_before_they_are_sent(
    top: str, manifest: str, tmp_path: Path
) -> None:
    for name in ("a/1.jpg", "a/2.jpg", "masks/1.png"):
        touch(tmp_path / top / name)
    touch(tmp_path / top / manifest, b"path,label,mask\na/1.jpg,glioma,./masks/1.png\n")
    assert plan_upload(tmp_path).unnamed == (f"{top}a/2.jpg",)
    elsewhere = touch(tmp_path / "other" / "3.jpg").relative_to(tmp_path).as_posix()
    plan = plan_upload(tmp_path)
    assert set(plan.unnamed) == {f"{top}a/2.jpg", elsewhere}
    assert elsewhere in dict(plan.files)


def test_of_a_manifest_that_the_server_will_refuse_nothing_is_said(tmp_path: Path) -> None:
    touch(tmp_path / "a.jpg")
    assert plan_upload(tmp_path).unnamed == ()
    touch(tmp_path / "manifest.csv", b"file,label\n")
    assert plan_upload(tmp_path).unnamed == ()
    touch(tmp_path / "manifest.csv", b"path,label\n")
    touch(tmp_path / "set" / "manifest.csv", b"path,label\n")
    assert plan_upload(tmp_path).unnamed == ()
