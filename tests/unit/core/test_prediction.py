"""Predictions and audit entries."""

import pytest

from core.labels import LABELS, TumourLabel
from core.prediction import Decision, MaskFormat, PixelSpacing, Prediction, RegionMask
from tests.fakes.records import a_region, an_entry


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


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("label", LABELS)
def test_there_is_something_to_outline_in_a_tumour_even_an_unsure_one(
    label: TumourLabel, decision: Decision
) -> None:
    probabilities = tuple(0.7 if other is label else 0.1 for other in LABELS)
    answer = Prediction(probabilities=probabilities, decision=decision, model_version="v")
    expected = label is not TumourLabel.NO_TUMOR and decision is not Decision.OUT_OF_DISTRIBUTION
    assert answer.shows_tumour is expected
    assert an_entry(label=label, decision=decision).shows_tumour is expected


def test_a_refusal_shows_nothing() -> None:
    assert not an_entry(label=None, decision=None).shows_tumour


def test_an_area_needs_the_spacing_of_the_pixels() -> None:
    region = a_region(area_px=900, area_mm2=None)
    assert region.measured(None) == region
    assert region.measured(PixelSpacing(x_mm=0.5, y_mm=2.0)).area_mm2 == 900.0


def test_a_mask_can_be_left_out() -> None:
    mask = RegionMask(format=MaskFormat.PNG, width=1, height=1, data=b"x")
    assert a_region(mask=mask).without_mask() == a_region()
