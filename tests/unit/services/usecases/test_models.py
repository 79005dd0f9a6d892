from dataclasses import replace
from typing import Any

import pytest

from core.errors import (
    AliasMoved,
    ArtefactCorrupt,
    ExportDiffers,
    FailedPrecondition,
    InvalidArgument,
    NotFitToServe,
    NotFound,
    NothingToRollBackTo,
    StoreUnavailable,
    WorseThanProduction,
    WrongTask,
)
from core.held_out import HeldOutPredictions
from core.held_out_outlines import HeldOutOutlines
from core.paging import PageRequest
from core.registry import AliasMove, ReportFormat
from core.training import Task
from services.usecases.models import MAX_REASON, ModelUseCases, Moved, standing_promotions
from services.usecases.promotion_gate import NOTHING_SERVED, PASSED_OVER
from tests.fakes.held_out import held_out, outlines, store_version
from tests.fakes.registry import a_model_version, a_segmentation, an_evaluation
from tests.fakes.store import FakeArtefactStore, FakeClock, FakeUnitOfWorkFactory
from tests.fakes.workers import FakePreloader


class World:
    """Use cases over fakes, with versions a, b and c."""

    def __init__(self) -> None:
        self.store = FakeUnitOfWorkFactory()
        self.artefacts = FakeArtefactStore()
        self.clock = FakeClock()
        self.preloader = FakePreloader()
        self.use_cases = ModelUseCases(
            uow_factory=self.store,
            artefacts=self.artefacts,
            preloader=self.preloader,
            clock=self.clock,
        )
        for version_id in "abc":
            self._add(version_id)

    def _add(self, version_id: str) -> None:
        accuracy = {"a": 0.5, "b": 0.9, "c": 0.7}[version_id]
        self.add(version_id, evaluation=an_evaluation(accuracy))

    def add(
        self,
        version_id: str,
        predictions: HeldOutPredictions | HeldOutOutlines | None = None,
        metrics: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        files = {
            "report.html": f"<h1>{version_id}</h1>".encode(),
            "model_card.md": f"# {version_id}".encode(),
        }
        digest = store_version(self.artefacts, files, predictions, metrics)
        with self.store(write=True) as uow:
            uow.models.add(a_model_version(version_id, digest=digest, **changes))
            uow.commit()

    def promote(
        self, version_id: str, *, alias: str = "", reason: str = "", force: bool = False
    ) -> AliasMove:
        return self.promoted(version_id, alias=alias, reason=reason, force=force).move

    def promoted(
        self, version_id: str, *, alias: str = "", reason: str = "", force: bool = False
    ) -> Moved:
        self.clock.advance(1)
        return self.use_cases.promote(
            version_id, alias=alias, reason=reason, force=force, caller="ann"
        )

    def roll_back(self, alias: str = "", reason: str = "", from_version: str = "") -> AliasMove:
        return self.rolled_back(alias, reason, from_version).move

    def rolled_back(self, alias: str = "", reason: str = "", from_version: str = "") -> Moved:
        self.clock.advance(1)
        return self.use_cases.roll_back(
            alias, reason=reason, caller="ann", from_version=from_version
        )

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


def test_what_will_serve_is_loaded_before_it_does(world: World) -> None:
    seen: list[str | None] = []
    world.preloader.meanwhile = lambda: seen.append(world.serving())
    for version_id in "ab":
        world.promote(version_id)
    world.roll_back()
    with world.store() as uow:
        digests = {version_id: uow.models.get(version_id).digest for version_id in "ab"}
    assert world.preloader.preloaded == [digests[version_id] for version_id in "aba"]
    assert seen == [None, "a", "b"]


def test_what_serves_no_requests_is_not_loaded(world: World) -> None:
    world.promote("a", alias="candidate")
    assert world.preloader.preloaded == []


def test_aliases_are_independent(world: World) -> None:
    world.promote("a")
    world.promote("b", alias="staging")
    assert (world.serving(), world.serving("staging")) == ("a", "b")
    with pytest.raises(NothingToRollBackTo):
        world.roll_back("staging")


def test_a_segmenter_and_a_classifier_serve_side_by_side(world: World) -> None:
    for name in ("s1", "s2"):
        world.add(name, task=Task.SEGMENTATION)
    world.promote("a")
    world.promote("s1")
    assert world.promoted("s1").move.alias == "segmentation"
    found = world.promoted("s2")
    assert (found.move.alias, found.move.from_version) == ("segmentation", "s1")
    assert "was not compared with modelVersions/s1" in found.note
    assert (world.serving(), world.serving("segmentation")) == ("a", "s2")
    assert world.roll_back("segmentation").to_version == "s1"
    assert (world.serving(), world.serving("segmentation")) == ("a", "s1")
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(("version", "alias"), [("s1", "production"), ("a", "segmentation")])
def test_a_version_serves_only_what_it_does(
    world: World, version: str, alias: str, force: bool
) -> None:
    world.add("s1", task=Task.SEGMENTATION)
    with pytest.raises(WrongTask, match=f"modelVersions/{version} does .* alias '{alias}'"):
        world.promote(version, alias=alias, force=force, reason="surely")
    assert world.serving(alias) is None
    world.promote(version, alias="candidate")


def test_the_first_segmenter_needs_no_comparison(world: World) -> None:
    world.add("s1", task=Task.SEGMENTATION)
    assert world.promoted("s1").note == NOTHING_SERVED


def test_repeated_rollbacks_go_further_back(world: World) -> None:
    for version in "abc":
        world.promote(version)
    assert world.roll_back().to_version == "b"
    assert world.roll_back(reason="worse still").to_version == "a"
    with pytest.raises(NothingToRollBackTo):
        world.roll_back()
    assert world.serving() == "a"
    assert world.history()[3:] == [("c", "b", "rollback"), ("b", "a", "rollback: worse still")]


def test_a_rollback_that_is_repeated_goes_back_once(world: World) -> None:
    for version in "abc":
        world.promote(version)
    move = world.roll_back(from_version="c")
    assert (move.from_version, move.to_version) == ("c", "b")
    assert world.roll_back(from_version="c", reason="again") == move
    assert world.serving() == "b"
    assert world.roll_back(from_version="b").to_version == "a"
    assert len(world.preloader.preloaded) == 5  # not for the repeated one


def test_a_rollback_from_what_serves_no_more_is_refused(world: World) -> None:
    for version in "abc":
        world.promote(version)
    with pytest.raises(AliasMoved, match="points at modelVersions/c now, not at modelVersions/b"):
        world.roll_back(from_version="b")
    world.roll_back()
    world.promote("a")
    with pytest.raises(AliasMoved, match="points at modelVersions/a now"):
        world.roll_back(from_version="c")  # it was undone, but not lately
    assert world.serving() == "a"
    with pytest.raises(NothingToRollBackTo):
        world.roll_back("trial", from_version="c")


def test_a_rollback_is_no_repeat_of_a_promotion(world: World) -> None:
    for version in "aba":
        world.promote(version)
    with pytest.raises(AliasMoved):
        world.roll_back(from_version="b")


def test_a_rollback_that_another_overtakes_is_made_once(world: World) -> None:
    for version in "abc":
        world.promote(version)

    def roll_back(uow: Any) -> None:
        uow.models.move_alias("production", "b", world.clock.now(), "bob", "rollback: bad")
        uow.commit()

    world.store.rival = roll_back
    assert world.roll_back(from_version="c").caller == "bob"
    assert world.history()[3:] == [("c", "b", "rollback: bad")]


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


@pytest.mark.parametrize("reason", ["rollback", "rollback: by hand", "forced: not so"])
def test_a_promotion_is_never_taken_for_another_kind_of_move(world: World, reason: str) -> None:
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


def test_a_first_promotion_has_nothing_to_be_compared_with(world: World) -> None:
    assert world.promoted("a").note == NOTHING_SERVED
    assert world.promoted("a").note == ""


def test_a_better_version_is_promoted_and_the_note_says_how_much(world: World) -> None:
    world.add("poor", held_out(wrong_every=5))
    world.add("good", held_out(wrong_every=20))
    world.promote("poor")
    note = world.promoted("good").note
    assert note.startswith("On 400 slices held out from both, its macro-F1 is 0.1")
    assert "higher" in note
    assert "modelVersions/poor" in note
    assert world.serving() == "good"


def test_a_worse_version_is_refused_and_its_interval_told(world: World) -> None:
    world.add("poor", held_out(wrong_every=5))
    world.add("good", held_out(wrong_every=20))
    world.promote("good")
    with pytest.raises(WorseThanProduction) as caught:
        world.promote("poor")
    error = caught.value
    assert (error.candidate, error.production) == ("modelVersions/poor", "modelVersions/good")
    assert error.low < -0.15 < error.high < 0
    assert error.slices == 400
    assert world.serving() == "good"


def test_segmenters_are_compared_by_how_well_they_outline(world: World) -> None:
    for name, dice in (("poor", 0.7), ("good", 0.8)):
        world.add(name, outlines(dice), task=Task.SEGMENTATION, evaluation=a_segmentation(dice))
    world.promote("poor")
    note = world.promoted("good").note
    assert note.startswith("On 60 slices held out from both, its Dice is 0.100 higher")
    with pytest.raises(WorseThanProduction, match=r"its Dice is lower by 0\.100") as caught:
        world.promote("poor")
    assert caught.value.slices == 60
    assert world.serving("segmentation") == "good"


def test_segmenters_are_paired(world: World) -> None:
    for name, dice in (("poor", 0.7), ("good", 0.8)):
        world.add(name, outlines(dice), task=Task.SEGMENTATION, evaluation=a_segmentation(dice))
    comparison = world.use_cases.compare(["poor", "good"])
    (pair,) = comparison.pairs
    assert list(pair.scores) == ["dice"]
    assert pair.second_is_better
    assert comparison.recommendation.version == "modelVersions/good"


def test_a_worse_version_is_promoted_by_force_with_the_reason_kept(world: World) -> None:
    world.add("poor", held_out(wrong_every=5))
    world.add("good", held_out(wrong_every=20))
    world.promote("good")
    found = world.promoted("poor", force=True, reason="the good one was trained on them")
    assert found.note == PASSED_OVER
    assert world.history()[-1] == ("good", "poor", "forced: the good one was trained on them")


def test_a_version_within_noise_is_promoted(world: World) -> None:
    slightly = held_out(wrong_every=20)
    world.add("one", held_out(wrong_every=19))
    world.add("other", slightly)
    world.promote("one")
    assert "95 % interval" in world.promoted("other").note


@pytest.mark.parametrize("predictions", [None, held_out(first=5000)])
def test_what_cannot_be_compared_is_let_through_and_told(
    world: World, predictions: HeldOutPredictions | None
) -> None:
    world.add("shipped", held_out())
    world.add("own", predictions)
    world.promote("shipped")
    note = world.promoted("own").note
    assert note.startswith("It was not compared with modelVersions/shipped")
    assert "report" in note
    assert world.serving() == "own"


def test_damage_to_what_serves_does_not_keep_a_sound_version_out(world: World) -> None:
    world.add("old", held_out())
    world.promote("old")
    for key in list(world.artefacts.files):
        world.artefacts.put(key, b"damaged")
    world.add("new", held_out(wrong_every=2))
    assert "not compared" in world.promoted("new").note


def test_what_users_will_notice_first_is_said(world: World) -> None:
    for version, coverage in (("sure", 0.9), ("doubtful", 0.25)):
        evaluation = replace(an_evaluation(accuracy=0.9), coverage=coverage)
        world.add(version, held_out(), evaluation=evaluation)
    world.promote("sure")
    note = world.promoted("doubtful").note
    assert "its macro-F1 is the same as that of modelVersions/sure" in note
    assert note.endswith(
        "accepts 25.0% of its answers to held-out slices; what served before "
        "accepts 90.0% of its own."
    )


@pytest.mark.parametrize("serves", [True, False])
def test_a_version_that_knows_nothing_is_refused_whatever_serves(
    world: World, serves: bool
) -> None:
    if serves:
        world.promote("a")
    world.add("chance", held_out(first=5000), evaluation=an_evaluation(accuracy=0.25))
    with pytest.raises(NotFitToServe, match="naming the commonest class would") as caught:
        world.promote("chance")
    assert caught.value.candidate == "modelVersions/chance"
    assert world.serving() == ("a" if serves else None)
    world.promote("chance", alias="candidate")
    world.promote("chance", force=True, reason="to see what it says")
    assert world.serving() == "chance"


def test_a_rollback_to_what_is_not_fit_to_serve_says_so(world: World) -> None:
    world.add("chance", evaluation=an_evaluation(accuracy=0.25))
    world.promote("chance", force=True, reason="to see what it says")
    world.promote("a")
    found = world.rolled_back(from_version="a")
    assert found.move.to_version == "chance"
    assert found.note.startswith("It is not fit to serve by what it says of itself: it names 25.0%")
    assert world.rolled_back(from_version="a") == found
    world.promote("b")
    world.promote("a")
    assert world.rolled_back().note == ""


def test_only_production_is_guarded(world: World) -> None:
    world.add("poor", held_out(wrong_every=5))
    world.add("good", held_out(wrong_every=20))
    world.promote("good", alias="trial")
    assert world.promoted("poor", alias="trial").note == ""
    assert world.serving("trial") == "poor"


@pytest.mark.parametrize("difference", [2e-3, float("nan")])
def test_an_export_that_differs_is_promoted_only_by_force(world: World, difference: float) -> None:
    world.add("off", metrics={"export_difference": difference})
    for alias in ("", "trial"):
        with pytest.raises(ExportDiffers, match="modelVersions/off"):
            world.promote("off", alias=alias)
    world.promote("off", force=True, reason="it was looked at")
    assert world.serving() == "off"


def test_an_export_that_agrees_passes(world: World) -> None:
    world.add("fine", metrics={"export_difference": 1e-6})
    assert world.promote("fine").to_version == "fine"


def test_a_promotion_meanwhile_is_compared_with_as_well(world: World) -> None:
    world.add("poor", held_out(wrong_every=5))
    world.add("good", held_out(wrong_every=20))
    world.promote("a")

    def promote_good(uow: Any) -> None:
        uow.models.move_alias("production", "good", world.clock.now(), "bob", "")
        uow.commit()

    world.store.rival = promote_good
    with pytest.raises(WorseThanProduction, match="modelVersions/good"):
        world.promote("poor")
    assert world.serving() == "good"


def test_versions_are_paired_where_they_can_be(world: World) -> None:
    world.add("poor", held_out(wrong_every=5), evaluation=an_evaluation(0.8))
    world.add("good", held_out(wrong_every=20), evaluation=an_evaluation(0.95))
    comparison = world.use_cases.compare(["poor", "good", "a"])
    (pair,) = comparison.pairs
    assert (pair.first, pair.second) == ("modelVersions/poor", "modelVersions/good")
    assert comparison.notes == ("modelVersions/a keeps no held-out predictions",)
    assert comparison.recommendation.version == "modelVersions/good"


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


def test_the_model_card_is_the_one_that_was_stored(world: World) -> None:
    assert world.use_cases.report("b", ReportFormat.MARKDOWN) == b"# b"
    with pytest.raises(NotFound):
        world.use_cases.report("z", ReportFormat.MARKDOWN)


def test_a_version_from_before_model_cards_has_none(world: World) -> None:
    digest = store_version(world.artefacts, {"report.html": b"old"})
    with world.store(write=True) as uow:
        uow.models.add(a_model_version("old", digest=digest))
        uow.commit()
    assert world.use_cases.report("old") == b"old"
    with pytest.raises(FailedPrecondition, match=r"modelVersions/old .*no model card"):
        world.use_cases.report("old", ReportFormat.MARKDOWN)


def test_a_store_that_is_away_is_told(world: World) -> None:
    world.store.error = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        world.promote("a")
