"""Predictions and audit entries."""

import pytest

from core.labels import LABELS, TumourLabel
from core.prediction import Decision, Prediction
from tests.fakes.records import an_entry


def prediction(*probabilities: float) -> Prediction:
    return Prediction(
        probabilities=probabilities, decision=Decision.ACCEPTED, model_version="modelVersions/v"
    )


@pytest.mark.parametrize("place", range(len(LABELS)))
def test_the_label_is_the_most_probable(place: int) -> None:
    probabilities = [0.1] * 4
    probabilities[place] = 0.7
    answer = prediction(*probabilities)
    assert (answer.label, answer.confidence) == (LABELS[place], 0.7)


def test_the_first_of_equals_wins() -> None:
    assert prediction(0.1, 0.4, 0.1, 0.4).label is TumourLabel.MENINGIOMA


def test_an_entry_changes_by_copy() -> None:
    entry = an_entry(id="p1")
    changed = entry.evolve(status="CANCELLED")
    assert (changed.status, entry.status) == ("CANCELLED", "OK")
    assert changed.name == entry.name == "predictions/p1"
