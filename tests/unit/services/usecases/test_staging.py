import json
from pathlib import Path

import pytest

from services.usecases.staging import FORGOTTEN_AFTER, StagedFile, Staging
from tests.fakes.store import FakeArtefactStore, FakeClock


class World:
    """Staging over fakes."""

    def __init__(self, folder: Path) -> None:
        self.artefacts = FakeArtefactStore()
        self.clock = FakeClock()
        self.staging = Staging(artefacts=self.artefacts, clock=self.clock)
        self.source = folder / "source"
        self.source.write_bytes(b"pixels")

    def upload(self) -> str:
        """The location of an upload that has one file."""
        location = self.staging.new_location()
        self.staging.put(location, 0, self.source)
        return location


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_every_upload_has_a_place_of_its_own(world: World) -> None:
    assert len({world.staging.new_location() for _ in range(10)}) == 10


def test_a_file_is_stored_under_its_number(world: World) -> None:
    location = world.staging.new_location()
    keys = [world.staging.put(location, number, world.source) for number in (0, 123456)]
    assert keys == [f"{location}/000000", f"{location}/123456"]
    assert world.artefacts.files == dict.fromkeys(keys, b"pixels")


def test_the_index_tells_each_files_path_and_key(world: World) -> None:
    location = world.staging.new_location()
    file = StagedFile(path="glioma/1.png", key="somewhere", sha256="a" * 64, size_bytes=6)
    world.staging.put_index(location, [file])
    assert json.loads(world.artefacts.get(f"{location}/index.json")) == [
        {"path": "glioma/1.png", "key": "somewhere", "sha256": "a" * 64, "size_bytes": 6}
    ]


def test_an_upload_is_removed_whole_and_alone(world: World) -> None:
    location, other = world.upload(), world.upload()
    world.staging.put_index(location, [])
    world.staging.remove(location)
    assert list(world.artefacts.files) == [f"{other}/000000"]


def test_removing_what_is_gone_is_no_error(world: World) -> None:
    world.staging.remove(world.staging.new_location())


def test_only_what_is_old_is_forgotten(world: World) -> None:
    for _ in range(2):
        world.staging.put_index(world.upload(), [])
    world.clock.advance(FORGOTTEN_AFTER.total_seconds())
    fresh = world.upload()
    assert world.staging.remove_forgotten() == 0
    world.clock.advance(1)
    assert world.staging.remove_forgotten() == 2
    assert list(world.artefacts.files) == [f"{fresh}/000000"]


@pytest.mark.parametrize(
    "key", ["staging/notes/1", "staging/19991301T000000Z-1/1", "blobs/aa/1", "staging2/1"]
)
def test_what_is_not_an_upload_is_never_removed(world: World, key: str) -> None:
    world.artefacts.put(key, b"keep")
    world.clock.advance(10 * FORGOTTEN_AFTER.total_seconds())
    assert world.staging.remove_forgotten() == 0
    assert world.artefacts.exists(key)
