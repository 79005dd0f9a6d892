"""Whether a version is of any use at all, by what it says of itself."""

from collections.abc import Iterator

from core.labels import LABELS
from core.registry import AnyEvaluation, Evaluation


def shortcomings(evaluation: AnyEvaluation) -> tuple[str, ...]:
    """What keeps a version from being of use, in words for a person; empty if nothing does.

    A classifier is to know more than which class is the commonest, to have met every class it can
    be asked about among its held-out slices, and to accept an answer now and then; a segmenter is
    to find something of some tumour.
    """
    if isinstance(evaluation, Evaluation):
        return tuple(_of_classifier(evaluation))
    if evaluation.dice > 0:
        return ()
    return (f"it found nothing of {evaluation.test_size} held-out tumours",)


def _of_classifier(evaluation: Evaluation) -> Iterator[str]:
    tested = [sum(row) for row in evaluation.confusion]
    commonest = max(tested) / max(sum(tested), 1)
    if evaluation.accuracy <= commonest:
        yield (
            f"it is right about {evaluation.accuracy:.1%} of its held-out slices, and always "
            f"naming the commonest class would be right about {commonest:.1%}"
        )
    absent = [str(label) for label, count in zip(LABELS, tested, strict=True) if not count]
    if absent:
        yield f"none of its held-out slices was of the class {' or '.join(absent)}"
    if evaluation.coverage == 0:
        yield "it accepts none of its own answers to held-out slices"
