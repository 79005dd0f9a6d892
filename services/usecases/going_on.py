"""Which registered version a training goes on from, and whether it can."""

from collections.abc import Iterator
from dataclasses import replace

from core.errors import FieldViolation, InvalidArgument
from core.ports import ArtefactStore, UnitOfWorkFactory
from core.registry import ModelVersion
from core.training import StartVersion, Task, TrainingSpec
from services.usecases.artefacts import LINEAGE, WEIGHTS, read_manifest


def with_start_version(
    spec: TrainingSpec, uow_factory: UnitOfWorkFactory, artefacts: ArtefactStore
) -> TrainingSpec:
    """The recipe with the content hash of the version that it goes on from, if it does.

    So the job says what it started from, and the worker checks every byte of it. Raises
    ``NotFound``, ``InvalidArgument`` if the version does not fit the recipe, ``ArtefactCorrupt``.
    """
    start = StartVersion.of(spec.weights)
    if start is None:
        return spec
    with uow_factory() as uow:
        version = uow.models.get(start.id)
    violations = list(_violations(start, version, spec))
    if not violations and not {WEIGHTS, LINEAGE} <= set(
        read_manifest(artefacts, version.digest)["files"]
    ):
        violations = [
            FieldViolation(
                "spec.weights",
                f"{start.id} has no weights to go on from; train a version, and go on from that",
            )
        ]
    if violations:
        raise InvalidArgument(tuple(violations))
    return replace(spec, weights=str(StartVersion(id=version.id, digest=version.digest)))


def _violations(
    start: StartVersion, version: ModelVersion, spec: TrainingSpec
) -> Iterator[FieldViolation]:
    if start.digest not in {"", version.digest}:
        yield FieldViolation(
            "spec.weights", f"{version.id} has the SHA-256 {version.digest}; leave it out"
        )
    if version.backbone is not spec.backbone:
        yield FieldViolation(
            "spec.backbone", f"must be {version.backbone}, as that of version {version.id}"
        )
    if version.task not in {spec.task, Task.CLASSIFICATION}:
        yield FieldViolation(
            "spec.weights",
            f"{version.id} is a segmenter; a classifier goes on from a classifier",
        )
