"""What a trained model is worth: chosen on validation slices, measured on slices it never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.datasets import DatasetItem
from core.errors import TrainingFailed
from core.prediction import Decision
from workers.curation.splits import group_names
from workers.evaluation import ood
from workers.evaluation.calibration import calibrate
from workers.evaluation.judge import HeldOut, Judgement, judge
from workers.evaluation.metrics import SplitSizes, macro_f1, softmax
from workers.evaluation.ood import OodModel
from workers.evaluation.report import OodFacts
from workers.evaluation.selective import decide_all
from workers.learning.fold_answers import FoldAnswers
from workers.learning.inference import Answers, Inference
from workers.learning.input_pipeline import DecodedSet, Slices
from workers.model_artefact import Calibration


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """When a model is not to be trusted: its calibration, and what is strange to it."""

    calibration: Calibration
    strangers: OodModel
    validation_refused: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """Slices with a model's answers to them; ``items`` in the same order."""

    items: Sequence[DatasetItem]
    slices: Slices
    answers: Answers

    @classmethod
    def of(cls, items: Sequence[DatasetItem], data: DecodedSet, inference: Inference) -> Self:
        """Asks the model. Raises ``TrainingCancelled``."""
        slices = data.slices(items)
        return cls(items=items, slices=slices, answers=inference.answers(slices))

    @property
    def groups(self) -> list[str]:
        return group_names(self.items)


def learn_doubt(inference: Inference, train: Part, validation: Part, target_risk: float) -> Doubt:
    """Fit what is normal to training slices; choose every limit on validation slices.

    ``inference`` gave both parts their answers, and is asked for those to the validation slices
    changed further than training changes any. ``target_risk`` is the share of accepted answers
    that may be wrong. Raises ``TrainingFailed`` if the model sees no difference between slices,
    ``TrainingCancelled``.
    """
    calibration = calibrate(
        validation.answers.logits,
        validation.slices.labels,
        validation.groups,
        target_risk,
        inference.harder_logits(validation.slices),
    )
    try:
        fitted = ood.fit(train.answers.features, train.slices.labels)
    except ValueError as exc:  # features that are all alike: training has killed the network
        raise TrainingFailed(
            "The trained model sees no difference between slices, so it is of no use. Lower "
            "learning_rate; if that does not help, look whether the slices are all alike."
        ) from exc
    strangers = ood.with_threshold(fitted, validation.answers.features)
    refused = strangers.strange(validation.answers.features)
    return Doubt(
        calibration=calibration,
        strangers=strangers,
        validation_refused=float(refused.mean()),
    )


def judge_test(
    test: Part,
    doubt: Doubt,
    *,
    sizes: SplitSizes,
    protocol: str,
    control_accuracy: float | None,
    seed: int,
) -> Judgement:
    """What the model's answers to test slices are worth, with the decisions of serving."""
    probabilities = softmax(test.answers.logits, doubt.calibration.temperature)
    strange = doubt.strangers.strange(test.answers.features)
    held_out = HeldOut(
        sha256=[item.sha256 for item in test.items],
        groups=test.groups,
        labels=test.slices.labels,
        probabilities=probabilities,
        decisions=decide_all(probabilities, doubt.calibration.abstain_below, strange),
        sizes=sizes,
        protocol=protocol,
        uncalibrated=softmax(test.answers.logits),
        control_accuracy=control_accuracy,
        seed=seed,
    )
    return judge(held_out)


def judge_folds(
    folds: Sequence[FoldAnswers],
    labels: NDArray[np.int64],
    *,
    control_accuracy: float | None,
    seed: int,
) -> Judgement:
    """What the recipe is worth: every slice by the fold that never saw its group.

    ``labels`` in the order of the folds' test slices. Each fold's temperature and threshold are
    those of its own validation slices, and strange is what is strange to it.
    """
    items = [item for fold in folds for item in fold.plan.test]
    decisions: list[Decision] = []
    for fold in folds:
        decisions += fold.decisions
    held_out = HeldOut(
        sha256=[item.sha256 for item in items],
        groups=group_names(items),
        labels=labels,
        probabilities=np.concatenate([fold.probabilities for fold in folds]),
        decisions=decisions,
        sizes=SplitSizes(
            train=round(float(np.mean([len(fold.plan.train) for fold in folds]))),
            validation=round(float(np.mean([len(fold.plan.validation) for fold in folds]))),
            test=len(items),
        ),
        protocol=f"{folds[0].plan.protocol}; {_spread(folds, labels)}",
        uncalibrated=np.concatenate([softmax(fold.logits) for fold in folds]),
        control_accuracy=control_accuracy,
        seed=seed,
    )
    return judge(held_out)


def _spread(folds: Sequence[FoldAnswers], labels: NDArray[np.int64]) -> str:
    """Mean and standard deviation of the folds' scores, in words."""
    ends = np.cumsum([len(fold.logits) for fold in folds])[:-1]
    predicted = [fold.logits.argmax(axis=1) for fold in folds]
    pairs = list(zip(np.split(labels, ends), predicted, strict=True))
    accuracies = [float((true == found).mean()) for true, found in pairs]
    scores = [macro_f1(true, found) for true, found in pairs]
    return (
        f"mean and standard deviation over folds: accuracy {np.mean(accuracies):.3f} ± "
        f"{np.std(accuracies, ddof=1):.3f}, macro-F1 {np.mean(scores):.3f} ± "
        f"{np.std(scores, ddof=1):.3f}"
    )


def ood_facts(doubt: Doubt, judgement: Judgement) -> OodFacts:
    """How many slices of the right kind are refused as strange, those held out by their folds."""
    counts = judgement.decisions
    return OodFacts(
        threshold=doubt.strangers.threshold,
        validation_refused=doubt.validation_refused,
        held_out_refused=counts[Decision.OUT_OF_DISTRIBUTION] / sum(counts.values()),
    )
