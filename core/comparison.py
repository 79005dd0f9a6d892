"""How model versions are compared, and which of them is recommended."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from core.fitness import shortcomings
from core.registry import Interval, ModelVersion

_NORMAL_95: Final = 1.96
"""So many standard errors to either side hold 95 % of a normal distribution."""


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """By how much a score of the second version is above that of the first, -1..1.

    ``probability_better`` is the share of resamples in which the second one is better, 0..1; a
    resample in which they are equal counts half.
    """

    difference: float
    interval: Interval
    probability_better: float

    @property
    def is_none(self) -> bool:
        """Whether the versions differ in no group, so that no resample tells them apart."""
        return self.interval.low == self.interval.high == 0


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Two versions, by resource name, on the slices that were held out from both.

    ``scores`` are by name: of classifiers ``accuracy`` and ``macro_f1``, of segmenters ``dice``.
    The one named ``ranked_by`` decides which version is better.
    """

    first: str
    second: str
    slices: int
    groups: int
    scores: Mapping[str, PairedDifference]
    ranked_by: str

    @property
    def decisive(self) -> PairedDifference:
        """The difference by which versions of this task are ranked."""
        return self.scores[self.ranked_by]

    @property
    def second_is_worse(self) -> bool:
        """Worse beyond noise: the whole 95 % interval is below 0."""
        return self.decisive.interval.high < 0

    @property
    def second_is_better(self) -> bool:
        """Better beyond noise."""
        return self.decisive.interval.low > 0

    @property
    def in_words(self) -> str:
        """How the second's score is to the first's.

        Such as ``0.012 higher (95 % interval of the difference -0.003 to 0.027) than``.
        """
        found = self.decisive
        if found.is_none:
            return "the same as"
        interval = f"(95 % interval of the difference {ends(found.interval)})"
        size = f"{abs(found.difference):.3f}"
        if float(size) == 0:
            return f"as high {interval} as"
        return f"{size} {'lower' if found.difference < 0 else 'higher'} {interval} than"


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which of the compared versions to use, and why, in words for a person.

    ``version`` is empty if none is fit to serve.
    """

    version: str
    reason: str


def ends(interval: Interval) -> str:
    """Such as ``-0.003 to 0.027``."""
    return f"{interval.low:.3f} to {interval.high:.3f}"


def recommend(
    versions: Sequence[ModelVersion], pairs: Sequence[PairedComparison] = ()
) -> Recommendation:
    """The version with the best score; within noise, the faster one. At least one version.

    One that is of no use by what it says of itself is not recommended.

    Two versions that were paired are within noise if the interval of their difference holds 0.
    Others are if they differ by at most 1.96 standard errors of the difference of two independent
    scores: two equally good ones differ by more in 5 % of cases. A score's standard error is that
    of its interval, which is over groups; without an interval it is that of the accuracy, of a
    segmenter the mean Dice, taken for a share of independent slices.
    """
    useful = [version for version in versions if not shortcomings(version.evaluation)]
    if not useful:
        return Recommendation(version="", reason=_none_is_fit(versions))
    if len(versions) == 1:
        chosen, reason = versions[0], "it is the only one compared"
    elif len(useful) == 1:
        chosen, reason = useful[0], "it is the only one that is fit to serve"
    else:
        chosen, reason = _best(useful, pairs)
    return Recommendation(version=chosen.name, reason=reason)


def _none_is_fit(versions: Sequence[ModelVersion]) -> str:
    why = (f"{v.name}: {'; '.join(shortcomings(v.evaluation))}" for v in versions)
    return f"none is fit to serve ({'. '.join(why)})"


def _best(
    versions: Sequence[ModelVersion], pairs: Sequence[PairedComparison]
) -> tuple[ModelVersion, str]:
    """Of two versions at least, and why."""
    names = {version.name for version in versions}
    pairs = [pair for pair in pairs if {pair.first, pair.second} <= names]
    field = _Field(versions, pairs)
    chosen = min(field.equals, key=lambda v: _latency_ms(v, field.best))
    reason = field.why_best() if chosen is field.best else field.why_faster(chosen)
    return chosen, reason + _caveat(versions, pairs)


class _Field:
    """The versions that compete, two at least."""

    def __init__(self, versions: Sequence[ModelVersion], pairs: Sequence[PairedComparison]) -> None:
        self._pairs = _both_ways(pairs)
        ranked = sorted(versions, key=lambda v: v.evaluation.score, reverse=True)
        self.best = self._best_of(ranked)
        self._others = list(ranked)
        self._others.remove(self.best)
        self.equals = [self.best, *(v for v in self._others if self._within_noise(v))]

    def _best_of(self, ranked: Sequence[ModelVersion]) -> ModelVersion:
        best = ranked[0]
        for other in ranked[1:]:  # a pair knows better than numbers from different slices
            better, _ = self._pairs.get((best.name, other.name), (False, None))
            best = other if better else best
        return best

    def _within_noise(self, other: ModelVersion) -> bool:
        found = self._pairs.get((other.name, self.best.name))
        if found is not None:
            return not found[0]
        lead = self.best.evaluation.score - other.evaluation.score
        return lead <= _noise(self.best, other)

    def why_best(self) -> str:
        runner_up = self._others[0]
        reason = (
            f"highest {self.best.evaluation.score_name} ({self.best.evaluation.score:.3f} against "
            f"{runner_up.evaluation.score:.3f})"
        )
        if runner_up in self.equals:
            return reason + (
                f", a difference within noise ({self._evidence(runner_up)}), and none of the "
                "equals is faster"
            )
        found = self._pairs.get((runner_up.name, self.best.name))
        return reason if found is None else f"{reason}, beyond noise ({self._evidence(runner_up)})"

    def why_faster(self, chosen: ModelVersion) -> str:
        best = self.best
        return (
            f"its {best.evaluation.score_name} ({chosen.evaluation.score:.3f}) is within noise "
            f"({self._evidence(chosen)}) of the best ({best.evaluation.score:.3f}) and it "
            f"answers faster ({chosen.latency_ms:.1f} ms against {best.latency_ms:.1f} ms"
            f"{_work(chosen, best)})"
        )

    def _evidence(self, other: ModelVersion) -> str:
        """What says whether a version can be told from the best."""
        _, pair = self._pairs.get((other.name, self.best.name), (False, None))
        if pair is None:
            return f"±{_noise(self.best, other):.3f}"
        if pair.decisive.is_none:
            return f"on {pair.slices} slices held out from both there was none"
        found = pair.decisive.interval
        if pair.first == self.best.name:
            found = Interval(low=-found.high, high=-found.low)
        return (
            f"on {pair.slices} slices held out from both, 95 % interval of the difference "
            f"{ends(found)}"
        )


def _both_ways(
    pairs: Sequence[PairedComparison],
) -> Mapping[tuple[str, str], tuple[bool, PairedComparison]]:
    """(a, b) to whether b is better than a beyond noise, and the pair that says so."""
    found = {(p.first, p.second): (p.second_is_better, p) for p in pairs}
    return found | {(p.second, p.first): (p.second_is_worse, p) for p in pairs}


def _latency_ms(version: ModelVersion, best: ModelVersion) -> float:
    """Of two networks that compute as much none is the faster one, whatever machines timed them."""
    same_work = version.flops and version.flops == best.flops
    return best.latency_ms if same_work else version.latency_ms


def _work(chosen: ModelVersion, best: ModelVersion) -> str:
    if not chosen.flops or not best.flops:
        return ""
    return f", {chosen.flops / 1e9:.2f} against {best.flops / 1e9:.2f} billion multiply-accumulates"


def _noise(one: ModelVersion, other: ModelVersion) -> float:
    """By how much scores of equally good versions differ at most, in 95 % of cases."""
    return _NORMAL_95 * math.hypot(_standard_error(one), _standard_error(other))


def _standard_error(version: ModelVersion) -> float:
    ends = version.evaluation.score_interval
    if ends is not None and ends.low < ends.high:
        return (ends.high - ends.low) / (2 * _NORMAL_95)
    share, count = version.evaluation.share_right, max(version.evaluation.test_size, 1)
    return float((max(share * (1 - share), 1 / (4 * count)) / count) ** 0.5)


def _caveat(versions: Sequence[ModelVersion], pairs: Sequence[PairedComparison]) -> str:
    one_data_set = len({v.dataset_digest for v in versions}) == 1
    if one_data_set or len(pairs) >= len(versions) - 1:
        return ""
    return "; but the versions were tested on different data sets, so compare with care"
