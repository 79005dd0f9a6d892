"""A training job from its data set to a checked model: the steps, in order."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import keras

from core.datasets import Dataset, DatasetItem
from core.errors import NotSupported
from core.labels import LABELS
from core.ports import ArtefactStore
from core.settings import Settings
from core.training import EpochProgress, Task, TrainingJob, TrainingSpec
from workers.curation.blobs import read_items
from workers.curation.splits import SplitPlan, split_dataset
from workers.evaluation.calibration import calibrate
from workers.evaluation.judge import HeldOut, Judgement, judge
from workers.evaluation.metrics import SplitSizes, softmax
from workers.evaluation.model_card import render_model_card
from workers.evaluation.report import ReportFacts, render_report
from workers.evaluation.selective import decide_all
from workers.imaging.decode import ImageLimits
from workers.imaging.preprocess import PREPROCESSING
from workers.learning.backbones import activation_bytes, set_backbone_weights
from workers.learning.checkpoints import Checkpoint, Checkpoints, TrainingState
from workers.learning.classifier import backbone_of, build_classifier, weights_bytes
from workers.learning.export import check_parity, export_graph, median_latency_ms
from workers.learning.input_pipeline import Slices, load_slices
from workers.learning.memory import available_memory, check_training_memory
from workers.learning.runtime import configure_runtime, seed_everything
from workers.learning.trainer import Inference, Trainer, stop_if_told
from workers.learning.weights import StartWeights, start_weights
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    MODEL_CARD,
    REPORT,
    WEIGHTS,
    Calibration,
    ModelManifest,
    sha256_hex,
)
from workers.training_hooks import LearnedModel, TrainingHooks

log = logging.getLogger(__name__)

_READ_UNTIL: Final = 0.05
_TRAINED_AT: Final = 0.95
"""Shares of a job's progress: reading slices, then training, then checking and exporting."""
_PARITY_SLICES: Final = 16
_LIBRARIES: Final = (
    "braintumor",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "pillow",
    "scikit-learn",
    "tensorflow",
    "tf2onnx",
)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A split data set, decoded."""

    plan: SplitPlan
    train: Slices
    validation: Slices
    test: Slices

    @property
    def sizes(self) -> SplitSizes:
        return SplitSizes(
            train=len(self.train), validation=len(self.validation), test=len(self.test)
        )


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a trained model is worth. Chosen on validation slices, measured on test slices."""

    calibration: Calibration
    judgement: Judgement


def learn(
    job: TrainingJob,
    dataset: Dataset,
    hooks: TrainingHooks,
    *,
    store: ArtefactStore,
    settings: Settings,
) -> LearnedModel:
    """Train, calibrate, test and export a model; nothing but checkpoints is stored.

    Raises ``TrainingCancelled``, ``TrainingFailed``, ``ArtefactCorrupt``, ``NotSupported``.
    """
    if job.spec.task is not Task.CLASSIFICATION:
        raise NotSupported("This version trains classifiers only. Use task=classification.")
    configure_runtime(settings.training_threads)
    seed_everything(job.spec.seed)
    data = _read(job.spec, dataset, hooks, store, ImageLimits.of(settings))
    checkpoints = Checkpoints(store, job.id)
    first, checkpoint = _first_weights(job.spec, checkpoints, settings, hooks)
    model = _build(job.spec, first)
    inference = Inference(model, job.spec.batch_size, hooks)
    part = _within(hooks, _READ_UNTIL, _TRAINED_AT)
    trainer = Trainer(model, job.spec, inference, checkpoints, part)
    start = checkpoint or trainer.beginning(first.source)
    state = trainer.fit(data.train, data.validation, start)
    _stage(hooks, _TRAINED_AT, "testing")
    judged = _judge(data, job.spec, inference)
    _stage(hooks, 0.96, "exporting")
    graph = export_graph(model, job.spec.image_size)
    difference = check_parity(graph, model, data.validation.pixels[:_PARITY_SLICES])
    _stage(hooks, 0.99, "writing the report")
    return _assemble(job.spec, dataset, state, judged, model, graph, difference)


def _stage(hooks: TrainingHooks, share: float, name: str) -> None:
    stop_if_told(hooks)
    hooks.on_progress(share, name)


def _within(hooks: TrainingHooks, low: float, high: float) -> TrainingHooks:
    """Hooks whose progress of 0..1 is a part of the whole job's."""
    return TrainingHooks(
        on_epoch=hooks.on_epoch,
        on_progress=lambda share, stage: hooks.on_progress(low + share * (high - low), stage),
        on_message=hooks.on_message,
        should_stop=hooks.should_stop,
    )


def _read(
    spec: TrainingSpec,
    dataset: Dataset,
    hooks: TrainingHooks,
    store: ArtefactStore,
    limits: ImageLimits,
) -> Data:
    plan = split_dataset(
        read_items(store, dataset.digest),
        validation_share=spec.validation_share,
        test_share=spec.test_share,
        seed=spec.seed,
    )
    total, done = len(plan.train) + len(plan.validation) + len(plan.test), 0

    def one_more() -> None:
        nonlocal done
        done += 1
        _stage(hooks, _READ_UNTIL * done / total, "reading slices")

    def load(items: Sequence[DatasetItem]) -> Slices:
        return load_slices(items, store, spec.image_size, limits, one_more)

    return Data(
        plan=plan, train=load(plan.train), validation=load(plan.validation), test=load(plan.test)
    )


