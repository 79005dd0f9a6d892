"""Makes the models that ship with the software: ``python -m workers.learning.make_starter DATA``.

It makes the classifier; with ``--task segmentation``, in the same place of work, the segmenter,
whose way down starts from the classifier's backbone. Both are split alike, so that neither learns
from what the other is judged on.

DATA holds data sets, each a folder with a ``manifest.csv`` (path, label, group, mask). They become
one data set, so that a slice that is in several of them, re-encoded, stays on one side of the
split. The same data give the same recipe the same split; a run that was stopped goes on behind its
last epoch. Nothing of the pictures is in the result.
"""

import argparse
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from core.datasets import Dataset, OnBadFile
from core.manifest import MANIFEST
from core.messages import IngestRequest, IngestSource
from core.settings import Settings
from core.training import Backbone, Task, TrainingJob, TrainingSpec
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.context import SystemClock
from workers.curation.gather import gather
from workers.curation.ingest import ingest
from workers.learning.classifier import backbone_of, build_classifier
from workers.learning.learn import learn
from workers.learning.weights_file import halved, load_weights
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    HELD_OUT_OUTLINES,
    LINEAGE,
    MODEL_CARD,
    OOD,
    REPORT,
    WEIGHTS,
    ModelManifest,
    sha256_hex,
)
from workers.starter import STARTER, STARTER_SEGMENTER, Starter, write_starter
from workers.training_hooks import LearnedModel, TrainingHooks
from workers.training_job import registered_version

SHIPPED: Final = (GRAPH, OOD, REPORT, MODEL_CARD, HELD_OUT, HELD_OUT_OUTLINES, LINEAGE)
"""Those of them that a model of its task has; a classifier's weights, too, in half the bits."""
BACKBONE_WEIGHTS: Final = "starter_backbone.weights.h5"
SHARES: Final = {"validation_share": 0.1, "test_share": 0.1}
RECIPES: Final[Mapping[Task, Mapping[str, Any]]] = {
    Task.CLASSIFICATION: SHARES
    | {"backbone": Backbone.EFFICIENTNET_LITE0, "epochs": 16, "target_risk": 0.03},
    Task.SEGMENTATION: SHARES
    | {
        "task": Task.SEGMENTATION,
        "backbone": Backbone.EFFICIENTNET_LITE0,
        "weights": f"file:{BACKBONE_WEIGHTS}",
        "image_size": 192,
        "epochs": 20,
    },
}
"""Beside the defaults."""
OUTPUTS: Final = {Task.CLASSIFICATION: STARTER, Task.SEGMENTATION: STARTER_SEGMENTER}
_DATASET: Final = "starter"


def main() -> None:
    arguments = _parse()
    settings = Settings.from_environment(
        {}, data_dir=arguments.work, import_roots=str(arguments.work.resolve())
    )
    store = FsspecArtefactStore(settings.artefact_url)
    given = dict(pair.split("=", 1) for pair in arguments.set)
    spec = TrainingSpec.validated({**RECIPES[arguments.task], **given})
    dataset = _dataset(arguments.data, arguments.work, settings, store)
    job = _job(spec)
    learned = learn(job, dataset, _said(), store=store, settings=settings, show_examples=False)
    if spec.task is Task.CLASSIFICATION:
        keep_backbone(spec, learned.files[WEIGHTS], settings.weights_dir / BACKBONE_WEIGHTS)
    output = arguments.output or OUTPUTS[arguments.task]
    write_starter(_starter(job, dataset, learned), output)
    print(f"{output} has {output.stat().st_size:,} bytes")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--task", type=Task, choices=Task, default=Task.CLASSIFICATION)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--work", type=Path, default=Path("~/.cache/braintumor-starter"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.work = arguments.work.expanduser()
    return arguments


def _dataset(data: Path, work: Path, settings: Settings, store: FsspecArtefactStore) -> Dataset:
    """The data sets as one, taken in as any other; from an earlier run if there was one."""
    upgrade(settings.database_url)
    uow_factory = SqlUnitOfWorkFactory(create_store_engine(settings.database_url))
    folder = work / "slices"
    gather(sorted(p.parent for p in data.glob(f"*/{MANIFEST}")), folder)
    request = IngestRequest(
        id=uuid4().hex,
        reply_to="",
        dataset_id=_DATASET,
        source=IngestSource.URI,
        location=folder.resolve().as_uri(),
        origin=", ".join(sorted(p.parent.name for p in data.glob(f"*/{MANIFEST}"))),
        on_bad_file=OnBadFile.SKIP,
        request_id="00000000-0000-0000-0000-000000000000",
        caller=_DATASET,
    )
    ingest(request, store=store, uow_factory=uow_factory, clock=SystemClock(), settings=settings)
    with uow_factory() as uow:
        return uow.datasets.get(_DATASET)


def _job(spec: TrainingSpec) -> TrainingJob:
    now = datetime.now(UTC)
    return TrainingJob(
        id=f"{_DATASET}-{spec.task}-{spec.digest[:12]}",
        create_time=now,
        update_time=now,
        request_id=None,
        caller=_DATASET,
        dataset=_DATASET,
        spec=spec,
    )


def keep_backbone(spec: TrainingSpec, weights: bytes, path: Path) -> None:
    """Write the backbone's part of a classifier's weights, as recipes name it: ``file:...``."""
    model = build_classifier(spec, pretrained=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    load_weights(model, weights)
    backbone_of(model).save_weights(path)


def _said() -> TrainingHooks:
    return TrainingHooks(
        on_epoch=lambda e: print(
            f"epoch {e.epoch}/{e.epochs} loss {e.loss:.3f} val_loss {e.val_loss:.3f} "
            f"val_accuracy {e.val_accuracy:.4f} {e.seconds:.0f} s",
            flush=True,
        ),
        on_progress=lambda _share, _stage: None,
        on_message=lambda message: print(message, flush=True),
        should_stop=lambda: False,
    )


def _starter(job: TrainingJob, dataset: Dataset, learned: LearnedModel) -> Starter:
    """A classifier has its weights with it, so that a training can go on from it.

    Those of a segmenter would make it too large.
    """
    files = {name: learned.files[name] for name in SHIPPED if name in learned.files}
    if job.spec.task is Task.CLASSIFICATION:
        files[WEIGHTS] = halved(learned.files[WEIGHTS])
    values = vars(learned.manifest) | {"files": {n: sha256_hex(f) for n, f in files.items()}}
    manifest = ModelManifest(**values)
    digest = sha256_hex(manifest.to_json())
    version = registered_version(job, dataset, learned, digest, datetime.now(UTC))
    return Starter(version=version, manifest=manifest, files=files)


if __name__ == "__main__":
    main()
