"""One judgement holds every number, and survives odd data."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from core.held_out import HeldOutPredictions
from core.labels import LABELS, TumourLabel
from core.prediction import Decision
from core.registry import SCORES, ClassMetrics
from tests.fakes.evaluation import some_held_out
from workers.evaluation.judge import HeldOut, judge
from workers.evaluation.selective import decide_all

RESAMPLES = 60


def keep(held_out: HeldOut, kept: np.ndarray) -> HeldOut:
    places = [int(i) for i in np.flatnonzero(kept)]
    assert held_out.uncalibrated is not None
    return replace(
        held_out,
        sha256=[held_out.sha256[i] for i in places],
        groups=[held_out.groups[i] for i in places],
        decisions=[held_out.decisions[i] for i in places],
        labels=held_out.labels[kept],
        probabilities=held_out.probabilities[kept],
        uncalibrated=held_out.uncalibrated[kept],
    )


def test_every_number_is_there_with_its_interval() -> None:
    held_out = some_held_out(control_accuracy=0.6)
    judgement = judge(held_out, RESAMPLES)
    evaluation = judgement.evaluation

    assert all(getattr(evaluation, name) is not None for name in SCORES)
    assert set(SCORES) - evaluation.intervals.keys() == {"majority_share", "control_accuracy"}
    assert evaluation.control_accuracy == 0.6
    assert (evaluation.train_size, evaluation.test_size) == (400, 200)
    assert evaluation.protocol == "held out"
    assert sum(map(sum, evaluation.confusion)) == 200
    assert sum(m.support for m in evaluation.per_class.values()) == 200
    assert all(m.roc_auc is not None for m in evaluation.per_class.values())
    assert sum(judgement.decisions.values()) == 200
    assert judgement.ece_uncalibrated is not None
    json.dumps(asdict(evaluation))


def test_numbers_do_not_depend_on_the_resamples_but_on_the_seed_they_do() -> None:
    one, other = (judge(some_held_out(seed=seed), RESAMPLES).evaluation for seed in (0, 1))
    assert judge(some_held_out(), RESAMPLES).evaluation == one
    assert replace(one, intervals={}) == replace(other, intervals={})
    assert one.intervals != other.intervals


def test_what_was_said_about_each_slice_is_kept() -> None:
    held_out = some_held_out()
    predictions = judge(held_out, RESAMPLES).predictions

    back = HeldOutPredictions.from_json(predictions.to_json())
    assert back.digest == predictions.digest
    assert [s.sha256 for s in back.slices] == list(held_out.sha256)
    assert [s.predicted for s in back.slices] == held_out.probabilities.argmax(axis=1).tolist()
    assert [s.decision for s in back.slices] == list(held_out.decisions)


def test_a_class_without_slices_is_left_out_where_it_has_no_number() -> None:
    held_out = some_held_out()
    judgement = judge(keep(held_out, held_out.labels != 3), RESAMPLES)

    metrics = judgement.evaluation.per_class[TumourLabel.PITUITARY]
    assert metrics == ClassMetrics(precision=None, recall=None, f1=None, support=0)
    assert judgement.evaluation.per_class[TumourLabel.GLIOMA].recall is not None
    assert "roc_auc/pituitary" not in judgement.evaluation.intervals
    assert TumourLabel.PITUITARY not in judgement.roc
    assert judgement.evaluation.roc_auc is not None


def test_one_class_alone_has_no_areas() -> None:
    held_out = some_held_out()
    judgement = judge(keep(held_out, held_out.labels == LABELS.index("no_tumor")), RESAMPLES)

    evaluation = judgement.evaluation
    assert (evaluation.roc_auc, evaluation.pr_auc, evaluation.sensitivity) == (None, None, None)
    assert evaluation.specificity is not None
    assert judgement.roc == {}


def test_a_model_that_accepts_nothing_has_a_judgement() -> None:
    held_out = replace(some_held_out(), decisions=[Decision.ABSTAINED] * 200)
    evaluation = judge(held_out, RESAMPLES).evaluation

    assert (evaluation.coverage, evaluation.accepted_accuracy) == (0, None)


def test_strange_slices_are_not_covered() -> None:
    held_out = some_held_out()
    strange = np.arange(200) < 50
    decisions = decide_all(held_out.probabilities, 0.0, strange)
    judgement = judge(replace(held_out, decisions=decisions), RESAMPLES)

    assert judgement.evaluation.coverage == 0.75
    assert judgement.decisions[Decision.OUT_OF_DISTRIBUTION] == 50


def test_one_slice_is_enough() -> None:
    held_out = some_held_out()
    judgement = judge(keep(held_out, np.arange(200) == 0), RESAMPLES)
    assert judgement.evaluation.accuracy in {0, 1}


def test_curves_run_from_end_to_end_with_few_points() -> None:
    judgement = judge(some_held_out(), RESAMPLES)

    for curve in judgement.roc.values():
        assert (curve[0], curve[-1]) == ((0, 0), (1, 1))
        assert len(curve) <= 152
    for curve in judgement.precision_recall.values():
        assert curve[-1][0] == 1
    coverage, risk = judgement.risk_coverage[-1]
    assert (coverage, risk) == pytest.approx((1, 1 - judgement.evaluation.accuracy))


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ["p"]},
        {"groups": [""] * 200},
        {"sha256": []},
        {"decisions": []},
        {"probabilities": np.full((200, 3), 1 / 3)},
        {"probabilities": np.full((200, 4), 0.5)},
        {"probabilities": np.full((200, 4), np.nan)},
        {"labels": np.array([], int)},
    ],
)
def test_parts_that_do_not_fit_together_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(some_held_out(), **change)  # type: ignore[arg-type]
