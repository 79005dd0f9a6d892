import threading
from dataclasses import replace
from typing import Any

import pytest

from core.errors import (
    DeadlinePassed,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    RequestIdReused,
)
from core.filters import Comparison, Operator
from core.labels import TumourLabel
from core.paging import PageRequest
from core.prediction import AuditEntry, AuditRecord, Review
from services.usecases import audit
from services.usecases.audit import MAX_COMMENT, MAX_REVIEWER, AuditUseCases, Verdict
from tests.fakes.records import a_refusal, a_review, an_entry
from tests.fakes.store import FakeClock, FakeUnitOfWorkFactory

REQUEST = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"
BY_BOB = Comparison("caller", Operator.EQ, "bob")


def a_verdict(**changes: Any) -> Verdict:
    values: dict[str, Any] = {"reviewer": "", "agrees": True, "label": None, "comment": ""}
    return Verdict(**values | changes)


class World:
    """Use cases over fakes, with an empty log."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.clock = FakeClock()
        self.use_cases = AuditUseCases(uow_factory=self.store, clock=self.clock)

    def add(self, *entries: AuditEntry) -> tuple[AuditRecord, ...]:
        with self.store(write=True) as uow:
            records = uow.audit.append(entries)
            uow.commit()
        return records

    def review(
        self, record: AuditRecord, request_id: str = "", caller: str = "ann", **changes: Any
    ) -> Review:
        self.clock.advance(1)
        return self.use_cases.review(
            record.id, a_verdict(**changes), caller=caller, request_id=request_id
        )

    def refused_fields(self, record: AuditRecord, **changes: Any) -> list[str]:
        with pytest.raises(InvalidArgument) as caught:
            self.review(record, **changes)
        assert self.store.state.reviews == []
        return [violation.field for violation in caught.value.violations]

    def export(self, where: Comparison | None = None) -> list[AuditRecord]:
        return [record for page in self.use_cases.export(where) for record, _ in page]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def record(world: World) -> AuditRecord:
    """A slice that was called pituitary."""
    (record,) = world.add(an_entry(label=TumourLabel.PITUITARY))
    return record


# --- reading ------------------------------------------------------------------------------------


def test_records_are_listed_either_way(world: World) -> None:
    records = world.add(*[an_entry() for _ in range(3)])
    newest = world.use_cases.list(PageRequest(size=2), None, newest_first=True)
    assert newest.items == (records[2], records[1])
    rest = world.use_cases.list(PageRequest(after=newest.next), None, newest_first=True)
    assert rest.items == records[:1]
    assert world.use_cases.list(PageRequest(), None, newest_first=False).items == records


def test_a_filter_chooses(world: World) -> None:
    records = world.add(an_entry(), an_entry(caller="bob"))
    found = world.use_cases.list(PageRequest(), BY_BOB, newest_first=True)
    assert found.items == records[1:]


def test_a_record_comes_with_its_reviews(world: World, record: AuditRecord) -> None:
    (other,) = world.add(an_entry())
    with world.store(write=True) as uow:
        for review_id, prediction in [("1", record.id), ("2", other.id), ("3", record.id)]:
            uow.audit.add_review(a_review(prediction, id=review_id))
        uow.commit()
    shown, reviews = world.use_cases.get(record.id)
    assert shown == record
    assert [review.id for review in reviews] == ["1", "3"]


def test_an_unknown_prediction_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.use_cases.get("z")
    with pytest.raises(NotFound):
        world.use_cases.review("z", a_verdict(), caller="ann")


# --- reviewing ----------------------------------------------------------------------------------


def test_a_review_is_recorded_beside_the_prediction(world: World, record: AuditRecord) -> None:
    review = world.review(
        record, reviewer="dr-lee", agrees=False, label=TumourLabel.GLIOMA, comment="see edge"
    )
    assert review == Review(
        id=review.id,
        prediction=record.id,
        create_time=world.clock.now(),
        caller="ann",
        reviewer="dr-lee",
        label=TumourLabel.GLIOMA,
        agrees=False,
        comment="see edge",
    )
    assert world.use_cases.get(record.id) == (record, (review,))


def test_the_caller_reviews_unless_somebody_else_is_named(
    world: World, record: AuditRecord
) -> None:
    assert world.review(record).reviewer == "ann"


@pytest.mark.parametrize(
    ("agrees", "label"),
    [
        (True, None),
        (True, TumourLabel.PITUITARY),
        (False, None),
        (False, TumourLabel.NO_TUMOR),
    ],
)
def test_verdicts_that_make_sense(
    world: World, record: AuditRecord, agrees: bool, label: TumourLabel | None
) -> None:
    review = world.review(record, agrees=agrees, label=label)
    assert (review.agrees, review.label) == (agrees, label)


@pytest.mark.parametrize(
    ("agrees", "label"), [(True, TumourLabel.GLIOMA), (False, TumourLabel.PITUITARY)]
)
def test_verdicts_that_contradict_themselves_are_refused(
    world: World, record: AuditRecord, agrees: bool, label: TumourLabel
) -> None:
    assert world.refused_fields(record, agrees=agrees, label=label) == ["review.label"]


@pytest.mark.parametrize("label", [TumourLabel.PITUITARY, TumourLabel.GLIOMA])
def test_who_names_the_class_need_not_say_whether_it_agrees(
    world: World, record: AuditRecord, label: TumourLabel
) -> None:
    review = world.review(record, agrees=None, label=label)
    assert review.agrees == (label is TumourLabel.PITUITARY)


def test_a_verdict_that_says_nothing_is_refused(world: World, record: AuditRecord) -> None:
    assert world.refused_fields(record, agrees=None) == ["review.agrees"]


def test_a_review_that_is_repeated_is_recorded_once(world: World, record: AuditRecord) -> None:
    first = world.review(record, REQUEST, comment="fine")
    assert world.review(record, REQUEST.upper(), comment="fine") == first
    assert world.review(record, REQUEST, comment="fine", label=None, reviewer="ann") == first
    assert world.use_cases.get(record.id)[1] == (first,)
    other = world.review(record, REQUEST, caller="bob", comment="fine")
    assert world.use_cases.get(record.id)[1] == (first, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"agrees": False},
        {"label": TumourLabel.PITUITARY},
        {"comment": "no"},
        {"reviewer": "dr-lee"},
    ],
    ids=str,
)
def test_a_request_id_is_for_one_verdict(
    world: World, record: AuditRecord, changes: dict[str, Any]
) -> None:
    first = world.review(record, REQUEST)
    with pytest.raises(RequestIdReused, match=REQUEST):
        world.review(record, REQUEST, **changes)
    (other,) = world.add(an_entry())
    with pytest.raises(RequestIdReused):
        world.review(other, REQUEST)
    assert world.store.state.reviews == [first]


def test_an_odd_request_id_is_refused(world: World, record: AuditRecord) -> None:
    assert world.refused_fields(record, request_id="twelve") == ["request_id"]


def test_a_prediction_may_be_reviewed_again(world: World, record: AuditRecord) -> None:
    first = world.review(record)
    second = world.review(record, agrees=False)
    assert world.use_cases.get(record.id)[1] == (first, second)


def test_what_was_not_answered_cannot_be_reviewed(world: World) -> None:
    (refused,) = world.add(a_refusal())
    with pytest.raises(FailedPrecondition, match="it was INVALID_ARGUMENT"):
        world.review(refused)
    assert world.store.state.reviews == []


def test_long_texts_are_kept_up_to_a_limit(world: World, record: AuditRecord) -> None:
    comment, reviewer = "\n" * MAX_COMMENT, "x" * MAX_REVIEWER
    review = world.review(record, comment=comment, reviewer=reviewer)
    assert (review.comment, review.reviewer) == (comment, reviewer)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"comment": "x" * (MAX_COMMENT + 1)}, ["review.comment"]),
        ({"comment": "a\0b"}, ["review.comment"]),
        ({"reviewer": "x" * (MAX_REVIEWER + 1)}, ["review.reviewer"]),
        ({"reviewer": "dr\nlee"}, ["review.reviewer"]),
        ({"reviewer": "\0", "comment": "\0"}, ["review.reviewer", "review.comment"]),
    ],
    ids=["long comment", "NUL", "long name", "two lines", "both"],
)
def test_odd_texts_are_refused(
    world: World, record: AuditRecord, changes: dict[str, str], fields: list[str]
) -> None:
    assert world.refused_fields(record, **changes) == fields


# --- verifying ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 3])
def test_a_log_that_nobody_touched_is_intact(world: World, count: int) -> None:
    world.add(*[an_entry() for _ in range(count)])
    report = world.use_cases.verify()
    assert (report.intact, report.rows_checked) == (True, count)


def test_an_altered_record_is_found(world: World) -> None:
    records = world.add(*[an_entry() for _ in range(3)])
    world.store.state.records[1] = replace(records[1], label=TumourLabel.NO_TUMOR)
    report = world.use_cases.verify()
    assert (report.intact, report.broken_at, report.broken_name) == (False, 2, records[1].name)


def test_reviews_do_not_touch_the_chain(world: World, record: AuditRecord) -> None:
    world.review(record)
    assert world.use_cases.verify().intact


def test_a_walk_that_nobody_waits_for_stops(world: World, record: AuditRecord) -> None:
    stopped = threading.Event()
    assert world.use_cases.verify(stopped).intact
    stopped.set()
    with pytest.raises(DeadlinePassed):
        world.use_cases.verify(stopped)


# --- exporting ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5])
def test_everything_is_exported_once_and_oldest_first(
    world: World, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    records = world.add(*[an_entry() for _ in range(count)])
    assert world.export() == list(records)


def test_an_export_comes_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    world.add(*[an_entry() for _ in range(5)])
    assert [len(page) for page in world.use_cases.export(None)] == [2, 2, 1]


def test_an_export_may_be_filtered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 1)
    records = world.add(*[an_entry(caller="bob" if n % 2 else "ann") for n in range(6)])
    assert world.export(BY_BOB) == list(records[1::2])


def test_what_is_added_during_an_export_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "EXPORT_PAGE", 2)
    records = world.add(*[an_entry() for _ in range(3)])
    exported: list[AuditRecord] = []
    for page in world.use_cases.export(None):
        exported += (record for record, _ in page)
        world.add(an_entry(), an_entry())
    assert exported == list(records)
