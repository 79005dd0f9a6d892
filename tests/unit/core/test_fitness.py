"""A version that says itself that it is of no use."""

from dataclasses import replace

import pytest

from core.fitness import shortcomings
from tests.fakes.registry import a_segmentation, an_evaluation

USEFUL = an_evaluation(accuracy=0.9)


def test_a_useful_version_has_none() -> None:
    assert shortcomings(USEFUL) == ()
    assert shortcomings(replace(USEFUL, coverage=0.1)) == ()
    assert shortcomings(a_segmentation()) == ()


@pytest.mark.parametrize("accuracy", [0.1, 0.25])
def test_knowing_the_commonest_class_is_not_enough(accuracy: float) -> None:
    (found,) = shortcomings(replace(USEFUL, accuracy=accuracy))
    assert found == (
        f"it is right about {accuracy:.1%} of its held-out slices, and always naming the commonest "
        "class would be right about 25.0%"
    )


def test_every_class_must_have_been_met() -> None:
    (found,) = shortcomings(
        replace(USEFUL, confusion=((5, 0, 0, 0), (0, 0, 0, 0), (0, 0, 5, 0), (0, 0, 0, 0)))
    )
    assert found == "none of its held-out slices was of the class meningioma or pituitary"


def test_some_answer_must_be_accepted() -> None:
    (found,) = shortcomings(replace(USEFUL, coverage=0.0))
    assert "accepts none" in found


def test_a_segmenter_must_find_something() -> None:
    assert shortcomings(a_segmentation(dice=0.0)) == ("it found nothing of 40 held-out tumours",)
