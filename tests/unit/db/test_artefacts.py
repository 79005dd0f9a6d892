"""What is particular to local files."""

import errno
import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.errors import InvalidArgument, NotFound, StoreUnavailable
from db.artefacts import FsspecArtefactStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artefacts"


@pytest.fixture
def store(folder: Path) -> FsspecArtefactStore:
    return FsspecArtefactStore(folder.as_uri())


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_keys_are_plain_files(store: FsspecArtefactStore, folder: Path) -> None:
    store.put("models/abc/manifest.json", b"{}")
    assert (folder / "models" / "abc" / "manifest.json").read_bytes() == b"{}"
    assert files_in(folder) == ["models/abc/manifest.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_write_that_fails_leaves_the_old_bytes(
    store: FsspecArtefactStore, folder: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store.put("a/b", b"old")
    monkeypatch.setattr(os, "fsync", failing(number))
    with pytest.raises(StoreUnavailable, match="artefact store") as caught:
        store.put("a/b", b"new")
    assert isinstance(caught.value.__cause__, OSError)
    assert store.get("a/b") == b"old"
    assert files_in(folder) == ["a/b"]


def test_bytes_are_on_the_disk_before_they_have_their_name(
    store: FsspecArtefactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bool]] = []
    real = os.fsync

    def spy(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), (folder / "a/b").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    store.put("a/b", b"x")
    assert seen == [(False, False), (True, True)]  # the file, the rename, then its folder


def test_a_file_in_the_making_is_not_listed(store: FsspecArtefactStore, folder: Path) -> None:
    store.put("a/b", b"x")
    (folder / ".incoming" / "left-by-a-crash").write_bytes(b"half")
    assert store.list("a") == ("a/b",)
    store.delete("a")
    assert store.list("a") == ()


def test_a_missing_source_is_named(store: FsspecArtefactStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store.put_file("a/b", tmp_path / "none")
    assert not store.exists("a/b")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = FsspecArtefactStore((tmp_path / "file" / "artefacts").as_uri())
    with pytest.raises(StoreUnavailable):
        store.put("a/b", b"x")


def test_a_client_of_a_bucket_that_fails_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndpointError(Exception):
        pass

    def fail(*_: object) -> None:
        raise EndpointError

    monkeypatch.setattr(MemoryFileSystem, "cat_file", fail)
    with pytest.raises(StoreUnavailable) as caught:
        FsspecArtefactStore("memory://bucket/prefix").get("a/b")
    assert isinstance(caught.value.__cause__, EndpointError)


def test_a_url_that_cannot_be_used_is_named() -> None:
    with pytest.raises(InvalidArgument, match="artefact_url: Protocol not known: nowhere"):
        FsspecArtefactStore("nowhere://bucket/x")


def test_what_somebody_else_removes_at_the_same_moment_is_gone(
    store: FsspecArtefactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        store.put(f"a/{number}/file", b"x")
    real = os.unlink

    def be_faster(*arguments: Any, **options: Any) -> None:
        real(*arguments, **options)
        real(*arguments, **options)  # as if the other had been first

    monkeypatch.setattr(os, "unlink", be_faster)
    store.delete("a")
    assert store.list("a") == ()


def test_a_bucket_that_is_emptied_at_the_same_moment_is_empty(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = FsspecArtefactStore("memory://emptied")
    store.put("a/1", b"x")

    def gone(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(MemoryFileSystem, "rm", gone)
    store.delete("a")


def test_what_a_killed_process_was_writing_is_removed_when_it_is_old(
    store: FsspecArtefactStore, folder: Path
) -> None:
    store.put("a/b", b"whole")
    now = datetime.now(UTC)
    for name, time in {"old": now - timedelta(days=2), "new": now}.items():
        file = folder / ".incoming" / name
        file.write_bytes(b"half")
        os.utime(file, (time.timestamp(), time.timestamp()))
    assert store.remove_unfinished(now - timedelta(days=1)) == 1
    assert files_in(folder) == [".incoming/new", "a/b"]


def test_one_is_no_reason_to_keep_the_others(
    store: FsspecArtefactStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another sweeper is faster, or the file is another user's."""
    (folder / ".incoming").mkdir(parents=True)
    for name in "ab":
        (folder / ".incoming" / name).write_bytes(b"half")
    unlink = Path.unlink

    def unlink_b(path: Path) -> None:
        if path.name == "a":
            raise PermissionError
        unlink(path)

    monkeypatch.setattr(Path, "unlink", unlink_b)
    assert store.remove_unfinished(datetime.now(UTC) + timedelta(days=1)) == 1
    assert files_in(folder) == [".incoming/a"]
