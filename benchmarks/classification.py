"""Accuracy of the classifiers, fold by fold, by the code that training jobs run.

``python -m benchmarks.classification DATA --backbone efficientnet_b0 --protocol grouped``, where
DATA is a folder of slices with a ``manifest.csv`` (path, label, group). A run that stopped goes on
behind its last epoch; a fold that is done is not trained again. Each fold adds a line to
``results/classification.jsonl``; ``--table`` alone turns that file into ``classification.md``.

Protocols:

* ``grouped``: stratified 5-fold cross-validation; slices of one given group or near-duplicate
  component stay together.
* ``random``: stratified 80/20, three seeds, groups ignored, as notebooks on this data do. It leaks:
  the same patient, even the same slice re-encoded, is on both sides.

Epoch, temperature and threshold are chosen on validation slices taken from the training part.
"""

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import numpy as np
from sklearn.model_selection import train_test_split

from benchmarks.provenance import provenance
from core.datasets import DatasetItem, OnBadFile
from core.messages import IngestRequest, IngestSource
from core.settings import Settings
from core.training import TrainingSpec
from db.artefacts import FsspecArtefactStore
from db.engine import create_store_engine
from db.migrate import upgrade
from db.unit_of_work import SqlUnitOfWorkFactory
from workers.context import SystemClock
from workers.curation.blobs import read_items
from workers.curation.ingest import ingest
from workers.curation.splits import SplitPlan, fold_plans
from workers.evaluation.metrics import macro_f1
from workers.imaging.decode import ImageLimits
from workers.learning.folds import CrossValidation, FoldAnswers
from workers.learning.input_pipeline import DecodedSet, load_slices
from workers.learning.runtime import configure_runtime
from workers.training_hooks import TrainingHooks

RESULTS: Final = Path(__file__).parent / "results"
LINES: Final = RESULTS / "classification.jsonl"
TABLE: Final = RESULTS / "classification.md"
FOLDS: Final = 5
SEEDS: Final = 3


def main() -> None:
    arguments = parse()
    if arguments.data is not None:
        run(arguments)
    TABLE.write_text(table())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--backbone", default="efficientnet_b0")
    parser.add_argument("--protocol", choices=("grouped", "random"), default="grouped")
    parser.add_argument("--only", type=int, nargs="*", help="folds or seeds, counted from 1")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("~/.cache/braintumor-benchmarks"))
    parser.add_argument("--table", action="store_true", help="write the table and do nothing else")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    given = dict(pair.split("=", 1) for pair in arguments.set)
    spec = TrainingSpec.validated({"backbone": arguments.backbone, **given})
    settings = Settings.from_environment({}, data_dir=arguments.work, import_roots="/")
    store = FsspecArtefactStore(settings.artefact_url)
    items = taken_in(arguments.data, settings, store)
    plans = make_plans(items, arguments.protocol, spec)
    configure_runtime(0)
    slices = load_slices(items, store, spec.image_size, ImageLimits.of(settings), lambda: None)
    data = DecodedSet(items, slices)
    for number in arguments.only or range(1, len(plans) + 1):
        job = f"{arguments.data.name}-{arguments.protocol}-{digest_of(spec)}"
        validation = CrossValidation(spec, data, job_id=job, store=store, settings=settings)
        started = time.monotonic()
        answers = validation.fold(number, plans[number - 1], say_everything())
        seconds = time.monotonic() - started
        add_line(arguments, spec, number, answers, data, seconds)


def taken_in(
    folder: Path, settings: Settings, store: FsspecArtefactStore
) -> tuple[DatasetItem, ...]:
    """The folder's items as the system would have them, with near-duplicate components."""
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
        return read_items(store, uow.datasets.get(dataset_id).digest)


def make_plans(items: Sequence[DatasetItem], protocol: str, spec: TrainingSpec) -> list[SplitPlan]:
    if protocol == "grouped":
        return fold_plans(
            items, folds=FOLDS, validation_share=spec.validation_share, seed=spec.seed
        )
    return [random_plan(items, seed, spec.validation_share) for seed in range(SEEDS)]


def random_plan(items: Sequence[DatasetItem], seed: int, validation_share: float) -> SplitPlan:
    labels = [str(item.label) for item in items]
    rest, test = train_test_split(list(items), test_size=0.2, stratify=labels, random_state=seed)
    train, validation = train_test_split(
        rest,
        test_size=validation_share / 0.8,
        stratify=[str(item.label) for item in rest],
        random_state=seed,
    )
    return SplitPlan(
        train=tuple(train),
        validation=tuple(validation),
        test=tuple(test),
        protocol=f"random stratified 80/20, groups ignored, seed {seed}",
    )


def digest_of(spec: TrainingSpec) -> str:
    import hashlib

    text = json.dumps(asdict(spec), sort_keys=True)
    return f"{spec.backbone}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def say_everything() -> TrainingHooks:
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


def add_line(
    arguments: argparse.Namespace,
    spec: TrainingSpec,
    number: int,
    answers: FoldAnswers,
    data: DecodedSet,
    seconds: float,
) -> None:
    labels = data.labels(answers.plan.test)
    predicted = answers.logits.argmax(axis=1)
    line = {
        "data": arguments.data.name,
        "protocol": arguments.protocol,
        "part": number,
        "backbone": spec.backbone,
        "recipe": digest_of(spec),
        "spec": asdict(spec),
        "accuracy": float((predicted == labels).mean()),
        "macro_f1": macro_f1(labels, predicted),
        "test_size": len(labels),
        "train_size": len(answers.plan.train),
        "temperature": answers.calibration.temperature,
        "seconds": round(seconds),
        **provenance(),
    }
    RESULTS.mkdir(exist_ok=True)
    with LINES.open("a") as lines:
        lines.write(json.dumps(line) + "\n")
    held_out = RESULTS / "out_of_fold" / f"{arguments.protocol}-{digest_of(spec)}-{number}.npz"
    held_out.parent.mkdir(exist_ok=True)
    np.savez_compressed(
        held_out,
        sha256=[item.sha256 for item in answers.plan.test],
        group=[item.group or item.component or item.sha256 for item in answers.plan.test],
        labels=labels,
        logits=answers.logits,
        temperature=answers.calibration.temperature,
    )


def table() -> str:
    """The newest line of each part of each recipe, and their means."""
    newest: dict[tuple[str, ...], dict[int, dict[str, Any]]] = defaultdict(dict)
    for text in LINES.read_text().splitlines() if LINES.exists() else ():
        line = json.loads(text)
        key = (line["protocol"], line["backbone"], line["recipe"])
        newest[key][line["part"]] = line
    rows = [
        "# Classification\n",
        "Made by `python -m benchmarks.classification`; see its docstring for the protocols.\n",
        "| protocol | backbone | recipe | parts | accuracy (mean ± sd) | macro-F1 (mean ± sd) "
        "| seconds a part | date | commit | machine |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (protocol, backbone, recipe), parts in sorted(newest.items()):
        last = parts[max(parts)]
        rows.append(
            f"| {protocol} | {backbone} | {recipe[-10:]} | {', '.join(map(str, sorted(parts)))} "
            f"| {spread(parts, 'accuracy')} | {spread(parts, 'macro_f1')} "
            f"| {np.mean([p['seconds'] for p in parts.values()]):.0f} "
            f"| {last['date']} | {last['commit']} | {last['machine']} |"
        )
    return "\n".join(rows) + "\n"


def spread(parts: dict[int, dict[str, Any]], name: str) -> str:
    values = [part[name] for part in parts.values()]
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"


if __name__ == "__main__":
    main()
