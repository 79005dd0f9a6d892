"""The model that ships with the software: brought once, whole, and only where there is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from core.registry import PRODUCTION, SEGMENTATION
from core.training import Task
from tests.fakes.graphs import brightness_graph, brightness_manifest
from tests.fakes.registry import a_model_version
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeModels, FakeUnitOfWorkFactory
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    LINEAGE,
    MODEL_CARD,
    OOD,
    REPORT,
    WEIGHTS,
    load_file,
    load_manifest,
    sha256_hex,
)
from workers.starter import STARTER, STARTERS, Starter, install_starter, read_starter, write_starter


class World:
    def __init__(self, path: Path, task: Task = Task.CLASSIFICATION) -> None:
        self.path = path
        self.store = FakeArtefactStore()
        self.uow_factory = FakeUnitOfWorkFactory()
        manifest = brightness_manifest()
        version = a_model_version("starter", task=task, digest=sha256_hex(manifest.to_json()))
        self.starter = Starter(
            version=version, manifest=manifest, files={GRAPH: brightness_graph()}
        )
        write_starter(self.starter, path)

    def install(self) -> bool:
        installed = install_starter(
            store=self.store, uow_factory=self.uow_factory, clock=FakeClock(), path=self.path
        )
        return installed is not None

    def production(self) -> tuple[str, str] | None:
        return self.serving(PRODUCTION)

    def serving(self, alias: str) -> tuple[str, str] | None:
        with self.uow_factory() as uow:
            return uow.models.aliased(alias)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "starter.zip")


def test_it_comes_back_as_it_was_written(world: World) -> None:
    assert read_starter(world.path) == world.starter


def test_the_same_model_gives_the_same_file(world: World) -> None:
    before = world.path.read_bytes()
    write_starter(world.starter, world.path)
    assert world.path.read_bytes() == before


def test_where_there_is_no_model_it_is_registered_and_promoted(world: World) -> None:
    assert world.install()
    assert world.production() == ("starter", world.starter.version.digest)
    digest = world.starter.version.digest
    manifest = load_manifest(world.store, digest)
    assert manifest == world.starter.manifest
    assert load_file(world.store, digest, manifest, GRAPH) == brightness_graph()


def test_it_comes_once(world: World) -> None:
    assert world.install()
    assert not world.install()


def test_where_a_model_has_served_it_stays_away(world: World) -> None:
    with world.uow_factory(write=True) as uow:
        uow.models.add(a_model_version("own"))
        uow.models.move_alias(PRODUCTION, "own", FakeClock().now(), "ann", "better")
        uow.commit()
    assert not world.install()
    assert world.production() == ("own", a_model_version("own").digest)
    assert world.store.files == {}


def test_what_is_promoted_at_that_moment_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.uow_factory(write=True) as uow:
        uow.models.add(a_model_version("mine"))
        uow.models.move_alias(PRODUCTION, "mine", FakeClock().now(), "ann", "")
        uow.commit()
    monkeypatch.setattr(FakeModels, "alias_history", lambda _models, _alias: ())  # not seen yet
    assert not world.install()
    assert world.production() == ("mine", a_model_version("mine").digest)


def test_a_segmenter_comes_beside_a_classifier_that_serves(tmp_path: Path) -> None:
    world = World(tmp_path / "segmenter.zip", Task.SEGMENTATION)
    with world.uow_factory(write=True) as uow:
        uow.models.add(a_model_version("own"))
        uow.models.move_alias(PRODUCTION, "own", FakeClock().now(), "ann", "better")
        uow.commit()
    assert world.install()
    assert world.serving(SEGMENTATION) == ("starter", world.starter.version.digest)
    assert world.production() == ("own", a_model_version("own").digest)


def test_without_the_file_there_is_nothing_to_do(world: World) -> None:
    world.path.unlink()
    assert not world.install()


def test_a_file_that_was_changed_is_not_registered(world: World) -> None:
    damaged = replace(world.starter, version=replace(world.starter.version, digest="0" * 64))
    write_starter(damaged, world.path)
    with pytest.raises(ValueError, match="damaged"):
        world.install()
    assert world.production() is None


@pytest.mark.parametrize("path", [p for p in STARTERS if p.exists()], ids=lambda path: path.stem)
def test_a_file_that_ships_fits_together(path: Path) -> None:
    starter = read_starter(path)
    assert sha256_hex(starter.manifest.to_json()) == starter.version.digest
    assert {name: sha256_hex(data) for name, data in starter.files.items()} == dict(
        starter.manifest.files
    )
    assert starter.version.evaluation.test_size > 0
    assert path.stat().st_size <= 20_000_000


def test_no_slice_that_it_learned_from_ships_with_it() -> None:
    files = read_starter(STARTER).files
    assert set(files) == {GRAPH, WEIGHTS, OOD, REPORT, MODEL_CARD, HELD_OUT, LINEAGE}
    assert b"data:image" not in files[REPORT]
