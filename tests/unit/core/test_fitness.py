"""A version that says itself that it is of no use."""

from dataclasses import replace

import pytest

from core.fitness import shortcomings
from core.registry import Interval
from tests.fakes.registry import a_segmentation, an_evaluation

USEFUL = an_evaluation(accuracy=0.9)


def test_a_useful_version_has_none() -> None:
    assert shortcomings(USEFUL) == ()
    assert shortcomings(replace(USEFUL, coverage=0.1)) == ()
    assert shortcomings(a_segmentation()) == ()


@pytest.mark.parametrize("accuracy", [0.1, 0.25])
def test_knowing_the_commonest_class_is_not_enough(accuracy: float) -> None:
    (found,) = shortcomings(replace(USEFUL, accuracy=accuracy))
    assert found.startswith(f"it names {accuracy:.1%} of its held-out slices rightly")
    assert found.endswith("always naming the commonest class would (25.0%)")


def test_less_than_the_mere_file_tells_is_not_enough() -> None:
    known = replace(USEFUL, intervals={"accuracy": Interval(low=0.88, high=0.92)})
    for control in (0.5, 0.92):
        assert shortcomings(replace(known, control_accuracy=control)) == ()
    (found,) = shortcomings(replace(known, control_accuracy=0.95))
    assert found.endswith("less than a control that sees the file but no picture (95.0%)")
    # Patients that are too few for an interval cannot tell.
    assert shortcomings(replace(USEFUL, intervals={}, control_accuracy=0.95)) == ()


def test_every_class_must_have_been_met() -> None:
    (found,) = shortcomings(
        replace(USEFUL, confusion=((5, 0, 0, 0), (0, 0, 0, 0), (0, 0, 5, 0), (0, 0, 0, 0)))
    )
    assert found == "none of its held-out slices was of the class meningioma or pituitary"


def test_some_of_every_class_must_be_recognised() -> None:
    rows = ((0, 5, 0, 0), (0, 9, 0, 0), (0, 0, 9, 0), (0, 0, 4, 0))  # four may be chance
    (found,) = shortcomings(replace(USEFUL, confusion=rows))
    assert found == "it recognises none of 5 held-out slices of the class glioma"


def test_some_answer_must_be_accepted() -> None:
    (found,) = shortcomings(replace(USEFUL, coverage=0.0))
    assert "accepts none" in found
    (found,) = shortcomings(replace(USEFUL, coverage=0.038))
    assert found == "it accepts only 3.8% of its own answers to held-out slices"


def test_a_segmenter_must_find_something() -> None:
    assert shortcomings(a_segmentation(dice=0.0)) == ("it found nothing of 40 held-out tumours",)
