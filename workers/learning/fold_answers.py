"""What is left of a fold's model when the model itself is gone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.prediction import Decision
from workers.curation.label_errors import OutOfFold
from workers.curation.splits import SplitPlan
from workers.evaluation.metrics import softmax
from workers.evaluation.selective import decide_all
from workers.model_artefact import Calibration


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Slices that a report may show: ``places`` (k,) of theirs among those a model was tested on,
    and ``maps`` (k, h, w) of each place's evidence for the answer, of any range.
    """

    places: NDArray[np.int64]
    maps: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FoldAnswers:
    """One fold's model on slices that it did not learn from.

    ``logits`` (n, classes) of the fold's test slices, in the plan's order; ``strange`` (n,), which
    of these are unlike those that the fold learned from; ``shown``, some of them with its
    evidence. Epoch and ``calibration`` were chosen on validation slices.
    """

    plan: SplitPlan
    logits: NDArray[np.float32]
    calibration: Calibration
    strange: NDArray[np.bool_]
    shown: Shown

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Calibrated on the fold's own validation slices: (n, classes)."""
        return softmax(self.logits, self.calibration.temperature)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """On each test slice, as serving this fold's model would make them."""
        return decide_all(self.probabilities, self.calibration.abstain_below, self.strange)


def out_of_fold(folds: Sequence[FoldAnswers]) -> OutOfFold:
    """The answers of all folds, of which there must be one, in their order."""
    return OutOfFold(
        items=tuple(item for fold in folds for item in fold.plan.test),
        probabilities=np.concatenate([fold.probabilities for fold in folds]),
    )
