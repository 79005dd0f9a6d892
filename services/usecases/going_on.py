"""Which registered version a training goes on from, and whether it can."""

from collections.abc import Collection, Iterator
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
    ``NotFound``, ``InvalidArgument`` if the version does not fit the recipe, ``ArtefactCorrupt``,
    ``StoreUnavailable``.
    """
    start = StartVersion.of(spec.weights)
    if start is None:
        return spec
    with uow_factory() as uow:
        version = uow.models.get(start.id)
    violations = list(_violations(start, version, spec))
    if not violations:
        violations += _lacks(version, read_manifest(artefacts, version.digest)["files"])
    if violations:
        raise InvalidArgument(tuple(violations))
    return replace(spec, weights=str(StartVersion(id=version.id, digest=version.digest)))


def _lacks(version: ModelVersion, files: Collection[str]) -> Iterator[FieldViolation]:
    """A version that cannot be gone on from, by the names of its files."""
    if WEIGHTS not in files:
        yield FieldViolation(
            "training_job.spec.weights",
            f"{version.id} came without its weights; name another version, such as one that you "
            "trained",
        )
    elif LINEAGE not in files:
        yield FieldViolation(
            "training_job.spec.weights",
            f"{version.id} was made before versions kept what they had learned from, so that what "
            "goes on from it could not be tested fairly; train it anew, and go on from that",
        )


def _violations(
    start: StartVersion, version: ModelVersion, spec: TrainingSpec
) -> Iterator[FieldViolation]:
    if start.digest not in {"", version.digest}:
        yield FieldViolation(
            "training_job.spec.weights",
            f"{version.id} has the SHA-256 {version.digest}; leave it out",
        )
    if version.backbone is not spec.backbone:
        yield FieldViolation(
            "training_job.spec.backbone",
            f"must be {version.backbone}, as that of version {version.id}",
        )
    if version.task not in {spec.task, Task.CLASSIFICATION}:
        yield FieldViolation(
            "training_job.spec.weights",
            f"{version.id} is a segmenter; a classifier goes on from a classifier",
        )
