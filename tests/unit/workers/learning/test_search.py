"""The course of a search, with a fitter that only pretends: no TensorFlow here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from core.errors import TrainingCancelled, TrainingFailed
from core.search import Choice, Range, SearchSpec, SearchTrial, TrialState
from core.training import EpochProgress, TrainingSpec
from tests.fakes.records import a_job, a_trial
from workers.learning.search import run_search
from workers.training_hooks import TrainingHooks

EPOCHS = 3
SECONDS = 10.0
"""Of each epoch."""
BASE = TrainingSpec(epochs=EPOCHS, dropout=0.2)
SPACE = {"dropout": Range(low=0.0, high=0.9)}


def an_epoch(number: int, score: float) -> EpochProgress:
    return EpochProgress(
        epoch=number,
        epochs=EPOCHS,
        loss=1.0,
        accuracy=0.5,
        val_loss=1.0,
        val_accuracy=0.5,
        seconds=SECONDS,
        seconds_left=0.0,
        val_macro_f1=score,
    )


class World:
    """A search with its trials, its clock and its fitter, whose scores are its dropout."""

    def __init__(self) -> None:
        self.stored: list[SearchTrial] = []
        self.messages: list[str] = []
        self.progress: list[tuple[float, str]] = []
        self.epochs: list[EpochProgress] = []
        self.checkpoints: dict[tuple[int, float], list[EpochProgress]] = {}
        self.time = 0.0
        self.fitted: list[int] = []
        self.forgotten: list[int] = []
        self.score: Callable[[int, TrainingSpec], float] = lambda _, spec: spec.dropout
        self.errors: Mapping[int, Exception] = {}
        self.cancel_after = 10_000
        self.futile_attempts = 1
        self.max_attempts = 3
        self.begun: set[int] = set()

    def run(
        self, trials: int = 6, seconds: float = 0.0, space: Mapping[str, Any] = SPACE
    ) -> SearchTrial:
        search = SearchSpec(trials=trials, seconds=seconds, space=space)
        job = a_job(spec=BASE, search=search)
        hooks = TrainingHooks(
            on_epoch=self.epochs.append,
            on_progress=lambda share, stage: self.progress.append((share, stage)),
            on_message=self.messages.append,
            should_stop=lambda: len(self.epochs) >= self.cancel_after,
        )
        return run_search(
            job, search, hooks, self, self, lambda: self.time, max_attempts=self.max_attempts
        )

    @property
    def states(self) -> list[TrialState]:
        return [trial.state for trial in self.stored]

    # --- Trials ---

    def tried(self) -> tuple[SearchTrial, ...]:
        return tuple(self.stored)

    def record(self, trial: SearchTrial) -> None:
        self.stored.append(trial)
        self.futile_attempts = 0

    # --- TrialFitter ---

    def history(self, number: int, spec: TrainingSpec) -> Sequence[EpochProgress]:
        return list(self.checkpoints.get((number, spec.dropout), ()))

    def begin(self, number: int, spec: TrainingSpec) -> bool:
        was_begun = number in self.begun
        self.begun.add(number)
        return was_begun

    def fit(self, number: int, spec: TrainingSpec, hooks: TrainingHooks) -> None:
        self.fitted.append(number)
        if number in self.errors:
            raise self.errors[number]
        done = self.checkpoints.setdefault((number, spec.dropout), [])
        while len(done) < EPOCHS:
            if hooks.should_stop():
                raise TrainingCancelled()
            hooks.on_progress(len(done) / EPOCHS, f"epoch {len(done) + 1} of {EPOCHS}")
            self.time += SECONDS
            done.append(an_epoch(len(done) + 1, self.score(number, spec)))
            hooks.on_epoch(done[-1])

    def forget(self, number: int, spec: TrainingSpec) -> None:
        self.forgotten.append(number)
        self.checkpoints.pop((number, spec.dropout), None)


@pytest.fixture
def world() -> World:
    return World()


def test_every_trial_is_kept_and_the_best_is_the_result(world: World) -> None:
    best = world.run(trials=5)

    assert [trial.number for trial in world.stored] == [1, 2, 3, 4, 5]
    assert best.recipe["dropout"] == max(trial.recipe["dropout"] for trial in world.stored)
    assert world.stored[0].recipe == {"dropout": 0.2}, "the base recipe is the first"
    assert len({trial.recipe["dropout"] for trial in world.stored}) == 5
    assert world.forgotten == world.fitted == [1, 2, 3, 4, 5]
    first = world.stored[0]
    assert (first.scores, first.seconds, first.error) == ((0.2,) * EPOCHS, 30.0, None)


def test_a_trial_below_the_median_is_given_up(world: World) -> None:
    world.score = lambda number, _: 0.9 - number / 100 if number <= 4 else 0.1

    best = world.run(trials=5)

    assert world.states == [TrialState.COMPLETE] * 4 + [TrialState.PRUNED]
    assert world.stored[4].scores == (0.1, 0.1), "the first epoch is spared"
    assert "trial 5: given up, worse than the median; validation macro-F1 0.1000" in world.messages
    assert best.number == 1


def test_a_trial_is_not_given_up_behind_its_last_epoch(world: World) -> None:
    scores = [0.9] * 12 + [0.9, 0.9, 0.1]
    world.score = lambda *_: scores[len(world.epochs)]
    world.run(trials=5)
    assert world.states == [TrialState.COMPLETE] * 5


def test_the_story_names_the_trial_and_its_recipe(world: World) -> None:
    world.run(trials=2)

    assert world.messages[:2] == [
        "trial 1: dropout 0.2",
        "trial 1: complete; validation macro-F1 0.2000",
    ]
    shares = [share for share, _ in world.progress]
    assert shares == sorted(shares)
    assert shares[3] == pytest.approx(0.5)
    assert world.progress[3][1] == "trial 2 of 2, epoch 1 of 3"
    assert len(world.epochs) == 2 * EPOCHS


def test_the_time_ends_the_search_and_prunes_who_runs(world: World) -> None:
    best = world.run(trials=100, seconds=45.0)

    assert world.states == [TrialState.COMPLETE, TrialState.PRUNED]
    assert world.stored[1].seconds == 20.0
    assert best.number == 1
    assert world.messages[-1] == "the time is over after 2 trials"
    assert max(share for share, _ in world.progress) <= 1.0


def test_the_first_trial_may_finish_whatever_the_time(world: World) -> None:
    best = world.run(trials=100, seconds=1.0)

    assert world.states == [TrialState.COMPLETE]
    assert best.number == 1


def test_a_small_space_ends_the_search(world: World) -> None:
    world.run(trials=50, space={"dropout": Choice(values=(0.1, 0.2, 0.3))})

    assert sorted(trial.recipe["dropout"] for trial in world.stored) == [0.1, 0.2, 0.3]
    assert world.messages[-1] == "every recipe of the space has been tried"


def test_a_failed_trial_does_not_end_the_search(world: World) -> None:
    world.errors = {2: TrainingFailed("The loss is no longer a number.")}

    best = world.run(trials=3)

    assert world.states[1] is TrialState.FAILED
    assert world.stored[1].error == "The loss is no longer a number."
    assert best.number != 2


def test_trials_that_all_fail_end_it(world: World) -> None:
    world.errors = {n: TrainingFailed("No memory.") for n in range(1, 99)}

    with pytest.raises(TrainingFailed, match=r"first 3 trials failed; the last: No memory\."):
        world.run(trials=50)
    assert len(world.stored) == 3


def test_a_search_without_a_complete_trial_fails(world: World) -> None:
    world.errors = {n: TrainingFailed("No memory.") for n in (1, 2)}

    with pytest.raises(TrainingFailed, match="No trial was completed"):
        world.run(trials=2)


def test_a_trial_that_takes_too_much_memory_fails_alone(world: World) -> None:
    world.errors = {2: MemoryError()}

    best = world.run(trials=3)

    assert world.states == [TrialState.COMPLETE, TrialState.FAILED, TrialState.COMPLETE]
    assert world.stored[1].error == "The worker ran out of memory."
    assert best.number != 2


def test_a_trial_that_was_never_survived_is_not_tried_again(world: World) -> None:
    world.stored = [a_trial(1, recipe={"dropout": 0.2}, scores=(0.2,))]
    world.futile_attempts, world.begun = 3, {2}

    best = world.run(trials=3)

    lost = world.stored[1]
    assert (lost.number, lost.state, lost.scores) == (2, TrialState.FAILED, ())
    assert lost.error is not None
    assert lost.error.startswith("Its worker was lost, or had to give it up, whenever it ran")
    assert f"trial 2: {lost.error}" in world.messages
    assert (world.fitted, world.forgotten) == ([3], [2, 3])
    assert best.number != 2


def test_what_a_lost_trial_had_done_is_kept(world: World) -> None:
    world.checkpoints[1, 0.2] = [an_epoch(1, 0.7)]
    world.futile_attempts, world.begun = 3, {1}

    world.run(trials=2)

    assert (world.stored[0].scores, world.stored[0].seconds) == ((0.7,), SECONDS)
    assert not world.checkpoints.get((1, 0.2))


@pytest.mark.parametrize(
    ("futile", "most", "given_up"),
    [(1, 3, False), (2, 3, False), (3, 3, True), (3, 9, True), (2, 2, True), (1, 1, False)],
)
def test_a_trial_is_given_up_before_its_job_would_be(
    world: World, futile: int, most: int, given_up: bool
) -> None:
    world.futile_attempts, world.max_attempts, world.begun = futile, most, {1}
    world.run(trials=2)
    assert (world.states[0] is TrialState.FAILED) == given_up


def test_a_trial_to_which_no_attempt_came_is_tried(world: World) -> None:
    world.futile_attempts = 3  # the workers were lost before, while they read the data set
    world.run(trials=2)
    assert world.states == [TrialState.COMPLETE] * 2


def test_what_is_no_failure_of_a_recipe_ends_the_search(world: World) -> None:
    world.errors = {2: KeyError("a bug")}
    with pytest.raises(KeyError):
        world.run()
    assert len(world.stored) == 1


def test_a_cancelled_search_keeps_its_trials(world: World) -> None:
    world.cancel_after = EPOCHS + 1
    with pytest.raises(TrainingCancelled):
        world.run()
    assert world.states == [TrialState.COMPLETE]


def test_another_worker_goes_on_as_if_nothing_had_happened(world: World) -> None:
    whole = World()
    expected = whole.run()
    world.cancel_after = 2 * EPOCHS + 1  # in the third trial
    with pytest.raises(TrainingCancelled):
        world.run()
    world.cancel_after = 10_000
    world.time = 1e6  # a pause, and the clock of another machine
    world.messages.clear()

    best = world.run()

    assert world.messages[0] == "going on behind trial 2"
    assert best == expected
    assert world.stored == whole.stored
    assert len(world.epochs) == len(whole.epochs), "no epoch is trained twice"


def test_a_search_that_lacks_only_its_end_just_ends(world: World) -> None:
    world.stored = [a_trial(n, recipe={"dropout": n / 10}, scores=(n / 10,)) for n in (1, 2)]

    assert world.run(trials=2).number == 2
    assert not world.fitted
