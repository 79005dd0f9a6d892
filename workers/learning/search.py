"""The course of a search: trial after trial, until the trials, the time or the space are spent."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.errors import TrainingFailed
from core.search import SearchSpec, SearchTrial, TrialState, best_trial, with_recipe
from core.training import EpochProgress, TrainingJob, TrainingSpec, score_name
from workers.training_hooks import TrainingHooks, Trials

if TYPE_CHECKING:
    from workers.learning.suggestion import Suggestion

_FAILURES: Final = 3
"""So many failed trials and none that did not: the next would fail too."""
_OUT_OF_MEMORY: Final = "The worker ran out of memory."
_LOSSES: Final = 2
"""So many workers are lost to one trial before it is given up."""
_LOST: Final = (
    "Its worker was lost, or had to give it up, whenever it ran: most often memory ran out. Let "
    "the search vary less of what takes memory, such as batch_size or backbone."
)


class TrialFitter(Protocol):
    """Trains by the recipe of a trial, and can go on with one that was cut short."""

    def history(self, number: int, spec: TrainingSpec) -> Sequence[EpochProgress]:
        """The epochs of that very trial that an earlier attempt has done."""
        ...

    def begin(self, number: int, spec: TrainingSpec) -> bool:
        """Note that it runs; whether an earlier attempt did, and no epoch was saved since."""
        ...

    def fit(self, number: int, spec: TrainingSpec, hooks: TrainingHooks) -> None:
        """Train to the end. Raises what training does, and whatever ``on_epoch`` raises."""
        ...

    def forget(self, number: int, spec: TrainingSpec) -> None:
        """The trial is over."""
        ...


def run_search(
    job: TrainingJob,
    search: SearchSpec,
    hooks: TrainingHooks,
    trials: Trials,
    fitter: TrialFitter,
    monotonic: Callable[[], float] = time.monotonic,
    *,
    max_attempts: int,
) -> SearchTrial:
    """Try recipes; the best trial, by what chooses a training's best epoch: macro-F1 on
    validation slices, of segmenters the Dice coefficient.

    After ``max_attempts`` without a further trial or epoch the job itself is given up when its
    worker is lost. So a trial to which workers are lost is failed before that.

    Raises ``TrainingCancelled``, and ``TrainingFailed`` if no trial could be completed.
    """
    from workers.learning.suggestion import Suggestion

    done = list(trials.tried())
    if done:
        hooks.on_message(f"going on behind trial {len(done)}")
    while not _is_spent(search, done, hooks):
        suggestion = Suggestion.after(done, search, job.spec)
        if suggestion is None:
            hooks.on_message("every recipe of the space has been tried")
            break
        running = _RunningTrial(job.spec, search, suggestion, done, hooks, monotonic)
        is_lost = running.begin(fitter) and _are_lost(trials, max_attempts)
        trial = running.lost(fitter) if is_lost else running.run(fitter)
        trials.record(trial)
        fitter.forget(trial.number, running.spec)
        done.append(trial)
        _check_failures(done)
    best = best_trial(done)
    if best is None:
        raise TrainingFailed(
            "No trial was completed. Allow more time or more trials, or look at the trials' errors."
        )
    return best


def _are_lost(trials: Trials, max_attempts: int) -> bool:
    """Whether the latest attempts at this job have got nowhere, as many as a trial is given."""
    losses = trials.futile_attempts - 1  # this attempt counts until it gets further
    return losses >= max(1, min(_LOSSES, max_attempts - 1))


def _is_spent(search: SearchSpec, done: Sequence[SearchTrial], hooks: TrainingHooks) -> bool:
    if len(done) >= search.trials:
        return True
    if not 0 < search.seconds <= _seconds(done):
        return False
    hooks.on_message(f"the time is over after {len(done)} trials")
    return True


def _seconds(done: Sequence[SearchTrial]) -> float:
    return sum(trial.seconds for trial in done)


def _check_failures(done: Sequence[SearchTrial]) -> None:
    if len(done) >= _FAILURES and all(trial.state is TrialState.FAILED for trial in done):
        raise TrainingFailed(f"The first {len(done)} trials failed; the last: {done[-1].error}")


class _CutShort(Exception):
    """The running trial is given up; its text says why."""


class _RunningTrial:
    """One trial from its recipe to what came of it."""

    def __init__(
        self,
        base: TrainingSpec,
        search: SearchSpec,
        suggestion: "Suggestion",
        done: Sequence[SearchTrial],
        hooks: TrainingHooks,
        monotonic: Callable[[], float],
    ) -> None:
        self.spec = with_recipe(base, suggestion.recipe)
        self._search = search
        self._suggestion = suggestion
        self._done = done
        self._number = len(done) + 1
        self._hooks = hooks
        self._monotonic = monotonic
        self._scores: list[float] = []
        self._started = 0.0

    def begin(self, fitter: TrialFitter) -> bool:
        """Whether an earlier attempt began it and got no further."""
        return fitter.begin(self._number, self.spec)

    def run(self, fitter: TrialFitter) -> SearchTrial:
        """Raises whatever is no failure of this recipe."""
        self._take_up(fitter)
        self._say(_words(self._suggestion.recipe))
        try:
            fitter.fit(self._number, self.spec, self._trial_hooks())
        except _CutShort as cut:
            return self._ended(TrialState.PRUNED, f"given up, {cut}")
        except TrainingFailed as error:
            return self._failed(error.message)
        except MemoryError:
            return self._failed(_OUT_OF_MEMORY)
        return self._ended(TrialState.COMPLETE, "complete")

    def lost(self, fitter: TrialFitter) -> SearchTrial:
        """Failed without another try: it was begun before and took its worker with it."""
        self._take_up(fitter)
        return self._failed(_LOST)

    def _take_up(self, fitter: TrialFitter) -> None:
        history = fitter.history(self._number, self.spec)
        self._scores = [_score(epoch) for epoch in history]
        self._started = self._monotonic() - sum(epoch.seconds for epoch in history)

    def _failed(self, why: str) -> SearchTrial:
        return self._ended(TrialState.FAILED, why, error=why)

    def _ended(self, state: TrialState, words: str, error: str | None = None) -> SearchTrial:
        trial = SearchTrial(
            number=self._number,
            recipe=dict(self._suggestion.recipe),
            state=state,
            scores=tuple(self._scores),
            seconds=self._seconds,
            error=error,
        )
        name = score_name(self.spec.task)
        score = "" if trial.score is None else f"; validation {name} {trial.score:.4f}"
        self._say(words + score)
        return trial

    @property
    def _seconds(self) -> float:
        return self._monotonic() - self._started

    def _trial_hooks(self) -> TrainingHooks:
        return replace(
            self._hooks,
            on_epoch=self._on_epoch,
            on_progress=self._on_progress,
            on_message=self._say,
        )

    def _on_epoch(self, epoch: EpochProgress) -> None:
        self._hooks.on_epoch(epoch)
        self._scores.append(_score(epoch))
        if epoch.epoch >= epoch.epochs:
            return  # nothing is left to be saved
        if self._suggestion.is_hopeless(self._scores):
            raise _CutShort("worse than the median")
        if self._is_time_over() and best_trial(self._done) is not None:
            raise _CutShort("the time is over")

    def _is_time_over(self) -> bool:
        return 0 < self._search.seconds <= _seconds(self._done) + self._seconds

    def _on_progress(self, share: float, stage: str) -> None:
        spent = (len(self._done) + share) / self._search.trials
        if self._search.seconds:
            time_spent = (_seconds(self._done) + self._seconds) / self._search.seconds
            spent = min(max(spent, time_spent), 1.0)
        name = f"trial {self._number} of {self._search.trials}"
        self._hooks.on_progress(spent, f"{name}, {stage}")

    def _say(self, words: str) -> None:
        self._hooks.on_message(f"trial {self._number}: {words}")


def _score(epoch: EpochProgress) -> float:
    """Macro-F1; a segmenter's Dice is in the same place."""
    return epoch.val_macro_f1 or 0.0


def _words(recipe: Mapping[str, Any]) -> str:
    """``learning rate 0.0003, dropout 0.1``."""
    return ", ".join(f"{name.replace('_', ' ')} {_short(v)}" for name, v in recipe.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
