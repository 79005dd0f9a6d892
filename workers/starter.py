"""The models that ship with the software, so that a newcomer has answers at once.

A classifier and a segmenter, each in one file: a model's artefact, and what the registry says
about it (``version.json``). The segmenter lacks its training weights: they would make it too large.
``python -m workers.learning.make_starter`` makes them.
"""

import json
import logging
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from core.errors import AlreadyExists
from core.ports import ArtefactStore, Clock, UnitOfWorkFactory
from core.registry import SERVING, ModelVersion
from core.training import Backbone, Task
from db.mappers import evaluation_from_json, evaluation_to_json
from workers.model_artefact import MANIFEST, ModelManifest, store_model

log = logging.getLogger(__name__)

STARTER: Final = Path(__file__).parent / "starter.zip"
STARTER_SEGMENTER: Final = Path(__file__).parent / "starter_segmenter.zip"
STARTERS: Final = (STARTER, STARTER_SEGMENTER)
CALLER: Final = "braintumor"
_VERSION: Final = "version.json"
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""Of every entry, so that the same model gives the same file."""


@dataclass(frozen=True, kw_only=True)
class Starter:
    """What such a file holds."""

    version: ModelVersion
    manifest: ModelManifest
    files: Mapping[str, bytes]


def install_starter(
    *,
    store: ArtefactStore,
    uow_factory: UnitOfWorkFactory,
    clock: Clock,
    path: Path = STARTER,
) -> ModelVersion | None:
    """Register the starter and let it serve, where no model has ever served its task.

    None if there is nothing to do. Several workers may try at once: one of them does it.
    """
    if not path.exists():
        return None
    alias = SERVING[_task_of(path)]
    if _has_served(uow_factory, alias):
        return None
    starter = read_starter(path)
    digest = store_model(store, starter.manifest, starter.files)
    version = starter.version
    if digest != version.digest:
        raise ValueError(f"{path.name} is damaged: its manifest is not the one it names")
    try:
        with uow_factory(write=True) as uow:
            if uow.models.alias_history(alias):
                return None
            uow.models.add(version)
            reason = "the starter model, so that there is one"
            move = uow.models.move_alias(alias, version.id, clock.now(), CALLER, reason)
            # An alias that is new cannot be locked: somebody may have promoted at that moment.
            if move.from_version is not None:
                return None
            uow.commit()
    except AlreadyExists:
        return None
    log.info("starter_installed version=%s", version.name)
    return version


def read_starter(path: Path = STARTER) -> Starter:
    """What the file holds. Raises ``ValueError`` or ``zipfile.BadZipFile`` if it is damaged."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    version = _version_from_json(files.pop(_VERSION))
    manifest = ModelManifest.from_json(files.pop(MANIFEST))
    return Starter(version=version, manifest=manifest, files=files)


def write_starter(starter: Starter, path: Path = STARTER) -> None:
    """Make the file. Graphs are stored as they are: weights do not compress."""
    entries = {
        _VERSION: _version_to_json(starter.version),
        MANIFEST: starter.manifest.to_json(),
        **starter.files,
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(entries.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED, 9)


def _has_served(uow_factory: UnitOfWorkFactory, alias: str) -> bool:
    with uow_factory() as uow:
        return bool(uow.models.alias_history(alias))


def _task_of(path: Path) -> Task:
    """Read alone: the graph beside it is large, and mostly not needed."""
    with zipfile.ZipFile(path) as archive:
        return _version_from_json(archive.read(_VERSION)).task


def _version_to_json(version: ModelVersion) -> bytes:
    values = {name: value for name, value in vars(version).items() if name != "aliases"}
    values["create_time"] = version.create_time.isoformat()
    values["evaluation"] = evaluation_to_json(version.evaluation)
    return json.dumps(values, sort_keys=True, indent=1).encode()


def _version_from_json(text: bytes) -> ModelVersion:
    values: dict[str, Any] = json.loads(text)
    values["create_time"] = datetime.fromisoformat(values["create_time"])
    values["evaluation"] = evaluation_from_json(values["evaluation"])
    enums = {"task": Task(values["task"]), "backbone": Backbone(values["backbone"])}
    return ModelVersion(**(values | enums))
