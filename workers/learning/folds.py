"""Cross-validation: each slice is answered by a model that never saw its group."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from core.errors import NotFound
from core.ports import ArtefactStore
from core.settings import Settings
from core.training import TrainingSpec
from workers.curation.splits import SplitPlan
from workers.evaluation.metrics import macro_f1, softmax
from workers.evaluation.selective import decide_all
from workers.learning.checkpoints import Checkpoints
from workers.learning.fitting import fit
from workers.learning.fold_answers import FoldAnswers, Shown
from workers.learning.input_pipeline import DecodedSet
from workers.learning.judging import Part, learn_doubt
from workers.learning.showing import show
from workers.model_artefact import Calibration
from workers.training_hooks import TrainingHooks, job_prefix

_ARRAYS: Final = ("logits", "calibration", "strange", "places", "maps")


class CrossValidation:
    """Trains a model a fold, one after the other; a fold that is done is not trained again."""

    def __init__(
        self,
        spec: TrainingSpec,
        data: DecodedSet,
        *,
        job_id: str,
        store: ArtefactStore,
        settings: Settings,
    ) -> None:
        self._spec = spec
        self._data = data
        self._job_id = job_id
        self._store = store
        self._settings = settings

    def run(self, plans: Sequence[SplitPlan], hooks: TrainingHooks) -> list[FoldAnswers]:
        """Answers to every fold. Raises what :func:`workers.learning.fitting.fit` does."""
        return [
            self.fold(number, plan, hooks.within((number - 1) / len(plans), number / len(plans)))
            for number, plan in enumerate(plans, start=1)
        ]

    def fold(self, number: int, plan: SplitPlan, hooks: TrainingHooks) -> FoldAnswers:
        """The answers of one fold, counted from 1."""
        arrays = self._kept(number)
        if arrays is None:
            hooks.on_message(f"fold {number}: {len(plan.train)} slices to learn from")
            arrays = self._train(number, plan, hooks)
            self._keep(number, arrays)
        answers = FoldAnswers(
            plan=plan,
            logits=arrays["logits"],
            strange=arrays["strange"],
            shown=Shown(places=arrays["places"], maps=arrays["maps"]),
            calibration=Calibration(**json.loads(str(arrays["calibration"]))),
        )
        hooks.on_message(f"fold {number}: {_score(answers, self._data.labels(plan.test))}")
        return answers

    def _train(self, number: int, plan: SplitPlan, hooks: TrainingHooks) -> dict[str, Any]:
        keras.backend.clear_session()
        fitted = fit(
            self._spec,
            self._data.slices(plan.train),
            self._data.slices(plan.validation),
            checkpoints=Checkpoints(self._store, self._job_id, f"fold-{number}"),
            settings=self._settings,
            hooks=hooks,
        )
        train, validation, test = (
            Part.of(items, self._data, fitted.inference)
            for items in (plan.train, plan.validation, plan.test)
        )
        doubt = learn_doubt(fitted.inference, train, validation, self._spec.target_risk)
        probabilities = softmax(test.answers.logits, doubt.calibration.temperature)
        strange = doubt.strangers.strange(test.answers.features)
        decisions = decide_all(probabilities, doubt.calibration.abstain_below, strange)
        # The model is gone with the next fold: whatever may be shown is chosen now.
        shown = show(fitted.model, test.slices, probabilities, decisions)
        return {
            "logits": test.answers.logits,
            "calibration": json.dumps(asdict(doubt.calibration)),
            "strange": strange,
            "places": shown.places,
            "maps": shown.maps,
        }

    def _key(self, number: int) -> str:
        return f"{job_prefix(self._job_id)}/fold-{number}.npz"

    def _keep(self, number: int, arrays: dict[str, Any]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        self._store.put(self._key(number), buffer.getvalue())

    def _kept(self, number: int) -> dict[str, Any] | None:
        try:
            data = self._store.get(self._key(number))
        except NotFound:
            return None
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            if not set(_ARRAYS) <= set(arrays.files):
                return None  # kept by an older worker: made anew from the fold's checkpoint
            return {name: arrays[name] for name in _ARRAYS}


def _score(answers: FoldAnswers, labels: NDArray[np.int64]) -> str:
    predicted = answers.logits.argmax(axis=1)
    accuracy = float((predicted == labels).mean())
    return f"accuracy {accuracy:.4f}, macro-F1 {macro_f1(labels, predicted):.4f}"
