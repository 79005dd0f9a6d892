"""What is kept of each fold's model, and what is made of it when all are done."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.datasets import DatasetItem
from core.errors import TrainingCancelled
from core.labels import LABELS
from core.prediction import Decision
from core.settings import Settings
from core.training import EpochProgress
from tests.fakes.learning import SPEC, some_slices, use_tiny_network
from tests.fakes.store import FakeArtefactStore
from workers.curation.splits import SplitPlan, fold_plans
from workers.evaluation.examples import PER_KIND, Kind
from workers.evaluation.judge import Judgement
from workers.learning.fold_answers import FoldAnswers, Shown
from workers.learning.folds import CrossValidation
from workers.learning.input_pipeline import DecodedSet
from workers.learning.judging import judge_folds
from workers.learning.showing import pick_from_folds
from workers.model_artefact import Calibration
from workers.training_hooks import TrainingHooks

PER_CLASS = 8


def items() -> list[DatasetItem]:
    """In the order of :func:`some_slices`."""
    return [
        DatasetItem(
            path=f"{number:03}.png",
            sha256=f"{number:064x}",
            size_bytes=1,
            label=LABELS[number % len(LABELS)],
            width=16,
            height=16,
        )
        for number in range(PER_CLASS * len(LABELS))
    ]


def decoded() -> DecodedSet:
    return DecodedSet(items(), some_slices(PER_CLASS))


class Folds:
    """A cross-validation that counts its epochs, cancelled after some of them."""

    def __init__(self, folder: Path) -> None:
        self.store = FakeArtefactStore()
        self.epochs: list[EpochProgress] = []
        self.cancel_after = 1000
        self._settings = Settings.from_environment({}, data_dir=folder)

    def run(self) -> list[FoldAnswers]:
        spec = replace(SPEC, epochs=1)
        plans = fold_plans(items(), folds=2, validation_share=0.2, seed=0)
        hooks = TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda *_: None,
            on_message=lambda _: None,
            should_stop=lambda: len(self.epochs) >= self.cancel_after,
        )
        validation = CrossValidation(
            spec, decoded(), job_id="job1", store=self.store, settings=self._settings
        )
        return validation.run(plans, hooks)


@pytest.fixture
def folds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folds:
    use_tiny_network(monkeypatch)
    return Folds(tmp_path)


def test_each_fold_says_what_is_strange_and_where_its_evidence_is(folds: Folds) -> None:
    for answers in folds.run():
        tested = len(answers.plan.test)
        assert answers.strange.shape == (tested,)
        assert answers.strange.dtype == bool
        assert len(answers.decisions) == tested
        assert 0 < len(answers.shown.places) <= tested
        assert answers.shown.maps.shape == (len(answers.shown.places), 8, 8)
        assert set(answers.shown.places.tolist()) <= set(range(tested))


def test_a_fold_that_is_done_is_read_again_with_all_it_had(folds: Folds) -> None:
    first = folds.run()
    trained = len(folds.epochs)

    again = folds.run()

    assert len(folds.epochs) == trained
    for ours, theirs in zip(again, first, strict=True):
        assert np.array_equal(ours.logits, theirs.logits)
        assert np.array_equal(ours.strange, theirs.strange)
        assert np.array_equal(ours.shown.places, theirs.shown.places)
        assert np.array_equal(ours.shown.maps, theirs.shown.maps)


def test_what_an_older_version_kept_of_a_fold_is_made_anew_from_its_checkpoint(
    folds: Folds,
) -> None:
    folds.run()
    trained = len(folds.epochs)
    buffer = io.BytesIO()
    np.savez(buffer, logits=np.zeros((1, 4)), validation_logits=np.zeros((1, 4)))
    folds.store.put("jobs/job1/fold-1.npz", buffer.getvalue())

    assert folds.run()[0].shown.maps.size
    assert len(folds.epochs) == trained


def test_a_cancelled_fold_goes_on(folds: Folds) -> None:
    folds.cancel_after = 1
    with pytest.raises(TrainingCancelled):
        folds.run()
    folds.cancel_after = 1000

    assert len(folds.run()) == 2


def sure(plan: SplitPlan, **changes: Any) -> FoldAnswers:
    """A fold that is right everywhere, and sure of it; nothing of it is shown."""
    labels = decoded().labels(plan.test)
    values: dict[str, Any] = {
        "plan": plan,
        "logits": 5 * np.eye(len(LABELS), dtype=np.float32)[labels],
        "calibration": Calibration(abstain_below=0.5),
        "strange": np.zeros(len(labels), bool),
        "shown": Shown(places=np.array([], np.int64), maps=np.zeros((0, 8, 8), np.float32)),
    }
    return FoldAnswers(**(values | changes))


def judged(answers: Sequence[FoldAnswers]) -> Judgement:
    labels = np.concatenate([decoded().labels(fold.plan.test) for fold in answers])
    return judge_folds(answers, labels, control_accuracy=None, seed=0)


def numbered(*places: int) -> Shown:
    """To be shown, each with its place on its map."""
    maps = np.stack([np.full((8, 8), place, np.float32) for place in places])
    return Shown(places=np.array(places), maps=maps)


@pytest.fixture(scope="module")
def plans() -> list[SplitPlan]:
    return fold_plans(items(), folds=2, validation_share=0.2, seed=0)


def test_what_is_strange_to_its_fold_is_refused(plans: list[SplitPlan]) -> None:
    strange = np.arange(len(plans[1].test)) == 2
    folds = [sure(plans[0]), sure(plans[1], strange=strange)]

    decisions = [answer.decision for answer in judged(folds).predictions.slices]

    assert decisions.count(Decision.OUT_OF_DISTRIBUTION) == 1
    assert decisions[len(plans[0].test) + 2] is Decision.OUT_OF_DISTRIBUTION
    assert judged(folds).decisions[Decision.OUT_OF_DISTRIBUTION] == 1


def test_an_example_has_its_own_picture_answer_and_map(plans: list[SplitPlan]) -> None:
    strange = np.arange(len(plans[1].test)) == 3
    folds = [
        sure(plans[0], shown=numbered(0, 4)),
        sure(plans[1], shown=numbered(3, 1), strange=strange),
    ]

    examples = pick_from_folds(folds, decoded(), judged(folds))

    found = {int(e.activation_map[0, 0]): e for e in examples if e.activation_map is not None}
    assert set(found) == {0, 4, 3, 1}
    for fold in folds:
        for place in fold.shown.places:
            item, example = fold.plan.test[place], found[int(place)]
            assert example.label is item.label
            assert example.answer is item.label
            pixels = decoded().slices([item]).pixels_of(np.array([0]))
            assert np.array_equal(example.picture, pixels[0, :, :, 0])
    assert [p for p, e in found.items() if e.kind is Kind.REFUSED] == [3]


def test_of_all_folds_together_only_so_many_are_shown(plans: list[SplitPlan]) -> None:
    folds = [sure(plan, shown=numbered(*range(len(plan.test)))) for plan in plans]

    examples = pick_from_folds(folds, decoded(), judged(folds))

    assert len(examples) == PER_KIND * len(LABELS)


def test_folds_that_show_nothing_have_no_examples(plans: list[SplitPlan]) -> None:
    folds = [sure(plan) for plan in plans]

    assert not pick_from_folds(folds, decoded(), judged(folds))
