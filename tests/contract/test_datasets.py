"""Data sets in every store."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from core.datasets import Dataset, DatasetAudit
from core.errors import AlreadyExists, NotFound, RequestIdReused
from core.paging import Cursor, PageRequest
from core.ports import UnitOfWorkFactory
from tests.fakes.records import NOW, a_dataset, an_audit

REQUEST = "6f1c1b0e-8a55-4d1f-9b7e-0d1f2a3b4c5d"


def test_a_data_set_comes_back_as_it_went_in(store: UnitOfWorkFactory) -> None:
    dataset = a_dataset(request_id=REQUEST)
    with store(write=True) as uow:
        uow.datasets.add(dataset)
        uow.commit()
    with store() as uow:
        assert uow.datasets.get("brains") == dataset
    with store(write=True) as uow:
        assert uow.datasets.lock("brains") == dataset


@pytest.mark.parametrize(
    "audit",
    [
        None,
        an_audit(),
        an_audit(shortcut_control=None, label_errors=None, leakage={}, sizes=(), masks=None),
    ],
    ids=["from before audits", "full", "sparse"],
)
def test_an_audit_comes_back_to_the_last_bit(
    store: UnitOfWorkFactory, audit: DatasetAudit | None
) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset(audit=audit))
        uow.commit()
    with store() as uow:
        assert uow.datasets.get("brains").audit == audit
        assert uow.datasets.list(PageRequest()).items[0].audit == audit


def test_an_audit_is_replaced_and_nothing_else(store: UnitOfWorkFactory) -> None:
    dataset = a_dataset(audit=an_audit(label_errors=None))
    with store(write=True) as uow:
        uow.datasets.add(dataset)
        uow.datasets.add(a_dataset("other"))
        uow.commit()
    with store(write=True) as uow:
        audit = an_audit(page_sha256="e" * 64)
        assert uow.datasets.save_audit(replace(uow.datasets.get("brains"), audit=audit, source=""))
        assert uow.datasets.get("brains").audit == audit
        uow.commit()
    with store() as uow:
        assert uow.datasets.get("brains") == replace(dataset, audit=audit)
        assert uow.datasets.get("other") == a_dataset("other")


def test_an_audit_is_replaced_again(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset())
        uow.commit()
    for count in (1, 2):
        with store(write=True) as uow:
            assert uow.datasets.save_audit(a_dataset(audit=an_audit(blank_count=count)))
            uow.commit()
    with store() as uow:
        assert uow.datasets.get("brains").audit == an_audit(blank_count=2)


def test_an_audit_that_was_not_committed_is_not_replaced(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset())
        uow.commit()
    with store(write=True) as uow:
        uow.datasets.save_audit(a_dataset(audit=an_audit(blank_count=7)))
    with store() as uow:
        assert uow.datasets.get("brains") == a_dataset()


@pytest.mark.parametrize(
    "successor",
    [None, a_dataset(digest="e" * 64), a_dataset(create_time=NOW + timedelta(microseconds=1))],
    ids=["gone", "other slices", "the same slices again"],
)
def test_the_audit_of_a_data_set_that_is_gone_goes_nowhere(
    store: UnitOfWorkFactory, successor: Dataset | None
) -> None:
    with store(write=True) as uow:
        if successor:
            uow.datasets.add(successor)
        assert not uow.datasets.save_audit(a_dataset(audit=an_audit(blank_count=7)))
        uow.commit()
    with store() as uow:
        assert uow.datasets.list(PageRequest()).items == ((successor,) if successor else ())


def test_an_unknown_data_set_is_named(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        with pytest.raises(NotFound, match="datasets/none"):
            uow.datasets.get("none")
        with pytest.raises(NotFound, match="datasets/none"):
            uow.datasets.lock("none")
        with pytest.raises(NotFound, match="datasets/none"):
            uow.datasets.delete("none")


def test_a_taken_id_is_refused_and_the_transaction_goes_on(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset())
        with pytest.raises(AlreadyExists, match="datasets/brains") as refusal:
            uow.datasets.add(a_dataset(caller="bob"))
        uow.datasets.add(a_dataset("other"))
        uow.commit()
    assert not isinstance(refusal.value, RequestIdReused)
    with store() as uow:
        assert uow.datasets.get("brains").caller == "ann"
        assert uow.datasets.get("other").id == "other"


def test_a_request_id_belongs_to_its_caller(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one", request_id=REQUEST))
        with pytest.raises(RequestIdReused, match=REQUEST):
            uow.datasets.add(a_dataset("two", request_id=REQUEST))
        uow.datasets.add(a_dataset("three", request_id=REQUEST, caller="bob"))
        uow.commit()
    with store() as uow:
        assert uow.datasets.find_by_request("ann", REQUEST) == uow.datasets.get("one")
        assert uow.datasets.find_by_request("bob", REQUEST) == uow.datasets.get("three")
        assert uow.datasets.find_by_request("eve", REQUEST) is None


def test_others_with_the_same_data_are_known(store: UnitOfWorkFactory) -> None:
    later = NOW + timedelta(hours=1)
    with store(write=True) as uow:
        first, second = a_dataset("b"), a_dataset("a", create_time=later)
        for dataset in (second, first, a_dataset("c", digest="e" * 64)):
            uow.datasets.add(dataset)
        uow.commit()
    with store() as uow:
        assert uow.datasets.same_as(first) == ("a",)
        assert uow.datasets.same_as(a_dataset("new")) == ("b", "a")
        assert uow.datasets.same_as(uow.datasets.get("c")) == ()


def test_many_may_have_no_request_id(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.datasets.add(a_dataset("two"))
        assert len(uow.datasets.list(PageRequest()).items) == 2


def test_a_deleted_data_set_frees_its_name(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset(request_id=REQUEST))
        uow.datasets.delete("brains")
        uow.datasets.add(a_dataset(request_id=REQUEST, digest="e" * 64))
        assert uow.datasets.get("brains").digest == "e" * 64


def test_pages_are_newest_first_without_gaps_or_repeats(store: UnitOfWorkFactory) -> None:
    names = ["b", "A", "c.1", "c-1", "c_1", "a", "Z"]
    with store(write=True) as uow:
        for index, name in enumerate(names):
            moment = NOW + timedelta(microseconds=index // 3)  # several share a moment
            uow.datasets.add(a_dataset(name, create_time=moment))
        uow.commit()
    seen = []
    after: Cursor | None = None
    with store() as uow:
        while True:
            page = uow.datasets.list(PageRequest(size=2, after=after))
            seen += list(page.items)
            if page.next is None:
                break
            assert len(page.items) == 2
            after = page.next
    assert sorted(d.id for d in seen) == sorted(names)
    keys = [(d.create_time, d.id) for d in seen]
    assert all(left > right for left, right in pairwise(keys))


def test_a_full_last_page_ends_the_list(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.datasets.add(a_dataset("two"))
        assert uow.datasets.list(PageRequest(size=2)).next is None
        assert uow.datasets.list(PageRequest(size=1)).next is not None
