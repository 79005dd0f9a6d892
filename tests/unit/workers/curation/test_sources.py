import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.datasets import OnBadFile
from core.errors import DatasetRefused, InvalidArgument
from core.messages import IngestRequest, IngestSource
from core.settings import Settings
from tests.fakes.store import FakeArtefactStore
from workers.curation import sources
from workers.curation.sources import open_source


def a_request(source: IngestSource, location: str) -> IngestRequest:
    return IngestRequest(
        id="1",
        reply_to="replies",
        dataset_id="brains",
        source=source,
        location=location,
        origin="somewhere",
        on_bad_file=OnBadFile.REFUSE,
        request_id=None,
        caller="ann",
    )


def a_zip(*paths: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in paths:
            archive.writestr(path, path)
    return buffer.getvalue()


class World:
    """A server that may read the folder ``allowed`` and nothing else."""

    def __init__(self, tmp_path: Path) -> None:
        self.allowed = tmp_path / "allowed"
        self.forbidden = tmp_path / "allowed and more"
        self.store = FakeArtefactStore()
        self.settings = self.settings_with()
        for folder in (self.allowed, self.forbidden):
            self.write(folder / "glioma" / "1.png")

    def settings_with(self, **changes: object) -> Settings:
        values = {"data_dir": self.allowed.parent, "import_roots": str(self.allowed)}
        return Settings.from_environment({}, **values | changes)

    def write(self, path: Path, data: bytes = b"pixels") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def from_uri(self, uri: str) -> dict[str, bytes]:
        request = a_request(IngestSource.URI, uri)
        return {file.path: file.read() for file in open_source(request, self.store, self.settings)}

    def from_upload(self, files: dict[str, bytes]) -> dict[str, bytes]:
        index = [{"path": path, "key": f"up/{n}"} for n, path in enumerate(files)]
        self.store.put("up/index.json", json.dumps(index).encode())
        for entry in index:
            self.store.put(entry["key"], files[entry["path"]])
        request = a_request(IngestSource.STAGED, "up")
        return {file.path: file.read() for file in open_source(request, self.store, self.settings)}

    def refusal(self, uri: str) -> str:
        with pytest.raises(InvalidArgument) as caught:
            self.from_uri(uri)
        assert [violation.field for violation in caught.value.violations] == ["uri"]
        return caught.value.message


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


# --- uploads ----------------------------------------------------------------------------------


def test_an_upload_is_read_under_its_own_paths(world: World) -> None:
    files = {"glioma/1.png": b"one", "healthy/2.png": b"two"}
    assert world.from_upload(files) == files


def test_an_uploaded_archive_is_unpacked(world: World) -> None:
    assert world.from_upload({"set.zip": a_zip("glioma/1.png")}) == {
        "glioma/1.png": b"glioma/1.png"
    }


def test_an_archive_among_other_files_is_a_file(world: World) -> None:
    files = {"set.zip": a_zip("glioma/1.png"), "glioma/1.png": b"one"}
    assert world.from_upload(files) == files


def test_an_archive_may_not_unpack_to_more_than_the_server_accepts(world: World) -> None:
    world.settings = world.settings_with(max_dataset_bytes=5)
    with pytest.raises(DatasetRefused, match="unpacks to more"):
        world.from_upload({"set.zip": a_zip("glioma/1.png")})


@pytest.mark.parametrize(
    "path",
    [".DS_Store", "glioma/._1.png", "__MACOSX/glioma/1.png", "glioma/Thumbs.db", ".git/1.png"],
)
def test_what_systems_leave_behind_is_left_out(world: World, path: str) -> None:
    assert list(world.from_upload({"glioma/1.png": b"one", path: b"x"})) == ["glioma/1.png"]
    assert list(world.from_upload({"set.zip": a_zip("glioma/1.png", path)})) == ["glioma/1.png"]


def test_of_a_large_picture_only_what_refuses_it_is_read(world: World) -> None:
    world.settings = world.settings_with(max_image_bytes=10)
    assert world.from_upload({"glioma/1.png": bytes(50)}) == {"glioma/1.png": bytes(11)}
    world.write(world.allowed / "glioma" / "1.png", bytes(50))
    assert world.from_uri(world.allowed.as_uri()) == {"glioma/1.png": bytes(11)}


# --- folders of the server ----------------------------------------------------------------------


def test_a_folder_is_read_under_paths_relative_to_it(world: World) -> None:
    world.write(world.allowed / "healthy" / "a b" / "2.png", b"two")
    assert world.from_uri(world.allowed.as_uri()) == {
        "glioma/1.png": b"pixels",
        "healthy/a b/2.png": b"two",
    }


def test_a_folder_below_the_allowed_one_may_be_read(world: World) -> None:
    world.write(world.allowed / "set #1, 100%" / "1.png")
    uri = (world.allowed / "set #1, 100%").as_uri()
    assert list(world.from_uri(uri)) == ["1.png"]
    assert list(world.from_uri(uri.replace("file://", "file://localhost"))) == ["1.png"]


def test_a_single_archive_is_unpacked_wherever_it_lies(world: World) -> None:
    archive = world.allowed / "sets" / "set.zip"
    world.write(archive, a_zip("glioma/2.png"))
    assert list(world.from_uri(archive.as_uri())) == ["glioma/2.png"]
    assert list(world.from_uri(archive.parent.as_uri())) == ["glioma/2.png"]


def test_any_of_several_roots_will_do(world: World) -> None:
    roots = f":/nowhere:{world.allowed}:{world.forbidden}"
    world.settings = world.settings_with(import_roots=roots)
    assert world.from_uri(world.allowed.as_uri())
    assert world.from_uri(world.forbidden.as_uri())


def test_nothing_is_read_outside_the_roots(world: World) -> None:
    (world.allowed / "link").symlink_to(world.forbidden)
    dotted = f"{world.allowed.as_uri()}/../{world.forbidden.name.replace(' ', '%20')}"
    for uri in (
        world.forbidden.as_uri(),
        world.allowed.parent.as_uri(),
        dotted,
        dotted.replace("..", "%2e%2e"),
        f"{world.allowed.as_uri()}/link",
        "FILE:///",
    ):
        assert "may not read there" in world.refusal(uri)


def test_without_roots_nothing_is_read(world: World) -> None:
    world.settings = world.settings_with(import_roots="")
    assert "may not read there" in world.refusal(world.allowed.as_uri())


def test_a_refusal_does_not_tell_what_exists(world: World) -> None:
    missing = world.refusal((world.forbidden / "nothing").as_uri())
    assert missing == world.refusal((world.forbidden / "glioma").as_uri())


def test_what_is_missing_below_a_root_is_told(world: World) -> None:
    assert "does not exist" in world.refusal((world.allowed / "nothing").as_uri())


def test_links_inside_a_folder_are_not_followed(world: World) -> None:
    (world.allowed / "link.png").symlink_to(world.forbidden / "glioma" / "1.png")
    (world.allowed / "healthy").symlink_to(world.forbidden / "glioma")
    assert list(world.from_uri(world.allowed.as_uri())) == ["glioma/1.png"]


def test_another_host_is_refused(world: World) -> None:
    assert "three slashes" in world.refusal("file://allowed/glioma")


def test_too_many_files_are_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 1)
    assert world.from_uri(world.allowed.as_uri())
    world.write(world.allowed / "2.png")
    with pytest.raises(DatasetRefused, match="more than 1 files"):
        world.from_uri(world.allowed.as_uri())


