"""What a model says about one slice, and what the audit log keeps of it."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from core.labels import LABELS, TumourLabel

NOTICE: Final = "Decision support for research and engineering, not a cleared medical device."
"""Stands once in every answer."""


class Decision(StrEnum):
    """Whether an answer should be trusted."""

    ACCEPTED = "ACCEPTED"
    ABSTAINED = "ABSTAINED"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"


class Outcome(StrEnum):
    """How a classification request ended."""

    ANSWERED = "ANSWERED"
    REFUSED = "REFUSED"
    """The request itself was at fault; the same request will be refused again."""
    FAILED = "FAILED"
    """The system was at fault or busy; the same request may succeed later."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """Pixels of the input image; x1 and y1 are one past the last pixel."""

    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, kw_only=True)
class Region:
    """One outlined lesion. ``score`` is in 0..1; ``area_px`` counts pixels of the input image."""

    box: Box
    score: float
    area_px: int


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One model version's answer for one slice.

    ``probabilities`` follow ``LABELS``, are calibrated, and sum to 1. ``activation_map`` is, when
    it was asked for, a grey PNG of the input's size: how much each place spoke for ``label``.
    """

    probabilities: tuple[float, ...]
    decision: Decision
    model_version: str
    regions: tuple[Region, ...] = ()
    activation_map: bytes = b""

    @property
    def label(self) -> TumourLabel:
        best = max(range(len(LABELS)), key=self.probabilities.__getitem__)
        return LABELS[best]

    @property
    def confidence(self) -> float:
        return max(self.probabilities)


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """A classification request and how it ended, before it has its place in the log.

    Never pixels, never a patient's name. ``latency_us`` is microseconds from arrival to the
    moment the answer was ready to be recorded. ``status`` is a gRPC status name.
    """

    id: str
    create_time: datetime
    request_id: str | None
    caller: str
    image_sha256: str
    image_bytes: int
    model_version: str | None
    probabilities: tuple[float, ...] | None
    label: TumourLabel | None
    decision: Decision | None
    outcome: Outcome
    status: str
    reason: str | None
    message: str | None
    latency_us: int
    software_version: str

    def evolve(self, **changes: Any) -> Self:
        return replace(self, **changes)

    @property
    def name(self) -> str:
        return f"predictions/{self.id}"


@dataclass(frozen=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An entry in its place: ``sequence`` counts from 1 without gaps; hashes are hex SHA-256."""

    sequence: int
    previous_hash: str
    row_hash: str


@dataclass(frozen=True, kw_only=True)
class Review:
    """A person's verdict on a prediction, kept beside it; the prediction itself never changes."""

    id: str
    prediction: str
    create_time: datetime
    reviewer: str
    label: TumourLabel | None
    agrees: bool
    comment: str
