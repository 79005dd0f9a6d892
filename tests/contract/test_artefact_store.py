"""Every artefact store keeps the same promises."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest

from core.errors import InvalidArgument, NotFound
from core.ports import ArtefactStore
from db.artefacts import FsspecArtefactStore
from tests.fakes.store import FakeArtefactStore


@pytest.fixture(params=["fake", "file", "memory"])
def artefacts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtefactStore]:
    if request.param == "fake":
        yield FakeArtefactStore()
    elif request.param == "file":
        yield FsspecArtefactStore((tmp_path / "with space" / "artefacts").as_uri())
    else:
        root = f"/{uuid4().hex}"
        yield FsspecArtefactStore(f"memory:/{root}")
        files = fsspec.filesystem("memory")
        if files.exists(root):
            files.rm(root, recursive=True)


def test_bytes_come_back_as_they_went_in(artefacts: ArtefactStore) -> None:
    data = bytes(range(256)) * 10
    artefacts.put("models/abc/model.onnx", data)
    assert artefacts.get("models/abc/model.onnx") == data
    with artefacts.open("models/abc/model.onnx") as stream:
        assert stream.read(3) == data[:3]
        assert stream.read() == data[3:]


def test_a_put_replaces(artefacts: ArtefactStore) -> None:
    artefacts.put("a/b", b"a longer first version")
    artefacts.put("a/b", b"second")
    assert artefacts.get("a/b") == b"second"
    assert artefacts.list("a") == ("a/b",)


def test_nothing_is_something_too(artefacts: ArtefactStore) -> None:
    artefacts.put("a/empty", b"")
    assert artefacts.exists("a/empty")
    assert artefacts.get("a/empty") == b""


def test_a_file_is_taken_in(artefacts: ArtefactStore, tmp_path: Path) -> None:
    source = tmp_path / "weights.h5"
    source.write_bytes(b"w" * 3_000_000)
    artefacts.put_file("models/abc/weights.h5", source)
    assert artefacts.get("models/abc/weights.h5") == source.read_bytes()


def test_what_is_not_there_is_named(artefacts: ArtefactStore) -> None:
    artefacts.put("a/b", b"x")
    for missing in ("none", "a", "a/none", "a/b/c"):
        assert not artefacts.exists(missing)
        with pytest.raises(NotFound, match=missing):
            artefacts.get(missing)
        with pytest.raises(NotFound, match=missing):
            artefacts.open(missing)
        if missing != "a":
            assert artefacts.list(missing) == ()


def test_lists_are_sorted_and_stop_at_a_slash(artefacts: ArtefactStore) -> None:
    for key in ("a/2", "a/10", "a/deep/er/1", "ab/1", "b"):
        artefacts.put(key, b"x")
    assert artefacts.list("a") == ("a/10", "a/2", "a/deep/er/1")
    assert artefacts.list("a/deep") == ("a/deep/er/1",)
    assert artefacts.list("b") == ("b",)


def test_deleting_takes_a_key_or_all_below(artefacts: ArtefactStore) -> None:
    for key in ("a/1", "a/2/3", "a/4[5]*", "ab/1", "c"):
        artefacts.put(key, b"x")
    artefacts.delete("a")
    artefacts.delete("c")
    artefacts.delete("never")
    assert artefacts.list("a") == ()
    assert not artefacts.exists("c")
    assert artefacts.list("ab") == ("ab/1",)


def test_deleting_takes_no_name_for_a_pattern(artefacts: ArtefactStore) -> None:
    artefacts.put("a/x1", b"")
    artefacts.put("a/x*", b"")
    artefacts.delete("a/x*")
    assert artefacts.list("a") == ("a/x1",)


def test_what_has_a_key_is_finished(artefacts: ArtefactStore) -> None:
    future = datetime.now(UTC) + timedelta(days=365)
    assert artefacts.remove_unfinished(future) == 0
    artefacts.put("a/1", b"x")
    assert artefacts.remove_unfinished(future) == 0
    assert artefacts.list("a") == ("a/1",)


@pytest.mark.parametrize(
    "key",
    ["", "/", "/etc/passwd", "../up", "a/../../up", "a/..", ".", "a/./b", "a//b", "a/", "a\\b",
     "..\\up", "a\0b", ".incoming/x"],
)  # fmt: skip
def test_keys_stay_inside(artefacts: ArtefactStore, tmp_path: Path, key: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(b"x")
    calls: list[Callable[[], object]] = [
        lambda: artefacts.put(key, b"x"),
        lambda: artefacts.put_file(key, source),
        lambda: artefacts.get(key),
        lambda: artefacts.open(key),
        lambda: artefacts.exists(key),
        lambda: artefacts.list(key),
        lambda: artefacts.delete(key),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument, match="key"):
            call()
