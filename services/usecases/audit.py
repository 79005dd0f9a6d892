"""Questions about past classifications, and people's verdicts on them."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID, uuid4, uuid5

from core.audit_chain import ChainReport, verify_chain
from core.errors import (
    DeadlinePassed,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    RequestIdReused,
)
from core.filters import Filter
from core.labels import TumourLabel
from core.paging import Cursor, Page, PageRequest
from core.ports import Clock, UnitOfWorkFactory
from core.prediction import AuditRecord, Review
from services.usecases.request_ids import check_request_id

MAX_COMMENT: Final = 2000
MAX_REVIEWER: Final = 128
EXPORT_PAGE: Final = 500

_REVIEW_IDS: Final = UUID("5b0d2f0a-7f0f-4d6e-9d53-0a4b3f6c1e27")
"""Any UUID, the same for ever: reviews of requests with an id are named within it."""


Reviewed = tuple[AuditRecord, tuple[Review, ...]]
"""A record and its reviews, oldest first."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a reviewer says; ``label`` is the right class where the reviewer knows it.

    ``agrees`` is None where nothing was said but the class.
    """

    reviewer: str
    agrees: bool | None
    label: TumourLabel | None
    comment: str


class AuditUseCases:
    """Reads the audit log; adds reviews beside it."""

    def __init__(self, *, uow_factory: UnitOfWorkFactory, clock: Clock) -> None:
        self._uow_factory = uow_factory
        self._clock = clock

    def list(
        self, page: PageRequest, where: Filter | None, *, newest_first: bool
    ) -> Page[AuditRecord]:
        with self._uow_factory() as uow:
            return uow.audit.list(page, where, newest_first=newest_first)

    def get(self, prediction_id: str) -> Reviewed:
        """The record with its reviews, oldest first. Raises ``NotFound``."""
        with self._uow_factory() as uow:
            return uow.audit.get(prediction_id), uow.audit.reviews(prediction_id)

    def review(
        self, prediction_id: str, verdict: Verdict, *, caller: str, request_id: str = ""
    ) -> Review:
        """Record a verdict on an answered classification; the caller is its default reviewer.

        A repeated request id gives the first review. Raises ``NotFound``, ``RequestIdReused``,
        ``InvalidArgument`` if the verdict contradicts itself or says nothing, and
        ``FailedPrecondition`` if there was no answer to review.
        """
        known_id = check_request_id(request_id)
        _check_form(verdict)
        with self._uow_factory(write=True) as uow:
            record = uow.audit.get(prediction_id)
            _check_against(verdict, record)
            review = Review(
                id=_review_id(caller, known_id),
                prediction=prediction_id,
                create_time=self._clock.now(),
                caller=caller,
                reviewer=verdict.reviewer or caller,
                label=verdict.label,
                agrees=_agrees(verdict, record),
                comment=verdict.comment,
            )
            kept = uow.audit.add_review(review)
            if known_id is not None and kept != replace(review, create_time=kept.create_time):
                raise RequestIdReused(known_id)
            uow.commit()
        return kept

    def verify(self, stopped: threading.Event | None = None) -> ChainReport:
        """Walk the whole chain, in one snapshot and in constant memory.

        Raises ``DeadlinePassed`` if ``stopped`` is set on the way: nobody waits any more.
        """
        with self._uow_factory() as uow:
            return verify_chain(_until(stopped, uow.audit.iterate()), uow.audit.head())

    def export(self, where: Filter | None) -> Iterator[tuple[Reviewed, ...]]:
        """Every matching record that is there now with its reviews, oldest first, a page at a time.

        Each page is a transaction of its own, so that a slow reader holds none open. Rows that
        are added meanwhile are left out: a busy log would never end.
        """
        with self._uow_factory() as uow:
            last = uow.audit.head().sequence
            newest = uow.audit.list(PageRequest(size=1)).items
        after: Cursor | None = None
        while newest:
            with self._uow_factory() as uow:
                wanted = PageRequest(size=EXPORT_PAGE, after=after)
                page = uow.audit.list(wanted, where, newest_first=False)
                reviews = uow.audit.reviews_of([record.id for record in page.items])
            yield tuple(
                (record, reviews.get(record.id, ()))
                for record in page.items
                if record.sequence <= last
            )
            if page.next is None or _is_behind(page.items[-1], newest[0], last):
                return
            after = page.next


def _is_behind(record: AuditRecord, newest: AuditRecord, last: int) -> bool:
    """Whether only rows that were added later can follow; not by the time alone, which cannot be
    read where somebody has changed the newest row."""
    later = (record.create_time, record.sequence) >= (newest.create_time, newest.sequence)
    return later and record.sequence >= last


def _until(
    stopped: threading.Event | None, records: Iterator[AuditRecord]
) -> Iterator[AuditRecord]:
    for record in records:
        if stopped is not None and stopped.is_set():
            raise DeadlinePassed()
        yield record


def _review_id(caller: str, request_id: str | None) -> str:
    """Of a repeated request the same, so that the store keeps one of them."""
    if request_id is None:
        return uuid4().hex
    return uuid5(_REVIEW_IDS, f"{request_id} {caller}").hex


def _agrees(verdict: Verdict, record: AuditRecord) -> bool:
    return verdict.label is record.label if verdict.agrees is None else verdict.agrees


def _check_form(verdict: Verdict) -> None:
    violations = []
    if verdict.agrees is None and verdict.label is None:
        violations.append(
            FieldViolation("review.agrees", "say whether the prediction is right, or give a label")
        )
    if len(verdict.comment) > MAX_COMMENT:
        violations.append(FieldViolation("review.comment", f"use at most {MAX_COMMENT} characters"))
    if len(verdict.reviewer) > MAX_REVIEWER or not (verdict.reviewer or "x").isprintable():
        violations.append(
            FieldViolation("review.reviewer", f"use at most {MAX_REVIEWER} printable characters")
        )
    if "\0" in verdict.comment:
        violations.append(FieldViolation("review.comment", "must not hold a NUL character"))
    if violations:
        raise InvalidArgument(tuple(violations))


def _check_against(verdict: Verdict, record: AuditRecord) -> None:
    if record.label is None:
        raise FailedPrecondition(f"{record.name} has no answer to review: it was {record.status}.")
    if verdict.label is not None and _agrees(verdict, record) != (verdict.label is record.label):
        problem = (
            f"the prediction is {record.label}, so agreeing cannot name {verdict.label}"
            if verdict.agrees
            else f"{verdict.label} is what was predicted, so this is no disagreement"
        )
        raise InvalidArgument.of("review.label", problem)
