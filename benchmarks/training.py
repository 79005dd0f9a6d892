"""What benchmarks that train have in common: data taken in as the system does, and recipes."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from core.datasets import Dataset, DatasetItem, OnBadFile
from core.messages import IngestRequest, IngestSource
from core.ports import ArtefactStore
from core.settings import Settings
from core.training import TrainingJob, TrainingSpec
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.context import SystemClock
from workers.curation.blobs import read_items
from workers.curation.ingest import ingest
from workers.training_hooks import TrainingHooks

_NOT_YET: Final = {"guidance": 0.0, "counterfactuals": 0.0}
"""What a recipe of before there were these fields had of them."""
WORK: Final = Path("~/.cache/braintumor-benchmarks")


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """``--set``, ``--work`` and ``--threads``, as every benchmark that trains has them."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument(
        "--threads", type=int, default=0, help="of TensorFlow; two runs of 1 each fit two cores"
    )


def recipe(pairs: Sequence[str], **values: Any) -> TrainingSpec:
    """The default recipe but for ``values`` and then ``pairs`` of ``KEY=VALUE``."""
    return TrainingSpec.validated(values | dict(pair.split("=", 1) for pair in pairs))


def not_default(spec: Mapping[str, Any]) -> str:
    """What a recipe has that is not the default of now."""
    default, whole = asdict(TrainingSpec()), _NOT_YET | dict(spec)
    return ", ".join(f"{n} {v}" for n, v in whole.items() if v != default.get(n))


def recipe_name(spec: TrainingSpec) -> str:
    """The backbone, and a digest of everything that was set or left at its default."""
    return f"{spec.backbone}-{spec.digest[:10]}"


def work_place(work: Path) -> tuple[Settings, ArtefactStore]:
    """Settings with everything under ``work``, and the artefact store there."""
    settings = Settings.from_environment({}, data_dir=work.expanduser(), import_roots="/")
    return settings, FsspecArtefactStore(settings.artefact_url)


def taken_in(folder: Path, settings: Settings, store: ArtefactStore) -> Dataset:
    """The folder as a data set, audited as the system would."""
    upgrade(settings.database_url)
    uow_factory = SqlUnitOfWorkFactory(create_store_engine(settings.database_url))
    request = IngestRequest(
        id=uuid4().hex,
        reply_to="",
        dataset_id=f"{folder.name}-{uuid4().hex[:8]}",
        source=IngestSource.URI,
        location=folder.resolve().as_uri(),
        origin="benchmark",
        on_bad_file=OnBadFile.SKIP,
        request_id=None,
        caller="benchmark",
    )
    dataset_id = ingest(
        request, store=store, uow_factory=uow_factory, clock=SystemClock(), settings=settings
    )
    with uow_factory() as uow:
        return uow.datasets.get(dataset_id)


def items_of(folder: Path, settings: Settings, store: ArtefactStore) -> tuple[DatasetItem, ...]:
    """The folder's slices as the system would have them, with near-duplicate components."""
    return read_items(store, taken_in(folder, settings, store).digest)


def a_job(dataset: Dataset, spec: TrainingSpec) -> TrainingJob:
    """A job as it would be submitted now."""
    now = datetime.now(UTC)
    return TrainingJob(
        id=f"{dataset.id}-{recipe_name(spec)}",
        create_time=now,
        update_time=now,
        request_id=None,
        caller="benchmark",
        dataset=dataset.id,
        spec=spec,
    )


def say_everything() -> TrainingHooks:
    """Hooks that print epochs and messages, and never stop the training."""
    return TrainingHooks(
        on_epoch=lambda e: print(
            f"  epoch {e.epoch}/{e.epochs} loss {e.loss:.3f} val_loss {e.val_loss:.3f} "
            f"val_accuracy {e.val_accuracy:.4f} {e.seconds:.0f} s",
            flush=True,
        ),
        on_progress=lambda _share, _stage: None,
        on_message=lambda message: print(message, flush=True),
        should_stop=lambda: False,
    )
