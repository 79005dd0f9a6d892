"""The audit log in SQL: one chain, whatever the number of gateways that write to it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Result, Select, bindparam, insert, select, text, update
from sqlalchemy.orm import Session

from core.audit_chain import ChainHead, row_hash
from core.errors import ArtefactCorrupt, NotFound
from core.filters import Filter
from core.paging import Cursor, Page, PageRequest
from core.prediction import AuditEntry, AuditRecord, Outcome, Review
from db import mappers
from db.inserts import insert_into
from db.log_pages import COLUMNS, Listing, read_page
from db.tables import ANSWERS_REQUEST, AuditHeadRow, Base, PredictionRow, ReviewRow

_HEAD: Final = 1

# Built once: each answer passes through these, and building one costs as much as running it.
_HEAD_ROW: Final = select(AuditHeadRow.sequence, AuditHeadRow.row_hash).where(
    AuditHeadRow.id == _HEAD
)
_HEAD_ROW_LOCKED: Final = _HEAD_ROW.with_for_update()
_MOVE_HEAD: Final = (
    update(AuditHeadRow)
    .where(AuditHeadRow.id == _HEAD)
    .values(sequence=bindparam("to_sequence"), row_hash=bindparam("to_hash"))
    .execution_options(synchronize_session=False)
)
_INSERT: Final = insert(Base.metadata.tables[PredictionRow.__tablename__])
_ANSWERS_TO: Final = select(*COLUMNS).where(
    # Not pairs of caller and id: SQLite would look for those in every answer.
    PredictionRow.request_id.in_(bindparam("request_ids", expanding=True)),
    text(ANSWERS_REQUEST),
)
_REVIEWS_OF: Final = (
    select(ReviewRow)
    .where(ReviewRow.prediction.in_(bindparam("predictions", expanding=True)))
    .order_by(ReviewRow.create_time, ReviewRow.id)
)

_STREAM_ROWS: Final = 500
_INDEXED: Final = frozenset({"caller", "model_version"})
_INDEXED_CHARACTERS: Final = 256
_RequestKey = tuple[str, str]


class SqlAuditLog:
    """:class:`core.ports.AuditLog` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._streams: list[Result[Any]] = []

    def close(self) -> None:
        """End the streams that were not read to their end, while their connection is ours."""
        for rows in self._streams:
            rows.close()

    def append(self, entries: Sequence[AuditEntry]) -> tuple[AuditRecord, ...]:
        storable = [_storable(entry) for entry in entries]
        chain = _Chain(self._locked_head(), self._answered(storable))
        result = tuple(chain.append(entry) for entry in storable)
        if chain.added:
            rows = [mappers.record_values(record) for record in chain.added]
            self._session.execute(_INSERT, rows)
            self._move_head(chain.head)
        return result

    def get(self, prediction_id: str) -> AuditRecord:
        row = self._session.execute(_rows().where(PredictionRow.id == prediction_id)).first()
        if row is None:
            raise NotFound(f"predictions/{prediction_id}")
        return mappers.record_from_row(row)

    def find_answered(self, caller: str, request_id: str) -> AuditRecord | None:
        key = (caller, request_id)
        return self._answered_by_key({key}).get(key)

    def list(
        self, page: PageRequest, where: Filter | None = None, *, newest_first: bool = True
    ) -> Page[AuditRecord]:
        after = None if page.after is None else _time_and_sequence(page.after)
        listing = Listing(newest_first=newest_first, limit=page.size + 1, after=after)
        rows = read_page(self._session, where, listing)
        shown = rows[: page.size]
        cursor = (shown[-1].create_time, shown[-1].sequence) if len(rows) > page.size else None
        return Page(items=tuple(mappers.record_from_row(row) for row in shown), next=cursor)

    def iterate(self) -> Iterator[AuditRecord]:
        query = _rows().order_by(PredictionRow.sequence)
        rows = self._session.execute(query.execution_options(yield_per=_STREAM_ROWS))
        self._streams.append(rows)
        for row in rows:
            yield mappers.record_from_row(row)

    def head(self) -> ChainHead:
        row = self._session.execute(_HEAD_ROW).first()
        return ChainHead() if row is None else ChainHead(**row._mapping)

    def add_review(self, review: Review) -> Review:
        self.get(review.prediction)
        statement = insert_into(self._session, ReviewRow).values(**mappers.review_values(review))
        self._session.execute(statement.on_conflict_do_nothing())
        kept = self._session.scalars(select(ReviewRow).where(ReviewRow.id == review.id)).one()
        return mappers.review_from_row(kept)

    def reviews(self, prediction_id: str) -> tuple[Review, ...]:
        return self.reviews_of([prediction_id]).get(prediction_id, ())

    def reviews_of(self, prediction_ids: Sequence[str]) -> Mapping[str, tuple[Review, ...]]:
        if not prediction_ids:
            return {}
        found: dict[str, list[Review]] = {}
        for row in self._session.scalars(_REVIEWS_OF, {"predictions": list(prediction_ids)}):
            found.setdefault(row.prediction, []).append(mappers.review_from_row(row))
        return {prediction: tuple(reviews) for prediction, reviews in found.items()}

    def _locked_head(self) -> ChainHead:
        """The chain's end, locked until the transaction ends; the first migration made it.

        SQLite has no row locks and needs none: its writers wait for each other at BEGIN.
        """
        row = self._session.execute(_HEAD_ROW_LOCKED).first()
        if row is None:
            raise ArtefactCorrupt("The audit log's head", "its row is missing")
        return ChainHead(**row._mapping)

    def _move_head(self, head: ChainHead) -> None:
        values = {"to_sequence": head.sequence, "to_hash": head.row_hash}
        self._session.execute(_MOVE_HEAD, values)

    def _answered(self, entries: Sequence[AuditEntry]) -> dict[_RequestKey, AuditRecord]:
        return self._answered_by_key({key for e in entries if (key := _request_key(e))})

    def _answered_by_key(self, keys: set[_RequestKey]) -> dict[_RequestKey, AuditRecord]:
        if not keys:
            return {}
        request_ids = sorted({request_id for _, request_id in keys})
        rows = self._session.execute(_ANSWERS_TO, {"request_ids": request_ids})
        found = {(row.caller, row.request_id): row for row in rows}
        return {key: mappers.record_from_row(found[key]) for key in keys & found.keys()}