def _first_weights(
    spec: TrainingSpec, checkpoints: Checkpoints, settings: Settings, hooks: TrainingHooks
) -> tuple[StartWeights, Checkpoint | None]:
    """What the model starts from, and the checkpoint to go on behind where there is one.

    A job that goes on needs no download again, only to be built as it was the first time.
    """
    checkpoint = checkpoints.load()
    if checkpoint is not None:
        hooks.on_message(f"going on behind epoch {checkpoint.state.epoch}")
        return StartWeights(source=checkpoint.state.weights_source, values=None), checkpoint
    _stage(hooks, _READ_UNTIL, "finding weights to start from")
    first = start_weights(spec, settings)
    hooks.on_message(f"starting from weights: {first.source}")
    return first, None


def _build(spec: TrainingSpec, first: StartWeights) -> keras.Model:
    model = build_classifier(spec, pretrained=first.pretrained)
    backbone = backbone_of(model)
    check_training_memory(spec, activation_bytes(spec), available_memory())
    if first.values is not None:
        set_backbone_weights(backbone, first.values)
    return model


def _judge(data: Data, spec: TrainingSpec, inference: Inference) -> Judged:
    chosen_on = inference.logits(data.validation)
    calibration = calibrate(chosen_on, data.validation.labels, _groups(data.plan.validation))
    logits = inference.logits(data.test)
    probabilities = softmax(logits, calibration.temperature)
    held_out = HeldOut(
        sha256=[item.sha256 for item in data.plan.test],
        groups=_groups(data.plan.test),
        labels=data.test.labels,
        probabilities=probabilities,
        decisions=decide_all(probabilities, calibration.abstain_below),
        sizes=data.sizes,
        protocol=data.plan.protocol,
        uncalibrated=softmax(logits),
        seed=spec.seed,
    )
    return Judged(calibration=calibration, judgement=judge(held_out))


def _groups(items: Sequence[DatasetItem]) -> list[str]:
    """Each slice's patient; one that nobody named is a patient of its own."""
    return [item.group or item.sha256 for item in items]


def _assemble(
    spec: TrainingSpec,
    dataset: Dataset,
    state: TrainingState,
    judged: Judged,
    model: keras.Model,
    graph: bytes,
    difference: float,
) -> LearnedModel:
    facts = ReportFacts(
        backbone=spec.backbone,
        weights_source=state.weights_source,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        spec=asdict(spec),
        judgement=judged.judgement,
        calibration=judged.calibration,
        history=state.history,
        best_epoch=state.best_epoch,
        parameters=model.count_params(),
        latency_ms=median_latency_ms(graph, spec.image_size),
        export_difference=difference,
        library_versions=library_versions(),
    )
    files = {
        GRAPH: graph,
        WEIGHTS: weights_bytes(model),
        REPORT: render_report(facts),
        MODEL_CARD: render_model_card(facts),
        HELD_OUT: judged.judgement.predictions.to_json(),
    }
    return LearnedModel(
        manifest=_manifest(facts, {name: sha256_hex(file) for name, file in files.items()}),
        files=files,
        evaluation=judged.judgement.evaluation,
        parameters=facts.parameters,
        train_seconds=sum(epoch.seconds for epoch in state.history),
        latency_ms=facts.latency_ms,
        flops=facts.flops,
    )


def _manifest(facts: ReportFacts, hashes: Mapping[str, str]) -> ModelManifest:
    return ModelManifest(
        task=Task.CLASSIFICATION,
        backbone=facts.backbone,
        labels=LABELS,
        image_size=facts.spec["image_size"],
        preprocessing=PREPROCESSING,
        calibration=facts.calibration,
        files=hashes,
        spec=facts.spec,
        dataset_digest=facts.dataset_digest,
        weights_source=facts.weights_source,
        metrics=_metrics(facts),
        library_versions=facts.library_versions,
    )


def _metrics(facts: ReportFacts) -> dict[str, Any]:
    """Every number on the test slices, and how training went, as plain values."""
    judgement = facts.judgement
    return {
        "test": asdict(judgement.evaluation),
        "split_digest": judgement.predictions.digest,
        "ece_uncalibrated": judgement.ece_uncalibrated,
        "export_difference": facts.export_difference,
        "flops": facts.flops,
        "best_epoch": facts.best_epoch,
        "history": [_without_times(epoch) for epoch in facts.history],
    }


def _without_times(epoch: EpochProgress) -> dict[str, float]:
    names = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy")
    return {name: getattr(epoch, name) for name in names}


def library_versions() -> dict[str, str]:
    """Versions of what the model was made with; what is not installed is left out."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # TensorFlow has several package names
            log.debug("no_version package=%s", name)
    return found
