"""A unit of work is a transaction, whatever is behind it."""

import pytest

from core.errors import NotFound
from core.paging import PageRequest
from core.ports import UnitOfWorkFactory
from tests.fakes.records import a_dataset, an_entry


def dataset_ids(store: UnitOfWorkFactory) -> list[str]:
    with store() as uow:
        return [dataset.id for dataset in uow.datasets.list(PageRequest()).items]


def test_what_is_committed_stays(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.commit()
    assert dataset_ids(store) == ["one"]


def test_leaving_without_commit_discards(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.audit.append([an_entry()])
    assert dataset_ids(store) == []
    with store() as uow:
        assert uow.audit.head().sequence == 0


def test_an_error_discards_and_passes_through(store: UnitOfWorkFactory) -> None:
    with pytest.raises(NotFound, match="datasets/two"), store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.datasets.get("two")
    assert dataset_ids(store) == []


def test_only_what_came_before_commit_stays(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.datasets.add(a_dataset("one"))
        uow.commit()
        uow.datasets.add(a_dataset("two"))
    assert dataset_ids(store) == ["one"]


def test_a_reader_sees_one_snapshot(store: UnitOfWorkFactory) -> None:
    with store() as reader:
        assert reader.audit.head().sequence == 0
        with store(write=True) as writer:
            writer.audit.append([an_entry()])
            writer.commit()
        assert reader.audit.head().sequence == 0
        assert list(reader.audit.iterate()) == []
    with store() as reader:
        assert reader.audit.head().sequence == 1


def test_a_reader_may_not_commit(store: UnitOfWorkFactory) -> None:
    with store() as uow, pytest.raises(RuntimeError, match="write=True"):
        uow.commit()
