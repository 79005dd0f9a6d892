"""The audit log in every store."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.audit_chain import GENESIS, ChainHead, row_hash, verify_chain
from core.errors import NotFound
from core.paging import Cursor, PageRequest
from core.ports import UnitOfWorkFactory
from core.prediction import AuditEntry, AuditRecord, Outcome, Region
from tests.fakes.records import NOW, a_refusal, a_region, a_review, an_entry, an_outlined_entry

REQUEST = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"


def append(store: UnitOfWorkFactory, *entries: AuditEntry) -> tuple[AuditRecord, ...]:
    with store(write=True) as uow:
        records = uow.audit.append(entries)
        uow.commit()
    return records


def everything(store: UnitOfWorkFactory) -> list[AuditRecord]:
    with store() as uow:
        return list(uow.audit.iterate())


def test_an_empty_log_is_intact(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        assert uow.audit.head() == ChainHead(sequence=0, row_hash=GENESIS)
        assert uow.audit.append([]) == ()
        report = verify_chain(uow.audit.iterate(), uow.audit.head())
    assert report.intact
    assert report.rows_checked == 0


def test_rows_chain_over_calls_and_read_back_the_same(store: UnitOfWorkFactory) -> None:
    written = [
        *append(store, an_entry(), a_refusal()),
        *append(store, an_outlined_entry(request_id=REQUEST, cached=True)),
    ]
    assert [record.sequence for record in written] == [1, 2, 3]
    assert [record.cached for record in written] == [False, False, True]
    assert written[0].previous_hash == GENESIS
    assert [record.previous_hash for record in written[1:]] == [r.row_hash for r in written[:-1]]
    read = everything(store)
    assert read == written
    for record in read:
        assert record.row_hash == row_hash(record, record.sequence, record.previous_hash)
    with store() as uow:
        assert uow.audit.head() == ChainHead(sequence=3, row_hash=written[-1].row_hash)
        assert verify_chain(uow.audit.iterate(), uow.audit.head()).intact


def test_nothing_half_written_stays(store: UnitOfWorkFactory) -> None:
    append(store, an_entry())
    with store(write=True) as uow:
        uow.audit.append([an_entry(), an_entry()])
    (record,) = append(store, an_entry())
    assert record.sequence == 2
    with store() as uow:
        assert verify_chain(uow.audit.iterate(), uow.audit.head()).rows_checked == 2


def test_an_answered_request_is_recorded_once(store: UnitOfWorkFactory) -> None:
    (first,) = append(store, an_entry(request_id=REQUEST))
    again, other = append(store, an_entry(request_id=REQUEST), an_entry())
    assert again == first
    assert other.sequence == 2
    assert len(everything(store)) == 2


def test_a_repeat_in_the_same_call_is_recorded_once(store: UnitOfWorkFactory) -> None:
    first, again, other = append(
        store, an_entry(request_id=REQUEST), an_entry(request_id=REQUEST), an_entry()
    )
    assert again == first
    assert (first.sequence, other.sequence) == (1, 2)
    assert everything(store) == [first, other]


def test_only_answers_of_the_same_caller_count_as_repeats(store: UnitOfWorkFactory) -> None:
    records = append(
        store,
        a_refusal(request_id=REQUEST),
        a_refusal(request_id=REQUEST),
        an_entry(request_id=REQUEST),
        an_entry(request_id=REQUEST, caller="bob"),
        a_refusal(request_id=REQUEST),
        an_entry(request_id=None),
        an_entry(request_id=None),
    )
    assert [record.sequence for record in records] == [1, 2, 3, 4, 5, 6, 7]
    with store() as uow:
        assert uow.audit.find_answered("ann", REQUEST) == records[2]
        assert uow.audit.find_answered("bob", REQUEST) == records[3]
        assert uow.audit.find_answered("eve", REQUEST) is None


def test_a_record_is_found_by_its_id(store: UnitOfWorkFactory) -> None:
    _, second = append(store, an_entry(), an_entry())
    with store() as uow:
        assert uow.audit.get(second.id) == second
        with pytest.raises(NotFound, match="predictions/none"):
            uow.audit.get("none")


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_follow_the_time_and_then_the_sequence(
    store: UnitOfWorkFactory, newest_first: bool
) -> None:
    append(store, *(an_entry(create_time=NOW - timedelta(seconds=i // 2)) for i in range(7)))
    seen: list[int] = []
    after: Cursor | None = None
    with store() as uow:
        while True:
            page = uow.audit.list(PageRequest(size=3, after=after), newest_first=newest_first)
            seen += [record.sequence for record in page.items]
            after = page.next
            if after is None:
                break
    oldest_first = [7, 5, 6, 3, 4, 1, 2]
    assert seen == (oldest_first[::-1] if newest_first else oldest_first)


def test_a_page_is_not_moved_by_what_arrives_meanwhile(store: UnitOfWorkFactory) -> None:
    append(store, *(an_entry() for _ in range(4)))
    with store() as uow:
        first = uow.audit.list(PageRequest(size=2))
    append(store, an_entry())
    with store() as uow:
        second = uow.audit.list(PageRequest(size=2, after=first.next))
    assert [record.sequence for record in (*first.items, *second.items)] == [4, 3, 2, 1]


def test_the_chain_is_walked_past_one_buffer(store: UnitOfWorkFactory) -> None:
    append(store, *(an_entry(create_time=NOW - timedelta(seconds=i)) for i in range(1203)))
    with store() as uow:
        assert [r.sequence for r in uow.audit.iterate()] == list(range(1, 1204))


def test_a_walk_may_end_early(store: UnitOfWorkFactory) -> None:
    append(store, *(an_entry() for _ in range(1203)))
    with store() as uow:
        walk = uow.audit.iterate()
        assert [next(walk).sequence for _ in range(3)] == [1, 2, 3]


def test_reviews_stand_beside_their_prediction(store: UnitOfWorkFactory) -> None:
    first, second = append(store, an_entry(), an_entry())
    late = a_review(first.id, create_time=NOW + timedelta(hours=1), agrees=True, label=None)
    early = a_review(first.id)
    with store(write=True) as uow:
        uow.audit.add_review(late)
        uow.audit.add_review(early)
        uow.commit()
    with store(write=True) as uow:
        assert uow.audit.reviews(first.id) == (early, late)
        assert uow.audit.reviews(second.id) == ()
        assert uow.audit.reviews_of([second.id, first.id]) == {first.id: (early, late)}
        assert uow.audit.reviews_of([]) == {}
        with pytest.raises(NotFound, match="predictions/none"):
            uow.audit.add_review(a_review("none"))
        assert uow.audit.get(first.id) == first


def test_a_review_whose_id_is_there_is_left_as_it_was(store: UnitOfWorkFactory) -> None:
    (record,) = append(store, an_entry())
    review = a_review(record.id)
    with store(write=True) as uow:
        assert uow.audit.add_review(review) == review
        uow.commit()
    with store(write=True) as uow:
        again = replace(review, comment="other", create_time=NOW + timedelta(hours=1))
        assert uow.audit.add_review(again) == review
        uow.commit()
    with store() as uow:
        assert uow.audit.reviews(record.id) == (review,)


def test_an_outcome_survives_without_an_answer(store: UnitOfWorkFactory) -> None:
    (record,) = append(store, a_refusal(outcome=Outcome.FAILED, status="UNAVAILABLE"))
    with store() as uow:
        read = uow.audit.get(record.id)
    assert read == record
    assert (read.label, read.decision, read.probabilities) == (None, None, None)


@pytest.mark.parametrize("regions", [None, (), (a_region(), a_region(area_mm2=None))])
def test_regions_are_kept_and_given_back_to_who_repeats(
    store: UnitOfWorkFactory, regions: tuple[Region, ...] | None
) -> None:
    (record,) = append(store, an_outlined_entry(request_id=REQUEST, regions=regions))
    with store() as uow:
        assert uow.audit.get(record.id).regions == regions
        repeated = uow.audit.find_answered("ann", REQUEST)
    assert repeated == record
    assert repeated.segmenter_version == "s1"
