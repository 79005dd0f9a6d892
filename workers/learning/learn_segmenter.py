"""A segmentation job from its data set to a checked model: the steps, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import keras
import numpy as np

from core.datasets import Dataset, DatasetItem
from core.errors import NotSupported, TrainingFailed
from core.labels import LABELS
from core.ports import ArtefactStore
from core.settings import Settings
from core.training import Task, TrainingJob, TrainingSpec
from workers.curation.blobs import read_items
from workers.curation.lineage import NO_LINEAGE, Lineage
from workers.curation.splits import SplitPlan, linked_groups, split_dataset, split_json
from workers.evaluation.metrics import SplitSizes
from workers.evaluation.segmentation import held_out_outlines, judge_outlines
from workers.evaluation.segmentation_report import (
    SegmentationFacts,
    render_segmentation_card,
    render_segmentation_report,
)
from workers.evaluation.wording import where_from
from workers.imaging.decode import ImageLimits
from workers.imaging.preprocess import PREPROCESSING
from workers.learning.ancestor import lineage_of
from workers.learning.checkpoints import Checkpoints
from workers.learning.export import check_mask_parity, export_segmenter, median_latency_ms
from workers.learning.fitting import fit_segmenter
from workers.learning.flops import multiply_accumulates
from workers.learning.outlining import Outliner, choose_rule, pick_outlines, teaches_outlines
from workers.learning.reading import PARITY_SLICES, READ_UNTIL, TRAINED_AT, read_slices, stage
from workers.learning.versions import library_versions, without_times
from workers.learning.weights_file import weights_bytes
from workers.model_artefact import (
    GRAPH,
    HELD_OUT_OUTLINES,
    LINEAGE,
    MODEL_CARD,
    REPORT,
    SPLIT,
    WEIGHTS,
    Calibration,
    ModelManifest,
    sha256_hex,
)
from workers.training_hooks import LearnedModel, TrainingHooks

FEWEST_MASKS: Final = 8


def learn_segmenter(
    job: TrainingJob,
    dataset: Dataset,
    hooks: TrainingHooks,
    *,
    store: ArtefactStore,
    settings: Settings,
    show_examples: bool = True,
) -> LearnedModel:
    """Train, test and export a segmenter, as :func:`workers.learning.learn.learn` a classifier.

    It learns from slices with a mask, and from healthy ones, which have nothing to outline. Raises
    ``TrainingCancelled``, ``TrainingFailed``, ``PretrainedWeightsUnavailable``,
    ``ArtefactCorrupt``, ``NotSupported``.
    """
    spec, limits = job.spec, ImageLimits.of(settings)
    lineage = lineage_of(spec, store)
    items = read_items(store, dataset.digest)
    plan = outlined_plan(items, spec, hooks, lineage)
    used = (*plan.train, *plan.validation, *plan.test)
    data = read_slices(used, spec, hooks, store, limits)
    keras.backend.clear_session()
    fitted = fit_segmenter(
        spec,
        data.slices(plan.train),
        data.slices(plan.validation),
        checkpoints=Checkpoints(store, job.id),
        settings=settings,
        hooks=hooks.within(READ_UNTIL, TRAINED_AT),
    )
    stage(hooks, TRAINED_AT, "testing")
    validation, test = data.slices(plan.validation), data.slices(plan.test)
    maps_of = fitted.inference.maps
    rule = choose_rule(maps_of(validation), validation)
    outlined = Outliner(store=store, limits=limits, rule=rule).outlined(plan.test, maps_of(test))
    evaluation = judge_outlines(
        outlined,
        sizes=SplitSizes(
            train=len(plan.train), validation=len(plan.validation), test=len(plan.test)
        ),
        protocol=plan.protocol,
        seed=spec.seed,
    )
    stage(hooks, 0.97, "exporting")
    graph = export_segmenter(fitted.model, spec.image_size)
    pixels = validation.pixels_of(np.arange(min(PARITY_SLICES, len(validation))))
    facts = SegmentationFacts(
        backbone=spec.backbone,
        weights_source=fitted.state.weights_source,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        training_data=where_from(dataset),
        spec=asdict(spec),
        evaluation=evaluation,
        regions=rule,
        history=fitted.state.history,
        best_epoch=fitted.state.best_epoch,
        parameters=fitted.model.count_params(),
        latency_ms=median_latency_ms(graph, spec.image_size),
        export_difference=check_mask_parity(graph, fitted.model, pixels),
        library_versions=library_versions(),
        flops=multiply_accumulates(graph, spec.image_size),
        examples=pick_outlines(test, outlined, maps_of, rule) if show_examples else (),
    )
    stage(hooks, 0.99, "writing the report")
    held_out = held_out_outlines(outlined, plan.protocol)
    kept = {
        HELD_OUT_OUTLINES: held_out.to_json(),
        SPLIT: split_json(plan),
        LINEAGE: lineage.followed_by(plan.parts, linked_groups(items)).to_json(),
    }
    return _assembled(facts, graph, fitted.model, kept)


def outlined_plan(
    items: Sequence[DatasetItem],
    spec: TrainingSpec,
    hooks: TrainingHooks,
    lineage: Lineage = NO_LINEAGE,
) -> SplitPlan:
    """The split a classifier with this recipe has, without slices that cannot teach outlines.

    So both are judged on slices that neither has learned from. Says how many are left out. Raises
    ``TrainingFailed`` if hardly any slice has a mask, and ``NotSupported`` for folds.
    """
    if spec.folds:
        raise NotSupported("Segmenters are not cross-validated. Use folds=0.")
    _check_masks(sum(item.has_tumour_mask for item in items), FEWEST_MASKS, "data set")
    plan = split_dataset(
        items,
        validation_share=spec.validation_share,
        test_share=spec.test_share,
        seed=spec.seed,
        lineage=lineage,
    )
    taught = SplitPlan(
        train=_teaching(plan.train),
        validation=_teaching(plan.validation),
        test=_teaching(plan.test),
        protocol=plan.protocol,
    )
    kept = len(taught.train) + len(taught.validation) + len(taught.test)
    if kept < len(items):
        hooks.on_message(
            f"{len(items) - kept} slices with a tumour but no mask are left out; {kept} are used"
        )
    return taught


def _teaching(items: Sequence[DatasetItem]) -> tuple[DatasetItem, ...]:
    found = tuple(item for item in items if teaches_outlines(item))
    _check_masks(sum(item.has_tumour_mask for item in found), 1, "part of a split")
    return found


def _check_masks(found: int, fewest: int, where: str) -> None:
    if found < fewest:
        raise TrainingFailed(
            f"The {where} has {found} slices with a tumour mask, and a segmenter needs at least "
            f"{fewest} there. Name more masks in the column mask of the data set's manifest.csv."
        )


def _assembled(
    facts: SegmentationFacts, graph: bytes, model: keras.Model, kept: Mapping[str, bytes]
) -> LearnedModel:
    """``kept`` are further files by name."""
    files = {
        GRAPH: graph,
        WEIGHTS: weights_bytes(model),
        REPORT: render_segmentation_report(facts),
        MODEL_CARD: render_segmentation_card(facts),
        **kept,
    }
    manifest = ModelManifest(
        task=Task.SEGMENTATION,
        backbone=facts.backbone,
        labels=LABELS,
        image_size=facts.spec["image_size"],
        preprocessing=PREPROCESSING,
        calibration=Calibration(),
        files={name: sha256_hex(file) for name, file in files.items()},
        spec=facts.spec,
        dataset_digest=facts.dataset_digest,
        weights_source=facts.weights_source,
        metrics=_metrics(facts),
        library_versions=facts.library_versions,
        regions=facts.regions,
    )
    return LearnedModel(
        manifest=manifest,
        files=files,
        evaluation=facts.evaluation,
        parameters=facts.parameters,
        train_seconds=sum(epoch.seconds for epoch in facts.history),
        latency_ms=facts.latency_ms,
        flops=facts.flops,
    )


def _metrics(facts: SegmentationFacts) -> dict[str, Any]:
    return {
        "test": asdict(facts.evaluation),
        "export_difference": facts.export_difference,
        "flops": facts.flops,
        "best_epoch": facts.best_epoch,
        "history": [without_times(epoch) for epoch in facts.history],
    }
