"""The hash chain that makes the audit log tamper-evident.

Each row's hash covers its own canonical form and the hash of the row before it, so a row that is
altered, removed or inserted breaks the chain there. The log's head (sequence and hash of the
newest row) is stored beside the rows, so that rows cut off the end show too. Whoever can rewrite
every row *and* the head can forge the chain: see docs/architecture.md for what that means.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from core.prediction import AuditEntry, AuditRecord
from core.region_text import plain_regions

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

GENESIS: Final = "0" * 64
"""The hash before the first row."""


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """The newest row's place and hash; sequence 0 and ``GENESIS`` for an empty log."""

    sequence: int = 0
    row_hash: str = GENESIS


@dataclass(frozen=True, kw_only=True)
class ChainReport:
    """What verification found. ``broken_at`` is the sequence of the first bad row, or None."""

    intact: bool
    rows_checked: int
    broken_at: int | None = None
    broken_name: str | None = None
    problem: str | None = None


def canonical_form(entry: AuditEntry, sequence: int, previous_hash: str) -> bytes:
    """The bytes that are hashed: JSON, keys sorted, no spaces, UTF-8, times as microseconds UTC.

    What came after the first rows were written has no key where it is None (``cached`` where it is
    false), so that they keep their hashes; a key that is taken away or put in changes the hash as
    any value does.
    """
    fields: dict[str, Any] = {
        "sequence": sequence,
        "previous_hash": previous_hash,
        "id": entry.id,
        "create_time_us": (entry.create_time - _EPOCH) // timedelta(microseconds=1),
        "request_id": entry.request_id,
        "caller": entry.caller,
        "image_sha256": entry.image_sha256,
        "image_bytes": entry.image_bytes,
        "model_version": entry.model_version,
        "probabilities": None if entry.probabilities is None else list(entry.probabilities),
        "label": entry.label,
        "decision": entry.decision,
        "outcome": entry.outcome,
        "status": entry.status,
        "reason": entry.reason,
        "message": entry.message,
        "latency_us": entry.latency_us,
        "software_version": entry.software_version,
    }
    if entry.segmenter_version is not None:
        fields["segmenter_version"] = entry.segmenter_version
    if entry.regions is not None:
        fields["regions"] = plain_regions(entry.regions)
    if entry.cached:
        fields["cached"] = True
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def row_hash(entry: AuditEntry, sequence: int, previous_hash: str) -> str:
    """Hex SHA-256 of the canonical form."""
    return hashlib.sha256(canonical_form(entry, sequence, previous_hash)).hexdigest()


def verify_chain(records: Iterable[AuditRecord], head: ChainHead) -> ChainReport:
    """Walk the log in ascending sequence and report the first row that does not fit."""
    previous = ChainHead()
    for record in records:
        problem = _problem_with(record, previous)
        if problem is not None:
            return ChainReport(
                intact=False,
                rows_checked=previous.sequence,
                broken_at=min(record.sequence, previous.sequence + 1),
                broken_name=record.name,
                problem=problem,
            )
        previous = ChainHead(sequence=record.sequence, row_hash=record.row_hash)
    if previous != head:
        return ChainReport(
            intact=False,
            rows_checked=previous.sequence,
            broken_at=previous.sequence + 1,
            problem=_problem_at_end(previous, head),
        )
    return ChainReport(intact=True, rows_checked=previous.sequence)


def _problem_with(record: AuditRecord, previous: ChainHead) -> str | None:
    expected = previous.sequence + 1
    if record.sequence > expected:
        return f"row {expected} was removed: row {record.sequence} follows row {previous.sequence}"
    if record.sequence < expected:
        return f"row {record.sequence} was inserted"
    if record.previous_hash != previous.row_hash:
        return f"row {record.sequence} does not continue the row before it"
    if record.row_hash != row_hash(record, record.sequence, record.previous_hash):
        return f"row {record.sequence} was altered"
    return None


def _problem_at_end(last: ChainHead, head: ChainHead) -> str:
    if last.sequence < head.sequence:
        return f"rows {last.sequence + 1} to {head.sequence} were removed from the end"
    if last.sequence > head.sequence:
        return f"rows after {head.sequence} were inserted at the end"
    return f"row {last.sequence} was replaced"
