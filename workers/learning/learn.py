"""A training job from its data set to a checked model: the steps, in order."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import keras
import numpy as np

from core.datasets import Dataset, DatasetItem
from core.labels import LABELS
from core.ports import ArtefactStore
from core.settings import Settings
from core.training import Task, TrainingJob, TrainingSpec
from workers.curation.blobs import read_items
from workers.curation.label_errors import OutOfFold
from workers.curation.lineage import NO_LINEAGE, Lineage
from workers.curation.splits import (
    SplitPlan,
    fold_plans,
    linked_groups,
    split_dataset,
    split_for_final,
    split_json,
)
from workers.evaluation.examples import Example
from workers.evaluation.judge import Judgement
from workers.evaluation.metrics import SplitSizes
from workers.evaluation.model_card import render_model_card
from workers.evaluation.report import ReportFacts, render_report
from workers.evaluation.wording import where_from
from workers.imaging.decode import ImageLimits
from workers.imaging.preprocess import PREPROCESSING
from workers.learning.ancestor import lineage_of
from workers.learning.checkpoints import Checkpoints
from workers.learning.export import check_parity, export_graph, median_latency_ms
from workers.learning.fitting import Fitted, fit
from workers.learning.flops import multiply_accumulates
from workers.learning.fold_answers import FoldAnswers, out_of_fold
from workers.learning.folds import CrossValidation
from workers.learning.input_pipeline import DecodedSet
from workers.learning.judging import (
    Doubt,
    Part,
    judge_folds,
    judge_test,
    learn_doubt,
    ood_facts,
)
from workers.learning.learn_segmenter import learn_segmenter
from workers.learning.reading import PARITY_SLICES, READ_UNTIL, TRAINED_AT, read_slices, stage
from workers.learning.runtime import configure_runtime
from workers.learning.showing import pick_examples, pick_from_folds
from workers.learning.versions import library_versions, without_times
from workers.learning.weights_file import weights_bytes
from workers.model_artefact import (
    GRAPH,
    HELD_OUT,
    LINEAGE,
    MODEL_CARD,
    OOD,
    REPORT,
    SPLIT,
    WEIGHTS,
    ModelManifest,
    sha256_hex,
)
from workers.training_hooks import LearnedModel, TrainingHooks

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What is known of a trained model."""

    doubt: Doubt
    judgement: Judgement
    examples: Sequence[Example]
    out_of_fold: OutOfFold | None = None
    """Cross-validation's answers to every slice."""
    own_sizes: SplitSizes | None = None
    """What the model itself had, where the judgement is cross-validation's."""


def learn(
    job: TrainingJob,
    dataset: Dataset,
    hooks: TrainingHooks,
    *,
    store: ArtefactStore,
    settings: Settings,
    show_examples: bool = True,
) -> LearnedModel:
    """Train, calibrate, test and export a model; nothing but checkpoints is stored.

    With folds the numbers come from cross-validation, and the model itself then learns from all
    slices but those that choose its epoch and its limits. The report shows slices as examples,
    unless it is to go where they must not. Raises ``TrainingCancelled``,
    ``TrainingFailed``, ``PretrainedWeightsUnavailable``, ``ArtefactCorrupt``, ``NotSupported``.
    """
    spec = job.spec
    configure_runtime(settings.training_threads)
    if spec.task is Task.SEGMENTATION:
        return learn_segmenter(
            job, dataset, hooks, store=store, settings=settings, show_examples=show_examples
        )
    items = read_items(store, dataset.digest)
    lineage = lineage_of(spec, store)
    # What cannot be split is told before anything is decoded.
    plan, plans = split_plans(items, spec, lineage)
    data = read_slices(items, spec, hooks, store, ImageLimits.of(settings))
    part = hooks.within(READ_UNTIL, TRAINED_AT)
    share = len(plans) / (len(plans) + 1)
    validation = CrossValidation(spec, data, job_id=job.id, store=store, settings=settings)
    folds = validation.run(plans, part.within(0.0, share)) if plans else []
    keras.backend.clear_session()
    if folds:
        hooks.on_message(f"the model itself: {len(plan.train)} slices to learn from")
    fitted = fit(
        spec,
        data.slices(plan.train),
        data.slices(plan.validation),
        checkpoints=Checkpoints(store, job.id),
        settings=settings,
        hooks=part.within(share, 1.0),
    )
    stage(hooks, TRAINED_AT, "testing")
    judged = _judge(fitted, plan, folds, data, dataset, spec)
    if not show_examples:
        judged = replace(judged, examples=())
    stage(hooks, 0.97, "exporting")
    graph = export_graph(fitted.model, spec.image_size)
    pixels = data.slices(plan.validation[:PARITY_SLICES])
    difference = check_parity(graph, fitted.model, pixels.pixels_of(np.arange(len(pixels))))
    stage(hooks, 0.99, "writing the report")
    lists = {
        SPLIT: split_json(plan, plans),
        LINEAGE: lineage.followed_by(plan.parts, linked_groups(items)).to_json(),
    }
    return _assemble(spec, dataset, fitted, judged, graph, difference, lists)