@dataclass
class _Chain:
    """The end of the chain as it grows; ``answered`` holds the answers that stand already."""

    head: ChainHead
    answered: dict[_RequestKey, AuditRecord]
    added: list[AuditRecord] = field(default_factory=list)

    def append(self, entry: AuditEntry) -> AuditRecord:
        key = _request_key(entry)
        if key is not None and key in self.answered:
            return self.answered[key]
        record = _chained(entry, self.head)
        self.head = ChainHead(sequence=record.sequence, row_hash=record.row_hash)
        self.added.append(record)
        if key is not None:
            self.answered[key] = record
        return record


def _request_key(entry: AuditEntry) -> _RequestKey | None:
    if entry.request_id is None or entry.outcome is not Outcome.ANSWERED:
        return None
    return entry.caller, entry.request_id


def _storable(entry: AuditEntry) -> AuditEntry:
    """The entry in a form that both databases hold and index.

    Entries share a transaction: one caller's odd text must not cost the others their rows.
    PostgreSQL stores no NUL, and its indexes no very long values.
    """
    texts = {n: str(v) for n, v in _fields(entry).items() if type(v) is str}
    changes = {n: v.replace("\0", "\N{REPLACEMENT CHARACTER}") for n, v in texts.items()}
    for name in _INDEXED & changes.keys():
        changes[name] = changes[name][:_INDEXED_CHARACTERS]
    return entry if changes == texts else entry.evolve(**changes)


def _chained(entry: AuditEntry, head: ChainHead) -> AuditRecord:
    sequence = head.sequence + 1
    return AuditRecord(
        **_fields(entry),
        sequence=sequence,
        previous_hash=head.row_hash,
        row_hash=row_hash(entry, sequence, head.row_hash),
    )


def _fields(entry: AuditEntry) -> Mapping[str, Any]:
    return {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}


def _rows() -> Select[Any]:
    return select(*COLUMNS)


def _time_and_sequence(cursor: Cursor) -> tuple[int, int]:
    time, sequence = cursor
    return int(time), int(sequence)
