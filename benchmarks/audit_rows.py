"""An audit log that nobody wrote: 18 months of classifications, one after the other.

The shares are those of a service in use. Most requests are answered, few by callers who hardly ever
ask; versions replace each other; a picture comes again now and then. Requests arrive in one order
and are answered in a slightly different one, so that the time of a row does not follow its place
in the log exactly. Apart from ids, the same number of rows is always the same log.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from core.audit_chain import ChainHead, row_hash
from core.labels import LABELS, TumourLabel
from core.ordered_ids import ordered_uuid
from core.prediction import AuditEntry, AuditRecord, Box, Decision, Outcome, Region

START: Final = datetime(2025, 1, 1, tzinfo=UTC)
SPAN: Final = timedelta(days=548)
VERSIONS: Final = tuple(f"classifier-{number}" for number in range(1, 8))
CALLERS: Final = tuple(f"station-{number:02}" for number in range(1, 41))

_UNANSWERED_SHARE: Final = 0.05
_ENDINGS: Final = {
    ("INVALID_ARGUMENT", Outcome.REFUSED): 60,
    ("NOT_FOUND", Outcome.REFUSED): 10,
    ("RESOURCE_EXHAUSTED", Outcome.FAILED): 15,
    ("UNAVAILABLE", Outcome.FAILED): 10,
    ("DEADLINE_EXCEEDED", Outcome.FAILED): 5,
}
_LABEL_SHARES: Final = {
    TumourLabel.GLIOMA: 25,
    TumourLabel.MENINGIOMA: 20,
    TumourLabel.PITUITARY: 15,
    TumourLabel.NO_TUMOR: 40,
}
_DECISION_SHARES: Final = {
    Decision.ACCEPTED: 90,
    Decision.ABSTAINED: 8,
    Decision.OUT_OF_DISTRIBUTION: 2,
}
_CALLER_SHARES: Final = {caller: 1 / (rank + 1) for rank, caller in enumerate(CALLERS)}
_REPEATED_SHARE: Final = 0.05
_REQUEST_ID_SHARE: Final = 0.7
_OUTLINED_SHARE: Final = 0.3
_LONGEST_WAIT: Final = timedelta(seconds=2)
_RECENT_PICTURES: Final = 1000


@dataclass
class _Draws:
    """Chance, and the pictures that were seen lately."""

    random: random.Random
    pictures: list[str]

    def one_of(self, shares: dict[Any, Any]) -> Any:
        return self.random.choices(list(shares), list(shares.values()))[0]

    def happens(self, share: float) -> bool:
        return self.random.random() < share

    def uuid(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def picture(self) -> str:
        if self.pictures and self.happens(_REPEATED_SHARE):
            return self.random.choice(self.pictures)
        self.pictures.append(f"{self.random.getrandbits(256):064x}")
        del self.pictures[:-_RECENT_PICTURES]
        return self.pictures[-1]


def entries(
    count: int, seed: int = 0, start: datetime = START, random_ids: float = 0.5
) -> Iterator[AuditEntry]:
    """``count`` entries over ``SPAN``, in the order in which they were answered.

    Request ids are in order of time, as the command line gives them, but for a share of
    ``random_ids``.
    """
    draws = _Draws(random.Random(seed), [])
    for number in range(count):
        arrival = start + SPAN * (number / count) - _LONGEST_WAIT * draws.random.random()
        version = VERSIONS[number * len(VERSIONS) // count]
        entry = _entry(draws, arrival, version, random_ids)
        yield _unanswered(draws, entry) if draws.happens(_UNANSWERED_SHARE) else entry


def chained(some: Iterable[AuditEntry], head: ChainHead) -> Iterator[AuditRecord]:
    """The entries in their places behind ``head``."""
    for entry in some:
        sequence = head.sequence + 1
        record = AuditRecord(
            **vars(entry),
            sequence=sequence,
            previous_hash=head.row_hash,
            row_hash=row_hash(entry, sequence, head.row_hash),
        )
        head = ChainHead(sequence=sequence, row_hash=record.row_hash)
        yield record


def _entry(draws: _Draws, arrival: datetime, version: str, random_ids: float) -> AuditEntry:
    label = draws.one_of(_LABEL_SHARES)
    outlined = label is not TumourLabel.NO_TUMOR and draws.happens(_OUTLINED_SHARE)
    request_id = draws.uuid() if draws.happens(random_ids) else ordered_uuid(arrival)
    return AuditEntry(
        id=ordered_uuid(arrival).hex,
        create_time=arrival,
        request_id=str(request_id) if draws.happens(_REQUEST_ID_SHARE) else None,
        caller=draws.one_of(_CALLER_SHARES),
        image_sha256=draws.picture(),
        image_bytes=draws.random.randrange(8_000, 60_000),
        model_version=version,
        probabilities=_probabilities(draws, label),
        label=label,
        decision=draws.one_of(_DECISION_SHARES),
        outcome=Outcome.ANSWERED,
        status="OK",
        reason=None,
        message=None,
        latency_us=draws.random.randrange(5_000, 60_000),
        software_version="0.1.0",
        segmenter_version="segmenter-1" if outlined else None,
        regions=(_region(draws),) if outlined else None,
    )


def _unanswered(draws: _Draws, entry: AuditEntry) -> AuditEntry:
    status, outcome = draws.one_of(_ENDINGS)
    return replace(
        entry,
        probabilities=None,
        label=None,
        decision=None,
        outcome=outcome,
        status=status,
        reason="SOME_REASON",
        message="What went wrong, and what to do about it.",
        segmenter_version=None,
        regions=None,
    )


def _probabilities(draws: _Draws, label: TumourLabel) -> tuple[float, ...]:
    small = [draws.random.random() / 10 for _ in LABELS]
    return tuple(
        share + (1 - sum(small)) * (other is label)
        for other, share in zip(LABELS, small, strict=True)
    )


def _region(draws: _Draws) -> Region:
    x0, y0 = draws.random.randrange(200), draws.random.randrange(200)
    width, height = draws.random.randrange(5, 50), draws.random.randrange(5, 50)
    return Region(
        box=Box(x0=x0, y0=y0, x1=x0 + width, y1=y0 + height),
        score=draws.random.random(),
        area_px=width * height,
    )
