"""Model versions and their aliases in every store."""

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest

from core.errors import AlreadyExists, NotFound
from core.labels import TumourLabel
from core.paging import PageRequest
from core.ports import UnitOfWorkFactory
from core.registry import AliasMove, ClassMetrics, Interval
from core.training import Task
from tests.fakes.records import NOW
from tests.fakes.registry import a_model_version, a_segmentation, an_evaluation, classifying

LATER = NOW + timedelta(days=1)
METRICS: Final[dict[str, Any]] = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 3}


def put(store: UnitOfWorkFactory, *version_ids: str) -> None:
    with store(write=True) as uow:
        for version_id in version_ids:
            uow.models.add(a_model_version(version_id))
        uow.commit()


def test_a_version_comes_back_as_it_went_in(store: UnitOfWorkFactory) -> None:
    version = a_model_version(
        create_time=NOW, evaluation=an_evaluation(0.1 + 0.2), latency_ms=1 / 3, size_bytes=2**40
    )
    with store(write=True) as uow:
        uow.models.add(version)
        uow.commit()
    with store() as uow:
        assert uow.models.get("m1") == version


def test_a_segmenter_comes_back_as_it_went_in(store: UnitOfWorkFactory) -> None:
    version = a_model_version(
        create_time=NOW, task=Task.SEGMENTATION, evaluation=a_segmentation(0.1 + 0.2)
    )
    with store(write=True) as uow:
        uow.models.add(version)
        uow.commit()
    with store() as uow:
        assert uow.models.get("m1") == version


def test_every_number_comes_back_and_what_was_not_measured_stays_so(
    store: UnitOfWorkFactory,
) -> None:
    evaluation = replace(
        an_evaluation(),
        balanced_accuracy=0.25,
        ece=0.02,
        intervals={"accuracy": Interval(low=0.8, high=1.0)},
        per_class={
            TumourLabel.GLIOMA: ClassMetrics(**METRICS, roc_auc=0.75),
            TumourLabel.PITUITARY: ClassMetrics(precision=None, recall=None, f1=None, support=0),
        },
    )
    version = a_model_version(create_time=NOW, evaluation=evaluation, flops=400_000_000)
    with store(write=True) as uow:
        uow.models.add(version)
        uow.commit()
    with store() as uow:
        assert uow.models.get("m1") == version
        assert classifying(uow.models.get("m1").evaluation).specificity is None


def test_unknown_versions_are_named(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        with pytest.raises(NotFound, match="modelVersions/none"):
            uow.models.get("none")
        with pytest.raises(NotFound, match="modelVersions/none"):
            uow.models.digest_of("none")
        with pytest.raises(NotFound, match="modelVersions/none"):
            uow.models.move_alias("production", "none", NOW, "ann", "")
        assert uow.models.aliased("production") is None
        assert uow.models.alias_history("production") == ()


def test_a_taken_id_is_refused(store: UnitOfWorkFactory) -> None:
    put(store, "m1")
    with store(write=True) as uow, pytest.raises(AlreadyExists, match="modelVersions/m1"):
        uow.models.add(a_model_version("m1", digest="e" * 64))


def test_serving_asks_for_the_digest_alone(store: UnitOfWorkFactory) -> None:
    put(store, "m1")
    with store() as uow:
        assert uow.models.digest_of("m1") == a_model_version("m1").digest


def test_versions_are_listed_newest_first_with_their_aliases(store: UnitOfWorkFactory) -> None:
    with store(write=True) as uow:
        uow.models.add(a_model_version("old", create_time=NOW))
        uow.models.add(a_model_version("new", create_time=LATER))
        uow.models.move_alias("production", "old", NOW, "ann", "")
        uow.models.move_alias("candidate", "old", NOW, "ann", "")
        uow.commit()
    with store() as uow:
        page = uow.models.list(PageRequest(size=1))
        assert [(v.id, v.aliases) for v in page.items] == [("new", ())]
        page = uow.models.list(PageRequest(size=1, after=page.next))
        assert [(v.id, v.aliases) for v in page.items] == [("old", ("candidate", "production"))]
        assert uow.models.get("old").aliases == ("candidate", "production")


def test_an_alias_moves_and_remembers(store: UnitOfWorkFactory) -> None:
    put(store, "m1", "m2")
    with store(write=True) as uow:
        first = uow.models.move_alias("production", "m1", NOW, "ann", "first")
        second = uow.models.move_alias("production", "m2", LATER, "bob", "better recall")
        uow.commit()
    assert first == AliasMove(
        alias="production", sequence=1, create_time=NOW, caller="ann", from_version=None,
        to_version="m1", reason="first",
    )  # fmt: skip
    assert second == AliasMove(
        alias="production", sequence=2, create_time=LATER, caller="bob", from_version="m1",
        to_version="m2", reason="better recall",
    )  # fmt: skip
    with store() as uow:
        assert uow.models.alias_history("production") == (second, first)
        assert uow.models.aliased("production") == ("m2", a_model_version("m2").digest)
        assert uow.models.get("m1").aliases == ()


def test_a_history_is_read_by_pages(store: UnitOfWorkFactory) -> None:
    put(store, "m1")
    with store(write=True) as uow:
        moves = [uow.models.move_alias("production", "m1", NOW, "ann", str(i)) for i in range(5)]
        uow.models.move_alias("candidate", "m1", NOW, "ann", "")
        uow.commit()
    with store() as uow:
        first = uow.models.alias_moves("production", PageRequest(size=3))
        assert first.items == tuple(reversed(moves[2:]))
        last = uow.models.alias_moves("production", PageRequest(size=2, after=first.next))
        assert (last.items, last.next) == ((moves[1], moves[0]), None)
        assert uow.models.alias_moves("nowhere", PageRequest(size=2)).items == ()


def test_aliases_have_histories_of_their_own(store: UnitOfWorkFactory) -> None:
    put(store, "m1")
    with store(write=True) as uow:
        uow.models.move_alias("production", "m1", NOW, "ann", "")
        move = uow.models.move_alias("candidate", "m1", NOW, "ann", "")
        assert (move.sequence, move.from_version) == (1, None)
        assert len(uow.models.alias_history("production")) == 1
