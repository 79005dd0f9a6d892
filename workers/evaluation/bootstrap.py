"""What scores might have been with other patients: resampling groups of slices."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.registry import Interval
from workers.evaluation.metrics import Floats

RESAMPLES: Final = 2000
FEWEST_GROUPS: Final = 5
"""Of fewer, resampling says next to nothing of what others would give."""
_LEAST_DEFINED: Final = 0.5
"""A score that is defined in fewer of the resamples than this share gets no interval."""
_CHUNK: Final = 500_000
"""Weights held at once: resamples times slices."""
_PROPORTIONS: Final = frozenset(
    {
        "accuracy",
        "sensitivity",
        "specificity",
        "recall",
        "coverage",
        "accepted_accuracy",
        "missed_share",
        "lesion_recall",
        "healthy_with_regions",
    }
)
"""Scores that are a share of something, and not defined where there is nothing to have a share of.
Those of classes are named ``recall/glioma`` and the like."""


def bootstrap_intervals(
    scorer: Callable[[Floats], Mapping[str, Floats]],
    groups: Sequence[str],
    seed: int,
    resamples: int = RESAMPLES,
) -> dict[str, Interval]:
    """A 95 % interval of each score, by name; one that is hardly ever defined is left out.

    ``groups`` names each slice's group (patient). Whole groups are resampled, since slices of one
    are alike. Percentile intervals: Efron and Tibshirani, "An Introduction to the Bootstrap",
    1993, chapters 8 and 13. The same for the same seed.

    Fewer than ``FEWEST_GROUPS`` groups have no interval. Where every group is perfect, or none is
    right, all resamples are the same, and say nothing of the next group: a plain proportion then
    has the exact interval of Clopper and Pearson, Biometrika 26 (1934), for as many trials as it
    has groups, and any other score, such as macro-F1, a precision or an average precision, none.
    """
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < FEWEST_GROUPS:
        return {}
    found = _scored(scorer, resampled(groups, seed, resamples))
    counted = _groups_counted(scorer, members, found.keys())
    intervals = {name: _interval(values, counted.get(name)) for name, values in found.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}


def resampled(groups: Sequence[str], seed: int, resamples: int) -> Iterator[Floats]:
    """How often each slice is drawn, (some resamples, slices) at a time."""
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    chance = np.full(len(names), 1 / len(names))
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // len(members))
    for start in range(0, resamples, step):
        times = rng.multinomial(len(names), chance, size=min(step, resamples - start))
        yield times[:, members].astype(np.float64)


def _scored(
    scorer: Callable[[Floats], Mapping[str, Floats]], weights: Iterator[Floats]
) -> dict[str, Floats]:
    found: dict[str, list[Floats]] = defaultdict(list)
    for some in weights:
        for name, values in scorer(some).items():
            found[name].append(values)
    return {name: np.concatenate(values) for name, values in found.items()}


def _groups_counted(
    scorer: Callable[[Floats], Mapping[str, Floats]],
    members: NDArray[np.int_],
    names: Iterable[str],
) -> dict[str, int]:
    """In how many groups each plain proportion has something to have a share of."""
    proportions = [name for name in names if name.partition("/")[0] in _PROPORTIONS]
    if not proportions:
        return {}
    alone = _scored(scorer, _each_alone(members))
    return {name: int(np.isfinite(alone[name]).sum()) for name in proportions}


def _each_alone(members: NDArray[np.int_]) -> Iterator[Floats]:
    """As :func:`resampled`, each group once and by itself."""
    count, step = int(members.max()) + 1, max(1, _CHUNK // len(members))
    for start in range(0, count, step):
        chosen = np.arange(start, min(start + step, count))
        yield (members == chosen[:, None]).astype(np.float64)


def _interval(values: Floats, counted: int | None) -> Interval | None:
    """``counted`` groups have a part in a plain proportion; None for what is none."""
    defined = values[np.isfinite(values)]
    if len(defined) < _LEAST_DEFINED * len(values):
        return None
    if counted is not None and counted < FEWEST_GROUPS:
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    if low < high:
        return Interval(low=float(low), high=float(high))
    if counted is None or low not in {0.0, 1.0}:
        return None
    end = 0.025 ** (1 / counted)
    return Interval(low=end, high=1.0) if low else Interval(low=0.0, high=1 - end)