def test_a_name_that_is_not_utf8_is_refused_in_printable_words(world: World) -> None:
    world.write(world.allowed / os.fsdecode(b"glioma/\xff.png"))
    with pytest.raises(DatasetRefused, match="not UTF-8") as caught:
        world.from_uri(world.allowed.as_uri())
    assert caught.value.message.encode()


# --- buckets ------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[str]:
    """A folder in fsspec's file system in memory, with one picture."""
    files = fsspec.filesystem("memory")
    name = f"/{uuid4().hex}"
    files.pipe_file(f"{name}/glioma/1.png", b"one")
    yield f"memory:/{name}"
    files.rm(name, recursive=True)


@pytest.mark.parametrize("scheme", ["https", "s3", "memory", "local", "simplecache::file"])
def test_only_files_are_imported_unless_the_server_says_so(world: World, scheme: str) -> None:
    assert "only file:// is imported" in world.refusal(f"{scheme}://{world.allowed}")


def test_a_bucket_is_read_where_that_is_allowed(world: World, bucket: str) -> None:
    world.settings = world.settings_with(import_remote=True)
    assert world.from_uri(bucket) == {"glioma/1.png": b"one"}
    assert world.from_uri(f"{bucket}/glioma/1.png") == {"1.png": b"one"}


def test_of_a_large_picture_in_a_bucket_only_what_refuses_it_is_read(
    world: World, bucket: str
) -> None:
    world.settings = world.settings_with(import_remote=True, max_image_bytes=1)
    assert world.from_uri(bucket) == {"glioma/1.png": b"on"}


def test_a_bucket_that_breaks_while_it_is_read_is_told(
    world: World, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ConnectionResetError

    world.settings = world.settings_with(import_remote=True)
    monkeypatch.setattr(MemoryFileSystem, "_open", broken)
    assert "ConnectionResetError" in world.refusal(bucket)


def test_an_archive_in_a_bucket_is_unpacked(world: World, bucket: str) -> None:
    world.settings = world.settings_with(import_remote=True)
    archive = f"{bucket}/sets/set.zip"
    fsspec.filesystem("memory").pipe_file(archive, a_zip("healthy/2.png"))
    assert list(world.from_uri(archive)) == ["healthy/2.png"]


def test_a_remote_import_opens_no_folder_outside_the_roots(world: World) -> None:
    world.settings = world.settings_with(import_remote=True)
    assert "may not read there" in world.refusal(world.forbidden.as_uri())


def test_a_bucket_that_cannot_be_read_is_told(world: World) -> None:
    world.settings = world.settings_with(import_remote=True)
    assert "there is nothing there" in world.refusal(f"memory://{uuid4().hex}")


@pytest.mark.parametrize("scheme", ["local", "simplecache::file", "dir::file", "nosuch"])
def test_a_remote_import_has_no_other_way_to_local_files(world: World, scheme: str) -> None:
    world.settings = world.settings_with(import_remote=True)
    assert "not a kind of URI" in world.refusal(f"{scheme}://{world.forbidden}")


@pytest.mark.parametrize("path", ["/a%00b", "/" + "a" * 300])
def test_a_path_that_cannot_be_is_refused(world: World, path: str) -> None:
    assert "not the path" in world.refusal(f"file://{world.allowed}{path}")