def split_plans(
    items: Sequence[DatasetItem], spec: TrainingSpec, lineage: Lineage = NO_LINEAGE
) -> tuple[SplitPlan, Sequence[SplitPlan]]:
    """The split of the model that will serve, and one a fold where that is asked for."""
    if not spec.folds:
        plan = split_dataset(
            items,
            validation_share=spec.validation_share,
            test_share=spec.test_share,
            seed=spec.seed,
            lineage=lineage,
        )
        return plan, ()
    folds = fold_plans(
        items, folds=spec.folds, validation_share=spec.validation_share, seed=spec.seed
    )
    final = split_for_final(items, validation_share=spec.validation_share, seed=spec.seed)
    return final, folds


def _judge(
    fitted: Fitted,
    plan: SplitPlan,
    folds: Sequence[FoldAnswers],
    data: DecodedSet,
    dataset: Dataset,
    spec: TrainingSpec,
) -> Judged:
    train, validation = (
        Part.of(items, data, fitted.inference) for items in (plan.train, plan.validation)
    )
    doubt = learn_doubt(fitted.inference, train, validation, spec.target_risk)
    control = dataset.audit.shortcut_control if dataset.audit else None
    control_accuracy = control.accuracy if control else None
    if folds:
        labels = np.concatenate([data.labels(fold.plan.test) for fold in folds])
        judgement = judge_folds(folds, labels, control_accuracy=control_accuracy, seed=spec.seed)
        return Judged(
            doubt=doubt,
            judgement=judgement,
            examples=pick_from_folds(folds, data, judgement),
            out_of_fold=out_of_fold(folds),
            own_sizes=SplitSizes(train=len(plan.train), validation=len(plan.validation), test=0),
        )
    test = Part.of(plan.test, data, fitted.inference)
    judgement = judge_test(
        test,
        doubt,
        sizes=SplitSizes(
            train=len(plan.train), validation=len(plan.validation), test=len(plan.test)
        ),
        protocol=plan.protocol,
        control_accuracy=control_accuracy,
        seed=spec.seed,
    )
    examples = pick_examples(fitted.model, test.slices, judgement)
    return Judged(doubt=doubt, judgement=judgement, examples=examples)


def _assemble(
    spec: TrainingSpec,
    dataset: Dataset,
    fitted: Fitted,
    judged: Judged,
    graph: bytes,
    difference: float,
    lists: Mapping[str, bytes],
) -> LearnedModel:
    facts = ReportFacts(
        backbone=spec.backbone,
        weights_source=fitted.state.weights_source,
        dataset=dataset.name,
        dataset_digest=dataset.digest,
        training_data=where_from(dataset),
        spec=asdict(spec),
        judgement=judged.judgement,
        calibration=judged.doubt.calibration,
        history=fitted.state.history,
        best_epoch=fitted.state.best_epoch,
        parameters=fitted.model.count_params(),
        latency_ms=median_latency_ms(graph, spec.image_size),
        export_difference=difference,
        library_versions=library_versions(),
        flops=multiply_accumulates(graph, spec.image_size),
        ood=ood_facts(judged.doubt, judged.judgement),
        examples=judged.examples,
        own_sizes=judged.own_sizes,
    )
    files = {
        GRAPH: graph,
        WEIGHTS: weights_bytes(fitted.model),
        OOD: judged.doubt.strangers.to_bytes(),
        REPORT: render_report(facts),
        MODEL_CARD: render_model_card(facts),
        HELD_OUT: judged.judgement.predictions.to_json(),
        **lists,
    }
    return LearnedModel(
        manifest=_manifest(facts, {name: sha256_hex(file) for name, file in files.items()}),
        files=files,
        evaluation=judged.judgement.evaluation,
        parameters=facts.parameters,
        train_seconds=sum(epoch.seconds for epoch in fitted.state.history),
        latency_ms=facts.latency_ms,
        flops=facts.flops,
        out_of_fold=judged.out_of_fold,
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
        "history": [without_times(epoch) for epoch in facts.history],
    }
