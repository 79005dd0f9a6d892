"""Model versions, the aliases that point at them, and how versions are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from core.labels import TumourLabel
from core.training import Backbone, Task

PRODUCTION: Final = "production"


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One class's numbers on the test split, each 0..1; ``support`` counts its slices."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A version's numbers on slices it never saw.

    ``confusion[i][j]`` counts slices of class ``LABELS[i]`` that were called ``LABELS[j]``.
    ``protocol`` says in words how the slices were held out.
    """

    accuracy: float
    macro_f1: float
    per_class: Mapping[TumourLabel, ClassMetrics]
    confusion: tuple[tuple[int, ...], ...]
    train_size: int
    validation_size: int
    test_size: int
    protocol: str


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """A trained model in the registry.

    ``digest`` is the content hash its artefact folder is named by; ``latency_ms`` is the median
    of single-slice inference on the machine that trained it, in milliseconds.
    """

    id: str
    create_time: datetime
    task: Task
    backbone: Backbone
    digest: str
    dataset: str
    dataset_digest: str
    training_job: str
    spec: Mapping[str, Any]
    weights_source: str
    evaluation: Evaluation
    parameters: int
    size_bytes: int
    train_seconds: float
    latency_ms: float
    library_versions: Mapping[str, str]
    aliases: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        return f"modelVersions/{self.id}"

    @property
    def artefact_prefix(self) -> str:
        """Where its files are in the artefact store."""
        return artefact_prefix(self.digest)


def artefact_prefix(digest: str) -> str:
    """The artefact store folder of the model with this content hash."""
    return f"models/{digest}"


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """One move of an alias: who pointed it from where to where, when and why."""

    alias: str
    sequence: int
    create_time: datetime
    caller: str
    from_version: str | None
    to_version: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Which of the compared versions to use, and why, in words for a person."""

    version: str
    reason: str


def recommend(versions: Sequence[ModelVersion]) -> Recommendation:
    """The version with the best macro-F1; within noise, the faster one.

    Noise is one standard error of the accuracy on the smaller test split: below that the
    versions cannot be told apart by their scores. Needs at least one version.
    """
    ranked = sorted(versions, key=lambda v: v.evaluation.macro_f1, reverse=True)
    best = ranked[0]
    if len(ranked) == 1:
        return Recommendation(version=best.name, reason="it is the only one compared")
    noise = max(_standard_error(v) for v in ranked)
    equals = [v for v in ranked if best.evaluation.macro_f1 - v.evaluation.macro_f1 <= noise]
    chosen = min(equals, key=lambda v: v.latency_ms)
    caveat = _caveat(ranked)
    if chosen is best:
        runner_up = ranked[1]
        reason = (
            f"highest macro-F1 ({best.evaluation.macro_f1:.3f} against "
            f"{runner_up.evaluation.macro_f1:.3f})"
        )
        if runner_up in equals:
            reason += f", a difference within noise (±{noise:.3f}), and the fastest of the equals"
        return Recommendation(version=best.name, reason=reason + caveat)
    reason = (
        f"its macro-F1 ({chosen.evaluation.macro_f1:.3f}) is within noise (±{noise:.3f}) of the "
        f"best ({best.evaluation.macro_f1:.3f}) and it answers faster "
        f"({chosen.latency_ms:.1f} ms against {best.latency_ms:.1f} ms)"
    )
    return Recommendation(version=chosen.name, reason=reason + caveat)


def _standard_error(version: ModelVersion) -> float:
    share, count = version.evaluation.accuracy, max(version.evaluation.test_size, 1)
    return float((max(share * (1 - share), 1 / (4 * count)) / count) ** 0.5)


def _caveat(versions: Sequence[ModelVersion]) -> str:
    if len({v.dataset_digest for v in versions}) == 1:
        return ""
    return "; but the versions were tested on different data sets, so compare with care"
