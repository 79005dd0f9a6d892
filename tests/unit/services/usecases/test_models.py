import hashlib
import json

import pytest

from core.errors import (
    ArtefactCorrupt,
    InvalidArgument,
    NotFound,
    NothingToRollBackTo,
    StoreUnavailable,
)
from core.paging import PageRequest
from core.registry import AliasMove
from services.usecases.models import MAX_REASON, ModelUseCases, standing_promotions
from tests.fakes.registry import a_model_version, an_evaluation
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory


class World:
    """Use cases over fakes, with versions a, b and c."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.artefacts = FakeArtefactStore()
        self.clock = FakeClock()
        self.use_cases = ModelUseCases(
            uow_factory=self.store, artefacts=self.artefacts, clock=self.clock
        )
        for version_id in "abc":
            self._add(version_id)

    def _add(self, version_id: str) -> None:
        report = f"<h1>{version_id}</h1>".encode()
        manifest = json.dumps({"files": {"report.html": hashlib.sha256(report).hexdigest()}})
        digest = hashlib.sha256(manifest.encode()).hexdigest()
        self.artefacts.put(f"models/{digest}/manifest.json", manifest.encode())
        self.artefacts.put(f"models/{digest}/report.html", report)
        with self.store(write=True) as uow:
            accuracy = {"a": 0.5, "b": 0.9, "c": 0.7}[version_id]
            evaluation = an_evaluation(accuracy)
            uow.models.add(a_model_version(version_id, digest=digest, evaluation=evaluation))
            uow.commit()

    def promote(
        self, version_id: str, *, alias: str = "", reason: str = "", force: bool = False
    ) -> AliasMove:
        self.clock.advance(1)
        return self.use_cases.promote(
            version_id, alias=alias, reason=reason, force=force, caller="ann"
        )

    def roll_back(self, alias: str = "", reason: str = "") -> AliasMove:
        self.clock.advance(1)
        return self.use_cases.roll_back(alias, reason=reason, caller="ann")

    def serving(self, alias: str = "production") -> str | None:
        with self.store() as uow:
            aliased = uow.models.aliased(alias)
        return aliased and aliased[0]

    def history(self, alias: str = "production") -> list[tuple[str | None, str, str]]:
        with self.store() as uow:
            moves = uow.models.alias_history(alias)
        return [(m.from_version, m.to_version, m.reason) for m in reversed(moves)]


@pytest.fixture
def world() -> World:
    return World()


def test_a_promotion_is_recorded_with_who_when_and_why(world: World) -> None:
    move = world.promote("a", reason=" better on T2 ")
    assert (move.alias, move.from_version, move.to_version) == ("production", None, "a")
    assert (move.caller, move.create_time) == ("ann", world.clock.now())
    assert move.reason == "better on T2"
    assert world.serving() == "a"
    assert world.promote("b").from_version == "a"


def test_promoting_what_serves_already_moves_nothing(world: World) -> None:
    first = world.promote("a", reason="once")
    assert world.promote("a", reason="twice") == first
    assert world.history() == [(None, "a", "once")]


def test_aliases_are_independent(world: World) -> None:
    world.promote("a")
    world.promote("b", alias="staging")
    assert (world.serving(), world.serving("staging")) == ("a", "b")
    with pytest.raises(NothingToRollBackTo):
        world.roll_back("staging")


def test_repeated_rollbacks_go_further_back(world: World) -> None:
    for version in "abc":
        world.promote(version)
    assert world.roll_back().to_version == "b"
    assert world.roll_back(reason="worse still").to_version == "a"
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()
    assert world.serving() == "a"
    assert world.history()[3:] == [("c", "b", "rollback"), ("b", "a", "rollback: worse still")]


def test_a_promotion_back_is_undone_like_any_other(world: World) -> None:
    for version in "aba":
        world.promote(version)
    assert world.roll_back().to_version == "b"
    assert world.roll_back().to_version == "a"


def test_after_a_rollback_history_goes_on(world: World) -> None:
    for version in "ab":
        world.promote(version)
    world.roll_back()
    world.promote("c")
    assert world.roll_back().to_version == "a"
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()


@pytest.mark.parametrize("reason", ["rollback", "rollback: by hand"])
def test_a_promotion_is_never_taken_for_a_rollback(world: World, reason: str) -> None:
    world.promote("a")
    world.promote("b", reason=reason)
    world.promote("a", reason=reason)
    assert world.history()[1][2] == f"promotion: {reason}"
    assert world.roll_back().to_version == "b"


def test_two_rollbacks_at_the_same_moment_count_as_one() -> None:
    moves = [("a", ""), ("b", ""), ("c", ""), ("b", "rollback"), ("b", "rollback")]
    history = [
        AliasMove(
            alias="production",
            sequence=number,
            create_time=FakeClock().now(),
            caller="ann",
            from_version=None,
            to_version=version,
            reason=reason,
        )
        for number, (version, reason) in enumerate(moves)
    ]
    assert standing_promotions(history[::-1]) == ("a", "b")


def test_nothing_promoted_nothing_to_roll_back(world: World) -> None:
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()
    world.promote("a")
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()


def test_an_unknown_version_is_not_promoted(world: World) -> None:
    with pytest.raises(NotFound):
        world.promote("z")
    assert world.serving() is None


def test_a_damaged_version_is_promoted_only_by_force(world: World) -> None:
    for key in list(world.artefacts.files):
        world.artefacts.put(key, b"damaged")
    with pytest.raises(ArtefactCorrupt):
        world.promote("a")
    with pytest.raises(InvalidArgument) as caught:
        world.promote("a", force=True, reason=" ")
    assert caught.value.violations[0].field == "reason"
    assert world.serving() is None
    world.promote("a", force=True, reason="the store is being restored")
    assert world.serving() == "a"


@pytest.mark.parametrize("alias", ["Production", "1st", "a b", "a/b", "x" * 64])
def test_odd_aliases_are_refused(world: World, alias: str) -> None:
    with pytest.raises(InvalidArgument):
        world.promote("a", alias=alias)
    with pytest.raises(InvalidArgument):
        world.roll_back(alias)


@pytest.mark.parametrize("reason", ["x" * (MAX_REASON + 1), "a\0b"])
def test_odd_reasons_are_refused(world: World, reason: str) -> None:
    with pytest.raises(InvalidArgument):
        world.promote("a", reason=reason)
    with pytest.raises(InvalidArgument):
        world.roll_back(reason=reason)


def test_versions_are_compared_in_the_order_asked_for(world: World) -> None:
    comparison = world.use_cases.compare(["c", "b"])
    assert [version.id for version in comparison.versions] == ["c", "b"]
    assert comparison.recommendation.version == "modelVersions/b"
    with pytest.raises(NotFound):
        world.use_cases.compare(["a", "z"])


@pytest.mark.parametrize("names", [[], ["a"], ["a", "a"], [str(n) for n in range(21)]])
def test_odd_comparisons_are_refused(world: World, names: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        world.use_cases.compare(names)


def test_versions_are_listed_and_shown(world: World) -> None:
    world.promote("b")
    assert len(world.use_cases.list(PageRequest(size=2)).items) == 2
    assert world.use_cases.get("b").aliases == ("production",)


def test_the_report_is_the_one_that_was_stored(world: World) -> None:
    assert world.use_cases.report("b") == b"<h1>b</h1>"
    with pytest.raises(NotFound):
        world.use_cases.report("z")


def test_a_store_that_is_away_is_told(world: World) -> None:
    world.store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        world.promote("a")
