"""What scores might have been with other patients: resampling groups of slices."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from core.registry import Interval
from workers.evaluation.metrics import Floats

RESAMPLES: Final = 2000
_LEAST_DEFINED: Final = 0.5
"""A score that is defined in fewer of the resamples than this share gets no interval."""
_CHUNK: Final = 500_000
"""Weights held at once: resamples times slices."""


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
    """
    found: dict[str, list[Floats]] = defaultdict(list)
    for weights in resampled(groups, seed, resamples):
        for name, values in scorer(weights).items():
            found[name].append(values)
    intervals = {name: _interval(np.concatenate(values)) for name, values in found.items()}
    return {name: interval for name, interval in intervals.items() if interval is not None}


def resampled(groups: Sequence[str], seed: int, resamples: int) -> Iterator[Floats]:
    """How often each slice is drawn, (some resamples, slices) at a time."""
    names, members = np.unique(np.asarray(groups), return_inverse=True)
    chance = np.full(len(names), 1 / len(names))
    rng, step = np.random.default_rng(seed), max(1, _CHUNK // len(members))
    for start in range(0, resamples, step):
        times = rng.multinomial(len(names), chance, size=min(step, resamples - start))
        yield times[:, members].astype(np.float64)


def _interval(values: Floats) -> Interval | None:
    defined = values[np.isfinite(values)]
    if len(defined) < _LEAST_DEFINED * len(values):
        return None
    low, high = np.quantile(defined, (0.025, 0.975))
    return Interval(low=float(low), high=float(high))
