"""Two model versions on the slices held out from both: is the difference more than noise?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from core.comparison import PairedComparison, PairedDifference
from core.held_out import HeldOut, HeldOutPredictions, HeldOutSlice
from core.held_out_outlines import HeldOutOutline, HeldOutOutlines
from core.labels import LABELS
from core.registry import Interval

RESAMPLES: Final = 2000
MIN_GROUPS: Final = 10
"""With fewer groups a bootstrap says nothing about others."""
_SEED: Final = 20_171_204
_CHUNK: Final = 1_000_000
"""Numbers held at once: resamples times groups."""

S = TypeVar("S", bound=HeldOut)
Counts = NDArray[np.float64]
Scores = Mapping[str, NDArray[np.float64]]
"""By name, (m,) of each of m tables."""


def compare_pair(
    names: tuple[str, str],
    first: HeldOutPredictions | HeldOutOutlines,
    second: HeldOutPredictions | HeldOutOutlines,
) -> PairedComparison | None:
    """The second version against the first on the slices that were held out from both.

    A slice that one of them was trained on tells nothing and is left out, and so is one whose
    label the two data sets do not agree on. None if fewer than ``MIN_GROUPS`` groups remain.
    Raises ``TypeError`` for versions of different tasks.

    Both answers to a slice are resampled together, in whole groups (patients): slices of one are
    alike, and what is hard for one version is mostly hard for the other. Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, chapter 8; intervals are the percentiles of 2000
    resamples, and the same for the same two versions.
    """
    match first, second:
        case HeldOutPredictions(), HeldOutPredictions():
            answers = shared_slices(first.slices, second.slices)
            return _compared(names, answers, _confusions, _answer_scores, "macro_f1")
        case HeldOutOutlines(), HeldOutOutlines():
            outlines = shared_slices(first.slices, second.slices)
            return _compared(names, outlines, _overlaps, _overlap_scores, "dice")
    raise TypeError("versions of different tasks cannot be paired")


def _compared(
    names: tuple[str, str],
    pairs: Sequence[tuple[S, S]],
    table_of: Callable[[Sequence[S], NDArray[np.int64], int], Counts],
    scores_of: Callable[[Counts], Scores],
    ranked_by: str,
) -> PairedComparison | None:
    members = _groups(pairs)
    count = int(members.max()) + 1 if len(members) else 0
    if count < MIN_GROUPS:
        return None
    tables = [table_of([pair[i] for pair in pairs], members, count) for i in (0, 1)]

    def differences(times: Counts) -> Scores:
        one, other = (scores_of(times @ table) for table in tables)
        return {name: other[name] - one[name] for name in one}

    found = differences(np.ones((1, count)))
    resampled = [differences(times) for times in _resampled(count)]
    return PairedComparison(
        first=names[0],
        second=names[1],
        slices=len(pairs),
        groups=count,
        scores={
            name: _difference(float(found[name][0]), np.concatenate([r[name] for r in resampled]))
            for name in found
        },
        ranked_by=ranked_by,
    )


def shared_slices(first: Sequence[S], second: Sequence[S]) -> list[tuple[S, S]]:
    """The slices of both, each picture once, in the order of their hashes."""
    answers = {s.sha256: s for s in first}
    others = {s.sha256: s for s in second}
    return [
        (answers[sha256], others[sha256])
        for sha256 in sorted(answers.keys() & others.keys())
        if answers[sha256].label is others[sha256].label
    ]


def _groups(pairs: Sequence[tuple[HeldOut, HeldOut]]) -> NDArray[np.int64]:
    """A number from 0 for each slice's group; the coarser grouping where the two differ."""
    numbered = [
        np.unique(np.array([pair[i].group for pair in pairs], str), return_inverse=True)
        for i in (0, 1)
    ]
    _, members = min(numbered, key=lambda found: len(found[0]))
    return np.asarray(members, np.int64)


def _confusions(slices: Sequence[HeldOutSlice], members: NDArray[np.int64], count: int) -> Counts:
    """Each group's confusion matrix, flat: (groups, classes * classes), rows the true classes."""
    classes = len(LABELS)
    table = np.zeros((count, classes * classes))
    cells = [LABELS.index(s.label) * classes + s.predicted for s in slices]
    np.add.at(table, (members, np.array(cells)), 1)
    return table


def _resampled(count: int) -> Iterator[Counts]:
    """How often each group is drawn, (resamples, groups) at a time."""
    rng = np.random.default_rng(_SEED)
    chance, step = np.full(count, 1 / count), max(1, _CHUNK // count)
    for start in range(0, RESAMPLES, step):
        yield rng.multinomial(count, chance, size=min(step, RESAMPLES - start)).astype(float)


def _answer_scores(flat: Counts) -> Scores:
    """Accuracy and macro-F1 of flat confusion matrices (m, classes * classes).

    As in evaluation, classes without a slice do not count in the macro-F1.
    """
    confusions = flat.reshape(-1, len(LABELS), len(LABELS))
    hits: NDArray[Any] = np.diagonal(confusions, axis1=1, axis2=2)
    support, called = confusions.sum(axis=2), confusions.sum(axis=1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    present = support > 0
    accuracy = hits.sum(axis=1) / support.sum(axis=1)
    return {
        "accuracy": accuracy,
        "macro_f1": (f1 * present).sum(axis=1) / present.sum(axis=1),
    }


def _overlaps(slices: Sequence[HeldOutOutline], members: NDArray[np.int64], count: int) -> Counts:
    """Each group's sum of Dice coefficients and its slices: (groups, 2)."""
    table = np.zeros((count, 2))
    np.add.at(table, members, [(s.dice, 1.0) for s in slices])
    return table


def _overlap_scores(table: Counts) -> Scores:
    return {"dice": table[:, 0] / table[:, 1]}


def _difference(found: float, resampled: NDArray[np.float64]) -> PairedDifference:
    low, high = np.quantile(resampled, (0.025, 0.975))
    better = (resampled > 0).mean() + (resampled == 0).mean() / 2
    return PairedDifference(
        difference=found,
        interval=Interval(low=float(low), high=float(high)),
        probability_better=float(better),
    )
