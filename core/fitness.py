"""Whether a version is of any use at all, by what it says of itself."""

from collections.abc import Iterator
from typing import Final

from core.labels import LABELS
from core.registry import AnyEvaluation, Evaluation

FEWEST_OF_A_CLASS: Final = 5
"""Held-out slices of a class: to miss all of fewer may be chance."""
FEWEST_ACCEPTED: Final = 0.1
"""Share of its held-out slices: who accepts less answers hardly anybody, however right it is."""


def shortcomings(evaluation: AnyEvaluation) -> tuple[str, ...]:
    """What keeps a version from being of use, in words for a person; empty if nothing does.

    A classifier is to know more than which class is the commonest and than what the mere file
    tells, to have met every class it can be asked about among its held-out slices and to recognise
    some of each, and to accept an answer now and then; a segmenter is to find something of some
    tumour.
    """
    if isinstance(evaluation, Evaluation):
        return tuple(_of_classifier(evaluation))
    if evaluation.dice > 0:
        return ()
    return (f"it found nothing of {evaluation.test_size} held-out tumours",)


def _of_classifier(evaluation: Evaluation) -> Iterator[str]:
    tested = [sum(row) for row in evaluation.confusion]
    commonest = max(tested) / max(sum(tested), 1)
    named = f"it names {evaluation.accuracy:.1%} of its held-out slices rightly"
    control = evaluation.control_accuracy
    if evaluation.accuracy <= commonest:
        yield f"{named}, no more than always naming the commonest class would ({commonest:.1%})"
    elif control is not None and _is_below(evaluation, control):
        yield f"{named}, less than a control that sees the file but no picture ({control:.1%})"
    absent = [str(label) for label, count in zip(LABELS, tested, strict=True) if not count]
    if absent:
        yield f"none of its held-out slices was of the class {' or '.join(absent)}"
    for number, label in enumerate(LABELS):
        if tested[number] >= FEWEST_OF_A_CLASS and not evaluation.confusion[number][number]:
            yield f"it recognises none of {tested[number]} held-out slices of the class {label}"
    if evaluation.coverage == 0:
        yield "it accepts none of its own answers to held-out slices"
    elif evaluation.coverage is not None and evaluation.coverage < FEWEST_ACCEPTED:
        yield f"it accepts only {evaluation.coverage:.1%} of its own answers to held-out slices"


def _is_below(evaluation: Evaluation, control: float) -> bool:
    """By the end of the accuracy's interval: the control was measured on other slices of the set.

    Where patients are too few for an interval they cannot tell.
    """
    interval = evaluation.intervals.get("accuracy")
    return interval is not None and interval.high < control
